"""One verdict explained: the execution that breaks a property, or what forbids all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from textwrap import wrap

from static_call.check.basis import ARCHITECTURE, Basis, say_edition
from static_call.check.changes import Change, Unaskable, show_change
from static_call.check.checker import Checker
from static_call.check.properties import ROWS, Property
from static_call.check.questions import Question
from static_call.check.report import show_models
from static_call.check.scene import Scene
from static_call.check.verdicts import Verdict, check, remedies
from static_call.design.design import Design
from static_call.isa.a64_more import decode
from static_call.memory_model.cycles import Edge, Refused
from static_call.memory_model.drawing import Picture
from static_call.memory_model.events import Path
from static_call.memory_model.executions import Execution
from static_call.memory_model.program import DEFAULT, Limits
from static_call.memory_model.telling import circles, columns, shown

_WIDE = 96
"""Columns of the lines that are wrapped."""


@dataclass(frozen=True)
class Story:
    """A verdict and its reason.

    Attributes:
        verdict: The verdict.
        scene: The scene of the execution.
        execution: The execution that breaks the property. If there is none, the forbidden execution
            with the shortest reason; None if no values lead to a wrong call.
        cycle: What forbids it: the edges of its shortest cycles, at most two.
        text: All of it in words.
    """

    verdict: Verdict
    scene: Scene
    execution: Execution | None
    cycle: tuple[Edge, ...]
    text: str

    @property
    def about(self) -> str:
        """A sentence on what was asked."""
        return f"{self.verdict.what.meaning.capitalize()}."

    @property
    def picture(self) -> Picture:
        """What drawing.py draws of it."""
        verdict, execution = self.verdict, self.execution
        title = f"{verdict.design.name}: {show_change(verdict.change)}"
        if execution is None:
            note = f"{verdict.name} holds: no values lead to a wrong call"
            return Picture(title, note, self.scene, None)
        conflicts = verdict.what.conflicts(execution)
        if verdict.holds is not False:
            note = f"{verdict.name} holds: the model forbids this execution"
            return Picture(title, note, self.scene, execution, self.cycle, conflicts)
        last = max((i for i in execution.rf if execution.thread[i] == 1), default=-1)
        wrong = [i for pair in conflicts for i in pair] or [last]
        note = f"{verdict.name}: {verdict.says}"
        return Picture(title, note, self.scene, execution, (), conflicts, frozenset(wrong))


def tell(
    design: Design,
    change: Change,
    what: Property | str | None = None,
    limits: Limits = DEFAULT,
    basis: Basis = ARCHITECTURE,
) -> Story:
    """The story of one property.

    Args:
        design: The design.
        change: The change of its target.
        what: The property or its name; by default the first that does not hold, or the first if all
            hold.
        limits: Bounds on the work.
        basis: What the answer rests on.

    Raises:
        Unaskable: the property cannot be asked for this change.
        StaticCallError: what `check` raises.
    """
    checker = Checker(limits, basis)
    verdicts = check(design, change, [what] if what else ROWS, checker=checker)
    verdict = next((v for v in verdicts if v.holds is False), verdicts[0])
    if verdict.holds is None:
        raise Unaskable(f"{design.name}, {show_change(change)}: {verdict.says}")
    if verdict.failure:
        return _broken(checker, verdict)
    scene, refused = _closest(checker, Question(design, change), verdict.what)
    return _forbidden(verdict, scene, refused) if refused else _trivial(verdict, scene)


def _head(verdict: Verdict) -> str:
    change = show_change(verdict.change)
    lines = [f"{verdict.design.name}: {change}", f"{verdict.name}: {verdict.what.meaning}"]
    return "\n".join([*lines, *_rests_on(verdict)])


def _rests_on(verdict: Verdict) -> Iterator[str]:
    """Lines on the edition of Arm's text and the CPU, where the answer depends on them."""
    basis = verdict.basis
    if verdict.by_edition:
        yield f"by Arm's text: {say_edition(basis.edition)}"
    for edition, holds in verdict.by_edition.items():
        if holds != verdict.by_edition[basis.edition]:
            yield f"  by {say_edition(edition)} it {'holds' if holds else 'does not hold'}"
    if basis.cpu:
        yield from wrap(f"on {basis.cpu}", _WIDE)
    if verdict.erratum:
        yield "  by the architecture it holds"


def _broken(checker: Checker, verdict: Verdict) -> Story:
    """A property that does not hold."""
    assert verdict.failure is not None
    scene, execution = checker.scene(verdict.failure.question), verdict.failure.execution
    parts = [
        _head(verdict),
        f"does not hold in {show_models(verdict.models, verdict.basis.cpu)}: {verdict.says}",
        "\n".join(columns(scene, execution)),
        _ending(scene, execution),
        _advice(remedies(verdict, checker)),
    ]
    return Story(verdict, scene, execution, (), "\n\n".join(parts))


def _ending(scene: Scene, execution: Execution) -> str:
    """What the caller executed, where that led, and what would have been right."""
    path = execution.paths[1]
    shown = [decode(done.word, done.address).format(scene.name) for done in path.trace]
    outcome = scene.outcome(path)
    right = " or ".join(sorted(scene.right(path)))
    if scene.question.kind == "fresh":
        right = f"{right}, as written"
    text = f"The caller executes {'; '.join(shown)}: {outcome}."
    return text if outcome in scene.right(path) else f"{text}\nRight would be: {right}."


def _trivial(verdict: Verdict, scene: Scene) -> Story:
    """A property that holds without an execution to show."""
    text = f"{_head(verdict)}\n\nholds: {verdict.says or verdict.what.trivially}"
    return Story(verdict, scene, None, (), text)


def _forbidden(verdict: Verdict, scene: Scene, refused: Refused) -> Story:
    """A property that holds because the model forbids the executions that would break it."""
    execution, cycle = refused.execution, shown(refused)
    outcome = scene.outcome(execution.paths[1])
    where = show_models(verdict.basis.models, verdict.basis.cpu)
    parts = [
        _head(verdict),
        f"holds in {where}" + (f": {verdict.says}" if verdict.says else ""),
        f"The model forbids what would break it: a call that ends in {outcome!r}. It would take",
        "\n".join(columns(scene, execution, cycle)),
        *circles(scene, refused),
    ]
    return Story(verdict, scene, execution, cycle, "\n\n".join(parts))


def _advice(found: list[str]) -> str:
    if not found:
        return "No one or two barriers, context synchronisation events or cleanings mend it."
    lines = "\n".join(f"  * {one}" for one in found)
    return "What would make it hold" + (", any one of" if len(found) > 1 else "") + f":\n{lines}"


def _closest(checker: Checker, question: Question, what: Property) -> tuple[Scene, Refused | None]:
    """The forbidden execution that would break a property, with the shortest reason."""
    if what.closest is None:
        return checker.scene(question), None
    best: tuple[Scene, Refused] | None = None
    questions = what.asks(question)
    for asked in questions:
        for scene, refused in _refused(checker, asked, what.closest):
            if best is None or len(refused.cycles[0]) < len(best[1].cycles[0]):
                best = scene, refused
    return best or (checker.scene(questions[-1]), None)


def _refused(
    checker: Checker, question: Question, breaks: Callable[[Scene, Path], bool]
) -> Iterator[tuple[Scene, Refused]]:
    scene = checker.scene(question)
    weakest = checker.basis.weakest
    for refused in checker.forbidden(question, weakest, lambda paths: breaks(scene, paths[1])):
        yield scene, refused
