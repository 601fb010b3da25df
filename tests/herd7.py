"""Runs the checker and Arm's own herd7 on the same litmus tests and compares what they say.

    python tests/herd7.py [--herd7 COMMAND] [--seconds N] [--jobs N] [--edition E] [FILE...]

FILE is a litmus test, such as `static-call check --litmus DIR` writes. Without any, all of this is
run, thousands of tests: those of tests/litmus_tests.py (those of instruction fetch in each of the
three cache types), every question about the shipped designs that `check --litmus` writes, and what
Arm's diy7 makes (tests/diy_tests.py). herd7 and diy7 are fetched as tests/herdtools.py says;
COMMAND is another herd7. `--edition present` compares the flag by Arm's present text, which is that
of tests/present.cat.

What is compared is the set of final states, whether the condition is reached never, sometimes or
always, and herd7's flag violates-CMODX-requirements. Prints each test on which the two differ, or
that only one of them runs, and then how many were compared. The exit status is 0 if all agree but
those of KNOWN, and 1 otherwise.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import diy_tests
import herdtools
from herdtools import FLAG, Answer, Refused
from litmus_tests import APPLICATION, IFETCH, Case

from static_call.check import export
from static_call.design import notation
from static_call.errors import StaticCallError
from static_call.memory_model.litmus import run
from static_call.memory_model.litmus_reader import read

EDITION = "newer"
"""The edition of B2.2.5 that herd7 7.58 flags by, but for B.cond: its list has CBZ, CBNZ, TBZ and
TBNZ, and it has no rule for a store of what is there already."""

FLAGS = {EDITION: ((), FLAG), "present": (herdtools.PRESENT, herdtools.PRESENT_FLAG)}
"""By edition, herd7's options and its flag."""

UNLISTED = r"\bUDF\b|\bBC?\.(?!\+|-)"
"""What is on the present list and not on herd7's: UDF and B.cond. The flag of a test with one of
them may be herd7's alone."""

CACHE_TYPES = ("", "IDC", "IDC DIC")


class Known(NamedTuple):
    """Tests on which herd7 7.58 and the checker differ.

    Attributes:
        names: A regular expression for the whole name.
        why: The reason.
        text: A regular expression for something in the file, if that matters.
    """

    names: str
    why: str
    text: str = ""

    def has(self, row: Row) -> bool:
        """Whether a test is one of them."""
        return bool(re.fullmatch(self.names, row.name) and re.search(self.text, row.text))


KNOWN: tuple[Known, ...] = ()
"""The list of all that are known. tests/test_herd7.py fails where one of them agrees by now."""


class Row(NamedTuple):
    """A test for both.

    Attributes:
        name: Its name, which starts with where it is from: own, export, or diy7 and the family.
        text: The litmus file.
    """

    name: str
    text: str


class Compared(NamedTuple):
    """What both say about a test.

    Attributes:
        row: The test.
        checker: What the checker says.
        herd7: What herd7 says.
    """

    row: Row
    checker: Answer | Refused
    herd7: Answer | Refused

    @property
    def agrees(self) -> bool:
        """Whether both ran it and say the same, but for a flag because of UNLISTED."""
        ours, arms = self.checker, self.herd7
        if isinstance(ours, Refused) or isinstance(arms, Refused):
            return False
        more = arms.flagged and re.search(UNLISTED, self.row.text)
        return arms == (ours._replace(flagged=True) if more else ours)

    @property
    def known(self) -> bool:
        """Whether KNOWN has it."""
        return any(known.has(self.row) for known in KNOWN)

    def __str__(self) -> str:
        ours, arms = self.checker, self.herd7
        if isinstance(ours, Refused) or isinstance(arms, Refused):
            why = [answer.why for answer in (ours, arms) if isinstance(answer, Refused)]
            return f"{self.row.name}: not compared: {'; '.join(why)}"
        parts = []
        if ours.observation != arms.observation:
            parts.append(f"checker {ours.observation}, herd7 {arms.observation}")
        for who, states in (
            ("the checker", ours.states - arms.states), ("herd7", arms.states - ours.states)
        ):  # fmt: skip
            if states:
                parts.append(f"only {who} has {' '.join(sorted(states))}")
        if ours.flagged != arms.flagged:
            parts.append(f"only {'the checker' if ours.flagged else 'herd7'} flags it")
        return f"{self.row.name}: {'; '.join(parts) or 'agree'}"


def own() -> Iterator[Row]:
    """The tests of tests/litmus_tests.py."""
    for case in APPLICATION:
        yield Row(f"own {case.name}", text(case, ""))
    for case in IFETCH:
        for cache_type in CACHE_TYPES:
            name = f"own {case.name} ({cache_type or 'no IDC, no DIC'})"
            yield Row(name, text(case, cache_type))


