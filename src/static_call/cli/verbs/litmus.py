"""static-call litmus: runs litmus tests in herd's format."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from static_call.cli.arguments import Misuse, bounds, edition_option, given_limits
from static_call.cli.output import NO, TROUBLE, Progress, bug, print_json, show_traceback, table
from static_call.cli.pictures import Pictures, picture_options
from static_call.errors import StaticCallError

TYPE_CHECKING = False  # as typing has it, whose import would take a tenth of the start-up
if TYPE_CHECKING:
    from typing import TextIO

    from static_call.memory_model.litmus import Result, Tick
    from static_call.memory_model.model import Model
    from static_call.memory_model.program import Limits

    Answer = Callable[[str, Result, Model, Tick], Callable[[], None]]

SUMMARY = "run litmus tests in herd's format"
DESCRIPTION = """\
Prints a report for each test, as herd7 does. Ok means that the test's
condition holds (exit status 0), No that it does not (1), Undecided that a
bound was reached first (2). docs/checker.md shows what --explain, --without
and --json print."""
EXAMPLE = """\
$ static-call check mainline --litmus questions
$ static-call litmus questions/mainline+fresh+farA-farB.litmus
$ static-call litmus --explain questions/mainline+fresh+farA-farB.litmus
$ static-call litmus --show IDC"""

_CACHE_TYPES = ("none", "IDC", "IDC,DIC")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    parser.add_argument("file", nargs="*", metavar="FILE", help="a litmus test for AArch64")
    parser.add_argument(
        "--cache-type", choices=_CACHE_TYPES,
        help="run all tests with this cache type, not those in their headers",
    )  # fmt: skip
    parser.add_argument("--lse2", action="store_true", help="for a processor with FEAT_LSE2")
    edition_option(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--explain", action="store_true",
        help="say what happens where the condition is reached, or what forbids it",
    )  # fmt: skip
    picture_options(parser, "what --explain says")
    parser.add_argument(
        "--without", action="append", default=[], metavar="AXIOM",
        help="also say what could happen without this axiom of the model (may be repeated)",
    )  # fmt: skip
    parser.add_argument(
        "--show", choices=("all", *_CACHE_TYPES), metavar="MODEL",
        help="print the rows of the model: all, or those for the cache type none, IDC or IDC,DIC",
    )  # fmt: skip
    bounds(parser)


def run(options: argparse.Namespace) -> int:
    """Runs the tests, or prints the model."""
    _check(options)
    axioms = _axioms(options.without)
    if options.show:
        return _show_model(options.show, axioms, as_json=options.json)
    pictures = Pictures(options, options.file)
    limits, found = given_limits(options), list[object]()

    def answer(file: str, result: Result, model: Model, tick: Tick) -> Callable[[], None]:
        """Works out what is asked for of one test; returns what prints it."""
        from static_call.memory_model import litmus_data, litmus_story

        less = litmus_data.run_without(result, model, axioms, limits, tick) if axioms else None
        story = None
        if options.explain or pictures:
            story = litmus_story.tell(result, model, limits, tick, axioms)
        text = story.text if story and options.explain else str(result)
        if less and not options.explain:
            text += f"\n\n{litmus_data.difference(result, axioms, less)}"

        def give() -> None:
            if story and pictures:
                pictures.write(story)
            if options.json:
                found.append(litmus_data.as_data(file, result, model, axioms, less))
            else:
                print(f"{text}\n")

        return give

    with Progress() as progress:
        status = run_files(
            options.file, _model(options.cache_type), limits=limits, lse2=options.lse2,
            progress=progress, answer=answer, edition=options.edition,
            refused=lambda file, why: found.append({"file": file, "error": why}),
        )  # fmt: skip
    if options.json:
        print_json({"tests": found})
    return status


def _check(options: argparse.Namespace) -> None:
    """Raises Misuse where options do not go together."""
    drawn = any(path is not None for path in (options.svg, options.dot, options.html))
    if options.show and (options.file or options.explain or drawn or options.cache_type):
        raise Misuse("--show prints the model: no FILE, and of the other options --json, --without")
    if not options.show and not options.file:
        raise Misuse("litmus: the following arguments are required: FILE: see litmus --help")
    if options.json and options.explain:
        raise Misuse("--explain tells a story, --json prints data: one of them")
    if drawn and len(options.file) > 1:
        raise Misuse(f"--svg, --dot and --html draw one test, not {len(options.file)}")


def _model(cache_type: str | None) -> Model | None:
    """The model of a cache type; None for that of each test."""
    from static_call.memory_model.model import Model

    return Model(idc="IDC" in cache_type, dic="DIC" in cache_type) if cache_type else None


def _axioms(names: Sequence[str]) -> frozenset[str]:
    """The axioms to leave out. Raises Misuse."""
    from static_call.memory_model.model import AXIOMS, GLOBAL, LOCAL, PICK

    walks = {rule.walk for rule in (*LOCAL, *PICK, *GLOBAL)}
    for name in names:
        if name not in AXIOMS and name not in walks:
            raise Misuse(f"{name} is none of the axioms {', '.join(AXIOMS)}")
    return frozenset(names)


def _show_model(kind: str, axioms: frozenset[str], *, as_json: bool) -> int:
    """Prints the rows of the model."""
    from dataclasses import replace

    from static_call.memory_model import litmus_data

    model = None if kind == "all" else _model(kind)
    if model and axioms:
        model = replace(model, without=axioms)
    rows = [row for row in litmus_data.model_rows(model) if not axioms & {row.axiom, row.orders}]
    if as_json:
        print_json({"model": kind, "rows": [row._asdict() for row in rows]})
    else:
        table(rows, ("axiom", "orders", "when", "where"))
    return 0


def run_files(
    files: Sequence[str], model: Model | None = None, out: TextIO | None = None,
    err: TextIO | None = None, limits: Limits | None = None, *, lse2: bool = False,
    progress: Progress | None = None, answer: Answer | None = None,
    refused: Callable[[str, str], None] | None = None, edition: str | None = None,
) -> int:  # fmt: skip
    """Runs litmus files and prints a report for each, in herd7's form.

    A file that cannot be read or run is named on `err`, and the next one is run.

    Args:
        files: Their paths.
        model: The model to run them under; by default the one for each header's cache type.
        out: Where the reports go, by default standard output.
        err: Where everything else goes, by default standard error.
        limits: The bounds, by default the checker's own.
        lse2: Whether FEAT_LSE2 is there.
        progress: Called with how many files are done, how many there are, and the current one.
        answer: Works out something else than the report of each test, and may raise what a run
            does; returns what prints it.
        refused: Called with each file that was not run, and why.
        edition: The edition of Arm's text that flags are by, by default the model's.

    Returns:
        0 if all conditions hold, NO if one does not, TROUBLE if a file could not be read or run, or
        a bound left one undecided.
    """
    from dataclasses import replace
    from functools import partial
    from pathlib import Path

    from static_call.memory_model import litmus, litmus_reader
    from static_call.memory_model.program import DEFAULT

    status = 0
    for number, file in enumerate(files):
        tick = partial(progress or _quiet, number, len(files), file)
        try:
            tick()
            test = litmus_reader.read(Path(file).read_text(encoding="utf-8"), file)
            test = replace(test, program=replace(test.program, lse2=lse2))
            under = replace(model or test.model, unsynchronised=test.model.unsynchronised)
            under = replace(under, edition=edition or under.edition)
            result = litmus.run(test, under, limits or DEFAULT, tick)
            give = (
                answer(file, result, under, tick)
                if answer
                else partial(print, result, "", sep="\n", file=out or sys.stdout)
            )
        except Exception as error:
            if progress:
                progress.clear()
            why = _refusal(file, error)
            print(why, file=err or sys.stderr)
            if refused:
                refused(file, why)
            status = TROUBLE
            continue
        if progress:
            progress.clear()
        give()
        for bound in result.cut:
            more = "" if result.decided else ", and the condition is undecided"
            print(
                f"{file}: outcomes may be missing{more}: paths were left out: raise {bound}",
                file=err or sys.stderr,
            )
        if not result.holds or not result.decided:
            status = max(status, NO if result.decided else TROUBLE)
    return status


def _quiet(done: int, total: int, what: str) -> None:
    """Progress that is not shown."""


def _refusal(file: str, error: Exception) -> str:
    """One line on why a file was not run."""
    from static_call.memory_model.litmus_format import LitmusError

    if isinstance(error, LitmusError):
        return str(error)
    if isinstance(error, OSError):
        return f"{file}: {error.strerror}"
    if isinstance(error, UnicodeDecodeError):
        return f"{file}: not a text file"
    if isinstance(error, StaticCallError):
        return f"{file}: {error}"
    if isinstance(error, RecursionError):
        return f"{file}: its parentheses are nested too deeply"
    show_traceback()
    return f"{file}: {bug(error)}"
