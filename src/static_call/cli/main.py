"""The command line: parses, calls, prints. What is heavy is imported where it is used."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress

from static_call.errors import StaticCallError

TYPE_CHECKING = False  # as typing has it, whose import would take a tenth of the start-up
if TYPE_CHECKING:
    from rich.progress import Progress

    from static_call.design.design import Cost, Design, Target
    from static_call.elf.image import Image
    from static_call.image_calls import Found, Goal
    from static_call.memory_model.program import Limits

    _Run = Callable[[argparse.Namespace], int]

_TEXT = "str:"
_WORDS = {"-": "null", "0": "ret0"}  # what a table's short forms are called
_BOUNDS = {
    "unroll": "follow so many rounds of a loop (4)",
    "steps": "so many instructions of a thread (400)",
    "paths": "so many ways through a thread (20000)",
    "combinations": "so many combinations of these (1000000)",
    "executions": "so many executions (1000000)",
}
_VERDICTS = {"yes": "32", "YES": "32", "no": "33", "NO": "1;31"}  # green, green, yellow, red
_EPILOG = """\
exit status: 0 done, 1 the answer is no, 2 misuse
"""


class Misuse(StaticCallError):
    """The command line makes no sense."""

    status = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line; returns the exit status. Every refusal is one line on stderr."""
    options = _parser().parse_args(arguments)
    for name in ("stdout", "stderr"):
        if (stream := getattr(sys, name)) is None:  # closed: so no file of ours gets its number
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
        elif reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")  # a symbol may have any character in its name
    run: _Run = options.run
    try:
        status = run(options)
        sys.stdout.flush()
        return status
    except StaticCallError as error:
        return _refuse(str(error), error.status)
    except BrokenPipeError:
        # The reader of our output has seen enough; keep the interpreter from flushing again.
        sys.stdout = None
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _refuse(f"{where}{error.strerror or error}")
    except KeyboardInterrupt:
        return _refuse("interrupted", 130)


