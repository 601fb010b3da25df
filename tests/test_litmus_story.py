"""litmus --explain, its pictures, --json, --without and --show."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import pytest

from static_call.cli import main as cli
from static_call.memory_model.drawing import dot, svg
from static_call.memory_model.litmus import run
from static_call.memory_model.litmus_reader import read
from static_call.memory_model.litmus_story import Story, tell
from static_call.memory_model.model import AXIOMS

MP = r"""AArch64 MP+dmb.sy+addr
{ 0:X1=x; 0:X3=y; 1:X1=y; 1:X4=x; }
 P0          | P1                  ;
 MOV W0,#1   | LDR W0,[X1]         ;
 STR W0,[X1] | EOR W2,W0,W0        ;
 DMB SY      | LDR W3,[X4,W2,UXTW] ;
 STR W0,[X3] |                     ;
exists (1:X0=1 /\ 1:X3=0)
"""
WEAK = MP.replace("DMB SY ", "NOP    ")
"""Without the barrier: MP+po+addr, which herd7 7.58 says is Sometimes, 1 3."""
IRIW = r"""AArch64 IRIW+dmb.sy+dmb.sy
{ 0:X1=x; 1:X1=x; 1:X3=y; 2:X1=y; 3:X1=y; 3:X3=x; }
 P0          | P1          | P2          | P3          ;
 MOV W0,#1   | LDR W0,[X1] | MOV W0,#1   | LDR W0,[X1] ;
 STR W0,[X1] | DMB SY      | STR W0,[X1] | DMB SY      ;
             | LDR W2,[X3] |             | LDR W2,[X3] ;
exists (1:X0=1 /\ 1:X2=0 /\ 3:X0=1 /\ 3:X2=0)
"""


def story(text: str, without: frozenset[str] = frozenset()) -> Story:
    """The story of a test under its own model."""
    test = read(text)
    return tell(run(test, test.model), test.model, without=without)


def around(told: Story) -> list[str]:
    """The axioms of the cycle, from the one that comes first by name."""
    found = re.findall(r"^      ([\w-]+(?:: \w+)?)", told.text, re.M)
    first = found.index("bob")
    return found[first:] + found[:first]


def test_the_cycle_of_mp_is_the_one_that_arm_gives() -> None:
    """Barrier-ordered, observed, dependency-ordered, and back by from-reads: as Arm and herd7's
    published explanations of MP+dmb.sy+addr have it."""
    assert around(story(MP)) == ["bob", "Exp-obs: rf", "dob", "Exp-obs: fr"]


def test_the_cycle_of_iriw_goes_through_both_barriers() -> None:
    """Each reader's barrier, the other's write by from-reads, and its read of it by reads-from."""
    assert around(story(IRIW)) == ["bob", "Exp-obs: fr", "Exp-obs: rf"] * 2


def test_an_execution_that_satisfies_the_condition_is_told() -> None:
    """The late store is seen and the early one is not; the end is the condition's."""
    text = story(WEAK).text
    assert "Ok: the condition holds in this execution" in text
    assert "At the end: 1:X0=1; 1:X3=0;" in text


def test_a_condition_that_no_value_satisfies_has_a_story_without_an_execution() -> None:
    """Nobody writes 7."""
    told = story(MP.replace("1:X3=0", "1:X3=7"))
    assert told.picture.execution is None
    assert "no values that can be read satisfy the condition" in told.text
    assert ElementTree.fromstring(svg(told.picture)).tag.endswith("svg")


def test_a_forall_is_told_by_what_would_break_it() -> None:
    """Two reads of one location: by coherence the second sees nothing older (CoRR)."""
    told = story(
        "AArch64 CoRR\n{ 0:X1=x; 1:X1=x; }\n P0 | P1 ;\n MOV W0,#1 | LDR W2,[X1] ;\n"
        " STR W0,[X1] | LDR W3,[X1] ;\nforall (1:X2=0 \\/ 1:X3=1)\n"
    )
    assert "Ok: the model forbids what would break the condition" in told.text


def test_a_story_without_an_axiom_goes_round_through_it() -> None:
    """Without dob the reader's dependency orders nothing; without coWW nothing new is reached."""
    assert "With dob that goes round" in story(MP, frozenset({"dob"})).text
    assert "no other state can be reached" in story(MP, frozenset({"coWW"})).text


@pytest.mark.parametrize("text", [MP, WEAK, IRIW], ids=["MP", "weak", "IRIW"])
def test_pictures_are_well_formed_legible_and_the_same_each_time(text: str) -> None:
    """XML and DOT; a box for each event; no two boxes and no box and label meet."""
    told = story(text)
    picture = svg(told.picture)
    assert picture == svg(story(text).picture)
    root = ElementTree.fromstring(picture)
    space = "{http://www.w3.org/2000/svg}"
    boxes = [
        [float(rect.attrib[name]) for name in ("x", "y", "width", "height")]
        for rect in root.findall(f"{space}rect")[1:]
    ]
    assert told.picture.execution
    assert len(boxes) == len(told.picture.execution.events)
    for label in root.findall(f"{space}text[@class='axiom']"):
        wide = 6 * len(label.text or "")
        boxes.append([float(label.attrib["x"]) - wide / 2, float(label.attrib["y"]) - 10, wide, 12])
    for (x, y, w, h), (a, b, c, d) in combinations(boxes, 2):
        assert x + w <= a or a + c <= x or y + h <= b or b + d <= y
    if shutil.which("dot"):
        subprocess.run(["dot", "-Tsvg"], input=dot(told.picture), text=True, check=True,
                       stdout=subprocess.DEVNULL, timeout=60)  # fmt: skip


