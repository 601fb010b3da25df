"""Runs litmus tests. The report has herd7's form."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from static_call.isa import a64
from static_call.isa.instruction import EDITIONS
from static_call.memory_model.events import Path
from static_call.memory_model.executions import Execution, allowed
from static_call.memory_model.explore import explore
from static_call.memory_model.litmus_format import (
    QUANTIFIERS,
    ROOM,
    Condition,
    Equal,
    Fault,
    Location,
    Register,
    Test,
    Variable,
    faults_of,
    show_instruction,
)
from static_call.memory_model.litmus_values import joined
from static_call.memory_model.model import PRESENT, Model
from static_call.memory_model.program import DEFAULT, Limits, Program, Unmodelled

_MASK = (1 << 64) - 1
_CMODX = "violates-CMODX-requirements"


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a test.

    Attributes:
        test: The test.
        states: The final states, as herd7 prints them, sorted.
        positive: How many executions satisfy the condition without its quantifier.
        negative: How many do not.
        flags: As herd7 names them, by the model's edition of Arm's text.
        broken: The editions by which instructions are modified against the rule.
        edition: The model's edition.
        cut: The bounds for which paths were left out: --unroll, --steps.
    """

    test: Test
    states: tuple[str, ...]
    positive: int
    negative: int
    flags: tuple[str, ...]
    cut: tuple[str, ...]
    broken: tuple[str, ...] = ()
    edition: str = PRESENT

    @property
    def holds(self) -> bool:
        """Whether the condition with its quantifier is true."""
        match self.test.quantifier:
            case "exists":
                return self.positive > 0
            case "~exists":
                return self.positive == 0
        return self.negative == 0

    @property
    def decided(self) -> bool:
        """Whether what was left out cannot change `holds`."""
        return not self.cut or self.holds == (self.test.quantifier == "exists")

    @property
    def observation(self) -> str:
        """Never, Sometimes or Always."""
        return "Never" if not self.positive else "Sometimes" if self.negative else "Always"

    def _editions(self) -> Iterator[str]:
        """A line that says by which editions of Arm's text it is flagged, if they differ."""
        if 0 < len(self.broken) < len(EDITIONS):
            yield f"Edition {self.edition}: {_CMODX} by {', '.join(self.broken)} only"

    def __str__(self) -> str:
        test = self.test
        witnesses = self.positive, self.negative
        if test.quantifier == "~exists":
            witnesses = self.negative, self.positive
        condition = str(test.condition)
        return "\n".join(
            [
                f"Test {test.name} {QUANTIFIERS[test.quantifier]}",
                f"States {len(self.states)}",
                *self.states,
                ("Ok" if self.holds else "No") if self.decided else "Undecided",
                "Witnesses",
                f"Positive: {witnesses[0]} Negative: {witnesses[1]}",
                *(f"Flag {flag}" for flag in self.flags),
                *self._editions(),
                *(f"Cut: longer paths than {bound} allows are left out" for bound in self.cut),
                f"Condition {test.quantifier} ({condition})",
                f"Observation {test.name} {self.observation} {self.positive} {self.negative}",
            ]
        )


Tick = Callable[[], None]
"""Called now and then while a test runs."""


def run(
    test: Test, model: Model | None = None, limits: Limits = DEFAULT, tick: Tick | None = None
) -> Result:
    """Runs a test.

    Args:
        test: The test.
        model: The model; by default the test's own.
        limits: Bounds on the work.
        tick: Called now and then.

    Raises:
        TooBig: a bound was exceeded.
        Unmodelled: an instruction has no semantics, or an access is to no variable.
    """
    model = model or test.model
    explored = explore(test.program, limits)
    inside: set[int] = set()
    observed = test.observed
    faults = tuple(dict.fromkeys(faults_of(test.condition)))
    states: dict[tuple[object, ...], str] = {}
    counts = [0, 0]
    flags: set[str] = set()
    broken: set[str] = set()
    for number, execution in enumerate(allowed(explored, model)):
        if tick and not number % 256:
            tick()
        for thread, path in enumerate(execution.paths):
            if id(path) not in inside:
                _refuse_wild(test, thread, path)
                inside.add(id(path))
        if not _satisfied(test, test.only, execution):
            continue
        state = tuple(_held(test, location, execution) for location in observed)
        seen = tuple(_taken(fault, execution) for fault in faults)
        if (*state, *seen) not in states:
            states[*state, *seen] = _state(test, observed, state, faults, seen)
        counts[not _satisfied(test, test.condition, execution)] += 1
        flags.update(_flags(test.program, execution))
        if execution.conflicts_by(EDITIONS[0]):  # each edition allows what those before it do
            broken.update(name for name in EDITIONS if execution.conflicts_by(name))
    if model.edition in broken:
        flags.add(_CMODX)
    lines = tuple(states[key] for key in sorted(states))
    return Result(
        test, lines, counts[0], counts[1], tuple(sorted(flags)), explored.cut,
        tuple(name for name in EDITIONS if name in broken), model.edition,
    )  # fmt: skip


