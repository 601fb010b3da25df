"""Which properties a design has, for a change of its target.

A property that holds in the weakest cache type also holds in the stronger ones, so these are asked
about only if it does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from static_call.check.basis import ARCHITECTURE, Basis
from static_call.check.changes import Change, Unaskable, show_change
from static_call.check.checker import Checker, Failure
from static_call.check.layout import NotTaken
from static_call.check.properties import ROWS, Property, named
from static_call.check.questions import Question
from static_call.design.design import Design
from static_call.isa.instruction import EDITIONS
from static_call.memory_model.model import Model
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
        basis: What the answer rests on.
        by_edition: Whether it holds by each edition of Arm's text, for a property that depends on
            that; else empty.
        erratum: Whether it fails only because of the CPU's errata: by the architecture it holds.
    """

    design: Design
    change: Change
    what: Property
    holds: bool | None
    says: str = ""
    failure: Failure | None = None
    models: tuple[Model, ...] = ()
    taken: bool = True
    basis: Basis = ARCHITECTURE
    by_edition: Mapping[str, bool] = field(default_factory=dict)
    erratum: bool = False

    @property
    def differs(self) -> bool:
        """Whether the editions of Arm's text give different answers."""
        return len({*self.by_edition.values()}) > 1

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
    basis: Basis = ARCHITECTURE,
) -> list[Verdict]:
    """The verdicts on one change of a design.

    Args:
        design: The design.
        change: The change.
        properties: Rows or their names.
        limits: Bounds on the work.
        checker: Asks the questions and remembers the answers; if given, its bounds and its basis
            apply instead of `limits` and `basis`.
        basis: What the answers rest on.

    Raises:
        NoWayOut: a call may never leave the trampoline.
        TooBig: a bound was exceeded.
        Unmodelled: the checker does not know an instruction.
        Unsupported: the checker does not know such designs.
    """
    checker = checker or Checker(limits, basis)
    rows = [named(one) if isinstance(one, str) else one for one in properties]
    try:
        return [_verdict(checker, Question(design, change), row) for row in rows]
    except (TooBig, Unmodelled) as error:
        raise type(error)(f"{design.name}, {show_change(change)}: {error}") from None


def _verdict(checker: Checker, question: Question, row: Property) -> Verdict:
    design, change, basis = question.design, question.change, checker.basis
    weakest, *stronger = basis.models
    try:
        checker.scene(question)
        found = row.failure(checker, question, weakest)
    except Unaskable as error:
        taken = not isinstance(error, NotTaken)
        return Verdict(design, change, row, None, str(error), taken=taken, basis=basis)

    def fails(model: Model) -> bool:
        return isinstance(row.failure(checker, question, model), Failure)

    by_edition = {}
    if row.by_edition:
        holds, asked = not isinstance(found, Failure), EDITIONS.index(basis.edition)
        for number, name in enumerate(EDITIONS):
            # A newer edition allows what an older one does.
            known = number >= asked if holds else number <= asked
            by_edition[name] = holds if known else not fails(replace(weakest, edition=name))
    if not isinstance(found, Failure):
        return Verdict(design, change, row, True, found, basis=basis, by_edition=by_edition)
    models = weakest, *filter(fails, stronger)
    erratum = basis.cpu is not None and not any(
        fails(replace(model, without=frozenset())) for model in models if model.without
    )
    return Verdict(
        design, change, row, False, found.says, found, models, basis=basis,
        by_edition=by_edition, erratum=erratum,
    )  # fmt: skip


def remedies(verdict: Verdict, checker: Checker | None = None) -> list[str]:
    """What would make the property hold for this change; empty where nothing is known."""
    if verdict.failure is None:
        return []
    return verdict.what.remedies(checker or Checker(), verdict.failure)
