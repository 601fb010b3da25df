"""What the checker writes: litmus files, drawings, tables and JSON."""

import errno
import json
import os
import pty
import select
import signal
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from patience import patient

from static_call.check import export, verdicts
from static_call.check.changes import Unaskable, changes
from static_call.check.story import tell
from static_call.cli import main as cli
from static_call.design import notation
from static_call.design.text import PROPERTIES
from static_call.memory_model import drawing, litmus, litmus_reader
from static_call.memory_model.litmus_writer import NotExpressible
from static_call.memory_model.model import CACHE_TYPES


@pytest.mark.parametrize("name", notation.shipped())
def test_litmus_files_ask_what_the_checker_answers(name: str) -> None:
    """Run as litmus tests, the files of a question say yes for one point or another exactly where
    the checker says that the property fails, in each cache type: another program, by another
    route, with the CSE as messages."""
    design = notation.load(name)
    asked = 0
    for change in changes()[:: 2 if name == "inline-stub" else 3]:
        for verdict in verdicts.check(design, change, export.KINDS):
            if verdict.holds is None:
                continue
            try:
                files = list(export.question(design, change, verdict.name))
            except NotExpressible:
                continue
            for model in CACHE_TYPES:
                results = [
                    litmus.run(litmus_reader.read(file.text, file.name), model) for file in files
                ]
                assert any(result.positive for result in results) == (model in verdict.models), (
                    change, verdict.name, model,
                )  # fmt: skip
                asked += 1
    assert asked or name == "literal-before-entry"  # its LDR and STP have no such form


@pytest.mark.parametrize("name", ["inline-stub", "local-stub", "mainline"])
def test_every_litmus_file_has_executions_to_show(name: str) -> None:
    """A point where the CSE cannot be, such as after the slot's branch, gets no file."""
    design = notation.load(name)
    for change in (("near A", "far B"), ("far A", "null")):
        for kind in export.KINDS:
            try:
                files = list(export.question(design, change, kind))
            except Unaskable:
                continue
            assert files
            for file in files:
                result = litmus.run(litmus_reader.read(file.text, file.name))
                assert result.positive + result.negative > 0, file.name


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("        dsb     ish\n        ic", "        ic"),
        ("x0\n        dsb     ish\n        cse", "x0\n        cse"),
        (
            "x0\n        dsb     ish\n        cse                     // n",
            "x0\n        cse\n        dsb ish //",
        ),
        ("        dc      cvau, x0\n", ""),
    ],
)
def test_litmus_files_of_broken_retargets_say_so_too(old: str, new: str) -> None:
    """A DSB is missing or too late: the message that replaces the CSE is not a DSB either."""
    text = Path(notation.SHIPPED, "inline-stub.s").read_text()
    assert text.count(old) == 1
    design = notation.read(text.replace(old, new), "broken.s", "broken")
    for kind in ("live", "settled"):
        change = ("near A", "near B")
        (verdict,) = verdicts.check(design, change, [kind])
        files = list(export.question(design, change, kind))
        found = [litmus.run(litmus_reader.read(file.text, file.name)).positive for file in files]
        assert verdict.holds is False
        assert any(found), kind


def test_a_live_file_shows_herd_s_flag_where_cmodx_fails() -> None:
    """slot-inline-literal to null: RET is off the list."""
    design = notation.load("slot-inline-literal")
    for change, flagged in ((("near A", "null"), True), (("near A", "far B"), False)):
        (file,) = export.question(design, change, "live")
        flags = litmus.run(litmus_reader.read(file.text)).flags
        assert ("violates-CMODX-requirements" in flags) == flagged


