"""A litmus test explained: an execution that decides its condition, or what forbids all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple, cast

from static_call.isa import a64
from static_call.isa.a64_more import decode
from static_call.memory_model.cycles import Refused, forbidden, forbidden_by
from static_call.memory_model.drawing import Picture
from static_call.memory_model.events import Path
from static_call.memory_model.executions import Execution, allowed
from static_call.memory_model.explore import Explored, explore
from static_call.memory_model.litmus import Result, Tick, passes, seeks, state
from static_call.memory_model.litmus_format import TRUE, Test
from static_call.memory_model.model import INTERNAL, Model
from static_call.memory_model.program import DEFAULT, Limits, ProgramError, TooBig
from static_call.memory_model.shapes import Shapes
from static_call.memory_model.telling import circles, columns, shown

_MOST = 1000
"""How many forbidden executions are looked at for the one with the shortest cycle."""

_CANDIDATES = 100_000
"""How many candidates are looked at that even a single location forbids: some five seconds."""


class NothingToTell(ProgramError):
    """The test has no condition, or a bound left it undecided."""


@dataclass(frozen=True)
class LitmusWords:
    """What a test's threads, addresses and values are called: telling.Words.

    Attributes:
        test: The test.
    """

    test: Test

    @property
    def threads(self) -> Sequence[str]:
        """P0, P1, ..."""
        return [f"P{i}" for i in range(len(self.test.program.threads))]

    def name(self, address: int) -> str:
        """A label, a variable, an element of an array, or a number."""
        for label, at in self.test.labels.items():
            if at == address:
                return label
        for variable in self.test.variables.values():
            at = address - variable.address
            if 0 <= at < variable.size * max(variable.count, 1):
                number, rest = divmod(at, variable.size)
                element = f"[{number}]" if variable.count else ""
                return variable.name + element + (f"+{rest}" if rest else "")
        return self._in_code(address) or str(address)

    def _in_code(self, address: int) -> str:
        """An address of code by the distance from its thread's start; "" if it is none."""
        code = self.test.program.code
        if address in code or address - a64.WORD in code:
            entries = [(t.entry, i) for i, t in enumerate(self.test.program.threads)]
            entry, thread = max((one for one in entries if one[0] <= address), default=(0, -1))
            if thread >= 0:
                return f"P{thread}+{address - entry}"
        return ""

    def value(self, value: int, size: int, at: int) -> str:
        """An instruction, an address, or a number as herd7 prints it."""
        if size == a64.WORD and at in self.test.program.code:
            return decode(value, at).format(self.name)
        if value >= a64.WORD and size == 8:
            return self.name(value)
        return str(value)


@dataclass(frozen=True)
class Story:
    """A test and its reason.

    Attributes:
        picture: What can be drawn of it.
        text: All of it in words.
    """

    picture: Picture
    text: str

    @property
    def about(self) -> str:
        """A sentence on what holds."""
        return f"{self.picture.note[0].upper()}{self.picture.note[1:]}."


def tell(
    result: Result, model: Model, limits: Limits = DEFAULT, tick: Tick | None = None,
    without: frozenset[str] = frozenset(),
) -> Story:  # fmt: skip
    """The story of a test: an execution that decides its condition, or why there is none.

    Args:
        result: The test's result under the model.
        model: The model.
        limits: Bounds on the work.
        tick: Called now and then.
        without: Axioms, by name or as the walks of single rows. If there are any, the story is of
            an execution that ends as the model allows only without them, if one can be found that
            decides the condition.

    Raises:
        NothingToTell: the test has no condition, or paths that were left out could decide it.
        TooBig: a bound was exceeded.
        Unmodelled: an instruction has no semantics.
    """
    teller = _Teller(result, model, limits, tick)
    if without:
        return teller.without(without)
    teller.check()
    return teller.reached() if teller.decisive else teller.never()


