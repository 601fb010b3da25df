"""Verdicts on designs. What is expected was worked out by hand from the architecture's rules."""

import itertools
from functools import partial
from pathlib import Path

import pytest

from static_call.check import report, verdicts
from static_call.check.build import build
from static_call.check.changes import Unaskable, canonical, changes, parse_change, show_change
from static_call.check.checker import Checker, Failure
from static_call.check.cmodx import conflicts
from static_call.check.properties import named
from static_call.check.questions import Question, stops
from static_call.check.remedies import VALID
from static_call.check.story import tell
from static_call.check.verdicts import remedies
from static_call.design import notation
from static_call.design.design import Design
from static_call.design.retarget import Cse
from static_call.design.target import Unreachable
from static_call.design.text import PROPERTIES
from static_call.errors import StaticCallError
from static_call.memory_model.model import CACHE_TYPES, WEAKEST
from static_call.memory_model.program import Limits
from static_call.memory_model.telling import in_order, why

SINGLE = changes(2)
ADDRESSES = {change for change in SINGLE if change[1].split()[0] in ("near", "far")}
NULL = {change for change in SINGLE if "null" in change}


def start(*kinds: str) -> set[tuple[str, ...]]:
    """The changes from these kinds of goal."""
    return {change for change in SINGLE if change[0].split()[0] in kinds}


def end(*kinds: str) -> set[tuple[str, ...]]:
    """The changes to these kinds of goal."""
    return {change for change in SINGLE if change[1].split()[0] in kinds}


# Each design: for each property that does not hold everywhere, the changes for which it doesn't.
FAILING: dict[str, dict[str, set[tuple[str, ...]]]] = {
    # ADRP and ADD are off the list, as is RET, and may be executed once the slot is a NOP. From far
    # to near they are stored as they were, which by the present text modifies nothing. Far to far
    # tears the address; before the first far target there is not even an ADRP to fetch. Nothing
    # gives other PEs a CSE.
    "adrp-add": {
        "live": end("far"),
        "prefix": end("far"),
        "cmodx": NULL | end("far"),
        "settled": set(SINGLE),
    },
    # Only data is written, so nothing holds a reader's fetch of the target's code back.
    "data-literal": {"fresh": ADDRESSES},
    "mainline": {"fresh": ADDRESSES},
    # RET in the slot is off the list. A caller that fetched the NOP before loads the literal, which
    # holds the new target in the near form too, without having had a CSE. The old slot may be
    # executed until a CSE; an old NOP is harmless where the literal was written.
    "slot-adrp-literal": {
        "cmodx": NULL,
        "fresh": start("far") & ADDRESSES,
        "settled": start("near", "null", "ret0") | start("far") & end("null"),
    },
    "slot-inline-literal": {
        "cmodx": NULL,
        "fresh": start("far") & ADDRESSES,
        "settled": start("near", "null", "ret0") | start("far") & end("null"),
    },
    # The BTI is stored by every change, as it was.
    "literal-before-entry": {
        "cmodx": NULL,
        "fresh": start("far") & ADDRESSES,
        "settled": start("near", "null", "ret0"),
    },
    # Null is a far call too.
    "local-stub": {
        "fresh": start("far", "null") & ADDRESSES,
        "settled": start("near", "ret0"),
    },
    "inline-stub": {},
    "adrp-stub": {},
}


@pytest.mark.parametrize("name", notation.shipped())
def test_single_changes_of_the_shipped_designs_get_the_verdicts_worked_out_by_hand(
    name: str,
) -> None:
    """Every design, single change and property: holds or not, as the rules say."""
    found: dict[str, set[tuple[str, ...]]] = {}
    design = notation.load(name)
    for change in SINGLE:
        for verdict in verdicts.check(design, change):
            if verdict.holds is False:
                found.setdefault(verdict.name, set()).add(change)
    assert found == FAILING[name]


@pytest.mark.parametrize("name", ["inline-stub", "adrp-stub"])
def test_the_default_designs_claim_every_property(name: str) -> None:
    """So that the exit status of a plain check guards them."""
    assert notation.load(name).claims == PROPERTIES