def _refuse(message: str, status: int = 1) -> int:
    """Says why not, in one line; gives the exit status."""
    line = message.replace("\n", "\\n")
    print(f"static-call: {line}", file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="static-call",
        description="Static calls for arm64: list them, look at them, retarget them.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    verbs = parser.add_subparsers(metavar="VERB", required=True, prog="static-call")

    def verb(name: str, run: _Run, text: str) -> argparse.ArgumentParser:
        one = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        one.set_defaults(run=run)
        return one

    def design_option(one: argparse.ArgumentParser) -> None:
        one.add_argument(
            "-d", "--design", action="append", default=[], metavar="FILE",
            help="also know the design in FILE (may be repeated)",
        )  # fmt: skip

    def debug_option(one: argparse.ArgumentParser) -> None:
        one.add_argument(
            "--debug-file", metavar="FILE", help="take the symbols of a stripped file from FILE"
        )

    def bounds(one: argparse.ArgumentParser) -> None:
        for name, text in _BOUNDS.items():
            one.add_argument(f"--{name}", type=_count, metavar="N", help=text)

    designs = verb("designs", _designs, "list trampoline designs, or show one")
    designs.add_argument("design", nargs="*", help="a shipped design's name or a file")
    designs.add_argument("--json", action="store_true", help="print JSON")

    listed = verb("list", _list, "list the static calls of an ELF file")
    listed.add_argument("file")
    listed.add_argument("--sites", action="store_true", help="count the calls of each (slower)")
    listed.add_argument("--scan", action="store_true", help="find trampolines by shape, not symbol")
    listed.add_argument("--json", action="store_true", help="print JSON")
    design_option(listed)
    debug_option(listed)

    show = verb("show", _show, "show a static call's trampoline as a listing")
    show.add_argument("file")
    show.add_argument("name", help="the static call's name, or its trampoline's address")
    show.add_argument("--json", action="store_true", help="print JSON")
    design_option(show)
    debug_option(show)

    change = verb("set", _set, "retarget static calls of an ELF file")
    change.add_argument("file")
    change.add_argument(
        "change", nargs="+", metavar="NAME=TARGET",
        help="TARGET is a symbol, 0xADDR, null or ret0; NAME may be a trampoline's 0xADDR",
    )  # fmt: skip
    change.add_argument("-o", "--output", metavar="OUT", help="write a copy, leave FILE as it is")
    design_option(change)
    debug_option(change)

    call = verb("call", _call, "call a function of an ELF file in the emulated machine")
    call.add_argument("file")
    call.add_argument("name", help="a static call, or else a function")
    call.add_argument("argument", nargs="*", help="an integer, or str:TEXT")
    call.add_argument(
        "--set", action="append", default=[], metavar="NAME=TARGET", dest="change",
        help="retarget a static call in the machine first (may be repeated)",
    )  # fmt: skip
    call.add_argument(
        "--bits", type=int, choices=(8, 16, 32, 64), default=64,
        help="how much of the result counts: 32 for an int",
    )  # fmt: skip
    call.add_argument("--count", action="store_true", help="count the executed instructions")
    design_option(call)

    check = verb("check", _check, "check designs under Arm's memory model")
    check.add_argument("design", nargs="*", help="a shipped design's name or a file")
    check.add_argument("--two", action="store_true", help="two changes in a row as well (slower)")
    check.add_argument("--json", action="store_true", help="print JSON")
    check.add_argument(
        "--explain", nargs=2, metavar=("DESIGN", "CHANGE"),
        help="tell what happens, or what forbids it; CHANGE as in near-far or farA-null-farB",
    )  # fmt: skip
    check.add_argument(
        "--property", metavar="NAME", help="which one to explain; else the first that fails"
    )
    check.add_argument("--svg", metavar="FILE", help="draw what --explain tells")
    check.add_argument("--html", metavar="FILE", help="the same as a page, with the text")
    check.add_argument("--litmus", metavar="DIR", help="write the questions as litmus files")
    bounds(check)

    litmus = verb("litmus", _litmus, "run litmus tests in herd's format")
    litmus.add_argument("file", nargs="+")
    litmus.add_argument(
        "--cache-type", choices=("none", "IDC", "IDC,DIC"),
        help="run all with this one, not with their headers' CacheType",
    )  # fmt: skip
    litmus.add_argument("--lse2", action="store_true", help="with FEAT_LSE2")
    bounds(litmus)

    kernel = verb("kernel", _kernel, "make a Linux tree support static calls on arm64")
    kernel.add_argument("what", choices=("port",), help="port: change the sources")
    kernel.add_argument("tree", help="a Linux source tree")
    kernel.add_argument("--design", metavar="DESIGN", help="a shipped one's name or a file")
    instead = kernel.add_mutually_exclusive_group()
    instead.add_argument("--check", action="store_true", help="only say what would be done")
    instead.add_argument("--patch", action="store_true", help="print patches for git am instead")
    instead.add_argument("--revert", action="store_true", help="take the port out of the tree")
    kernel.add_argument("--force", action="store_true", help="port a design that is not sound")

    verb("cflags", _cflags, "print the compiler's flags for static_call.h")
    verb("libs", _libs, "print the C file that programs which update at run time compile in")
    verb("pkgconfig", _pkgconfig, "print the folder of static-call.pc, for PKG_CONFIG_PATH")
    return parser


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"static-call {version('static-call')}")
        parser.exit()


def _load_designs(extra: Sequence[str]) -> list[Design]:
    """The user's own designs and the shipped ones, in the order in which they are tried."""
    from static_call.design import notation
    from static_call.image_calls import longest_first

    return longest_first(notation.load(name) for name in (*extra, *notation.shipped()))


def _table(
    rows: Sequence[Sequence[object]], head: Sequence[str], colours: Mapping[str, str] | None = None
) -> None:
    """Prints aligned columns, numbers to the right; on a terminal with bold heads.

    colours  by the first word of a cell, for a terminal: ANSI's numbers
    """
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *texts)]
    right = [bool(rows) and all(isinstance(cell, int) for cell in column) for column in zip(*rows)]
    colours = colours or {}

    def line(cells: Sequence[str]) -> Iterator[str]:
        for index, (cell, width) in enumerate(zip(cells, widths)):
            yield cell.rjust(width) if index < len(right) and right[index] else cell.ljust(width)

    def paint(padded: str) -> str:
        word, *_ = padded.split() or [""]
        return f"\033[{colours[word]}m{padded}\033[0m" if word in colours else padded

    if not _colour():
        for row in (head, *texts):
            print("  ".join(line(row)).rstrip())
        return
    print(f"\033[1m{'  '.join(line(head))}\033[0m")
    for row in texts:
        print("  ".join(map(paint, line(row))))


