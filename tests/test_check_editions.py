"""By which edition of Arm's text, and for which CPU, an answer is. Expected answers are by hand."""

import json
from pathlib import Path

import pytest

from static_call.check import verdicts
from static_call.check.basis import Basis
from static_call.check.changes import Unaskable, changes, parse_change
from static_call.check.checker import Checker
from static_call.check.questions import Question
from static_call.check.story import tell
from static_call.check.verdicts import remedies
from static_call.cli import main as cli
from static_call.cli.arguments import EDITIONS as OFFERED
from static_call.design import notation
from static_call.design.design import Design
from static_call.isa.instruction import EDITIONS
from static_call.isa.sets import A64
from static_call.memory_model import cpus
from static_call.memory_model.litmus import run
from static_call.memory_model.litmus_reader import read
from static_call.memory_model.model import CACHE_TYPES, Model

FIELD = Path(__file__).parent.parent / "docs" / "field"
NULL = {change for change in changes() if "null" in change}
ONE = """retarget:
        str     w1, [x0]
        dc      cvau, x0
        dsb     ish
        ic      ivau, x0
        dsb     ish
        cse
"""


def design(text: str) -> Design:
    """A design from its text."""
    return notation.read(text, "mine.s", "mine")


def failing(design: Design, edition: str) -> set[tuple[str, ...]]:
    """The single changes that break cmodx by an edition."""
    found = set()
    for change in changes():
        (one,) = verdicts.check(design, change, ["cmodx"], basis=Basis(edition))
        assert not one.by_edition or one.by_edition[edition] is one.holds
        if one.holds is False:
            found.add(change)
    return found


def test_the_editions_have_the_same_names_everywhere() -> None:
    """Those that the command line offers are those of the instruction set, the oldest first."""
    assert [*OFFERED] == [*EDITIONS] == [*A64.cmodx.editions]


def test_a_word_that_is_stored_as_it_was_counts_by_the_older_texts_alone() -> None:
    """literal-before-entry stores its BTI with every change; RET counts by every edition."""
    before = notation.load("literal-before-entry")
    assert failing(before, "present") == NULL
    assert failing(before, "every") == failing(before, "newer") == {*changes()}
    sled = notation.load(str(FIELD / "xray-sled.s"))
    assert failing(sled, "present") == NULL
    assert failing(sled, "every") == {*changes()}


@pytest.mark.parametrize(("trap", "present"), [("udf #0x1234", set()), ("dcps1 #1", NULL)])
def test_udf_may_replace_a_branch_by_the_present_text_and_dcps1_may_not(
    trap: str, present: set[tuple[str, ...]]
) -> None:
    """A word after a call that a runtime turns into a trap; by the older texts neither may."""
    mine = design(f".align 2\nslot: {{ near, far: b target | null: {trap} }}\nnop\n" + ONE)
    reached = {c for c in changes() if not any("far" in goal for goal in c)}
    for edition in EDITIONS:
        assert failing(mine, edition) == (present if edition == "present" else NULL) & reached


def test_a_conditional_branch_may_be_modified_by_the_newer_texts() -> None:
    """And not by the list that every edition has."""
    mine = design("bti c\nslot: { near: b.ne target | null: nop }\nret\n" + ONE)
    answers = [
        verdicts.check(mine, ("near A", "null"), ["cmodx"], basis=Basis(edition))[0].holds
        for edition in EDITIONS
    ]
    assert answers == [False, True, True]


def test_a_word_that_takes_another_value_in_between_is_modified() -> None:
    """The same word at the end, by way of a RET: two modifications, by every edition."""
    mine = notation.load("slot-inline-literal")
    change = parse_change("nearA-null-nearA")
    (found,) = verdicts.check(mine, change, ["cmodx"])
    assert found.by_edition == dict.fromkeys(EDITIONS, False)