@pytest.mark.parametrize("name", notation.shipped())
def test_two_changes_in_a_row_keep_what_the_default_designs_claim(name: str) -> None:
    """A third of the changes of two in a row; those that fail, fail in claimless designs."""
    design = notation.load(name)
    for change in changes(3)[::12]:
        for verdict in verdicts.check(design, change):
            assert verdict.holds is not False or not verdict.claimed, verdict


def test_changes_name_each_pair_once() -> None:
    """6 x 5 changes become 14 if A and B are equivalent; of two in a row, 150 become 56."""
    assert (len(changes(2)), len(changes(2, alike=False))) == (14, 30)
    assert (len(changes(3)), len(changes(3, alike=False))) == (56, 150)
    assert canonical(("far B", "near B", "far B", "far A")) == ("far A", "near B", "far A", "far B")


@pytest.mark.parametrize("name", ["adrp-add", "inline-stub", "literal-before-entry"])
def test_a_and_b_are_alike(name: str) -> None:
    """Each of the 30 changes gets the verdicts of the change that is asked about instead."""
    design = notation.load(name)
    known = {c: [v.holds for v in verdicts.check(design, c)] for c in SINGLE}
    for change in changes(2, alike=False):
        found = [v.holds for v in verdicts.check(design, change)]
        assert found == known[canonical(change)], change


@pytest.mark.parametrize("name", ["data-literal", "local-stub", "slot-inline-literal"])
def test_what_holds_in_the_weakest_cache_type_holds_in_the_others(name: str) -> None:
    """The checker asks the others only where the weakest fails."""
    design, checker = notation.load(name), Checker()
    for change, what in itertools.product(SINGLE[::2], PROPERTIES):
        try:
            fails = [
                isinstance(named(what).failure(checker, Question(design, change), model), Failure)
                for model in CACHE_TYPES
            ]
        except (Unaskable, Unreachable):
            continue
        assert fails == sorted(fails, reverse=True), (change, what)


def design(text: str) -> Design:
    """A design from its text."""
    return notation.read(text, "test.s", "test")


INLINE = Path(notation.SHIPPED, "inline-stub.s").read_text()
"""The default design, to be broken by edits of its text."""


def edited(*edits: tuple[str, str], text: str = INLINE) -> Design:
    """A design from its text with each first occurrence replaced."""
    for old, new in edits:
        assert old in text
        text = text.replace(old, new, 1)
    return design(text)


BROKEN = {
    "no DSB before the IC": ("        dsb     ish\n        ic", "        ic"),
    "a literal of 0": ("null: .quad null", "null: .quad 0"),
    "RET": ("null: b null", "null: ret"),
}
"""What breaks the default design: an edit of its text."""


@pytest.mark.parametrize("name", ["adrp-add", "inline-stub", "local-stub", *BROKEN])
def test_a_retarget_that_stops_does_nothing_that_it_could_not_do_if_it_went_on(name: str) -> None:
    """No stop allows more wrong calls than the next stop or the whole retarget, and a stop after a
    barrier no more than one after the store or CSE before it: live, fresh, cmodx."""
    mine = edited(BROKEN[name]) if name in BROKEN else notation.load(name)
    whole = len(mine.retarget)
    found = 0
    for change, kind in itertools.product(SINGLE[::3], ("call", "fresh", "cmodx")):
        question = Question(mine, change, "fresh" if kind == "fresh" else "call")
        checker = Checker()
        ask = partial(conflicts, checker) if kind == "cmodx" else checker.wrong_calls
        try:
            wrong = [
                {says for says, _ in ask(question.but(stop=stop), WEAKEST)}
                for stop in range(whole + 1)
            ]
        except (Unaskable, Unreachable):
            continue
        asked = stops(question)
        for stop, outcomes in enumerate(wrong):
            assert outcomes <= wrong[whole], (change, kind, stop)
            last = max(one for one in asked if one <= stop)
            assert outcomes <= wrong[last], (change, kind, stop)
        found += bool(wrong[whole])
    assert found or name == "inline-stub"


def test_a_design_that_is_not_live_says_at_which_step_it_goes_wrong() -> None:
    """Without the DSB, the CSE at the end promises what is not true. So prefix says no for that
    step only, and a stop before it would be right."""
    (verdict,) = verdicts.check(
        edited(BROKEN["no DSB before the IC"]), ("near A", "near B"), ["prefix"]
    )
    assert verdict.holds is False
    assert verdict.failure is not None
    assert verdict.failure.question.stop == len(verdict.design.retarget)