def _colour() -> bool:
    """Whether standard output is a terminal that wants more than plain text."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def _print_json(value: object) -> None:
    import json

    print(json.dumps(value, indent=2))


def _designs(options: argparse.Namespace) -> int:
    from static_call.design import notation
    from static_call.design.design import FORMS

    designs = [notation.load(name) for name in options.design or notation.shipped()]
    costs = [_costs(design) for design in designs]
    if options.json:
        _print_json(
            [
                {
                    "name": design.name,
                    "summary": design.summary,
                    "isa": design.isa.name,
                    "sources": list(design.sources),
                    "size": design.size,
                    "align": design.align,
                    "forms": {
                        form: {
                            "instructions": cost.instructions,
                            "loads": cost.loads,
                            "taken": cost.taken,
                            "indirect": cost.indirect,
                        }
                        for form, cost in its_costs.items()
                    },
                }
                for design, its_costs in zip(designs, costs)
            ]
        )
        return 0
    if options.design:
        for design in designs:
            _print_design(design)
        return 0
    rows = [
        [
            design.name,
            design.size,
            *(_cost(design, its_costs, form) for form in FORMS),
            design.summary.partition(": ")[2] or design.summary,
        ]
        for design, its_costs in zip(designs, costs)
    ]
    _table(rows, ["design", "bytes", *FORMS, "what it is"])
    print("\nUnder each form: instructions that a call executes beyond a direct call.")
    return 0


def _patches(design: Design) -> str:
    """Which instructions it patches, and which of them no edition of Arm's text, or only newer
    ones, allow to be patched live."""
    held = {insn.name.upper(): insn for insn in design.patched}
    if not held:
        return "patches no instruction"
    text = f"patches {', '.join(held)}"
    for allowed, says in (("newer", "by newer editions alone"), ("", "by no edition")):
        if names := ", ".join(name for name, insn in held.items() if insn.cmodx == allowed):
            text += f"; {names} may be modified while it may execute {says} (Arm ARM B2.2.5)"
    return text


def _cost(design: Design, costs: dict[str, Cost], form: str) -> object:
    """Instructions of a form; "-" where there is no such form, "?" where that is not known."""
    return costs[form].instructions if form in costs else "?" if form in design.forms else "-"


def _costs(design: Design) -> dict[str, Cost]:
    """What a call costs in each form; without those whose code cannot be followed."""
    costs = {}
    for form in design.forms:
        with suppress(StaticCallError):
            costs[form] = design.cost(form)
    return costs


def _print_design(design: Design) -> None:
    print(f"{design.name}: {design.summary}")
    for source in design.sources:
        print(f"  source: {source}")
    print(f"  {design.size} bytes, aligned to {design.align}, entered at byte {design.entry}")
    print(f"  {_patches(design)}\n")
    for item, text in design.listing():
        where = f"{item.offset:4}" if item.offset is not None else f"{item.section:>4}"
        label = f"{item.title}:" if item.label else ""
        print(f"  {where}  {label:<9}{text}")
    print("\n  retarget:")
    for step in design.retarget:
        print(f"        {step}")
    print()
    _table(
        [
            [form, cost.instructions, cost.loads, cost.taken, cost.indirect]
            for form, cost in _costs(design).items()
        ],
        ["form", "instructions", "loads", "taken branches", "indirect"],
    )


def _list(options: argparse.Namespace) -> int:
    from static_call import image_calls

    designs = _load_designs(options.design)
    collecting = gc.isenabled()
    gc.disable()  # some ten thousand small objects and no cycles: a twentieth of the time
    try:
        with _open(options) as image:
            calls = (image_calls.scan if options.scan else image_calls.find)(image, designs)
            sites = image.sites([call.entry for call in calls]) if options.sites else {}
            shown = [_as_json(call, image, sites.get(call.entry)) for call in calls]
            stripped = image.stripped
            rows = [
                [call.name, image.where(call.entry), *_says(call), _key(call)]
                + ([sites[call.entry]] if options.sites else [])
                for call in calls
            ]
    finally:
        if collecting:
            gc.enable()
    if options.json:
        _print_json({"file": options.file, "static_calls": shown})
    elif calls:
        head = ["name", "trampoline", "design", "form", "target", "key"]
        _table(rows, head + (["sites"] if options.sites else []))
    else:
        more = "" if options.scan else ": try --scan, which looks for trampolines by shape"
        if stripped and not options.scan:
            more = (
                ": its symbols are stripped: give the file that has them with --debug-file, or try "
                "--scan, which looks for trampolines by shape"
            )
        return _refuse(f"{options.file}: no static calls{more}")
    return 0 if calls else 1


def _says(call: Found) -> list[str]:
    """Design, form and target of a static call for a person."""
    if call.state is None:
        return ["?", "?", "not a trampoline of a known design"]
    target = str(call.goal or ("-" if call.state.target is None else "0"))
    other = f" (literal: {call.other})" if call.other else ""
    return [call.state.design.name, call.state.form, target + other]


def _open(options: argparse.Namespace) -> Image:
    """The file, with the symbols of --debug-file or of its own debug file."""
    from static_call.elf import debug_file
    from static_call.elf.image import Image

    image = Image.open(options.file)
    try:
        debug_file.attach(image, options.debug_file)
    except BaseException:
        image.close()
        raise
    return image


def _key(call: Found) -> str:
    from static_call.calls import RETURN0

    if call.key is None:
        return "-"
    if call.value is None:
        return "null"
    return "ret0" if call.value.name == RETURN0 else str(call.value)


def _as_json(call: Found, image: Image, sites: int | None) -> dict[str, object]:
    """The documented shape: docs/reference.md."""
    state, goal, value = call.state, call.goal, call.value
    section, address = image.locate(call.entry)
    result: dict[str, object] = {
        "name": call.name,
        "address": address,
        "design": state.design.name if state else None,
        "form": state.form if state else None,
        "target": goal and _goal_as_json(goal),
        "literals": dict(state.literals) if state and image.linked else {},
        "unfinished": call.unfinished,
        "key": None
        if call.key is None
        else {
            "address": image.locate(call.key)[1],
            "value": value.address if value else 0,
            "symbol": value.name if value else "",
        },
    }
    if section:
        result["section"] = section
    if sites is not None:
        result["sites"] = sites
    return result


def _goal_as_json(goal: Goal) -> dict[str, object]:
    shown: dict[str, object] = {"address": goal.address, "symbol": goal.name, "via": goal.via}
    return {**shown, "section": goal.section} if goal.section else shown


def _show(options: argparse.Namespace) -> int:
    from static_call import image_calls

    designs = _load_designs(options.design)
    with _open(options) as image:
        (call,) = image_calls.lookup(image, designs, [options.name])
        lines = list(image_calls.listing(call, image))
        if options.json:
            shown = [
                {"address": image.locate(at)[1], "bytes": data, "text": text}
                for at, data, text in lines
            ]
            sites = image.sites([call.entry])[call.entry]
            _print_json({**_as_json(call, image, sites), "listing": shown})
            return 0
        where = {at: image.where(at) for at, _, _ in lines}
    design, form, target = _says(call)
    print(f"{call.name}: {design}, {form}, target {target}, key {_key(call)}\n")
    for at, data, text in lines:
        print(f"{'->' if at == call.entry else '  '} {where[at]}  {data:<16}  {text}")
    print()
    for item, cell in call.known.design.listing():
        if item.cell:
            print(f"   {item.title + ':':<9}{cell}")
    if call.unfinished:
        print("\nA retarget was not finished: slot and literal do not say the same. Calls work.")
    elif not call.known.agrees:
        print("\nThe slot's branch and the literal name different addresses of one function:")
        print("a veneer or a PLT entry lies between.")
    return 0


def _number(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        raise Misuse(f"{text} is not an address") from None


def _set(options: argparse.Namespace) -> int:
    from static_call.calls import RETURN0
    from static_call.places.set_calls import set_calls

    changes = _changes(options.change)
    designs = _load_designs(options.design)
    with _open(options) as image:
        targets = {name: _target(text) for name, text in changes.items()}
        written = set_calls(image, designs, targets, options.output)
    if keyless := [one.name for one in written if one.key is None]:
        _refuse(f"{', '.join(keyless)}: no key is known, so the trampoline alone is set")
    try:
        for name, one in zip(changes, written):
            _, form, target = _says(one)
            target = _key(one) if one.goal and one.goal.name == RETURN0 and one.key else target
            print(f"{name} = {_WORDS.get(target, target)} ({form})")
        sys.stdout.flush()
    except OSError as error:
        sys.stdout = None  # keep the interpreter from flushing again
        path = options.output or options.file
        raise StaticCallError(
            f"{path}: it is set, but standard output cannot be written: {error.strerror}"
        ) from None
    return 0


def _changes(texts: Sequence[str]) -> dict[str, str]:
    """The targets' texts by name, of NAME=TARGET each."""
    changes: dict[str, str] = {}
    for text in texts:
        name, _, target = text.partition("=")
        if not (name and target):
            raise Misuse(f"{text}: expected NAME=TARGET")
        if name in changes:
            raise Misuse(f"{name} is set twice")
        changes[name] = target
    return changes


