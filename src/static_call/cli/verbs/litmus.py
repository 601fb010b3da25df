"""static-call litmus: runs litmus tests in herd's format."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from static_call.cli.arguments import bounds, edition_option, given_limits
from static_call.cli.output import NO, TROUBLE, Progress, bug, show_traceback
from static_call.errors import StaticCallError

TYPE_CHECKING = False  # as typing has it, whose import would take a tenth of the start-up
if TYPE_CHECKING:
    from typing import TextIO

    from static_call.memory_model.model import Model
    from static_call.memory_model.program import Limits

SUMMARY = "run litmus tests in herd's format"
DESCRIPTION = """\
Prints a report for each test, as herd7 does. Ok means that the test's
condition holds (exit status 0), No that it does not (1), Undecided that a
bound was reached first (2)."""
EXAMPLE = """\
$ static-call check mainline --litmus questions
$ static-call litmus questions/mainline+fresh+farA-farB.litmus"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    parser.add_argument("file", nargs="+", metavar="FILE", help="a litmus test for AArch64")
    parser.add_argument(
        "--cache-type", choices=("none", "IDC", "IDC,DIC"),
        help="run all tests with this cache type, not those in their headers",
    )  # fmt: skip
    parser.add_argument("--lse2", action="store_true", help="for a processor with FEAT_LSE2")
    edition_option(parser)
    bounds(parser)


def run(options: argparse.Namespace) -> int:
    """Runs the tests."""
    from static_call.memory_model.model import Model

    model = None
    if kind := options.cache_type:
        model = Model(idc="IDC" in kind, dic="DIC" in kind)
    with Progress() as progress:
        return run_files(
            options.file, model, limits=given_limits(options), lse2=options.lse2, progress=progress,
            edition=options.edition,
        )  # fmt: skip


def run_files(
    files: Sequence[str], model: Model | None = None, out: TextIO | None = None,
    err: TextIO | None = None, limits: Limits | None = None, *, lse2: bool = False,
    progress: Progress | None = None, edition: str | None = None,
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
        tick = partial(progress, number, len(files), file) if progress else None
        try:
            if tick:
                tick()
            test = litmus_reader.read(Path(file).read_text(encoding="utf-8"), file)
            test = replace(test, program=replace(test.program, lse2=lse2))
            under = model or test.model
            under = replace(under, edition=edition or under.edition)
            result = litmus.run(test, under, limits or DEFAULT, tick)
        except Exception as error:
            if progress:
                progress.clear()
            print(_refusal(file, error), file=err or sys.stderr)
            status = TROUBLE
            continue
        if progress:
            progress.clear()
        print(f"{result}\n", file=out or sys.stdout)
        for bound in result.cut:
            more = "" if result.decided else ", and the condition is undecided"
            print(
                f"{file}: outcomes may be missing{more}: paths were left out: raise {bound}",
                file=err or sys.stderr,
            )
        if not result.holds or not result.decided:
            status = max(status, NO if result.decided else TROUBLE)
    return status


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