@pytest.mark.parametrize("name", notation.shipped())
def test_what_the_updater_executes_is_the_design_s_retarget(name: str) -> None:
    """The program's words are those of the retarget text: nothing is modelled twice."""
    design = notation.load(name)
    scene = build(Question(design, ("near A", "far B")))
    first, end = scene.retargets[0]
    words = [scene.program.code[at] for at in range(first, end, 4)]
    nop = 0xD503201F  # where the CSE is
    expected = [nop if isinstance(insn, Cse) else insn.encode() for insn in design.retarget]
    assert words == expected


STUB = """
        .align  3
        bti     c
slot:   { near: b target | far: nop | null: b null }
        ldr     x16, literal
        br      x16
literal: { near, far: .quad target | null: .quad null }
null:   bti     c
        ret
retarget:
"""
ORDER = "str x3, [x2]\n dmb ishst\n str w1, [x0]\n"
CLEAN = "dc cvau, x0\n dsb ish\n ic ivau, x0\n dsb ish\n"


def holds(text: str, change: str, what: str) -> bool | None:
    """A verdict on a design's text."""
    return verdicts.check(design(text), parse_change(change), [what])[0].holds


def test_slot_before_literal_is_not_live_where_the_literal_is_invalid() -> None:
    """null leaves 0 in the literal: a caller that fetches the new NOP first branches to 0."""
    text = STUB.replace("| null: .quad null }", "| null: .quad 0 }")
    late = "str w1, [x0]\n dmb ishst\n str x3, [x2]\n"
    assert holds(text + late, "null-far", "live") is False
    assert holds(text + ORDER, "null-far", "live") is True
    assert holds(text + ORDER.replace("dmb ishst", ""), "null-far", "live") is False


def test_the_rule_that_a_story_adds_is_the_barrier_that_was_left_out() -> None:
    """Literal and slot without the DMB between: DMB ISHST is proposed there."""
    text = STUB.replace("| null: .quad null }", "| null: .quad 0 }")
    verdict = verdicts.check(
        design(text + ORDER.replace("dmb ishst\n", "")), ("null", "far A"), ["live"]
    )[0]
    assert verdict.says == "a call branches to 0"
    assert "dmb ishst between str x3, [x2] and str w1, [x0]" in remedies(verdict)


@pytest.mark.parametrize(
    ("edit", "change", "what", "least"),
    [
        (("        dsb     ish\n        ic", "        ic"), "near-near", "live",
         ["dsb ish between dc cvau, x0 and ic ivau, x0"]),
        (("        dc      cvau, x0\n", ""), "near-near", "settled",
         ["dc cvau, x0 between str w1, [x0] and dsb ish"]),
        (("        ic      ivau, x0\n", ""), "near-near", "settled",
         ["ic ivau, x0 between dsb ish and dsb ish"]),
        (("null: .quad null", "null: .quad 0"), "far-null", "live", [VALID]),
    ],
)  # fmt: skip
def test_what_mends_a_design_is_the_one_thing_that_was_taken_from_it(
    edit: tuple[str, str], change: str, what: str, least: list[str]
) -> None:
    """Single instructions before a CSE or a whole cleaning; a valid literal where 0 is called."""
    (verdict,) = verdicts.check(edited(edit), parse_change(change), [what])
    assert remedies(verdict) == least


def test_a_slot_that_is_stored_before_its_literal_is_mended_by_the_other_order() -> None:
    """With a DMB between them already."""
    text = STUB.replace("| null: .quad null }", "| null: .quad 0 }")
    late = "str w1, [x0]\n dmb ishst\n str x3, [x2]\n"
    (verdict,) = verdicts.check(design(text + late), ("null", "far A"), ["live"])
    assert remedies(verdict) == [
        "str x3, [x2] first, then str w1, [x0]: each in the place of the other", VALID,
    ]  # fmt: skip