def text(case: Case, cache_type: str) -> str:
    """A test as herd7 reads it, in a cache type."""
    head, init, *code, condition = case.text.rstrip().split("\n")
    threads = len(re.findall(r"P\d+(?!\.F)\b(?!\.)", code[0]))
    # A family of tests shares its registers. herd7 refuses those of threads that are not there,
    # a label that two threads have, and addresses of code in a condition without label:"...".
    init = re.sub(r"\b(\d):\w+=[^;{}]*;", lambda m: m[0] if int(m[1]) < threads else "", init)
    rows = [line.removesuffix(";").split("|") for line in code]
    for row in rows[1:]:
        row[:] = [re.sub(r"\bL\b", f"L{i}", column) for i, column in enumerate(row)]
    condition = re.sub(r"=(P\d:\w+)", r'=label:"\1"', condition)
    lines = [head, f"CacheType={cache_type}" if cache_type else "", init]
    lines += [" | ".join(map(str.strip, row)) + " ;" for row in rows]
    return "\n".join(filter(None, [*lines, condition])) + "\n"


def exports(design: str) -> Iterator[Row]:
    """Every question about a shipped design that `check --litmus` writes."""
    for files, _ in export.questions([notation.load(design)]):
        for name, text in sorted(files):
            yield Row(f"export {name}", text)


def diy7(family: str) -> Iterator[Row]:
    """A family of tests that diy7 makes. Raises debian.Unavailable."""
    for name, made in diy_tests.family(family).items():
        yield Row(f"diy7 {family} {name}", made)


def everything() -> Iterator[Row]:
    """All tests. Raises debian.Unavailable."""
    yield from own()
    for design in notation.shipped():
        yield from exports(design)
    for family in diy_tests.FAMILIES:
        yield from diy7(family)


def checker(row: Row, edition: str = EDITION) -> Answer | Refused:
    """What the checker says by an edition."""
    try:
        test = read(row.text, row.name)
        result = run(test, replace(test.model, edition=edition))
    except StaticCallError as error:
        return Refused(f"checker: {error}")
    return Answer(frozenset(result.states), result.observation, FLAG in result.flags)


def compare(
    rows: Sequence[Row], seconds: float = 60, jobs: int = herdtools.JOBS,
    program: Sequence[str] = (), edition: str = EDITION,
) -> list[Compared]:  # fmt: skip
    """What both say about each of these tests.

    Args:
        rows: The tests.
        seconds: Of CPU time for one test in herd7.
        jobs: herd7's processes at a time.
        program: The command that runs herd7; by default the one of the cache.
        edition: One of FLAGS.

    Raises:
        Unavailable: herd7 cannot be had here.
    """
    with ThreadPoolExecutor(1) as pool:
        texts = [row.text for row in rows]
        theirs = pool.submit(herdtools.herd7, texts, seconds, jobs, program, *FLAGS[edition])
        ours = [checker(row, edition) for row in rows]
        return [Compared(*all_) for all_ in zip(rows, ours, theirs.result())]


def main() -> int:
    """Runs both and prints the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--herd7", default="", help="the command that runs herd7")
    parser.add_argument("--seconds", type=float, default=120, help="for one test in herd7 (120)")
    parser.add_argument(
        "--edition", choices=FLAGS, default=EDITION, help=f"of Arm's text ({EDITION})"
    )
    parser.add_argument("--jobs", type=int, default=2, help="herd7 processes at a time (2)")
    parser.add_argument("file", nargs="*", type=Path)
    options = parser.parse_args()
    rows = [Row(f.stem, f.read_text()) for f in options.file] or list(everything())
    count: Counter[tuple[str, str]] = Counter()
    for at in range(0, len(rows), STEP):
        some = rows[at : at + STEP]
        program = shlex.split(options.herd7)
        for one in compare(some, options.seconds, options.jobs, program, options.edition):
            refused = isinstance(one.checker, Refused) or isinstance(one.herd7, Refused)
            what = "agree" if one.agrees else "not compared" if refused else "differ"
            known = " (known)" if one.known and not one.agrees else ""
            count[_kind(one.row.name), what + known] += 1
            if not one.agrees:
                print(f"{one}{known}", flush=True)
    for (kind, what), number in sorted(count.items()):
        print(f"{kind}: {number} {what}")
    return 0 if {what for _, what in count} <= {"agree", "differ (known)"} else 1


STEP = 400
"""Tests between two reports."""


def _kind(name: str) -> str:
    words = name.split()
    return " ".join(words[:2]) if words[0] == "diy7" else words[0] if len(words) > 1 else "files"


if __name__ == "__main__":
    sys.exit(main())
