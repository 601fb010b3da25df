"""Which properties a design has, for a change of its target.

A property that holds with IDC=0 and DIC=0 also holds in the stronger cache types, so these are
asked about only if it does not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from static_call.check.changes import Change, Unaskable, show_change
from static_call.check.checker import Checker, Failure
from static_call.check.layout import NotTaken
from static_call.check.properties import ROWS, Property, named
from static_call.check.questions import Question
from static_call.design.design import Design
from static_call.memory_model.model import CACHE_TYPES, WEAKEST, Model
from static_call.memory_model.program import DEFAULT, Limits, TooBig, Unmodelled


@dataclass(frozen=True)
class Verdict:
    """Whether a design has a property, for one change.

    Attributes:
        design: The design.
        change: The change.
        what: The property.
        holds: The answer. None if the question was not asked: there is no such change, no target
            has code that can be fresh, or the design refuses such a target. None is not a yes.
        says: The reason, in a few words; "" if there is nothing to say.
        failure: What breaks it in the weakest cache type.
        models: The cache types in which it fails.
        taken: Whether the design can make the change at all.
    """

    design: Design
    change: Change
    what: Property
    holds: bool | None
    says: str = ""
    failure: Failure | None = None
    models: tuple[Model, ...] = ()
    taken: bool = True

    @property
    def name(self) -> str:
        """The property's name."""
        return self.what.name

    @property
    def claimed(self) -> bool:
        """Whether the design promises the property."""
        return self.what.promised(self.name, self.design)


def check(
    design: Design,
    change: Change,
    properties: Iterable[Property | str] = ROWS,
    limits: Limits = DEFAULT,
    checker: Checker | None = None,
) -> list[Verdict]:
    """The verdicts on one change of a design.

    Args:
        design: The design.
        change: The change.
        properties: Rows or their names.
        limits: Bounds on the work.
        checker: Asks the questions and remembers the answers; if given, its bounds apply instead of
            `limits`.

    Raises:
        NoWayOut: a call may never leave the trampoline.
        TooBig: a bound was exceeded.
        Unmodelled: the checker does not know an instruction.
        Unsupported: the checker does not know such designs.
    """
    checker = checker or Checker(limits)
    rows = [named(one) if isinstance(one, str) else one for one in properties]
    try:
        return [_verdict(checker, Question(design, change), row) for row in rows]
    except (TooBig, Unmodelled) as error:
        raise type(error)(f"{design.name}, {show_change(change)}: {error}") from None


def _verdict(checker: Checker, question: Question, row: Property) -> Verdict:
    design, change = question.design, question.change
    try:
        checker.scene(question)
        found = row.failure(checker, question, WEAKEST)
    except Unaskable as error:
        taken = not isinstance(error, NotTaken)
        return Verdict(design, change, row, None, str(error), taken=taken)
    if not isinstance(found, Failure):
        return Verdict(design, change, row, True, found)
    others = [
        model
        for model in CACHE_TYPES[1:]
        if isinstance(row.failure(checker, question, model), Failure)
    ]
    return Verdict(design, change, row, False, found.says, found, (WEAKEST, *others))


def remedies(verdict: Verdict, checker: Checker | None = None) -> list[str]:
    """What would make the property hold for this change; empty where nothing is known."""
    if verdict.failure is None:
        return []
    return verdict.what.remedies(checker or Checker(), verdict.failure)