def test_a_cse_before_makes_fresh_hold_and_one_after_settled() -> None:
    """The fourth row of the table of orderings, and B2.7.4.2."""
    plain = STUB + ORDER + CLEAN
    assert holds(plain, "far-far", "fresh") is False
    assert holds(STUB + "cse\n" + ORDER + CLEAN, "far-far", "fresh") is True
    assert holds(plain, "near-far", "settled") is False
    assert holds(plain + "cse\n", "near-far", "settled") is True
    assert holds(STUB + ORDER + "dc cvau, x0\n dsb ish\n cse\n", "near-far", "settled") is False


def test_an_isb_of_the_updater_settles_nothing() -> None:
    """ISB acts on its own PE alone; one on the caller does it."""
    question = Question(design(STUB + ORDER + CLEAN + "isb\n"), ("near A", "far B"), "settled")
    assert Checker().wrong_call(question, WEAKEST)
    assert Checker().wrong_call(question.but(isb=True), WEAKEST) is None


def test_what_a_maintained_store_still_allows_depends_on_the_cache_type() -> None:
    """Without IC IVAU the slot never becomes fetchable for certain, except where DIC=1."""
    text = STUB + ORDER + "dc cvau, x0\n dsb ish\n cse\n"
    verdict = verdicts.check(design(text), ("near A", "near B"), ["settled"])[0]
    assert [(m.idc, m.dic) for m in verdict.models] == [(False, False), (True, False)]


def test_a_branch_to_what_is_no_pad_is_found() -> None:
    """The stub that the literal names begins with RET."""
    text = (STUB + ORDER + CLEAN).replace("null:   bti     c\n        ret", "null:   ret")
    verdict = verdicts.check(design(text), ("far A", "null"), ["landing"])[0]
    assert (verdict.holds, verdict.says) == (False, "br x16 lands on ret at null")
    assert holds(STUB + ORDER + CLEAN, "far-null", "landing") is True


PAIR = """
        .align  4
        adr     x17, literal
        ldp     x16, x17, [x17]
        cbz     x17, null
        br      x16
literal: { far: .quad target | null: .quad 0 }
valid:  { far: .quad 1 | null: .quad 0 }
null:   ret
retarget:
        stp     x1, x3, [x0]
"""


def test_stores_that_must_be_single_copy_atomic_are_told_from_others() -> None:
    """A 64-bit literal must be one store, and an aligned one is."""
    verdict = verdicts.check(notation.load("data-literal"), ("far A", "far B"), ["atomic"])[0]
    assert (verdict.holds, verdict.says) == (True, "8 bytes at literal must be one store, and are")


def test_a_pair_that_must_be_stored_as_one_needs_lse2() -> None:
    """A caller that reads the word that says valid with the old literal branches to 0."""
    live, atomic = verdicts.check(design(PAIR), ("null", "far A"), ["live", "atomic"])
    assert (live.holds, atomic.holds) == (False, False)
    assert atomic.says == (
        "16 bytes at literal must be one store, and are with LSE2 only: a call branches to 0"
    )
    question = Question(design(PAIR), ("null", "far A"), lse2=True)
    assert Checker().wrong_call(question, WEAKEST) is None


@pytest.mark.parametrize("name", notation.shipped())
def test_every_story_can_be_told(name: str) -> None:
    """Each property of one change: text with both columns, or why it holds; in an order of events
    that agrees with the model's."""
    for what in PROPERTIES:
        try:
            told = tell(notation.load(name), ("far A", "near B"), what)
        except Unaskable:
            continue
        assert show_change(("far A", "near B")) in told.text
        if told.execution is None:
            assert "holds" in told.text
            continue
        assert "updater" in told.text
        order = in_order(told.execution, told.cycle)
        assert sorted(order) == list(range(len(told.execution.events)))
        if not told.cycle:
            position = {event: at for at, event in enumerate(order)}
            for a, row in enumerate(told.execution.ob):
                for b in order:
                    assert not row >> b & 1 or position[a] < position[b]


