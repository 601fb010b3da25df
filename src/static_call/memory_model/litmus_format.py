"""A litmus test: a program, and a condition on its final state, in the form that herd7 prints."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from static_call.errors import StaticCallError
from static_call.isa import a64
from static_call.isa.a64_more import decode
from static_call.memory_model.litmus_types import POINTER, Type
from static_call.memory_model.model import Model
from static_call.memory_model.program import SP, Program

ROOM = 0x100
"""Variables start at multiples of this many bytes."""


class LitmusError(StaticCallError):
    """A litmus file cannot be read. The message starts with its name and line."""


_SPECIAL = {31: "XZR", SP: "SP"}


@dataclass(frozen=True, slots=True)
class Register:
    """A thread's register in a condition.

    Attributes:
        thread: The thread.
        number: The register's number; 31 is XZR, SP is 32.
    """

    thread: int
    number: int

    def __str__(self) -> str:
        return f"{self.thread}:{_SPECIAL.get(self.number, f'X{self.number}')}"


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable in a condition.

    Attributes:
        name: Its name as written.
        address: The address of its first byte.
        size: Its size in bytes, or that of an element.
        count: How many elements it has, if it is an array; else 0.
        signed: Whether it, or each element, is a signed number.
    """

    name: str
    address: int
    size: int = 8
    count: int = 0
    signed: bool = False

    def __str__(self) -> str:
        return self.name if self.count or "[" in self.name else f"[{self.name}]"


Location = Register | Variable
"""What a condition can be about."""


@dataclass(frozen=True, slots=True)
class Equal:
    """A location holds a value.

    Attributes:
        location: The location.
        value: The value.
        text: The value as it was written.
    """

    location: Location
    value: int
    text: str

    def __str__(self) -> str:
        return f"{self.location}={self.text}"


@dataclass(frozen=True, slots=True)
class Fault:
    """A thread ended in a fault.

    Attributes:
        thread: The thread.
        address: Where it happened, if that matters.
        kind: The kind of fault, as Path.fault names it; "" for any.
        text: What the parentheses contained.
    """

    thread: int
    address: int | None
    kind: str
    text: str

    def __str__(self) -> str:
        return f"fault({self.text})"


@dataclass(frozen=True, slots=True)
class Logic:
    """A logical combination of conditions.

    Attributes:
        operator: "and", "or" or "not".
        parts: The conditions. "and" of none is true, "or" of none is false.
    """

    operator: str
    parts: tuple[Condition, ...] = ()

    def __str__(self) -> str:
        if not self.parts:
            return "true" if self.operator == "and" else "false"
        if self.operator == "not":
            return f"not ({self.parts[0]})"
        sign = " /\\ " if self.operator == "and" else " \\/ "
        return sign.join(
            f"({part})" if isinstance(part, Logic) and part.operator in ("and", "or") else str(part)
            for part in self.parts
        )


Condition = Equal | Fault | Logic
"""A condition on a final state."""

TRUE = Logic("and")
"""The condition that is always true."""

QUANTIFIERS = {"exists": "Allowed", "~exists": "Forbidden", "forall": "Required"}
"""What herd7 calls a test with such a condition."""


@dataclass(frozen=True)
class Test:
    """A litmus test.

    Attributes:
        name: Its name.
        program: Its program.
        quantifier: One of QUANTIFIERS.
        condition: The condition on the final state.
        only: Executions whose final state does not satisfy this are left out (filter).
        locations: What to show besides what the condition names.
        info: The KEY=VALUE lines of its header, with the keys in lower case.
        labels: The addresses of labels, by names such as "P0:L0".
        variables: Its variables by name.
        shown_as: Locations whose value is shown as an instruction.
        types: The types of registers that are not read as a whole.
        words: The words of instructions that it has as code or as values. Where a location holds
            one of them, it is shown as that instruction.
    """

    __test__ = False  # for pytest

    name: str
    program: Program
    quantifier: str = "forall"
    condition: Condition = TRUE
    only: Condition = TRUE
    locations: tuple[Location, ...] = ()
    info: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, int] = field(default_factory=dict)
    variables: Mapping[str, Variable] = field(default_factory=dict)
    shown_as: frozenset[Location] = frozenset()
    types: Mapping[Register, Type] = field(default_factory=dict)
    words: frozenset[int] = frozenset()

    @property
    def model(self) -> Model:
        """The model for the header: CacheType and Variant. DIC alone means both: it needs IDC."""
        kinds = set(cache_types(self.info.get("cachetype", "")))
        variants = self.info.get("variant", "").lower().replace(",", " ").split()
        bits = {"entry": "eis", "return": "eos"} if "exs" in variants else {}
        return Model(
            idc=bool(kinds & {"IDC", "DIC"}), dic="DIC" in kinds,
            unsynchronised=frozenset(kind for kind, bit in bits.items() if bit not in variants),
        )  # fmt: skip

    def type_of(self, location: Location) -> Type:
        """A location's type, or that of an array's elements."""
        if isinstance(location, Variable):
            return Type(location.size, location.signed)
        return self.types.get(location, POINTER)

    def has(self, address: int) -> bool:
        """Whether an address is in the code, in a variable, or within ROOM bytes after one."""
        return self._first <= address < self._last or address & -a64.WORD in self.program.code

    @cached_property
    def _first(self) -> int:
        return min((known.address for known in self.variables.values()), default=0)

    @cached_property
    def _last(self) -> int:
        ends = (
            known.address + known.size * max(known.count, 1) for known in self.variables.values()
        )
        return max(ends, default=-ROOM) + ROOM

    @property
    def observed(self) -> tuple[Location, ...]:
        """What a final state consists of, registers first."""
        found = {*self.locations, *locations_of(self.condition)}
        return tuple(sorted(found, key=_sort_key))


def cache_types(text: str) -> list[str]:
    """The words of a CacheType line."""
    return re.findall(r"\w+", text.upper())


def locations_of(condition: Condition) -> Iterator[Location]:
    """The locations that a condition names."""
    if isinstance(condition, Equal):
        yield condition.location
    elif isinstance(condition, Logic):
        for part in condition.parts:
            yield from locations_of(part)


def faults_of(condition: Condition) -> Iterator[Fault]:
    """The faults that a condition names."""
    if isinstance(condition, Fault):
        yield condition
    elif isinstance(condition, Logic):
        for part in condition.parts:
            yield from faults_of(part)


def _sort_key(location: Location) -> tuple[int, int, int, str]:
    if isinstance(location, Register):
        return 0, location.thread, -1 if location.number == 31 else location.number, ""
    return 1, 0, 0, location.name


def show_instruction(word: int) -> str:
    """An instruction in herd7's spelling: capitals, decimal numbers, branches as .+N."""
    insn = decode(word)
    return spell(insn, insn.format(lambda to: f".{(to + (1 << 63)) % (1 << 64) - (1 << 63):+d}"))


def spell(insn: a64.Instruction, text: str) -> str:
    """The text of an instruction, whose addresses already have names, in herd7's spelling."""
    if insn.name == "orr" and insn["n"] == 31 and "s" not in insn:
        text = re.sub(r"orr (\w+), \w+, ", r"mov \1, ", text)
    if insn.name == "movz" and "," not in text.partition("#")[2]:
        text = text.replace("movz", "mov")
    text = re.sub(r"0x[0-9a-f]+", lambda m: str(int(m[0], 16)), text)
    return re.sub(r", ", ",", text).upper()
