"""Asks the model questions, and remembers what it has worked out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

from static_call.check.basis import ARCHITECTURE, Basis
from static_call.check.build import build
from static_call.check.changes import show_change
from static_call.check.questions import Question
from static_call.check.scene import Scene
from static_call.errors import StaticCallError
from static_call.memory_model.cycles import Refused, forbidden
from static_call.memory_model.events import Path
from static_call.memory_model.executions import Execution, Where, allowed
from static_call.memory_model.explore import Explored, explore
from static_call.memory_model.model import Model
from static_call.memory_model.program import DEFAULT, Limits, TooBig
from static_call.memory_model.shapes import Shapes

Says = tuple[str, Execution]
"""What is wrong, and an execution in which it is."""


class NoWayOut(StaticCallError):
    """A call may never leave the trampoline, or not within the bounds."""


class Failure(NamedTuple):
    """An execution that breaks a property.

    Attributes:
        question: What was asked.
        says: What happens, in a few words.
        execution: The execution.
    """

    question: Question
    says: str
    execution: Execution


class Checker:
    """Answers questions about designs.

    It remembers what it has worked out for as long as it lives: use one for all changes of a
    design. The properties of a change share most of its questions, about ten; so keeping the last
    64 is enough. remedies.py asks more, but seldom the same question twice. The changes of a design
    share the shapes of their executions.

    Attributes:
        limits: The bounds on the work.
        basis: What the answers rest on.
        scene: The program of a question, and what belongs to it. Raises what `build` does.
        explored: What the threads of a question can do. Raises NoWayOut, Unmodelled and TooBig.
        wrong_call: A call that ends where it must not, given a question and a model, or None where
            the model allows none.
        executions: All executions that a model allows, given a question and the model. Those of one
            question are kept, since every edition of the text is asked about the same ones.
    """

    def __init__(self, limits: Limits = DEFAULT, basis: Basis = ARCHITECTURE) -> None:
        self.limits: Limits = limits
        self.basis: Basis = basis
        remember = lru_cache(maxsize=64)
        self.scene: Callable[[Question], Scene] = remember(build)
        self.explored: Callable[[Question], Explored] = remember(self._explored)
        self.wrong_call: Callable[[Question, Model], Says | None] = remember(self._wrong_call)
        self.executions: Callable[[Question, Model], list[Execution]]
        self.executions = lru_cache(maxsize=1)(lambda *asked: list(self.allowed(*asked)))
        self._shapes = Shapes()

    def _explored(self, question: Question) -> Explored:
        result = explore(self.scene(question).program, self.limits)
        steps, unroll = self.limits.steps, self.limits.unroll
        if not result.paths[0]:
            raise TooBig(f"the retarget takes more than {steps} instructions: raise --steps")
        if result.cut or not all(result.paths):
            raise NoWayOut(
                f"{question.design.name}, {show_change(question.change)}: a call stays in the "
                f"trampoline for more than {unroll} rounds of a loop or {steps} instructions: "
                "if it ends, raise --unroll or --steps"
            )
        return result

    def allowed(
        self, question: Question, model: Model, where: Where | None = None, *, every: bool = True
    ) -> Iterator[Execution]:
        """The executions that the model allows: see executions.allowed."""
        explored = self.explored(question)
        return allowed(explored, model, where=where, every=every, shapes=self._shapes)

    def forbidden(self, question: Question, model: Model, where: Where) -> Iterator[Refused]:
        """The executions that the model forbids, and why: see cycles.forbidden."""
        return forbidden(self.explored(question), model, where=where, shapes=self._shapes)

    def with_caller(self, question: Question, model: Model, paths: list[Path]) -> Execution | None:
        """An execution in which the caller takes one of the paths, if the model allows one."""
        wanted = {id(path) for path in paths}
        found = self.allowed(question, model, lambda taken: id(taken[1]) in wanted, every=False)
        return next(found, None)

    def wrong_calls(self, question: Question, model: Model) -> Iterator[Says]:
        """The calls that end where they must not, one for each outcome."""
        scene = self.scene(question)
        wrong: dict[str, list[Path]] = {}
        for path in self.explored(question).paths[1]:
            if scene.is_wrong(path):
                wrong.setdefault(scene.outcome(path), []).append(path)
        for outcome, paths in wrong.items():
            if execution := self.with_caller(question, model, paths):
                yield scene.says(outcome), execution

    def _wrong_call(self, question: Question, model: Model) -> Says | None:
        return next(self.wrong_calls(question, model), None)