def _call(options: argparse.Namespace) -> int:
    from static_call.places.emulator import Emulator

    machine = Emulator()
    image = machine.load(options.file, options.design)
    image.set_calls({name: _target(text) for name, text in _changes(options.change).items()})
    arguments = [_argument(text) for text in options.argument]
    address = image.address(options.name)
    more = ""
    if options.count:
        result, executed = machine.trace(address, *arguments)
        more = f" ({len(executed)} instructions)"
    else:
        result = machine.call(address, *arguments)
    result &= (1 << options.bits) - 1
    print(f"{result} = {result:#x}{more}")
    return 0


def _argument(text: str) -> int | bytes:
    if text.startswith(_TEXT):
        return os.fsencode(text.removeprefix(_TEXT)) + b"\0"
    try:
        number = int(text, 0)
    except ValueError:
        raise Misuse(f"argument {text}: expected an integer or {_TEXT}TEXT") from None
    if not -(1 << 63) <= number < 1 << 64:
        raise Misuse(f"argument {text}: a register has 64 bits")
    return number


def _target(text: str) -> Target | str:
    from static_call.design.design import RET0

    if text in ("null", "ret0"):
        return None if text == "null" else RET0
    return _number(text) if text.startswith("0x") else text


def _cflags(_: argparse.Namespace) -> int:
    print(f"-I{_installed('include')}")
    return 0


