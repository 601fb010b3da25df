"""Reads what comes after the threads of a litmus file: locations, filter and condition."""

from __future__ import annotations

import re

from static_call.memory_model import litmus_unmodelled
from static_call.memory_model.litmus_format import (
    QUANTIFIERS,
    TRUE,
    Condition,
    Equal,
    Fault,
    Location,
    Logic,
    Variable,
)
from static_call.memory_model.litmus_types import INT
from static_call.memory_model.litmus_values import Names, joined

FAULTS = ("UndefinedInstruction", "SupervisorCall", "Breakpoint")
"""The kinds of fault that a condition can name: see Path.fault."""


class ConditionReader:
    """Reads the text from `start` on.

    Attributes:
        quantifier: One of litmus_format.QUANTIFIERS, or "" where there is none.
        condition: The condition.
        only: The filter.
        locations: What else to show.
    """

    quantifier: str

    _TOKEN = re.compile(
        r'\s*(/\\|\\/|=>|<>|!=|==|instr:\s*"[^"]*"|label:\s*"[^"]*"|"[^"]*"'
        r"|\d+:\s*[A-Za-z_.$][\w.$]*|P\d+:[\w.$]+|-?0[xX][0-9a-fA-F]+|-?\d+|~|&"
        r"|[A-Za-z_][\w.]*|[][(){};,=*]|\S)"
    )

    def __init__(self, names: Names, start: int) -> None:
        self._names = names
        self._tokens = [
            (match[1], match.start(1)) for match in self._TOKEN.finditer(names.text, start)
        ]
        self._at = 0
        self.quantifier = ""
        self.condition: Condition = TRUE
        self.only: Condition = TRUE
        self.locations: list[Location] = []

    def _peek(self) -> str:
        return self._tokens[self._at][0] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        self._names.at = self._tokens[self._at][1] if token else len(self._names.text)
        self._at += 1
        return token

    def _expect(self, token: str) -> None:
        if (found := self._next()) != token:
            raise self._names.fail(f"expected {token} instead of {found or 'the end'}")

    def read(self) -> None:
        """Reads all of it. Raises LitmusError."""
        text = self._names.text
        start = self._tokens[0][1] if self._tokens else len(text)
        if what := litmus_unmodelled.value(text[start:]):
            self._names.at = start
            raise self._names.fail(f"the condition is about {what}: not modelled")
        while self._peek():
            word = self._next()
            if word in ("~", "not") and self._peek() == "exists":
                word = "~" + self._next()
            if word == "locations":
                self._read_locations()
            elif word == "filter":
                if self.only != TRUE:
                    raise self._names.fail("a second filter")
                self.only = self._either()
            elif word in QUANTIFIERS:
                if self.quantifier:
                    raise self._names.fail("a second condition")
                self.quantifier, self.condition = word, self._either()
            elif word != ";":
                raise self._names.fail(
                    f"expected exists, ~exists, forall, locations or filter, not {word}"
                )

    def _read_locations(self) -> None:
        self._expect("[")
        while self._peek() not in ("]", ""):
            if self._peek() in (";", ","):
                self._next()
            else:
                self.locations.append(self._location())
                if re.fullmatch(r"u?int\d*_t|ins_t|\*", self._peek()):
                    self._next()
        self._expect("]")

    def _either(self) -> Condition:
        parts = [self._both()]
        while self._peek() in ("\\/", "=>"):
            if self._next() == "=>":
                return Logic("or", (Logic("not", (parts[-1],)), self._either()))
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else Logic("or", tuple(parts))

    def _both(self) -> Condition:
        parts = [self._one()]
        while self._peek() == "/\\":
            self._next()
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else Logic("and", tuple(parts))

    def _one(self) -> Condition:
        token = self._peek()
        if token in ("~", "not"):
            self._next()
            return Logic("not", (self._one(),))
        if token == "(":
            self._next()
            inner = self._either()
            self._expect(")")
            return inner
        if token in ("true", "false"):
            self._next()
            return Logic("and" if token == "true" else "or")
        if token in ("fault", "Fault"):
            return self._fault()
        location = self._location()
        sign = self._next()
        if sign not in ("=", "==", "!=", "<>"):
            raise self._names.fail(f"expected = instead of {sign or 'the end'}")
        text = self._next()
        while text.startswith("{") and not text.endswith("}"):
            if not self._peek():
                raise self._names.fail("expected } at the end of the array")
            text += self._next()
        if isinstance(location, Variable):
            value = joined(self._names.values(location, text))
        else:
            value = self._names.value(text)
        if text.startswith(("instr:", '"')) or text.upper() == "NOP":
            self._names.shown_as.add(location)
        equal = Equal(location, value, text)
        return equal if sign in ("=", "==") else Logic("not", (equal,))

    def _fault(self) -> Condition:
        self._next()
        self._expect("(")
        words = []
        while self._peek() not in (")", ""):
            words.append(self._next())
        self._expect(")")
        match = re.fullmatch(r"(?:label:)?\"?P?(\d+)(:[\w.$]+)?\"?", words[0]) if words else None
        if match is None:
            raise self._names.fail("expected fault(P0) or fault(P0:L0, KIND)")
        address = self._names.labels.get(f"P{match[1]}{match[2]}") if match[2] else None
        if match[2] and address is None:
            raise self._names.fail(f"no label P{match[1]}{match[2]}")
        names = [word for word in words[1:] if re.fullmatch(r"[A-Za-z]\w*", word)]
        for name in names:
            if what := litmus_unmodelled.fault(name):
                raise self._names.fail(f"fault({''.join(words)}): {what} are not modelled")
        for name in names:
            if name not in FAULTS:
                raise self._names.fail(
                    f"fault({''.join(words)}): {name} is not one of {', '.join(FAULTS)}: faults of "
                    "memory accesses are not modelled"
                )
        return Fault(
            self._names.thread(int(match[1])), address, names[-1] if names else "", "".join(words)
        )

    def _location(self) -> Location:
        token = self._next()
        names = self._names
        if token in ("[", "*"):
            inner = self._next()
            if token == "[":
                self._expect("]")
            if inner.startswith("P") and inner in names.labels:
                return Variable(inner, names.labels[inner], 4)
            token = inner
        if register := names.register(token):
            names.thread(register.thread)
            names.types.setdefault(register, INT)
            return register
        if token in names.labels:
            return Variable(token, names.labels[token], 4)
        if re.fullmatch(r"[A-Za-z_][\w.]*", token):
            variable = names.variable(token)
            if self._peek() == "[":
                self._next()
                variable = names.element(variable, self._next())
                self._expect("]")
            return variable
        raise names.fail(f"expected a register or a variable, not {token or 'the end'}")
