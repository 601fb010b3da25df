"""What a litmus file's initial state and condition are written with: names and values."""

from __future__ import annotations

import re
from collections.abc import Iterable

from static_call.isa import a64
from static_call.isa.a64_more import assemble
from static_call.memory_model import litmus_unmodelled
from static_call.memory_model.litmus_format import (
    ROOM,
    LitmusError,
    Location,
    Register,
    Variable,
)
from static_call.memory_model.litmus_types import INT, Type
from static_call.memory_model.program import SP

_DATA = 0x800000
_ELEMENTS = 0x1000  # of an array, at most
_MASK = (1 << 64) - 1

_REGISTER = re.compile(r"P?(\d+):\s*(?:[XWxw](\d+)|(SP|sp|[XW]ZR))")


class Names:
    """The names that a litmus file has defined so far, and the meaning of text that uses them.

    Attributes:
        text: The file, its comments blank.
        at: The offset in it that an error is about.
        variables: The variables by name.
        labels: The addresses of labels, by names such as "P0:L0".
        shown_as: Locations whose value is shown as an instruction.
        types: The types of registers that the initial state gives.
        words: The words of the instructions that are values.
        threads: How many threads there are.
    """

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.at = 0
        self.variables: dict[str, Variable] = {}
        self.labels: dict[str, int] = {}
        self.shown_as: set[Location] = set()
        self.types: dict[Register, Type] = {}
        self.words: set[int] = set()
        self.threads = 0
        self._file = file
        self._free = _DATA

    def fail(self, message: str, at: int | None = None) -> LitmusError:
        """An error at an offset in the text, by default at `self.at`. Its message is one line."""
        line = self.text.count("\n", 0, self.at if at is None else at) + 1
        return LitmusError(f"{self._file}:{line}: " + re.sub(r"\s*\n\s*", " ", message))

    def values(self, variable: Variable, text: str) -> list[int]:
        """What a variable, or each element of an array, holds, given its value as written."""
        texts = elements(text) if variable.count else [text]
        if variable.count and not text.startswith("{"):
            raise self.fail(f"{variable.name} is an array: expected {{...}}, not {text}")
        if len(texts) > max(variable.count, 1):
            raise self.fail(f"{len(texts)} values for the {variable.count} of {variable.name}")
        values = []
        bits = 8 * variable.size
        for one in texts:
            values.append(self.value(one) & (1 << bits) - 1)  # what fits, as in C
        return values

    def register(self, text: str) -> Register | None:
        """The register that a text names, or None where it is not a register's name."""
        match = _REGISTER.fullmatch(text)
        if match is None:
            return None
        if match[2] and int(match[2]) > 30:
            raise self.fail(f"no register {text}: there are X0 to X30 and SP")
        special = 31 if "ZR" in (match[3] or "") else SP
        return Register(int(match[1]), int(match[2]) if match[2] else special)

    def thread(self, number: int) -> int:
        """The number of a thread that a condition names. There must be such a thread.

        The initial state may name others; their values then have no effect.
        """
        if number >= self.threads:
            raise self.fail(f"no thread P{number}")
        return number

    def variable(self, name: str, kind: Type | None = None, count: int = 0) -> Variable:
        """The variable of a name, or a new one of this type, by default int."""
        known = self.variables.get(name)
        if known is None:
            size, signed, _ = kind or INT
            known = self.variables[name] = Variable(name, self._free, size, count, signed)
            if count > _ELEMENTS:
                raise self.fail(f"{name} has more than {_ELEMENTS} elements")
            self._free += (known.size * max(count, 1) // ROOM + 1) * ROOM
        elif (kind and (kind.size, kind.signed) != (known.size, known.signed)) or count not in (
            0,
            known.count,
        ):
            raise self.fail(f"a second {name} of another type")
        return known

    def element(self, variable: Variable, index: str) -> Variable:
        """An element of an array, given its index as written."""
        if not re.fullmatch(r"[0-9]{1,9}", index) or int(index) >= variable.count:
            raise self.fail(f"no element {variable.name}[{index}]")
        at = variable.address + int(index) * variable.size
        return Variable(f"{variable.name}[{int(index)}]", at, variable.size, signed=variable.signed)

    def value(self, text: str) -> int:
        """A value of the initial state or of a condition."""
        text = text.strip()
        if what := litmus_unmodelled.value(text):
            raise self.fail(f"{text}: {what} are not modelled")
        if re.fullmatch(r"[+-]?(0[xX][0-9a-fA-F]+|0[bB][01]+|\d+)[uUlL]*", text):
            text = text.rstrip("uUlL")
            number = int(text, 0) if not re.fullmatch(r"[+-]?0\d+", text) else int(text)
            if not -(1 << 63) <= number <= _MASK:
                raise self.fail(f"{text} has more than 64 bits")
            return number & _MASK
        if match := re.fullmatch(r'(?:instr:)?\s*"([^"]*)"', text):
            return self.word(match[1])
        if match := re.fullmatch(r'(?:label:)?\s*"?P?(\d+:[A-Za-z_.$][\w.$]*)"?', text):
            label = f"P{match[1]}"
            if label not in self.labels:
                raise self.fail(f"no label {label}")
            return self.labels[label]
        if text.upper() in ("NOP", "RET", "ISB"):
            return self.word(text)
        if match := re.fullmatch(r"&?([A-Za-z_][\w.]*)(?:\s*\+\s*(\d+))?(?:\[(\d+)\])?", text):
            variable = self.variable(match[1])
            if match[3]:
                variable = self.element(variable, match[3])
            return variable.address + int(match[2] or 0)
        raise self.fail(f"expected a value, not {text!r}")

    def word(self, text: str) -> int:
        """The word of an instruction that is a value: its branches are relative to itself."""
        plain = re.sub(r"\.\s*([+-])\s*(\d+)\b", lambda m: str(int(m[1] + m[2])), text)
        try:
            word = assemble(plain)
        except KeyError as error:
            raise self.fail(f"{text}: {error.args[0]} must be .+N in a value") from None
        except a64.A64Error as error:
            raise self.fail(f"{text}: {error}") from None
        self.words.add(word)
        return word


def elements(text: str) -> list[str]:
    """The elements of an array's value; none where the text is not the value of an array."""
    if not text.startswith("{"):
        return []
    return [part.strip() for part in text.strip("{}").split(",") if part.strip()]


def joined(values: Iterable[int]) -> int:
    """An array's elements as one number, 64 bits each, the first one highest."""
    number = 0
    for value in values:
        number = number << 64 | value
    return number