def test_what_forbids_a_wrong_call_is_named_as_arm_names_it() -> None:
    """The old slot after a CSE: the fetch comes after the CSE, and so after the IC; it must see
    what the DC before that cleaned."""
    told = tell(notation.load("inline-stub"), ("near A", "far B"), "live")
    assert told.execution is not None
    axioms = {edge.axiom for edge in told.cycle}
    assert axioms == {"DSB-ob", "IC-ca"}
    reasons = [step.axiom for edge in told.cycle for step in why(told.execution, edge)]
    assert "shootdown" in reasons


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("near-far", ("near A", "far B")),
        ("near A -> far B", ("near A", "far B")),
        ("nearB-nearA", ("near B", "near A")),
        ("farA-null-far", ("far A", "null", "far B")),
        ("near-near-near", ("near A", "near B", "near A")),
        ("NULL>ret0", ("null", "ret0")),
    ],
)
def test_a_change_is_read_as_people_write_it(text: str, change: tuple[str, ...]) -> None:
    """Letters may be left out; -, -> and > all separate goals."""
    assert parse_change(text) == change


@pytest.mark.parametrize("text", ["", "near", "near-fur", "null-null", "nearA-nearA", "near-nearC"])
def test_a_change_that_makes_no_sense_is_refused(text: str) -> None:
    """In one line that shows what was expected."""
    with pytest.raises(Unaskable) as caught:
        parse_change(text)
    assert "\n" not in str(caught.value)


LOOP = """
        .align  3
slot:   { far: nop | null: b out }
{again}
        br      x16
literal: { far: .quad target | null: .quad 0 }
out:    ret
retarget:
        str     x3, [x2]
        dmb     ishst
        str     w1, [x0]
"""


@pytest.mark.parametrize(
    "again", ["again: b again\n nop", "again: ldr x16, literal\n cbz x16, again"]
)
def test_a_call_that_never_leaves_is_named_with_its_bound(again: str) -> None:
    """A trampoline that branches to itself, and one that waits for the literal."""
    text = LOOP.replace("{again}", again)
    with pytest.raises(StaticCallError, match=r"rounds of a loop.*--unroll"):
        verdicts.check(design(text), parse_change("null-far"), ["live"])


def test_too_many_ways_are_named_with_their_bound() -> None:
    """One path at most is not enough for any trampoline with a slot, and neither is one combination
    or one execution."""
    text = STUB.replace("null: b null", "null: ret") + ORDER  # for cmodx all are looked at
    for limits, name in (
        (Limits(paths=1), "paths"),
        (Limits(combinations=1), "combinations"),
        (Limits(executions=1), "executions"),
    ):
        with pytest.raises(StaticCallError, match=rf"test, near A → null: .*raise --{name}$"):
            verdicts.check(design(text), ("near A", "null"), ["live", "cmodx"], limits)


def test_claims_are_read_and_checked() -> None:
    """A directive; an unknown property is named with its line; a broken claim is reported."""
    claiming = ".claims settled live\n" + STUB + ORDER
    assert design(claiming).claims == ("settled", "live")
    with pytest.raises(notation.NotationError, match=r"1:14: .*'lively'"):
        design(".claims live lively\n" + STUB)
    result = report.judge([design(claiming)])
    assert {v.name for v in report.broken_claims(result)} == {"settled"}
    assert report.as_data(result)["claims_hold"] is False


def without(step: str, which: int = 0) -> Design:
    """The default design without one line of its retarget: the `which`-th that begins so."""
    text = Path(notation.SHIPPED, "inline-stub.s").read_text()
    before, label, code = text.partition("retarget:")
    lines = code.splitlines()
    at = [i for i, line in enumerate(lines) if line.split("//")[0].strip().startswith(step)][which]
    return notation.read(before + label + "\n".join([*lines[:at], *lines[at + 1 :]]), "t.s", "less")


@pytest.mark.parametrize(
    ("step", "which", "change", "what"),
    [
        ("cse", 0, "far-far", "fresh"),
        ("dc", 0, "near-far", "settled"),
        ("dsb", 0, "near-far", "settled"),
        ("ic", 0, "near-far", "settled"),
        ("dsb", 1, "near-far", "settled"),
        ("cse", 1, "near-far", "settled"),
    ],
)
def test_each_other_step_of_the_default_retarget_is_needed(
    step: str, which: int, change: str, what: str
) -> None:
    """Without it a property that the design claims does not hold. (That the stores are there is
    checked before anything runs.)"""
    assert verdicts.check(without(step, which), parse_change(change), [what])[0].holds is False