def test_litmus_files_are_written_and_what_has_no_form_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One file for each question and point of a CSE; a line on stderr for what cannot be."""
    folder = tmp_path / "made" / "here"
    assert cli.main(["check", "mainline", "--litmus", str(folder)]) == 0
    written = sorted(path.name for path in folder.iterdir())
    assert "mainline+fresh+farA-farB.litmus" in written
    assert capsys.readouterr().out == f"{folder}: {len(written)} files\n"
    assert cli.main(["check", "literal-before-entry", "--litmus", str(folder)]) == 2
    assert "no litmus file for literal-before-entry" in capsys.readouterr().err
    both = ["literal-before-entry", "mainline"]
    assert cli.main(["check", *both, "--litmus", str(folder / "all")]) == 2
    printed = capsys.readouterr()
    assert "no litmus file for literal-before-entry+live+nearA-nearB: " in printed.err
    assert "questions more)" in printed.err
    assert any(path.name.startswith("mainline+") for path in (folder / "all").iterdir())
    assert cli.main(["litmus", str(folder / "mainline+fresh+farA-farB.litmus")]) == 0
    assert "Observation mainline+fresh+farA-farB Sometimes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "change", "what"),
    [
        ("local-stub", ("far A", "far B"), "fresh"),
        ("inline-stub", ("near A", "far B"), "live"),
        ("slot-inline-literal", ("near A", "null"), "cmodx"),
        ("adrp-add", ("far A", "near B", "far B"), "live"),
        ("inline-stub", ("near A", "far B"), "landing"),
    ],
)
def test_a_drawing_is_xml_and_needs_nothing_else(
    name: str, change: tuple[str, ...], what: str
) -> None:
    """A box for each event with its text, an arrow for each value read from a write; no links."""
    told = tell(notation.load(name), change, what)
    picture = drawing.svg(told.picture)
    root = ElementTree.fromstring(picture)
    boxes = root.findall("{http://www.w3.org/2000/svg}rect")[1:]
    assert len(boxes) == (len(told.execution.events) if told.execution else 0)
    if told.execution and not told.cycle:
        read = [r for r, w in told.execution.rf.items() if w >= 0]
        assert picture.count(">rf</text>") == len(read)
    for edge in told.cycle:
        assert f">{edge.axiom}</text>" in picture
    page = drawing.html(told.picture, told.about, told.text)
    assert "http" not in page.replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert picture in page


def test_explain_draws_where_it_is_told_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Text on stdout, the drawing and the page in files."""
    svg, page = tmp_path / "a.svg", tmp_path / "a.html"
    arguments = ["check", "--explain", "local-stub", "far-far", "--svg", str(svg)]
    assert cli.main([*arguments, "--html", str(page)]) == 0
    assert "stale code of far B" in capsys.readouterr().out
    assert svg.read_text().startswith("<svg")
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_the_matrix_has_a_row_for_each_design_and_the_exit_status_is_for_claims(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A design that claims nothing fails quietly, one that claims what doesn't hold with 1."""
    assert cli.main(["check", "inline-stub", "mainline"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["design", *PROPERTIES]
    assert [line.split()[0] for line in lines[1:3]] == ["inline-stub", "mainline"]
    text = Path(notation.SHIPPED, "mainline.s").read_text()
    mine = tmp_path / "mine.s"
    mine.write_text(text.replace("        .isa", "        .claims live fresh\n        .isa"))
    assert cli.main(["check", str(mine)]) == 1
    printed = capsys.readouterr()
    assert "NO 8/8" in printed.out
    assert "mine claims fresh, and near A → near B breaks it" in printed.err


def test_json_has_the_documented_shape(capsys: pytest.CaptureFixture[str]) -> None:
    """The edition and the CPU; names, claims, and for each change and property the answer."""
    assert cli.main(["check", "--json", "data-literal"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["edition"], data["cpu"], data["claims_hold"]) == ("present", None, True)
    (design,) = data["designs"]
    assert (design["name"], design["claims"], len(design["changes"])) == ("data-literal", [], 14)
    fresh = next(c for c in design["changes"] if c["change"] == ["far A", "far B"])
    assert fresh["properties"]["fresh"] == {
        "holds": False,
        "says": "a call runs stale code of far B",
        "fails_with": ["IDC=0 DIC=0", "IDC=1 DIC=0", "IDC=1 DIC=1"],
        "by_edition": {},
        "by_erratum": False,
    }
    assert fresh["properties"]["cmodx"]["by_edition"] == {
        "every": True, "newer": True, "present": True
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["check", "nothing.s"], 2, "nothing.s: No such file"),
        (["check", "--explain", "inline-stub", "near-sideways"], 2, "sideways"),
        (["check", "--explain", "inline-stub", "null-ret0", "--property", "fresh"], 2, "ret0"),
        (["check", "--explain", "inline-stub", "near-far", "--property", "best"], 2, "best"),
        (["check", "--svg", "x.svg"], 2, "--explain"),
        (["check", "--explain", "mainline", "far-null", "--two"], 2, "--two"),
        (["litmus", "missing.litmus"], 2, "missing.litmus"),
    ],
)
def test_bad_input_is_one_clear_line(
    arguments: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """On stderr, with what was wrong."""
    assert cli.main(arguments) == status
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_ctrl_c_stops_at_once() -> None:
    """Ctrl-C on a terminal in the middle of the longest question: one line, and no answer."""
    process, terminal = pty.fork()
    if not process:
        # As a shell starts it; what runs these tests may ignore interrupts.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.environ["TERM"] = "xterm"
        os.execv(sys.executable, [sys.executable, "-m", "static_call", "check", "--two"])
    try:
        shown = b""
        while b"/" not in shown:  # 3/126: it is at work
            shown += read_soon(terminal)
        os.write(terminal, b"\x03")
        while more := read_soon(terminal):
            shown += more
    except BaseException:
        os.kill(process, signal.SIGKILL)
        raise
    finally:
        os.close(terminal)
        _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 130
    assert shown.endswith(b"static-call: interrupted\r\n")
    assert b"landing" not in shown, "the table"


def read_soon(terminal: int) -> bytes:
    """What a terminal shows next; nothing, once no process has it open any more."""
    assert select.select([terminal], [], [], patient(20))[0], "nothing was shown"
    try:
        return os.read(terminal, 4096)
    except OSError as error:
        if error.errno != errno.EIO:  # which is the end of a terminal
            raise
        return b""
