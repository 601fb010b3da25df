"""Random designs: everything that the notation accepts gets verdicts or one clear line.

RANDOM_DESIGNS=20000 tries 20,000 (`make random-designs`), RANDOM_FROM=N others.
"""

import json
import os
from collections.abc import Iterator
from random import Random

import pytest
import random_designs
from naive_model import World

from static_call.check import export, report, verdicts
from static_call.check.changes import Change, Unaskable, changes
from static_call.check.checker import Checker
from static_call.check.questions import Question
from static_call.check.story import tell
from static_call.check.verdicts import Verdict
from static_call.design import notation
from static_call.design.design import Design
from static_call.design.text import PROPERTIES
from static_call.errors import StaticCallError
from static_call.memory_model.combine import combinations
from static_call.memory_model.litmus_writer import NotExpressible
from static_call.memory_model.program import Limits

COUNT = int(os.environ.get("RANDOM_DESIGNS", "120"))
FIRST = int(os.environ.get("RANDOM_FROM", "0"))
LIMITS = Limits(unroll=2, paths=200, combinations=10000, executions=10000)
NEEDS_ORDER = ("live", "cmodx", "fresh", "settled", "landing")
"""What a barrier less can only harm."""

Answer = list[Verdict] | str


def read(text: str) -> Design | None:
    """The design, or None where the notation refuses it, naming file and line."""
    try:
        return notation.read(text, "r.s", "r")
    except notation.NotationError as error:
        one_line(error)
        return None


def one_line(error: StaticCallError) -> str:
    """An error's text, which is one line and says something."""
    text = str(error)
    assert len(text) > 10
    assert "\n" not in text
    return text


def ask(design: Design, change: Change) -> Answer:
    """The verdicts, or why there are none."""
    try:
        found = verdicts.check(design, change, limits=LIMITS)
    except StaticCallError as error:
        return one_line(error)
    assert [verdict.name for verdict in found] == list(PROPERTIES)
    for verdict in found:
        assert (verdict.failure is not None) == (verdict.holds is False)
        assert verdict.says or verdict.holds
    return found


def holds(answer: Answer) -> object:
    """What an answer amounts to."""
    return "refused" if isinstance(answer, str) else [verdict.holds for verdict in answer]


def check_report(design: Design, found: dict[Change, list[Verdict]]) -> None:
    """Tables and JSON: a claim holds if it was asked and never failed; what was not says why."""
    result = {design: found}
    data = json.loads(json.dumps(report.as_data(result, LIMITS)))
    columns: dict[str, tuple[Verdict, ...]] = dict(zip(PROPERTIES, zip(*found.values())))
    sound = all(
        {v.holds for v in columns[name]} <= {True, None} and any(v.holds for v in columns[name])
        for name in design.claims
    )
    assert data["claims_hold"] is sound
    for cell, column in zip(report.matrix(result)[0][1:], columns.values(), strict=True):
        asked = [v.holds for v in column if v.holds is not None]
        assert (cell == "-") == (not asked)
        assert cell.lower().startswith("yes") == (bool(asked) and all(asked))
    unasked = sum(v.holds is None for column in columns.values() for v in column)
    told = 0
    for names, says, _, count in report.not_asked(found):
        assert says
        told += count * (len(PROPERTIES) if names == "all" else len(names.split(", ")))
    assert told == unasked


def check_story(design: Design, change: Change, answer: list[Verdict], random: Random) -> None:
    """Every verdict can be told, and written as litmus files where that has a form."""
    verdict = random.choice(answer)
    try:
        assert "holds" in (text := tell(design, change, verdict.name, LIMITS).text) or (
            "does not hold" in text
        )
        if verdict.name in export.KINDS:
            list(export.question(design, change, verdict.name, LIMITS))
    except Unaskable:
        assert verdict.holds is None
    except (NotExpressible, StaticCallError) as error:
        one_line(error)


def naive(question: Question) -> bool | None:
    """Whether the naive model has a wrong call; None where that is too much for it, or there is a
    CSE on other PEs, which it doesn't know."""
    checker = Checker(LIMITS)
    scene, explored = checker.scene(question), checker.explored(question)
    if scene.program.cse:
        return None
    wrong = [
        paths for paths in combinations(explored, coherent=False)
        if scene.outcome(paths[1]) not in scene.right(paths[1])
    ]  # fmt: skip
    worlds = [World(scene.program, paths, False, False) for paths in wrong]
    if sum(world.tries() for world in worlds) > 2000:
        return None
    return any(True for world in worlds for _ in world.executions())


def check_design(seed: int) -> Iterator[str]:
    """One design; yields what was done."""
    random = Random(seed)
    text = random_designs.text(random)
    if (design := read(text)) is None:
        yield "not taken"
        return
    asked = random.sample(changes(), 2)
    found = {}
    for change in asked:
        answer = ask(design, change)
        if isinstance(answer, str):
            yield "refused"
            continue
        yield "answered"
        found[change] = answer
    if not found:
        return
    check_report(design, found)
    change, answer = random.choice([*found.items()])
    match random.randrange(4):
        case 0:
            again = ask(design, change)
            assert isinstance(again, list)
            for one, other in zip(answer, again, strict=True):
                assert (one.holds, one.says, one.models) == (other.holds, other.says, other.models)
            yield "asked again"
        case 1:
            other_text = read(random_designs.renamed(text))
            assert other_text is not None
            assert holds(ask(other_text, change)) == holds(answer)
            yield "renamed"
        case 2:
            shorter = random_designs.without_line(text, random)
            if shorter and (less := read(shorter)):
                after = ask(less, change)
                for before, verdict in zip(answer, after if isinstance(after, list) else ()):
                    if before.name in NEEDS_ORDER and before.holds is False:
                        assert verdict.holds is False, before.name
                yield "without a line"
        case _:
            check_story(design, change, answer, random)
            yield "told"
    if answer[0].holds is not None and (wrong := naive(Question(design, change))) is not None:
        assert wrong is (answer[0].holds is False)
        yield "naive"


@pytest.mark.parametrize("first", range(FIRST, FIRST + COUNT, 20))
def test_whatever_the_notation_takes_gets_an_answer(first: int) -> None:
    """No traceback; the same answer again, and with other names; with a barrier less none that is
    better; live as the naive model has it; tables, JSON and stories that agree with it."""
    for seed in range(first, min(first + 20, FIRST + COUNT)):
        try:
            done = [*check_design(seed)]
        except Exception as error:
            error.add_note(f"seed {seed}:\n{random_designs.text(Random(seed))}")
            raise
        assert done


def test_most_of_the_random_designs_are_worth_asking() -> None:
    """Half of the questions are answered, and each kind of comparison is made."""
    done = [what for seed in range(60) for what in check_design(seed)]
    counts = {what: done.count(what) for what in done}
    assert counts["answered"] > counts["refused"]
    assert {"asked again", "renamed", "without a line", "told", "naive"} <= {*counts}
