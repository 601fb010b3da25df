"""What must never be a yes: questions that were not asked, and the tricks of hostile designs.

Each expected answer was worked out by hand from Arm's rules and the procedure call standard.
"""

import json
from pathlib import Path

import pytest

from static_call.check import export, report, verdicts
from static_call.check.build import build
from static_call.check.changes import changes, parse_change
from static_call.check.layout import targets
from static_call.check.questions import Question
from static_call.check.story import tell
from static_call.cli import main as cli
from static_call.design import notation
from static_call.design.design import Design
from static_call.design.text import PROPERTIES
from static_call.errors import StaticCallError
from static_call.memory_model.program import Limits

CLAIMS = ".claims " + " ".join(PROPERTIES) + "\n.align 3\n"
RETARGET = """retarget:
        cse
        str     x3, [x2]
        dmb     ishst
        str     w1, [x0]
        dc      cvau, x0
        dsb     ish
        ic      ivau, x0
        dsb     ish
        cse
"""
ONE = RETARGET.replace("        str     x3, [x2]\n        dmb     ishst\n", "")
STUB = """        bti     c
BODY
slot:   { near: b target | far: nop | null: b null | ret0: b ret0 }
        ldr     x16, literal
        br      x16
literal: { near, far: .quad target | null: .quad null | ret0: .quad ret0 }
ret0:   bti     c
        mov     x0, #0
null:   bti     c
        ret
"""


def design(text: str, name: str = "test") -> Design:
    """A design from its text, which claims everything."""
    return notation.read(CLAIMS + text, f"{name}.s", name)


def stub(body: str = "", *edits: tuple[str, str]) -> Design:
    """The default design with two instructions at its start, and edits of its text."""
    text = STUB.replace("BODY\n", f"{body}\n" if body else "") + RETARGET
    for old, new in edits:
        assert old in text
        text = text.replace(old, new, 1)
    return design(text)


def answer(mine: Design, change: str, what: str) -> tuple[bool | None, str]:
    """A verdict and why."""
    (verdict,) = verdicts.check(mine, parse_change(change), [what])
    return verdict.holds, verdict.says


def run(path: Path, text: str, *arguments: str) -> int:
    """Checks a text as a file."""
    path.write_text(text)
    return cli.main(["check", *arguments, str(path)])


# A claim holds only if it was asked

ONLY_FAR = (
    "slot: { far: nop }\nldr x16, literal\nbr x16\nliteral: { far: .quad target }\n" + RETARGET
)