def test_the_default_retarget_holds_without_its_dmb_since_its_literal_is_never_invalid() -> None:
    """A caller that fetches the new slot early loads the target before, which is still current."""
    less = without("dmb")
    for change in [*SINGLE, *changes(3)[::9]]:
        assert all(v.holds is not False for v in verdicts.check(less, change)), change


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("br      x16", "blr     x16", "the return address"),
        ("bti     c", "bti c\n nop\n mov x19, x30", "x19"),
        ("bti     c", "bti c\n nop\n mov x30, x0", "the return address"),
        ("bti     c", "bti c\n nop\n mov x9, x0", "x9"),
        ("bti     c", "bti c\n nop\n sub sp, sp, #16", "the stack pointer"),
    ],
)
def test_a_call_that_changes_a_register_other_than_x16_and_x17_is_not_live(
    old: str, new: str, what: str
) -> None:
    """Arguments, callee-saved registers, the return address, the stack pointer (AAPCS64)."""
    (verdict,) = verdicts.check(edited((old, new)), ("far A", "near B"), ["live"])
    says = f"a call goes to far A with {what} changed"
    assert (verdict.holds, verdict.says) == (False, says)


def test_x17_is_a_trampoline_s_own() -> None:
    """The second intra-procedure-call register may be used like the first."""
    mine = edited(("ldr     x16, literal", "ldr x17, literal"), ("br      x16", "br x17"))
    for change in (("far A", "near B"), ("near A", "null")):
        assert all(v.holds for v in verdicts.check(mine, change, ["live", "settled", "landing"]))


CALLING = """
        .align  3
        stp     x29, x30, [sp, #-16]!
slot:   { near: bl target | far: bl stub }
        AFTER
stub:   ldr     x16, literal
        br      x16
literal: { near, far: .quad target }
retarget:
        str     x3, [x2]
        dmb     ishst
        str     w1, [x0]
"""


@pytest.mark.parametrize(
    ("after", "live"),
    [
        ("ldp x29, x30, [sp], #16\n ret", True),
        ("nop\n ret", False),  # to itself, for ever
        ("ldp x29, x30, [sp], #16\n mov x19, #0\n nop\n ret", False),
    ],
)
def test_a_sequence_that_calls_must_come_back_to_its_caller(after: str, live: bool) -> None:
    """BLR changes the return address: right where the code there restores it and returns."""
    calling = design(CALLING.replace("AFTER", after))
    assert verdicts.check(calling, ("near A", "far B"), ["live"])[0].holds is live


def test_a_trampoline_is_aligned_as_it_says_and_no_better() -> None:
    """8-byte aligned, it is at 8 mod 16: a pair that must be one store crosses 16 bytes, and
    FEAT_LSE2 makes single only what lies within them (Arm ARM B2.2.1)."""
    less = PAIR.replace("align  4", "align  3")
    for text, says in ((PAIR, "and are with LSE2 only"), (less, "and are not")):
        (verdict,) = verdicts.check(design(text), ("null", "far A"), ["atomic"])
        assert verdict.holds is False
        assert f"16 bytes at literal must be one store, {says}: " in verdict.says
    for name in notation.shipped():
        scene = build(Question(notation.load(name), ("near A", "far B")))
        align = scene.question.design.align
        assert scene.base & -scene.base == align


def test_a_trampoline_s_entry_is_a_landing_pad() -> None:
    """A veneer's BR X16 or a pointer's BLR lands there, so a BTI C must be there."""
    (verdict,) = verdicts.check(edited(("bti     c", "nop")), ("near A", "far B"), ["landing"])
    assert (verdict.holds, verdict.says) == (False, "a call lands on nop at entry")


def test_landing_is_judged_by_the_word_that_was_fetched() -> None:
    """The stub's pad is a cell: a caller that fetches it before it is stored lands on a NOP."""
    text = (STUB + "str w1, [x0]\n str x3, [x2]\n str w5, [x4]\n").replace(
        "null:   bti     c", "null: { near, far: nop | null: bti c }"
    )
    (verdict,) = verdicts.check(design(text), ("far A", "null"), ["landing"])
    assert (verdict.holds, verdict.says) == (False, "br x16 lands on nop at null")