def _refuse_wild(test: Test, thread: int, path: Path) -> None:
    """Refuses a path with an access to memory that the test says nothing of.

    It might fault, or be a page of any kind; herd7 refuses such an access too. An execution that
    the model forbids may have one.
    """
    for event in path.events:
        if event.kind in "RW" and not test.has(event.address):
            verb = "reads" if event.kind == "R" else "writes"
            raise Unmodelled(
                f"P{thread} {verb} address {event.address:#x}, where the test has no variable"
            )


def seeks(test: Test, execution: Execution) -> bool:
    """Whether an execution decides a test's condition, whose answer is otherwise the opposite.

    It does if it satisfies the condition of an `exists` or `~exists`, or breaks that of a `forall`.
    """
    positive = test.quantifier != "forall"
    return passes(test, execution) and _satisfied(test, test.condition, execution) == positive


def passes(test: Test, execution: Execution) -> bool:
    """Whether an execution passes a test's filter."""
    return _satisfied(test, test.only, execution)


def state(test: Test, execution: Execution) -> str:
    """The final state of an execution, as herd7 prints it."""
    faults = tuple(dict.fromkeys(faults_of(test.condition)))
    held = [_held(test, location, execution) for location in test.observed]
    return _state(test, test.observed, held, faults, [_taken(one, execution) for one in faults])


def _held(test: Test, location: Location, execution: Execution) -> int:
    """The final value of a location: the bits that its type has."""
    if isinstance(location, Register):
        value = execution.paths[location.thread].registers[location.number]
        return test.type_of(location).cut(value)
    first, size, count = location.address, location.size, max(location.count, 1)
    return joined(execution.final(first + i * size, size) for i in range(count))


def _taken(fault: Fault, execution: Execution) -> tuple[tuple[str, int], ...]:
    """The exceptions taken that are such a fault: the kind and the address of each."""
    path = execution.paths[fault.thread]
    return tuple(
        (kind, address)
        for kind, address in dict.fromkeys(path.faults)
        if fault.kind in ("", kind) and fault.address in (None, address)
    )


def _satisfied(test: Test, condition: Condition, execution: Execution) -> bool:
    if isinstance(condition, Equal):
        location, value = condition.location, condition.value
        if not (isinstance(location, Variable) and location.count):
            value = test.type_of(location).cut(value)
        return _held(test, location, execution) == value
    if isinstance(condition, Fault):
        return bool(_taken(condition, execution))
    parts = (_satisfied(test, part, execution) for part in condition.parts)
    if condition.operator == "not":
        return not next(parts)
    return all(parts) if condition.operator == "and" else any(parts)


def _flags(program: Program, execution: Execution) -> Iterator[str]:
    modified = {
        address
        for event in execution.events
        if event.kind == "W"
        for address in range(event.address & -a64.WORD, event.address + event.size, a64.WORD)
        if address in program.code
    }
    if len(modified) > 1:
        yield "Assuming-no-two-modified-instructions-are-on-the-same-cache-line"


def _state(
    test: Test, observed: Sequence[Location], values: Sequence[int], faults: Sequence[Fault],
    seen: Sequence[tuple[tuple[str, int], ...]],
) -> str:  # fmt: skip
    parts = []
    for location, value in zip(observed, values):
        if isinstance(location, Variable) and location.count:
            elements = [value >> 64 * i & _MASK for i in reversed(range(location.count))]
            parts.append(f"{location}={{{','.join(_show(test, location, v) for v in elements)}}};")
        else:
            parts.append(f"{location}={_show(test, location, value)};")
    if faults:  # herd7 has all that were taken, then all that were not, with a blank between
        named = {
            f"Fault({_point(test, fault.thread, address)},{kind});"
            for fault, taken in zip(faults, seen) for kind, address in taken
        }  # fmt: skip
        parts.append(" ".join(sorted(named)))
        parts += [f"~Fault({fault.text});" for fault, taken in zip(faults, seen) if not taken]
    return " ".join(parts)


def _point(test: Test, thread: int, address: int) -> str:
    """Where an exception was taken: the thread, and the label if there is one."""
    names = (label for label, at in test.labels.items() if at == address)
    return next((name for name in names if name.startswith(f"P{thread}:")), f"P{thread}")


def _show(test: Test, location: Location, value: int) -> str:
    """A value as herd7 prints it: a label, a variable, an instruction, or a number."""
    if (
        location in test.shown_as
        or value in test.words
        or (isinstance(location, Variable) and location.address in test.program.code)
    ):
        text = show_instruction(value)
        return text if text == "NOP" else f'instr:"{text}"'
    for label, address in test.labels.items():
        if address == value:
            return f'label:"{label}"'
    for variable in test.variables.values():
        if variable.address == value:
            return variable.name
        if 0 < value - variable.address < ROOM:
            return f"{variable.name}+{value - variable.address}"
    return str(test.type_of(location).number(value))