def test_an_answer_says_by_which_edition_it_is_where_they_differ(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In the table, the story, the remedies and JSON."""
    assert cli.main(["check", "literal-before-entry"]) == 0
    shown = capsys.readouterr().out
    assert "no 6/14 (present)" in shown
    assert "literal-before-entry, cmodx  no 14/14  no 14/14  no 6/14" in shown
    assert "near A \u2192 near B  yes   yes (present)" in shown
    assert cli.main(["check", "--edition", "every", "literal-before-entry"]) == 0
    assert "no 14/14 (every)" in capsys.readouterr().out
    assert cli.main(["check", "--json", "--edition", "newer", "literal-before-entry"]) == 0
    data = json.loads(capsys.readouterr().out)
    cmodx = data["designs"][0]["changes"][0]["properties"]["cmodx"]
    assert data["edition"] == "newer"
    assert cmodx["by_edition"] == {"every": False, "newer": False, "present": True}
    change = ("near A", "near B")
    told = tell(notation.load("literal-before-entry"), change, "cmodx").text
    assert "by Arm's text: issue M.a with its known issues (--edition present)" in told
    assert "by every edition (--edition every) it does not hold" in told
    told = tell(notation.load("literal-before-entry"), change, "cmodx", basis=Basis("every")).text
    assert "it holds as it is by issue M.a with its known issues (--edition present)" in told


def test_a_story_s_conflicts_are_by_the_edition_that_was_asked_about() -> None:
    """They are what a picture shows; the execution itself has none by the present text."""
    told = tell(
        notation.load("literal-before-entry"), ("far A", "far B"), "cmodx", basis=Basis("every")
    )
    assert told.execution is not None
    (pair,) = told.verdict.what.conflicts(told.execution)
    assert {told.execution.events[i].value for i in pair} == {0xD503245F}  # bti c
    assert not told.execution.conflicts_by("present")


def test_an_answer_that_no_edition_changes_does_not_name_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The designs whose slot holds B and NOP."""
    assert cli.main(["check", "inline-stub", "mainline"]) == 0
    shown = capsys.readouterr().out
    assert "(present)" not in shown
    assert "issue M.a with its known issues" in shown.replace("\n", " ")


@pytest.mark.parametrize("edition", EDITIONS)
def test_the_remedy_names_the_edition_s_list(edition: str) -> None:
    """UDF from issue M.a on, conditional branches from the newer texts on."""
    mine, basis = notation.load("slot-inline-literal"), Basis(edition)
    (found,) = verdicts.check(mine, ("near A", "null"), ["cmodx"], basis=basis)
    (text,) = remedies(found, Checker(basis=basis))
    assert ("UDF" in text, "B.cond" in text) == (edition == "present", edition != "every")
    assert f"--edition {edition}" in text


# A litmus test

REWRITE = """AArch64 rewrite
Variant=Ifetch
{ 0:X0=instr:"MOV W9,#1"; 0:X1=P1:slot; }
 P0          | P1           ;
 STR W0,[X1] | slot:        ;
             | MOV W9,#1    ;
exists (1:X9=1)
"""


def test_litmus_takes_the_edition_and_says_where_they_differ(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The flag is that of the edition that is asked for, the present one by default."""
    file = tmp_path / "rewrite.litmus"
    file.write_text(REWRITE)
    assert cli.main(["litmus", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "Flag" not in shown
    assert "Edition present: violates-CMODX-requirements by every, newer only" in shown
    assert cli.main(["litmus", "--edition", "every", str(file)]) == 0
    assert "Flag violates-CMODX-requirements" in capsys.readouterr().out
    changed = run(read(REWRITE.replace('instr:"MOV W9,#1"', 'instr:"NOP"')))
    assert changed.broken == EDITIONS
    assert "Edition" not in str(changed)


# CPUs

N1 = cpus.named("neoverse-n1")


@pytest.mark.parametrize("cache_type", range(3))
def test_the_errata_take_away_that_a_new_branch_brings_the_new_code(cache_type: int) -> None:
    """FACTS: never by the architecture, in no cache type. With the errata it may."""
    mine = notation.load("local-stub")
    model = CACHE_TYPES[cache_type]
    question = Question(mine, ("near A", "near B"), kind="fresh")
    checker = Checker()
    assert checker.wrong_call(question, model) is None
    weak = Model(model.idc, model.dic, N1.without)
    assert checker.wrong_call(question, weak)
    # A CSE on every PE after the code and before the branch gives it back.
    assert checker.wrong_call(question.but(insert=((0, "cse"),)), weak) is None


def test_what_breaks_on_a_neoverse_n1() -> None:
    """Fresh code at a near target, in the designs that do not begin with a CSE; nothing else."""
    for name in ("local-stub", "inline-stub", "mainline"):
        mine = notation.load(name)
        for change in changes():
            here = verdicts.check(mine, change, basis=Basis(cpu=N1))
            plain = verdicts.check(mine, change)
            for mine_here, by_arm in zip(here, plain, strict=True):
                if mine_here.holds is by_arm.holds:
                    assert not mine_here.erratum
                    continue
                assert (name, mine_here.name, mine_here.erratum) == ("local-stub", "fresh", True)
                assert change[0] in ("near A", "ret0")


def test_a_cpu_s_answer_says_what_it_rests_on(capsys: pytest.CaptureFixture[str]) -> None:
    """That it is our reading of the erratum; in JSON with numbers and sources."""
    assert cli.main(["check", "--cpu", "neoverse-n1", "local-stub"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "neoverse-n1, with DIC=1 in the kernel as in Graviton 2" in shown
    assert "erratum 1542419 as we read it" in shown
    assert "(by the CPU's erratum alone)" in shown
    assert cli.main(["check", "--cpu", "Neoverse-N1", "--json", "local-stub"]) == 0
    data = json.loads(capsys.readouterr().out)
    (erratum,) = data["cpu"]["errata"]
    assert (data["cpu"]["name"], data["cpu"]["midr"]) == ("neoverse-n1", "0x410fd0c0")
    assert (erratum["number"], erratum["without"]) == (1542419, ["IC-ob"])
    assert erratum["sources"]
    near = data["designs"][0]["changes"][0]["properties"]["fresh"]
    assert (near["holds"], near["by_erratum"]) == (False, True)
    assert near["fails_with"] == ["IDC=1 DIC=0", "IDC=1 DIC=1"]
    told = tell(notation.load("local-stub"), ("near A", "near B"), "fresh", basis=Basis(cpu=N1))
    assert "by the architecture it holds" in told.text
    assert "cse at the start" in told.text
    seen = "IDC=1 DIC=0 (in user space) and IDC=1 DIC=1 (in the kernel) of neoverse-n1"
    assert f"does not hold in {seen}: " in told.text
    assert f"asked about: {seen}" in shown


def test_an_unknown_cpu_is_refused_with_the_names_that_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And so is a CPU for questions that are written as files."""
    assert cli.main(["check", "--cpu", "cortex-a720", "mainline"]) == 2
    assert "neoverse-n1, cortex-a77, cortex-a72" in capsys.readouterr().err
    assert cli.main(["check", "--cpu", "", "mainline"]) == 2  # not any CPU
    assert capsys.readouterr().err.startswith("static-call: '' is not the name of a CPU")
    assert cli.main(["check", "--cpu", "cortex-a72", "mainline", "--litmus", "x"]) == 2


@pytest.mark.parametrize("cpu", cpus.CPUS, ids=lambda cpu: cpu.name)
def test_the_table_of_cpus_is_sound(cpu: cpus.Cpu) -> None:
    """Each row has sources; its first model is its weakest: what that forbids, all forbid."""
    assert cpu.sources
    assert all(erratum.sources and erratum.without for erratum in cpu.errata)
    first, *stronger = cpu.models()
    checker = Checker()
    for name in ("local-stub", "slot-inline-literal"):
        for change in changes()[::3]:
            for kind in ("call", "fresh", "settled"):
                try:
                    question = Question(notation.load(name), change, kind=kind)
                    checker.scene(question)
                except Unaskable:
                    continue
                if checker.wrong_call(question, first) is None:
                    assert not any(checker.wrong_call(question, m) for m in stronger)