def test_names_with_marks_of_xml_and_dot_are_quoted() -> None:
    """A test may have any name."""
    told = story(MP.replace("MP+dmb.sy+addr", '<a>&"b\\'))
    ElementTree.fromstring(svg(told.picture))
    assert '"<a>&\\"b\\\\"' in dot(told.picture)


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Counts and states as herd7 7.58 prints them: Never 0 3. Without dob there is one more."""
    file = tmp_path / "mp.litmus"
    file.write_text(MP)
    assert cli.main(["litmus", "--json", "--without", "dob", str(file), str(tmp_path / "no")]) == 2
    mp, missing = json.loads(capsys.readouterr().out)["tests"]
    assert (mp["observation"], mp["positive"], mp["negative"]) == ("Never", 0, 3)
    assert (mp["holds"], mp["complete"], mp["flags"]) == (False, True, [])
    assert {"1:X0": 1, "1:X3": 1} in mp["states"]
    assert mp["without"]["states"] == [{"1:X0": 1, "1:X3": 0}]
    assert {"dob", "Exp-obs"} <= set(mp["axioms"])
    assert "No such file" in missing["error"]


def test_what_without_adds_changes_no_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report and the exit status are those of the whole model."""
    file = tmp_path / "mp.litmus"
    file.write_text(MP)
    assert cli.main(["litmus", str(file), "--without", "dob"]) == 1
    out = capsys.readouterr().out
    assert "Observation MP+dmb.sy+addr Never 0 3\n" in out
    assert "Without dob: 1 more state\n1:X0=1; 1:X3=0;\n" in out


def test_show_prints_the_rows(capsys: pytest.CaptureFixture[str]) -> None:
    """Every axiom is there; with DIC=1 IC-ca has the row without an IC."""
    assert cli.main(["litmus", "--show", "all"]) == 0
    out = capsys.readouterr().out
    assert {line.split()[0] for line in out.splitlines()[1:]} == set(AXIOMS)
    assert cli.main(["litmus", "--show", "IDC,DIC", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["orders"] for row in rows if row["axiom"] == "IC-ca"] == ["F ca W"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mp", "--json", "--explain"], "one of them"),
        (["mp", "mp", "--svg", "a.svg"], "one test, not 2"),
        (["mp", "--svg", "no/a.svg"], "no/a.svg: No such file"),
        (["mp", "--svg", "."], "Is a directory"),
        (["mp", "--svg", ""], "--svg needs the name"),
        (["mp", "--dot", "mp"], "would replace mp"),
        (["mp", "--svg", "a", "--dot", "a"], "would replace"),
        (["mp", "--without", "magic"], "magic is none of the axioms f-ib"),
        (["mp", "--show", "IDC"], "--show prints the model"),
        (["--show", "x86"], "all"),
        (["loop", "--explain", "--svg", "a"], "raise --unroll"),
        (["none", "--explain", "--svg", "a"], "no condition"),
        ([], "FILE"),
    ],
)
def test_bad_input_writes_nothing(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """One line, status 2, and the folder stays as it was."""
    monkeypatch.chdir(tmp_path)
    Path("mp").write_text(MP)
    loop = "AArch64 l\n{0:X1=x;}\n P0 ;\n L: LDR W0,[X1] ;\n CBZ W0,L ;\nexists (0:X0=1)\n"
    Path("loop").write_text(loop)
    Path("none").write_text(MP.partition("exists")[0])
    before = {path: path.read_text() for path in tmp_path.iterdir()}
    assert cli.main(["litmus", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert before == {path: path.read_text() for path in tmp_path.iterdir()}


UDF = """AArch64 nop-to-udf
{ 0:X0=label:"P1:L0"; 0:X1=instr:"UDF #0"; }
 P0          | P1        ;
 STR W1,[X0] | L0: NOP   ;
             | MOV X9,#1 ;
exists (1:X9=1)
"""


def test_a_test_of_fetches_says_what_its_answer_rests_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The cache type, and the editions that flag it: UDF is on the list since issue M.a (Arm ARM
    B2.2.5), and herd7 7.58, which has an older one, flags this test."""
    path = tmp_path / "udf.litmus"
    path.write_text(UDF)
    assert cli.main(["litmus", "--explain", "--cache-type", "IDC", str(path)]) == 0
    assert (
        "\nwith IDC=1 DIC=0; code is modified against B2.2.5, by --edition every and newer, "
        in (capsys.readouterr().out)
    )
    assert cli.main(["litmus", "--json", "--edition", "newer", str(path)]) == 0
    (found,) = json.loads(capsys.readouterr().out)["tests"]
    assert found["cmodx_by_edition"] == {"every": False, "newer": False, "present": True}
    assert (found["edition"], "violates-CMODX-requirements" in found["flags"]) == ("newer", True)


def test_what_was_left_out_is_said_where_an_axiom_makes_no_difference() -> None:
    """A thread that waits for ever: what more rounds would show is not known."""
    looping = (
        MP.replace("LDR W0,[X1]         ", "L: LDR W0,[X1]      ")
        .replace("EOR W2,W0,W0        ", "CBZ W0,L            ")
        .replace("[X4,W2,UXTW]", "[X4]        ")
    )
    assert "as far as --unroll let" in story(looping, frozenset({"coWW"})).text
