"""static-call board: a program that asks an arm64 board, and what boards answered."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from static_call.cli.arguments import Misuse
from static_call.cli.output import NO, Progress, print_json, say, table
from static_call.errors import StaticCallError

TYPE_CHECKING = False  # as typing has it, whose import would take a tenth of the start-up
if TYPE_CHECKING:
    from static_call.board.programs import Row
    from static_call.board.report import Judged, Report
    from static_call.design.design import Design

SUMMARY = "ask an arm64 board, and read what boards answered"
DESCRIPTION = """\
Writes a folder that builds on any arm64 Linux with a C compiler alone. Its
program runs the questions of check --litmus many times, measures calls and
updates, and prints a report; its README says how to run it. With --read, says
which outcomes in reports the model forbids (exit status 1 if there is one),
and which allowed ones were never seen. docs/board.md says how to send a report
back."""
EXAMPLE = """\
$ static-call board questions --design inline-stub"""

_LONGEST = 64 << 20  # bytes of a report; one of all shipped designs has less than one MiB
_SHOWN = 20  # rows of allowed outcomes that were never seen


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    parser.add_argument(
        "path", nargs="*", metavar="DIR|FILE",
        help="the folder to write, which must not exist or be empty; with --read, what boards "
        "answered",
    )  # fmt: skip
    parser.add_argument("--read", action="store_true", help="read what boards answered")
    parser.add_argument(
        "--design", action="append", default=[], metavar="DESIGN",
        help="ask about this design, by its name or a file that has it, and no other "
        "(may be repeated)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="with --read: print JSON")


def run(options: argparse.Namespace) -> int:
    """Writes the folder, or reads reports."""
    if not options.path or (len(options.path) > 1 and not options.read):
        raise Misuse("board takes one folder to write, or --read and files")
    if options.json and not options.read:
        raise Misuse("--json goes with --read")
    return _read(options) if options.read else _write(options)


def _write(options: argparse.Namespace) -> int:
    from importlib.metadata import version

    from static_call.board import folder
    from static_call.design import notation

    (path,) = options.path
    folder.check_folder(path)  # before the work
    designs = [notation.load(name) for name in options.design or notation.shipped()]
    asked = folder.questions(designs)
    folder.write(asked, f"static-call {version('static-call')}", path)
    print(f"{path}: {len(asked.rows)} questions; README there says what to do")
    for why, count in asked.left.items():
        print(f"{count} questions left out: {why}")
    return 0


def _designs(reports: Sequence[Report], given: Sequence[str]) -> list[Design]:
    """The designs of reports: those that are given, and shipped ones."""
    from static_call.design import notation

    own = {design.name: design for design in map(notation.load, given)}
    names = {name.partition("+")[0] for report in reports for name in report.questions}
    shipped = notation.shipped()
    for name in sorted(names - own.keys()):
        if name not in shipped:
            raise StaticCallError(f"{name} is not a shipped design: name its file with --design")
        own[name] = notation.load(name)
    return [own[name] for name in sorted(names)]


def _read(options: argparse.Namespace) -> int:
    from static_call.board import folder, report

    reports: list[Report] = []
    for path in options.path:
        with open(path, "rb") as file:
            try:
                data = file.read(_LONGEST + 1)
                if len(data) > _LONGEST:
                    raise StaticCallError(f"{path}: not a board's report: it is too long")
                text = data.decode("ascii")
            except UnicodeDecodeError:
                raise StaticCallError(
                    f"{path}: not a board's report: it is not plain text"
                ) from None
        reports.append(report.parse(text, path))
        for other in reports[:-1]:
            if other.sum == reports[-1].sum:
                raise StaticCallError(f"{path}: the same report as {other.file}")
    with Progress() as progress:
        progress(0, len(reports), "the questions")
        rows: list[Row] = folder.questions(_designs(reports, options.design)).rows
        judged: list[list[Judged]] = []
        for number, one in enumerate(reports):
            progress(number, len(reports), one.file)
            judged.append(report.judge(one, rows))
    if options.json:
        print_json([_as_data(*pair) for pair in zip(reports, judged)])
    else:
        _print(reports, judged)
    wrong = [(one, j) for one, found in zip(reports, judged) for j in found if j.forbidden]
    for one, found in wrong:
        outcomes = ", ".join(f"{state} ({n} times)" for state, n in found.forbidden.items())
        errata = f"; its CPUs have erratum {', '.join(one.errata)}" if one.errata else ""
        say(f"FORBIDDEN: {one.file} ({one.machine}): {found.row.test.name}: {outcomes}{errata}")
    return NO if wrong else 0


def _print(reports: Sequence[Report], judged: Sequence[Sequence[Judged]]) -> None:
    table(
        [
            [r.file, r.machine, _cpus(r), _cache(r), r.kernel, r.page, ", ".join(r.errata) or "-"]
            for r in reports
        ],
        ["report", "machine", "CPUs (MIDR)", "cache", "Linux", "page", "errata"],
    )
    print()
    names = dict.fromkeys(name for report in reports for name in report.figures)
    heads = [f"{r.file}, {r.machine}: ns (cycles)" for r in reports]
    table([[name, *(_figure(r, name) for r in reports)] for name in names], ["", *heads])
    print()
    table(
        [
            [
                r.file, r.machine, len(found), sum(bool(j.seen or j.forbidden) for j in found),
                sum(o.runs for o in r.questions.values()), sum(j.left for j in found),
                sum(bool(o.failed) for o in r.questions.values()),
                sum(len(j.forbidden) for j in found), sum(len(j.unseen) for j in found),
            ]
            for r, found in zip(reports, judged)
        ],
        ["report", "machine", "questions", "answered", "runs", "left out", "not finished",
         "forbidden", "allowed, never seen"],
    )  # fmt: skip
    unseen: dict[tuple[str, str], int] = {}
    for found in judged:
        for one in found:
            for state in one.unseen:
                key = one.row.test.name, state
                unseen[key] = unseen.get(key, 0) + 1
    never = [key for key, count in unseen.items() if count == _asked(reports, key[0])]
    if never:
        print()
        table(never[:_SHOWN], ["question", "allowed, and never seen on any of these"])
        if len(never) > _SHOWN:
            print(f"and {len(never) - _SHOWN} more: see --json")
    if any(r.machine != "hardware" for r in reports):
        print("\nWhat an emulator shows is no evidence of what a CPU does, in time or in order.")


def _asked(reports: Sequence[Report], name: str) -> int:
    return sum(name in report.questions for report in reports)


def _cpus(report: Report) -> str:
    kinds: dict[int, int] = {}
    for cpu in report.cpus:
        kinds[cpu.identity] = kinds.get(cpu.identity, 0) + 1
    return ", ".join(
        f"{n} of {f'{midr:#010x}' if midr else 'unknown'}" for midr, n in kinds.items()
    )


def _cache(report: Report) -> str:
    model = report.model
    return "IDC,DIC" if model.dic else "IDC" if model.idc else "none"


def _figure(report: Report, name: str) -> str:
    figure = report.figures.get(name)
    if figure is None:
        return "-"
    if figure.error:
        return f"error {figure.error}"
    cycles = f" ({figure.values['cycles'][0]:.1f})" if "cycles" in figure.values else ""
    return f"{figure.values['ns'][0]:.1f}{cycles}" if "ns" in figure.values else "-"


def _as_data(report: Report, judged: Sequence[Judged]) -> dict[str, object]:
    """What --json prints of a report."""
    return {
        "file": report.file,
        "machine": report.machine,
        "made_by": report.made_by,
        "linux": report.kernel,
        "page": report.page,
        "cache_type": _cache(report),
        "errata": report.errata,
        "cpus": [
            {"cpu": c.number, "midr": c.identity and f"{c.identity:#010x}", "ctr": f"{c.ctr:#x}"}
            for c in report.cpus
        ],
        "figures": {
            name: {"error": figure.error, **{unit: list(v) for unit, v in figure.values.items()}}
            for name, figure in report.figures.items()
        },
        "questions": [
            {
                "name": one.row.test.name,
                "runs": report.questions[one.row.test.name].runs,
                "left_out": one.left,
                "not_finished": report.questions[one.row.test.name].failed,
                "forbidden": dict(one.forbidden),
                "never_seen": list(one.unseen),
            }
            for one in judged
        ],
    }
