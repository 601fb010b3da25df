"""The properties that a design can have: a row for each.

docs/checker.md explains them. A new property is a row here; if designs can claim it, add its name
to static_call.design.text.PROPERTIES too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from static_call.check import remedies
from static_call.check.atomic import atomic
from static_call.check.checker import Checker, Failure, Says
from static_call.check.cmodx import advice, conflicts
from static_call.check.landing import landings
from static_call.check.questions import Question, stops, stores
from static_call.check.scene import Scene
from static_call.design.design import Design
from static_call.memory_model.events import Path
from static_call.memory_model.executions import Execution
from static_call.memory_model.model import Model

Asks = Callable[[Question], list[Question]]
"""The questions to ask, given the question about any call at any time."""


@dataclass(frozen=True)
class Property:
    """A property.

    Attributes:
        name: As `.claims` and the command line name it.
        meaning: What it says, in one line.
        asks: Gives the questions to ask. The property holds if none of them finds a failure.
        breaks: Finds a failure of one question under a model. If there is none, the result is a
            string: a remark, or "".
        remedies: What would mend a failure, one line each; empty if nothing is known.
        implied_by: A property that implies this one: this one fails only if that one does. "" for
            none.
        closest: Says which of the caller's paths would break it. If it holds, the story shows, of
            the forbidden executions with such a path, the one with the shortest reason. None if a
            failure depends on more than the path.
        trivially: Why it holds if there is no such execution to show.
        conflicts: The pairs of events of an execution that break it because nothing orders them.
        export: The questions that are written as litmus files, whose `exists` is a wrong call.
            None if it cannot be written so.
        promised: Whether a design promises it, given the property's name: by default in its
            `.claims`.
        by_edition: Whether the answer depends on the edition of Arm's text.
    """

    name: str
    meaning: str
    asks: Asks
    breaks: Callable[[Checker, Question, Model], Failure | str]
    remedies: Callable[[Checker, Failure], list[str]]
    implied_by: str = ""
    closest: Callable[[Scene, Path], bool] | None = None
    trivially: str = "no values that a caller can read or fetch lead to a wrong call"
    conflicts: Callable[[Execution], list[tuple[int, int]]] = lambda execution: []
    export: Asks | None = None
    promised: Callable[[str, Design], bool] = lambda name, design: name in design.claims
    by_edition: bool = False

    def failure(self, checker: Checker, question: Question, model: Model) -> Failure | str:
        """What breaks it, given the question about any call at any time.

        Returns:
            The failure; a remark, or "", if there is none.
        """
        if self.implied_by:
            stronger = named(self.implied_by)
            if not isinstance(stronger.failure(checker, question, model), Failure):
                return ""
        answer: Failure | str = ""
        for asked in self.asks(question):
            answer = self.breaks(checker, asked, model)
            if isinstance(answer, Failure):
                break
        return answer


# How it is asked


def _at_any_time(question: Question) -> list[Question]:
    return [question]


def _of_kind(kind: str, question: Question) -> list[Question]:
    return [question.but(kind=kind)]


def _stopped(question: Question) -> list[Question]:
    """The questions in which the retarget stops for good.

    A retarget that has stopped does nothing that it could not do if it went on. Take an execution
    of the shorter program, and let the remaining steps happen after everything in it, with no
    effect on it: a store last in coherence order and unread, a DC or IC after every fetch, a CSE
    taken after the call has ended. These steps order nothing before the other events, so the model
    allows the longer execution too. So a stop makes nothing possible that live, cmodx or fresh
    forbids: prefix is implied by live, and cmodx and fresh need not be asked again. An additional
    barrier never adds an execution. So it is enough to stop after the steps that do more than order
    others: stores, and CSEs, after which fewer targets are right. tests/test_check_designs.py
    verifies all this.
    """
    return [question.but(stop=stop) for stop in stops(question)]


def _after_each_store(question: Question) -> list[Question]:
    return [question.but(stop=i + 1) for i, _ in stores(question.design.retarget)]


# What breaks it


def _wrong_call(checker: Checker, question: Question, model: Model) -> Failure | str:
    found = checker.wrong_call(question, model)
    return Failure(question, *found) if found else ""


def _first(
    find: Callable[[Checker, Question, Model], Iterator[Says]],
    checker: Checker,
    question: Question,
    model: Model,
) -> Failure | str:
    found = next(find(checker, question, model), None)
    return Failure(question, *found) if found else ""


# What would mend it


def _always(remedy: str, checker: Checker, failure: Failure) -> list[str]:
    return [remedy]


ROWS = (
    Property(
        "live",
        "every call goes to a target that was current since the caller last synchronised",
        asks=_at_any_time,
        breaks=_wrong_call,
        closest=Scene.is_wrong,
        remedies=remedies.for_a_call,
        export=_at_any_time,
    ),
    Property(
        "cmodx",
        "no instruction off the list of Arm ARM B2.2.5 is modified while it may execute",
        asks=_at_any_time,
        breaks=partial(_first, conflicts),
        trivially="every word that is modified under a caller is on the list before and after",
        conflicts=lambda execution: [(one.fetch, one.write) for one in execution.conflicts],
        remedies=advice,
        by_edition=True,
    ),
    Property(
        "fresh",
        "no call runs stale code where the target's was written just before",
        asks=partial(_of_kind, "fresh"),
        breaks=_wrong_call,
        closest=Scene.is_wrong,
        remedies=remedies.for_a_call,
        export=partial(_of_kind, "fresh"),
    ),
    Property(
        "settled",
        "a call that starts after the retarget goes to the new target",
        asks=partial(_of_kind, "settled"),
        breaks=_wrong_call,
        closest=Scene.is_wrong,
        remedies=remedies.for_a_later_call,
        export=partial(_of_kind, "settled"),
    ),
    Property(
        "prefix",
        "live, with the retarget stopped for ever after any step",
        asks=_stopped,
        breaks=_wrong_call,
        implied_by="live",
        closest=Scene.is_wrong,
        remedies=remedies.for_a_call,
        export=_after_each_store,
    ),
    Property(
        "atomic",
        "every store that must be single-copy atomic is",
        asks=_at_any_time,
        breaks=atomic,
        remedies=partial(
            _always, "a single store of at most 8 aligned bytes, or FEAT_LSE2 and 16 aligned bytes"
        ),
    ),
    Property(
        "landing",
        "every indirect branch lands on a pad",
        asks=_at_any_time,
        breaks=partial(_first, landings),
        trivially="each ends on a landing pad, or at a function outside, where bti c is assumed",
        remedies=partial(_always, "a bti c where it lands"),
    ),
)
"""The properties, in the order of the names in static_call.design.text.PROPERTIES."""

_BY_NAME = {row.name: row for row in ROWS}


def named(name: str) -> Property:
    """The property of a name. Raises KeyError."""
    return _BY_NAME[name]