def _libs(_: argparse.Namespace) -> int:
    print(_installed("include", "static_call.c"))
    return 0


def _pkgconfig(_: argparse.Namespace) -> int:
    print(_installed("pkgconfig"))
    return 0


def _installed(*names: str) -> str:
    """The path of a file or folder of the package."""
    return os.path.join(os.path.dirname(os.path.dirname(__file__)), *names)


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"expected a number from 1, not {text}")
    return int(text)


def _limits(options: argparse.Namespace) -> Limits:
    """The bounds that the command line gives, and the checker's own."""
    from static_call.memory_model.program import Limits

    given = {name: getattr(options, name) for name in _BOUNDS}
    return Limits(**{name: value for name, value in given.items() if value})


def _check(options: argparse.Namespace) -> int:
    from textwrap import fill

    from static_call.check import report
    from static_call.design import notation
    from static_call.design.design import PROPERTIES

    if options.explain:
        return _explain(options)
    if options.svg or options.html or options.property:
        raise Misuse("--svg, --html and --property go with --explain")
    designs = [notation.load(name) for name in options.design or notation.shipped()]
    limits = _limits(options)
    if options.litmus:
        from static_call.check import export

        written, problems = export.write(designs, options.litmus, limits)
        print(f"{options.litmus}: {written} files")
        for problem in problems:
            print(f"static-call: no litmus file for {problem}", file=sys.stderr)
        return 1 if problems else 0
    with _Progress() as progress:
        result = report.judge(designs, two=options.two, limits=limits, progress=progress)
    broken = list(report.broken_claims(result))
    if options.json:
        _print_json(report.as_data(result, limits))
        return 1 if broken else 0
    head = ["design", *PROPERTIES]
    _table(report.matrix(result), head, _VERDICTS)
    for design in designs if options.design else []:
        print(f"\n{design.name}")
        _table(report.by_change(result[design]), ["change", *PROPERTIES], _VERDICTS)
        for head, why in (
            (["not", "since, for one", "times", "such as"], report.reasons(result[design])),
            (["not asked", "since", "times", "such as"], report.not_asked(result[design])),
        ):
            rows = [
                [name, says, count, "-".join(goal.replace(" ", "") for goal in change)]
                for name, says, change, count in why
            ]
            if rows:
                print()
                _table(rows, head)
    if not options.design:
        print("\nYES, NO: the design claims it. no N/M: it does not hold for N of M changes;")
        print("static-call check DESIGN lists them.")
    print()
    print(fill(f"Assumed: {'; '.join(report.assumptions(result, limits).values())}.", 96))
    for verdict in broken[:1]:
        _refuse(report.breaks(verdict))
    return 1 if broken else 0


