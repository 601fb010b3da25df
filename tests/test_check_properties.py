"""The table of properties: a property needs nothing but a row."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from static_call.check import export, report, verdicts
from static_call.check.checker import Checker, Failure
from static_call.check.properties import ROWS, Property
from static_call.check.questions import Question
from static_call.check.scene import Scene
from static_call.check.story import tell
from static_call.design import notation
from static_call.design.text import PROPERTIES
from static_call.memory_model import drawing
from static_call.memory_model.litmus import run
from static_call.memory_model.litmus_reader import read
from static_call.memory_model.litmus_writer import NotExpressible
from static_call.memory_model.model import CACHE_TYPES, Model

STUB = notation.load("inline-stub")


def reaches(checker: Checker, question: Question, model: Model) -> Failure | str:
    """Whether every call reaches a function: the toy's question."""
    scene = checker.scene(question)
    paths = checker.explored(question).paths[1]
    back = [path for path in paths if scene.outcome(path) == "returns"]
    execution = checker.with_caller(question, model, back)
    return Failure(question, "a call returns at once", execution) if execution else "all go on"


TOY = Property(
    "reaches",
    "every call reaches a function",
    asks=lambda question: [question],
    breaks=reaches,
    remedies=lambda checker, failure: ["a target that is not null"],
    closest=Scene.is_wrong,
    export=lambda question: [question],
    promised=lambda name, design: name == "reaches",
)
"""A property that no other file knows."""


def test_the_rows_are_what_a_design_can_claim_in_that_order() -> None:
    """A name that a design can claim has a row, and the columns of tables are in one order."""
    assert [row.name for row in ROWS] == list(PROPERTIES)


def test_a_row_gets_a_verdict() -> None:
    """Yes, with what it says, or no, with an execution in each cache type where it fails."""
    (yes,) = verdicts.check(STUB, ("near A", "far B"), [TOY])
    assert (yes.name, yes.holds, yes.says) == ("reaches", True, "all go on")
    (no,) = verdicts.check(STUB, ("near A", "null"), [TOY])
    assert (no.holds, no.says, no.models) == (False, "a call returns at once", CACHE_TYPES)
    assert no.failure is not None
    assert no.failure.execution.paths[1].fault == ""


def test_a_row_gets_stories_with_its_remedy() -> None:
    """Why it holds, by the forbidden execution that its row asks for, or without one; and why not,
    with what would mend it, as text and drawn."""
    change = ("near A", "null")
    no = tell(STUB, change, TOY)
    assert no.text.startswith("inline-stub: near A → null\nreaches: every call reaches a function")
    assert "does not hold in every cache type: a call returns at once" in no.text
    assert no.text.endswith("What would make it hold:\n  * a target that is not null")
    assert ElementTree.fromstring(drawing.svg(no.picture)).tag.endswith("svg")
    assert "Every call reaches a function." in drawing.html(no.picture, no.about, no.text)
    yes = tell(STUB, ("near A", "far B"), TOY)
    assert "holds in every cache type: all go on" in yes.text
    assert "round in a circle" in yes.text
    trivial = replace(TOY, closest=None, breaks=lambda *_: "", trivially="it is so")
    assert tell(STUB, change, trivial).text.endswith("\n\nholds: it is so")


def test_a_row_that_another_implies_is_asked_only_where_that_one_fails() -> None:
    """It cannot fail where the other holds, so its own answer is not asked for there."""
    implied = replace(TOY, implied_by="live")
    (verdict,) = verdicts.check(STUB, ("near A", "null"), [implied])
    assert (verdict.holds, verdict.says) == (True, "")
    torn = notation.load("adrp-add")
    (live, verdict) = verdicts.check(torn, ("null", "far A"), ["live", implied])
    assert (live.holds, verdict.holds) == (False, False)


def test_a_row_is_in_the_tables() -> None:
    """By design, by change, its reasons, and whether what it promises is broken."""
    result = report.judge([STUB], properties=[TOY])
    ((name, cell),) = report.matrix(result)
    assert name == "inline-stub"
    assert cell.startswith("NO ")
    assert ["near A → far B", "yes"] in report.by_change(result[STUB])
    assert ["near A → null", "no"] in report.by_change(result[STUB])
    assert [row[:2] for row in report.reasons(result[STUB])] == [
        ("reaches", "a call returns at once")
    ]
    assert {verdict.name for verdict in report.broken_claims(result)} == {"reaches"}


def test_a_row_is_written_as_litmus_files() -> None:
    """Each asks its question; a property whose row has no such form gets none."""
    files = list(export.question(STUB, ("near A", "far B"), TOY))
    assert files
    for name, text in files:
        assert name.startswith("inline-stub+reaches+nearA-farB")
        assert run(read(text, name)).positive == 0
    for what in (replace(TOY, export=None), "cmodx"):
        with pytest.raises(NotExpressible, match="does not ask for a wrong call"):
            list(export.question(STUB, ("near A", "far B"), what))
