"""Sequences from the field, as docs/field.md has them: the expected answers were found by hand."""

from pathlib import Path

import pytest

from static_call.check import verdicts
from static_call.check.changes import parse_change
from static_call.check.verdicts import Verdict, remedies
from static_call.design import notation
from static_call.design.design import Design

FIELD = Path(__file__).parent.parent / "docs" / "field"


def load(name: str) -> Design:
    """A sequence by its name; the fifth is a shipped design."""
    path = FIELD / f"{name}.s"
    return notation.load(str(path) if path.exists() else name)


def verdict(name: str, change: str, what: str) -> Verdict:
    """One verdict."""
    return verdicts.check(load(name), parse_change(change), [what])[0]


# Name, change, property, whether it holds, and what is said where it doesn't.
OUTCOMES = [
    # The rest of the sled is cleaned after the first word, and fetches are not ordered among
    # themselves: STP can be new, the LDR after it still a NOP, and the BLR new again.
    ("xray-sled", "null-far", "live", False, "a call branches to what x16 held before"),
    ("xray-sled", "null-far", "cmodx", False, "slot is modified from b end to stp x0, x30, [sp, #-"
     "16]!"),
    ("xray-sled", "far-null", "live", True, ""),
    ("xray-sled", "far-null", "cmodx", False, "slot is modified from stp x0, x30, [sp, #-16]! to "
     "b end"),
    # B and NOP are on the list; but nothing makes the new one fetchable, ever.
    ("xray-event", "null-far", "live", True, ""),
    ("xray-event", "null-far", "cmodx", True, ""),
    ("xray-event", "null-far", "settled", False, "a call that starts afterwards returns"),
    ("xray-event", "far-null", "settled", False, "a call that starts afterwards goes to far A"),
    # A sound order. No CSE: HotSpot relies on safepoints where the old callee must be gone.
    ("hotspot-call", "near-far", "live", True, ""),
    ("hotspot-call", "far-near", "cmodx", True, ""),
    ("hotspot-call", "near-far", "settled", False, "a call that starts afterwards goes to near A"),
    ("hotspot-call", "near-far", "fresh", True, ""),
    ("hotspot-call", "far-far", "fresh", False, "a call runs stale code of far B"),
    # The fourth row of the table of orderings.
    ("pointer-swap", "far-far", "live", True, ""),
    ("pointer-swap", "far-far", "settled", True, ""),
    ("pointer-swap", "far-far", "fresh", False, "a call runs stale code of far B"),
    # BTI is not on the list, but it is stored as it was; RET is not on the list either.
    ("literal-before-entry", "far-far", "live", True, ""),
    ("literal-before-entry", "far-far", "cmodx", True, ""),
    ("literal-before-entry", "far-null", "cmodx", False, "slot is modified from nop to ret"),
    # In the sled too: from far to far every word but the literal is stored as it was.
    ("xray-sled", "far-far", "cmodx", True, ""),
]  # fmt: skip


@pytest.mark.parametrize(("name", "change", "what", "holds", "says"), OUTCOMES)
def test_a_sequence_gets_the_verdict_worked_out_by_hand(
    name: str, change: str, what: str, holds: bool, says: str
) -> None:
    """The verdict and what is said."""
    found = verdict(name, change, what)
    assert found.holds is holds
    if says:
        assert found.says == says


def test_a_sled_is_mended_by_cleaning_it_before_its_first_word_is_stored() -> None:
    """Maintenance of the word that could be stale is proposed."""
    proposed = remedies(verdict("xray-sled", "null-far", "live"))
    assert "dc cvau, x2; dsb ish; ic ivau, x2; dsb ish between dmb ish and str w1, [x0]" in proposed


def test_a_pointer_to_new_code_needs_a_cse_before_it_is_stored() -> None:
    """At the start, or after the barrier: anywhere before the store."""
    proposed = remedies(verdict("pointer-swap", "far-far", "fresh"))
    assert proposed == ["cse at the start", "cse between dmb ish and str x1, [x0]"]


def test_maintenance_alone_does_not_settle_an_event_sled() -> None:
    """It also takes a CSE; a pair is proposed."""
    found = remedies(verdict("xray-event", "null-far", "settled"))
    assert found
    assert any("cse" in one or "ISB" in one for one in found)
    assert any("ic ivau, x0" in one for one in found)