class _Progress:
    """A bar on stderr, where that is a terminal and it takes longer than a second."""

    def __init__(self) -> None:
        from time import monotonic

        self._clock = monotonic
        self._start = monotonic()
        self._bar: Progress | None = None

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def __call__(self, done: int, total: int, what: str) -> None:
        if self._bar is None:
            if not sys.stderr.isatty() or self._clock() - self._start < 1:
                return
            from rich.console import Console
            from rich.progress import Progress

            # What is printed meanwhile goes above the bar if it is shown on the same terminal.
            on_terminal = sys.stdout.isatty()
            self._bar = Progress(
                console=Console(stderr=True), transient=True, redirect_stdout=on_terminal
            )
            self._bar.add_task(what, total=total)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=done, description=what)


def _explain(options: argparse.Namespace) -> int:
    from static_call.check import questions, story
    from static_call.design import notation
    from static_call.design.design import PROPERTIES

    if options.design or options.json or options.litmus or options.two:
        raise Misuse("--explain tells of one design: no other, --json, --litmus or --two with it")
    if options.property and options.property not in PROPERTIES:
        raise Misuse(f"{options.property} is none of {', '.join(PROPERTIES)}")
    design = notation.load(options.explain[0])
    change = questions.parse_change(options.explain[1])
    told = story.tell(design, change, options.property, _limits(options))
    print(told.text)
    for path, drawn in ((options.svg, "svg"), (options.html, "html")):
        if path:
            from static_call.check import drawing

            with open(path, "w", encoding="utf-8") as file:
                file.write(getattr(drawing, drawn)(told))
    return 1 if told.verdict.holds is False and told.verdict.claimed else 0


def _litmus(options: argparse.Namespace) -> int:
    from static_call.memory_model.litmus import main_litmus
    from static_call.memory_model.model import Model

    model = None
    if kind := options.cache_type:
        model = Model(idc="IDC" in kind, dic="DIC" in kind)
    with _Progress() as progress:
        return main_litmus(
            options.file, model, limits=_limits(options), lse2=options.lse2, progress=progress
        )


def _kernel(options: argparse.Namespace) -> int:
    from static_call.design import notation
    from static_call.kernel import code, patches, port
    from static_call.kernel.tree import Tree

    if options.revert and (options.design or options.force):
        raise Misuse("--revert takes out the port that is there: no --design or --force with it")
    tree = Tree(options.tree)
    port.known(tree)
    there = port.installed(tree)
    if options.revert:
        if there is None:
            return _refuse(f"{tree.path}: no port to take out")
        without = port.reverted(tree)
        without.write()
        print(f"took the port of {there.name} out of {tree.path}")
        return 0
    design = (
        notation.load(options.design) if options.design else there or notation.load("inline-stub")
    )
    code.check(design)
    if there:
        if options.patch or code.text(design) != code.text(there):
            return _refuse(f"{tree.path}: the port of {there.name} is there: --revert takes it out")
        print(f"the port of {there.name} is in {tree.path}")
        return 0
    doubt = None if options.force else port.doubt(design)
    if doubt:
        return _refuse(f"{design.name}: {doubt}. --force ports it anyway")
    if options.patch:
        print(patches.series(tree, port.parts(tree, design), patches.author(tree), design), end="")
        return 0
    changed = port.ported(tree, design)
    rows = patches.summary(tree, changed)
    if not options.check:
        changed.write()
    _table(rows, ["file", "", "lines"])
    print(f"\n{'would port' if options.check else 'ported'} {design.name} to Linux {tree.version}")
    return 0