class _Teller:
    """Tells of one test under one model."""

    def __init__(self, result: Result, model: Model, limits: Limits, tick: Tick | None) -> None:
        self._result, self._test, self._model, self._tick = result, result.test, model, tick
        self._words = LitmusWords(self._test)
        self._shapes = Shapes()
        self._explored: Explored = explore(self._test.program, limits)

    @property
    def decisive(self) -> int:
        """How many allowed executions decide the condition: see litmus.seeks."""
        positive = self._test.quantifier != "forall"
        return self._result.positive if positive else self._result.negative

    def check(self) -> None:
        """Raises NothingToTell."""
        if self._test.condition == TRUE:
            raise NothingToTell("it has no condition to explain")
        if not self._result.decided:
            raise NothingToTell(
                f"undecided, as paths were left out: raise {' and '.join(self._result.cut)}"
            )

    def reached(self) -> Story:
        """A condition that an execution decides."""
        found = allowed(self._explored, self._model, where=self._may_decide, shapes=self._shapes)
        execution = next(one for one in found if self._at_work() and seeks(self._test, one))
        holds = "does not hold" if self._test.quantifier == "forall" else "holds"
        count = self.decisive
        note = f"{self._verdict}: the condition {holds} in this execution"
        parts = [
            self._head,
            f"{note}{f', one of {count}' if count > 1 else ''}:",
            "\n".join(columns(self._words, execution)),
            f"At the end: {state(self._test, execution)}",
        ]
        return self._story(note, parts, execution)

    def never(self) -> Story:
        """A condition that no execution decides."""
        would = "break" if self._test.quantifier == "forall" else "satisfy"
        seen = self._forbidden_that_decide(self._explored, coherent=True)
        note = f"{self._verdict}: no values that can be read {would} the condition"
        if not seen:
            few = min(_CANDIDATES, self._explored.limits.executions)
            less = replace(self._explored, limits=replace(self._explored.limits, executions=few))
            try:
                seen = self._forbidden_that_decide(less, coherent=False)
            except TooBig:
                note = (
                    f"{self._verdict}: what would {would} the condition, if anything, breaks one "
                )
                note += f"of the axioms {', '.join(INTERNAL)}"
        if not seen:
            return self._story(note, [self._head, f"{note}."], None)
        closest = min(seen, key=lambda one: len(one.cycles[0]))
        text = f"{self._verdict}: the model forbids what would {would} the condition. It would take"
        return self._forbidden(closest, text, "and that goes round", len(seen) - 1)

    def _forbidden_that_decide(self, explored: Explored, *, coherent: bool) -> list[Refused]:
        """The first _MOST executions that would decide the condition, and what forbids them."""
        found = forbidden(
            explored, self._model, where=self._may_decide, shapes=self._shapes,
            which=lambda execution: self._at_work() and seeks(self._test, execution),
            coherent=coherent,
        )  # fmt: skip
        return list(islice(found, _MOST))

    def without(self, axioms: frozenset[str]) -> Story:
        """An execution that only some axioms forbid."""
        names = " and ".join(sorted(axioms))
        best: Refused | None = None
        for refused in forbidden_by(self._explored, self._model, axioms, self._is_new):
            decides = seeks(self._test, refused.execution)
            if decides or best is None:
                best = refused
            if decides:
                break
        if best is None:
            note = f"without {names} no other state can be reached"
            if self._result.cut:
                note += f", as far as {' and '.join(self._result.cut)} let the threads go"
            return self._story(note, [self._head, f"{note[0].upper()}{note[1:]}."], None)
        end = state(self._test, best.execution)
        text = f"Without {names} the model would allow this, with the end {end}"
        return self._forbidden(best, text, f"With {names} that goes round", 0)

    def _is_new(self, execution: Execution) -> bool:
        """Whether an execution passes the filter and ends as none does that the model allows."""
        return (
            self._at_work()
            and passes(self._test, execution)
            and state(self._test, execution) not in self._result.states
        )

    def _forbidden(self, refused: Refused, text: str, said: str, more: int) -> Story:
        """An execution that the model forbids, and why."""
        execution = refused.execution
        events = "\n".join(columns(self._words, execution, shown(refused)))
        parts = [self._head, text, events, *circles(self._words, refused, said)]
        if more:
            many = f"more than {_MOST - 1}" if more == _MOST - 1 else str(more)
            other = "execution" if more == 1 else "executions"
            parts.append(f"It forbids {many} other such {other}, by circles that are not shorter.")
        return self._story("the model forbids this execution", parts, execution, refused)

    def _story(
        self, note: str, parts: list[str], execution: Execution | None,
        refused: Refused | None = None,
    ) -> Story:  # fmt: skip
        title, text = self._test.name, "\n\n".join(parts)
        if self._test.condition != TRUE:
            note = f"{self._condition}: {note}"
        if execution is None or refused:
            cycle = shown(refused) if refused else ()
            return Story(Picture(title, note, self._words, execution, cycle), text)
        pairs = execution.conflicts
        wrong = frozenset(i for pair in pairs for i in pair)
        return Story(Picture(title, note, self._words, execution, (), pairs, wrong), text)

    @property
    def _head(self) -> str:
        return "\n".join([f"{self._test.name}: {self._condition}", *self._rests_on()])

    @property
    def _condition(self) -> str:
        return f"{self._test.quantifier} ({self._test.condition})"

    def _rests_on(self) -> Iterator[str]:
        """A line on the cache type and the editions, for a test that has instruction fetches."""
        paths = [path for paths in self._explored.paths for path in paths]
        if any(event.kind == "F" for path in paths for event in path.events):
            model, broken = self._model, self._result.broken
            says = f"with IDC={int(model.idc)} DIC={int(model.dic)}"
            if broken:
                says += f"; code is modified against B2.2.5, by --edition {' and '.join(broken)}"
                says += "" if model.edition in broken else f", not by {model.edition}"
            yield says

    @property
    def _verdict(self) -> str:
        return "Ok" if self._result.holds else "No"

    def _may_decide(self, paths: tuple[Path, ...]) -> bool:
        """Whether an execution of these paths can decide the condition, as far as they tell."""
        self._at_work()
        try:
            return seeks(self._test, cast(Execution, _Ends(paths)))
        except _InMemory:
            return True

    def _at_work(self) -> bool:
        if self._tick:
            self._tick()
        return True


class _InMemory(Exception):
    """The condition is about memory, which paths do not decide."""


class _Ends(NamedTuple):
    """What a condition reads of an execution whose order of writes is not known yet.

    Attributes:
        paths: The paths.
    """

    paths: tuple[Path, ...]

    def final(self, address: int, size: int) -> int:
        """Raises _InMemory."""
        raise _InMemory