def test_a_claim_that_was_asked_of_no_change_does_not_hold(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fresh, with only changes to null to ask about: exit status 1, and why; JSON too."""
    null = [change for change in changes() if change[1] == "null"]
    monkeypatch.setattr(report, "changes", lambda length: null if length == 2 else [])
    assert run(tmp_path / "a.s", CLAIMS + STUB.replace("BODY\n", "") + RETARGET) == 1
    printed = capsys.readouterr()
    assert printed.err == (
        "static-call: a claims fresh, which could be asked of no change. near A → null: "
        "null has no code of its own to be fresh\n"
    )
    head, row = (line.split() for line in printed.out.splitlines()[:2])
    assert dict(zip(head, row)) == {
        "design": "a", **dict.fromkeys(PROPERTIES, "YES"), "fresh": "-"
    }  # fmt: skip
    assert run(tmp_path / "a.s", CLAIMS + STUB.replace("BODY\n", "") + RETARGET, "--json") == 1
    assert json.loads(capsys.readouterr().out)["claims_hold"] is False


def test_a_design_that_claims_nothing_is_not_answered_with_yes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 0, and - with the reason for what was not asked."""
    monkeypatch.setattr(report, "changes", lambda length: [("null", "ret0")] * (length == 2))
    assert run(tmp_path / "a.s", ".align 3\nbti c\n" + ONLY_FAR) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[1].split() == ["a", *["-"] * 7]
    assert "both are the same function here" in out
    assert "yes" not in out


def test_an_answer_says_of_how_many_changes_it_is_where_a_design_refuses_some() -> None:
    """A near form alone: no far target is taken. Each - has its reason, in tables and JSON."""
    mine = design("bti c\nslot: { near: b target }\n" + ONE)
    result = report.judge([mine])
    cells = dict(zip(PROPERTIES, report.matrix(result)[0][1:]))
    assert cells["live"] == "YES (5 of 12)"
    assert cells["fresh"] == "YES (3 of 10)"
    reasons = {says: (names, count) for names, says, _, count in report.not_asked(result[mine])}
    (refused,) = (says for says in reasons if says.startswith("far A: no form of test reaches"))
    assert reasons[refused][0] == "all"
    assert reasons["both are the same function here"] == ("all", 2)
    assert not list(report.broken_claims(result))
    shown = json.loads(json.dumps(report.as_data(result)))["designs"][0]["changes"]
    for change in shown:
        for one in change["properties"].values():
            assert one["holds"] is not None or one["says"]


def test_a_question_that_is_too_big_ends_in_its_bound_and_not_in_a_yes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Limits reached: no table, exit status 2, one line."""
    for limit in ("--paths", "--steps"):
        text = CLAIMS + STUB.replace("BODY\n", "") + RETARGET
        assert run(tmp_path / "a.s", text, limit, "1") == 2
        printed = capsys.readouterr()
        assert not printed.out
        assert printed.err.count("\n") == 1
        assert limit in printed.err


def test_what_cannot_be_asked_cannot_be_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--explain of a change that the design refuses, and of a property without a question."""
    path = tmp_path / "near.s"
    path.write_text(CLAIMS + "bti c\nslot: { near: b target }\n" + ONE)
    for change, more in (("near-far", ()), ("near-null", ("--property", "fresh"))):
        assert cli.main(["check", "--explain", str(path), change, *more]) == 2
        printed = capsys.readouterr()
        assert (printed.out, printed.err.count("\n")) == ("", 1)


def test_litmus_files_that_are_none_are_no_success(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing written: exit status 2 and why. Two designs of one name would share files."""
    (tmp_path / "b").mkdir()
    mine, other = tmp_path / "a.s", tmp_path / "b" / "a.s"
    for path in (mine, other):
        path.write_text(".align 3\nbti c\n" + ONLY_FAR)
    folder = str(tmp_path / "out")
    assert cli.main(["check", str(mine), str(other), "--litmus", folder]) == 2
    assert "two designs are named a" in capsys.readouterr().err
    monkeypatch.setattr(export, "changes", lambda: [("null", "ret0")])
    assert cli.main(["check", str(mine), "--litmus", folder]) == 2
    assert "both are the same function here" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["tbz w3, #1, null", "cbz x3, null", "b.eq null"])
def test_what_depends_on_the_caller_has_no_litmus_file(line: str) -> None:
    """In a file the registers that a caller holds are fixed: another question."""
    with pytest.raises(StaticCallError, match="depends on what the caller holds"):
        list(export.question(stub(f"{line}\nnop"), ("near A", "far B"), "live"))


def test_two_changes_in_a_row_are_asked_where_a_claim_depends_on_them() -> None:
    """null leaves the literal unchanged. A new trampoline has the stub in it, a used one the last
    target: a call that fetched the new slot after a CSE goes there, as the literal comes late."""
    mine = notation.read(
        """.claims live
        .align 3
        bti     c
slot:   { near: b target | far: nop | null: b null }
        ldr     x16, literal
        br      x16
literal: { new: .quad null | far, near: .quad target }
null:   bti     c
        ret
retarget:
        str     w1, [x0]
        dc      cvau, x0
        dsb     ish
        ic      ivau, x0
        dsb     ish
        str     x3, [x2]
        cse
""", "late.s", "late",
    )  # fmt: skip
    result = report.judge([mine])
    broken = [verdict.change for verdict in report.broken_claims(result)]
    assert ("far A", "null", "far B") in broken
    assert len(result[mine]) == 14 + 56
    assert "two in a row" in report.assumptions(result, Limits())["changes"]
    assert not report.leaves(stub())


def test_every_answer_says_what_it_rests_on(capsys: pytest.CaptureFixture[str]) -> None:
    """In two or three lines under the matrix, and as one key of JSON."""
    assert cli.main(["check", "inline-stub"]) == 0
    out = capsys.readouterr().out.replace("\n", " ")
    assert cli.main(["check", "--json", "--unroll", "7", "inline-stub"]) == 0
    held = json.loads(capsys.readouterr().out)["assumptions"]
    assert "7 rounds" in held["loops"]
    for key in ("changes", "threads", "lines", "pads", "stack", "edition", "cpu"):
        assert held[key] in out


# Where targets are

REACHES = {
    "tbz x16, #0, target": 1 << 15,
    "tbnz w16, #0, target": 1 << 15,
    "cbz x16, target": 1 << 20,
    "cbnz w16, target": 1 << 20,
    "b.ne target": 1 << 20,
    "adr x16, target": 1 << 20,
    "ldr x16, target": 1 << 20,
    "b target": 1 << 27,
    "bl target": 1 << 27,
    "adrp x16, target": 1 << 32,
}
"""How far each operand reaches, at least (Arm ARM C6.2)."""


@pytest.mark.parametrize("line", REACHES)
@pytest.mark.parametrize("align", [3, 11, 12])
def test_near_targets_lie_in_reach_and_far_ones_beyond(line: str, align: int) -> None:
    """Both near ones and return0 lie on this side of the branch's reach, both far ones beyond; from
    the slot at the end of the largest trampoline as well."""
    body = f"bti c\nslot: {{ near: {line} | far: nop }}\nldr x16, literal\nbr x16\n"
    fill = "nop\n" * (4080 // 4 - 4)
    for text in (body + fill, fill + body):
        mine = notation.read(
            f".align {align}\n{text}literal: {{ near, far: .quad target }}\n{RETARGET}", "t.s", "t"
        )
        where = targets(mine)
        slot = next(item for item in mine.slots)
        scene = build(Question(mine, ("near A", "near B")))
        at = scene.base + (slot.offset or 0)
        reach = REACHES[line]
        for goal, address in where.items():
            assert (abs(address - at) > reach - 0x2000) == goal.startswith("far"), goal
            assert address % 64 == 0
            assert address not in scene.trampoline
            if goal != "return0":
                form = mine.form_for(scene.base + mine.entry, address, {})
                assert form == goal.split()[0]


@pytest.mark.parametrize("near", ["tbz x16, #0, target", "cbz x16, target", "b target"])
@pytest.mark.parametrize("far", ["cbz x16, target", "adr x16, target", "b target"])
def test_a_far_form_with_a_reach_of_its_own_bounds_the_far_targets(near: str, far: str) -> None:
    """Far lies between the two reaches; where the far form reaches no further it is not taken."""
    mine = notation.read(
        f".align 3\nbti c\nslot: {{ near: {near} | far: {far} }}\nbr x16\n{ONE}", "t.s", "t"
    )
    if REACHES[far] <= REACHES[near]:
        holds, says = answer(mine, "near-far", "live")
        assert holds is None
        assert "no target is beyond the reach of near and within that of far" in says
    else:
        scene = build(Question(mine, ("far A", "far B")))
        for goal in ("far A", "far B"):
            address = targets(mine)[goal]
            assert REACHES[near] < abs(address - scene.base) < REACHES[far]


def test_each_slot_that_names_the_target_counts() -> None:
    """Two slots of different reach: the shorter one decides."""
    mine = design("bti c\na: { near: b target }\nb: { near: tbz w0, #3, target }\n" + RETARGET)
    assert max(abs(at - 0x10_0000_1000) for goal, at in targets(mine).items()
               if goal.startswith("near")) < 1 << 15  # fmt: skip


def test_a_conditional_branch_on_what_the_caller_holds_goes_both_ways(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """TBNZ on an argument: the call returns where the bit is clear. Claims everything: exit 1."""
    text = "bti c\nslot: { near: tbnz x0, #4, target | null: ret }\nret\nretarget:\nstr w1, [x0]\n"
    assert answer(design(text), "near-near", "live") == (False, "a call returns")
    assert run(tmp_path / "a.s", CLAIMS + text) == 1
    assert "a claims live, and near A → near B breaks it: a call returns" in capsys.readouterr().err


# Landing

LANDS = [
    ("ldr x16, literal\nbr x16", None),
    ("ldr x17, literal\nbr x17", None),
    ("ldr x16, literal\nret x16", None),  # RET is exempt
    ("ldr x16, literal\nblr x16", None),
    ("ldr x9, literal\nbr x9", "br x9 lands on far A: a bti c takes BR by X16 and X17 only"),
    ("ldr x30, literal\nbr x30", "br x30 lands on far A: a bti c takes BR by X16 and X17 only"),
    ("adr x16, in\nbr x16", None),
    ("adr x17, nopad\nbr x17", "br x17 lands on ret at nopad"),
    ("adr x9, in\nbr x9", "br x9 lands on bti c at in"),
    ("adr x9, jump\nbr x9", None),
    ("adr x16, jump\nbr x16", None),
    ("adr x16, jump\nblr x16", "blr x16 lands on bti j at jump"),
    ("mov x16, x30\nbr x16", "br x16 lands behind the caller's call, where no pad is assumed"),
    ("nop\nbr x30", "br x30 lands behind the caller's call, where no pad is assumed"),
    ("nop\nret x30", None),
    ("adr x16, both\nblr x16", None),
    ("adr x10, both\nbr x10", None),
]  # fmt: skip
"""How a call continues, and what is said if it does not land on a pad (Arm ARM DDI 0487, D8.4)."""


@pytest.mark.parametrize(("code", "says"), LANDS)
def test_a_pad_must_take_the_branch_that_lands_there(code: str, says: str | None) -> None:
    """BR by X16 or X17, BR by another register and BLR ask for different pads; RET for none."""
    pads = "in: bti c\nret\njump: bti j\nret\nboth: bti jc\nret\nnopad: ret\n"
    mine = design(
        f"bti c\nnop\n{code}\nliteral: {{ far: .quad target }}\n{pads}retarget:\nstr x1, [x0]\n"
    )
    assert answer(mine, "farA-farB", "landing") == (says is None, says or "")


@pytest.mark.parametrize(
    ("first", "lands"), [("bti c", True), ("bti jc", True), ("paciasp", True), ("bti j", False),
                         ("bti", False), ("nop", False), ("stp x29, x30, [sp, #-16]!", False)]
)  # fmt: skip
def test_the_entry_takes_a_pointer_and_a_veneer(first: str, lands: bool) -> None:
    """BLR and BR X16: bti j takes the second only."""
    mine = design(f"{first}\nslot: {{ near: b target }}\n" + ONE)
    assert answer(mine, "near-near", "landing")[0] is lands


def test_pac_branches_are_refused() -> None:
    """BRAA and its sisters are not in the notation, so no answer is given for them."""
    for line in ("braa x16, x17", "blraaz x16", "retaa"):
        with pytest.raises(notation.NotationError, match="not an instruction"):
            design(f"bti c\n{line}\nslot: {{ near: b target }}\n" + ONE)


# What a hostile body does

CHANGED = [
    ("paciasp\nnop", "a call goes to far A with the return address changed"),
    ("paciasp\nautibsp", "a call goes to far A with the return address changed"),
    ("autiasp\nnop", "a call goes to far A with the return address changed"),
    ("mov x18, x0\nnop", "a call goes to far A with x18 changed"),
    ("add x1, x1, #0, lsl #12\nmovk x7, #7", "a call goes to far A with x7 changed"),
    ("sub sp, sp, #16\nnop", "a call goes to far A with the stack pointer changed"),
    ("stp x0, x1, [sp, #-16]!\nldp x1, x0, [sp], #16", "a call goes to far A with x0, x1 changed"),
    ("ldr w5, literal\nnop", "a call goes to far A with x5 changed"),
    ("cbz x0, null\nnop", "a call returns"),
    ("tbz w2, #31, null\nnop", "a call returns"),
    ("b.vs null\nnop", "a call returns"),
    ("cbnz x16, null\nnop", "a call returns"),
    ("ldr x17, [sp]\ncbz x17, null", "a call returns"),
    ("brk #1\nnop", "a call executes an undefined instruction at byte 4 of the trampoline"),
]
"""Two instructions at the start of the default design, and what a call then does."""


@pytest.mark.parametrize(("body", "says"), CHANGED)
def test_a_body_that_changes_what_the_caller_holds_is_not_live(body: str, says: str) -> None:
    """Whatever the caller's registers, flags and memory hold."""
    assert answer(stub(body), "farA-nearB", "live") == (False, says)


@pytest.mark.parametrize(
    "body",
    ["nop\nnop", "paciasp\nautiasp", "mov x16, x0\nmov x17, x30",
     "sub sp, sp, #16\nadd sp, sp, #16",
     "stp x0, x1, [sp, #-16]!\nldp x0, x1, [sp], #16", "orr x0, x0, x0\nisb"],
)  # fmt: skip
def test_a_body_that_puts_everything_back_holds_all_that_it_claims(body: str) -> None:
    """As the default design without it: so the answers above are of the edits."""
    for change in (("far A", "near B"), ("near A", "ret0")):
        assert all(v.holds is not False for v in verdicts.check(stub(body), change))


REFUSED = [
    ("svc #0\nnop", "what svc #0x0 does to registers is not known"),
    ("smc #1\nnop", "what smc #0x1 does to registers is not known"),
    ("hint #40\nnop", "no semantics for hint"),  # CHKFEAT writes X16
    ("wfe\nnop", "no semantics for wfe"),
    ("xpaclri\nnop", "no semantics for xpaclri"),
    ("mrs x16, ctr_el0\nnop", "no semantics for mrs"),
    ("str x0, [sp]\nnop", "writes to 0xa000, which is not in its own stack frame"),
    ("stp x0, x1, [sp, #-16]\nnop", "which is not in its own stack frame"),
    ("adr x17, literal\nstr x16, [x17]", "which is not in its own stack frame"),
    ("adr x17, slot\nstr w16, [x17]", "which is not in its own stack frame"),
    ("str x16, [x0]\nnop", "which is not in its own stack frame"),
    ("ldr x17, [x3]\ncbz x17, null", "reads from where there need not be memory"),
    ("ldr x16, [x0]\nnop", "reads from where there need not be memory"),  # X0 may be 0
    ("mov x16, #0\nldr x16, [x16]", "reads from where there need not be memory"),
    ("ldp x16, x17, [x17]\nnop", "reads from where there need not be memory"),
    ("ldr x17, [sp, #4096]\nnop", "reads from where there need not be memory"),
    ("sub sp, sp, #8\nldr x16, [sp]", "must be a multiple of 16"),
    ("loop: cbz x0, loop\nnop", "stays in the trampoline"),
    ("paciasp\npaciasp", "which does not hold a plain address"),
]
"""What the checker does not know, and what it says."""


@pytest.mark.parametrize(("body", "says"), REFUSED)
def test_a_body_that_the_checker_does_not_know_is_refused(body: str, says: str) -> None:
    """It is refused in one line; no property gets an answer."""
    with pytest.raises(StaticCallError, match=says) as caught:
        verdicts.check(stub(body), ("far A", "near B"))
    assert "\n" not in str(caught.value)


CALLING = """        bti     c
        stp     x29, x30, [sp, #-16]!
slot:   { near: bl target | null: nop }
AFTER
        ldp     x29, x30, [sp], #16
        ret
"""


@pytest.mark.parametrize(
    ("after", "live"),
    [
        ("nop", True),
        ("mov x9, #1", True),  # a called function may change it too
        ("mov x0, #0", False),  # its result is lost
        ("mov x0, x9", False),
        ("mov x19, x9", False),
        ("tbz w9, #0, lost\nlost: sub sp, sp, #16", False),
        ("sub sp, sp, #16", False),
    ],
)
def test_after_a_call_registers_hold_what_a_function_may_leave(after: str, live: bool) -> None:
    """X0 to X18 and the flags are the callee's; its result goes to the caller."""
    mine = design(CALLING.replace("AFTER", after) + ONE)
    assert answer(mine, "near-near", "live")[0] is live


@pytest.mark.parametrize(
    "after", ["cbz x9, slot", "late: { near: nop | null: nop }",
               "ldr x16, [sp]\nadr x17, slot\nldr w17, [x17]",
               "adr x16, back\nbr x16\nback: bti c"]
)  # fmt: skip
def test_what_changes_after_a_call_is_refused(after: str) -> None:
    """A slot, a cell that is read or an indirect branch there is more than can be judged alone."""
    code = RETARGET if after.startswith("late") else ONE
    code = code.replace("str     x3", "str     w3")
    mine = design(CALLING.replace("AFTER", after) + code)
    with pytest.raises(StaticCallError, match="its call is followed by"):
        verdicts.check(mine, ("near A", "near B"))


# What a hostile retarget does


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("str     x3, [x2]", "str w3, [x2]", "leaves literal at"),
        ("str     x3, [x2]", "str x1, [x2]", "leaves literal at"),
        ("str     w1, [x0]", "str x1, [x0]", "writes to"),
        ("str     w1, [x0]", "dmb ish", "leaves slot at"),
        ("str     w1, [x0]", "str w1, [x0]\nstr w3, [x0]", "leaves slot at"),
        ("dc      cvau, x0", "dc cvau, x1", "maintains"),
        ("ic      ivau, x0", "ic ivau, x3", "maintains"),
        ("dmb     ishst", "ldr x5, [x3]", "loads 8 bytes at"),
    ],
)
def test_a_retarget_that_does_not_do_what_its_cells_say_is_refused(
    old: str, new: str, says: str
) -> None:
    """A half, a wrong register, a neighbour, nothing, the wrong address maintained or loaded."""
    with pytest.raises(StaticCallError, match=says):
        report.judge([stub("", (old, new))])


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("str w9, [x0]", "w9 holds nothing"),
        ("orr x1, x1, x20", "x20 holds nothing"),
        ("dc cvau, x4", "x4 holds nothing"),
        ("ldr x19, [x2]", "x19 is not the retarget's"),
        ("orr x30, x0, x1", "x30 is not the retarget's"),
    ],
)
def test_a_retarget_has_the_registers_of_its_cells_and_x0_to_x17(line: str, says: str) -> None:
    """What it reads was set; what it changes is not its caller's. Named with line and column."""
    with pytest.raises(notation.NotationError, match=says) as caught:
        stub("", ("dmb     ishst", line))
    assert caught.value.line == 15
    assert stub("", ("dmb     ishst", "ldr x9, [x2]\nstr x9, [x2]\ndmb ishst"))


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("dsb     ish\n        ic", "dsb ishst\n        ic", "settled"),
        ("dsb     ish\n        ic", "dsb ishld\n        ic", "settled"),
        ("dsb     ish\n        ic", "dsb nsh\n        ic", "settled"),
        ("dsb     ish\n        ic", "dmb ish\n        ic", "settled"),
        ("dsb     ish\n        cse", "dsb ishst\n        cse", "settled"),
        ("dsb     ish\n        cse", "isb\n        cse", "settled"),
        ("dsb     ish\n        cse", "dsb ish\n        isb", "settled"),
        ("dc      cvau, x0", "dc cvau, x2", "settled"),
        ("ic      ivau, x0", "ic ivau, x2", "settled"),
        ("        cse\n        str     x3", "        isb\n        str     x3", "fresh"),
        ("        dc      cvau", "        cse\n        dc cvau", "live"),
    ],
)
def test_maintenance_of_the_wrong_kind_or_place_does_not_hold(
    old: str, new: str, what: str
) -> None:
    """DSB ISHST and ISHLD wait for no DC or IC, NSH for no other PE; ISB acts on its own PE."""
    mine = stub("", (old, new))
    change = "far-far" if what == "fresh" else "near-near"
    assert answer(mine, change, what)[0] is False


