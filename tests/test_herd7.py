"""The checker and Arm's own herd7 say the same about the same litmus tests.

Expected values are herd7's, in Debian's version that debian.USED names: final states, observation
and the flag violates-CMODX-requirements. `make herd7` runs all of them; here, of the larger
families, every so many.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import diy_tests
import herd7
import herdtools
import pytest
import random_designs
import rewriting_tests
from debian import Unavailable
from toolchain import missing

from static_call.check import export
from static_call.check.changes import Unaskable, changes
from static_call.check.checker import Checker
from static_call.design import notation
from static_call.errors import StaticCallError
from static_call.memory_model.program import Limits

EVERY = {
    "internal": 60, "exclusive": 20, "acquire": 4, "fetch-acquire": 4, "three": 4, "data": 2,
    "mixed": 5, "halfwords": 2,
}  # fmt: skip
"""Of a family of diy7's tests, one in how many is run here; all of one that is not listed."""

EXPORTS = 16
"""One in how many of the questions about the shipped designs is run here."""

DESIGNS, QUESTIONS = 8, 2
"""Random designs, and questions about each that are run here."""

RANDOM_SECONDS = 2
"""Of CPU time for one of them: herd7 takes minutes and gigabytes for some, where a branch goes to a
loaded address after labels that it then takes for loops."""


@pytest.fixture(scope="module", autouse=True)
def tools() -> None:
    """herdtools7, or the tests are skipped; on CI they fail."""
    try:
        herdtools.command("herd7")
    except Unavailable as error:
        missing("herdtools7", str(error))


REWRITINGS = 40
"""Random tests of rewriting_tests.py that are run here."""


def agree(rows: Sequence[herd7.Row], edition: str = herd7.EDITION) -> list[herd7.Compared]:
    """Fails if a test differs that KNOWN does not have, or one agrees that it has."""
    assert rows
    compared = herd7.compare(rows, edition=edition)
    assert [str(one) for one in compared if not one.agrees and not one.known] == []
    assert [one.row.name for one in compared if one.agrees and one.known] == []
    return compared


def test_herd7_says_what_its_manual_says() -> None:
    """The reader of herd7's output: states, observation, flag, a refusal, an endless one.

    The verdicts of the two tests that run are Arm's: message passing without barriers is allowed,
    and a MOV that is modified while it may execute breaks B2.2.5.
    """
    passing = (
        "AArch64 MP\n{ 0:X1=x; 0:X3=y; 1:X1=x; 1:X3=y; }\nP0 | P1 ;\nMOV W0,#1 | LDR W5,[X3] ;\n"
        "STR W0,[X1] | LDR W7,[X1] ;\nSTR W0,[X3] | ;\nexists (1:X5=1 /\\ 1:X7=0)\n"
    )
    modified = (
        'AArch64 SM\n{ 0:X1=instr:"NOP"; 0:X0=label:"P1:L"; }\nP0 | P1 ;\n'
        "STR W1,[X0] | L: ;\n | MOV W9,#1 ;\nexists (1:X9=0)\n"
    )
    found = herdtools.herd7(
        [passing, "AArch64 bad\n{ }\nP0 ;\nNONSENSE ;\nexists (true)\n", modified]
    )
    assert found[0] == herdtools.Answer(
        frozenset(f"1:X5={a}; 1:X7={b};" for a in (0, 1) for b in (0, 1)), "Sometimes", False
    )
    assert isinstance(found[1], herdtools.Refused)
    assert found[2] == herdtools.Answer(frozenset({"1:X9=0;", "1:X9=1;"}), "Sometimes", True)


def test_own_litmus_tests() -> None:
    """Every test of tests/litmus_tests.py, fetch in each cache type; and what KNOWN has differs."""
    agree(list(herd7.own()))


def test_all_known_differences_are_of_tests_that_exist() -> None:
    """No entry of KNOWN is about nothing."""
    rows = [*herd7.own(), *herd7.diy7("fetch-acquire")]
    for known in herd7.KNOWN:
        assert any(known.has(row) for row in rows), known


@pytest.mark.parametrize("family", diy_tests.FAMILIES)
def test_tests_that_diy7_makes(family: str) -> None:
    """A family of Arm's generator: dependencies, acquire, release, exclusives, atomics, fetches."""
    agree(list(herd7.diy7(family))[:: EVERY.get(family, 1)])


@pytest.mark.parametrize("name", notation.shipped())
def test_questions_about_shipped_designs(name: str) -> None:
    """What `check --litmus` writes is accepted by herd7 and has the same answer."""
    rows = list(herd7.exports(name))
    if name == "literal-before-entry":  # docs/checker.md says why it has no file
        assert rows == []
    else:
        agree(rows[::EXPORTS])


def test_questions_about_random_designs() -> None:
    """The same for designs that nobody would write, where they have a file and herd7 an answer."""
    checker = Checker(Limits(paths=2000, combinations=20000, executions=20000))
    rows: list[herd7.Row] = []
    for seed in range(200):
        random = Random(seed)
        found: list[herd7.Row] = []
        try:
            design = notation.read(random_designs.text(random), "random", f"random{seed}")
            for change in random.sample(list(changes()), 4):
                for kind in random.sample(export.KINDS, 2):
                    try:
                        asked = export.question(design, change, kind, checker=checker)
                        found += [herd7.Row(f"export {file.name}", file.text) for file in asked]
                    except Unaskable:
                        continue
        except StaticCallError:
            pass  # nonsense, or it has no file
        rows += random.sample(found, min(QUESTIONS, len(found)))
        if len(rows) >= DESIGNS * QUESTIONS:
            break
    compared = herd7.compare(rows, RANDOM_SECONDS)
    gave_up = [one for one in compared if "herd7: no answer" in str(one)]
    assert [str(one) for one in compared if not one.agrees and one not in gave_up] == []
    assert len(compared) - len(gave_up) > len(compared) // 2


def test_present_text_on_own_tests_of_fetch() -> None:
    """By Arm's present text: the flag of tests/present.cat, which herd7 runs beside its own."""
    agree([row for row in herd7.own() if "(no IDC, no DIC)" in row.name], "present")


def test_present_text_on_rewritten_code() -> None:
    """The same for words that are rewritten, often with what they are: by D25021 and without it.

    Some are modified by the released text and not by the present one.
    """
    cases = [rewriting_tests.test(Random(seed), f"rewriting{seed}") for seed in range(REWRITINGS)]
    rows = [herd7.Row(f"own {case.name}", herd7.text(case, "")) for case in cases]
    released, present = agree(rows), agree(rows, "present")
    flagged = [
        [isinstance(one.herd7, herdtools.Answer) and one.herd7.flagged for one in answers]
        for answers in (released, present)
    ]
    assert any(old and not new for old, new in zip(*flagged))
    assert any(old and new for old, new in zip(*flagged))