def test_a_pair_that_is_torn_to_what_nobody_knows_is_no_yes() -> None:
    """An atomic verdict is given for a store that is one; for others what is torn must be known."""
    mine = notation.read(
        """.align 3
        bti c
        nop
a:      { far: ldr x16, literal | null: b end }
b:      { far: br x16 | null: svc #1 }
literal: { far: .quad target | null: .quad end }
end:    bti c
        ret
retarget:
        str x5, [x4]
        stp w1, w3, [x0]
""", "t.s", "t",
    )  # fmt: skip
    with pytest.raises(StaticCallError, match="svc"):
        verdicts.check(mine, ("far A", "null"), ["atomic"])


# Designs of other kinds, until they are known


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("site: { near: nop | null: b yes }\nret\nyes: mov x0, #0\nret\n" + ONE,
         "do not say which function it calls"),
        ("a: { null: ret | far: movz x16, :abs_g0:target }\nbr x16\n" + ONE, "expected"),
        ("a: { null: drps | near: b target }\n" + ONE, "not an instruction"),
    ],
)  # fmt: skip
def test_a_kind_of_design_that_is_not_known_yet_is_refused(
    text: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A static key, an address made of halfwords, DCPS1: one line and exit status 2."""
    assert run(tmp_path / "a.s", CLAIMS + text) == 2
    printed = capsys.readouterr()
    assert says in printed.err
    assert (printed.out, printed.err.count("\n")) == ("", 1)


def test_two_slots_that_are_flipped_in_the_wrong_order_get_a_verdict() -> None:
    """Fetched code that branches through a literal whose atoms change under way: a NOP for the
    second word, and control runs into what follows."""
    text = """.align 3
        bti     c
first:  { null: b end | far: ldr x16, literal }
second: { null: nop | far: br x16 }
        nop
literal: { far: .quad target }
end:    ret
retarget:
        str     x5, [x4]
        str     w3, [x2]
        str     w1, [x0]
"""
    mine = notation.read(text, "hook.s", "hook")
    result = report.judge([mine])
    assert report.matrix(result)[0][1].startswith("no ")
    assert "does not hold" in tell(mine, ("near A", "null")).text
