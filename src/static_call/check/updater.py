"""The code of a question's updater, thread 0."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

from static_call.check.layout import UPDATER
from static_call.check.questions import Question, is_store, maintenance
from static_call.design.retarget import Cse, Retarget
from static_call.isa import a64
from static_call.isa.a64_more import assemble, decode

FRESH = a64.assemble("bti c")
"""The first instruction of a function whose code is written by the updater."""

_NOP = a64.assemble("nop")

assembled: Callable[[str, int], int] = lru_cache(maxsize=256)(assemble)
"""`assemble` with a cache, as the programs share most of their lines. The single changes of the
shipped designs have 6,582 lines, 99 of them different."""


class Updater:
    """Puts thread 0's code together.

    Attributes:
        code: Its words by address.
        cse: The addresses of the CSEs on every PE, in order.
        current: For each of them the first goal that is still current after it.
        torn: The addresses of the stores that are made in two halves.
        ranges: The addresses where each retarget's code begins and ends.
    """

    def __init__(self) -> None:
        self.code: dict[int, int] = {}
        self.cse: list[int] = []
        self.current: list[int] = []
        self.torn: list[int] = []
        self.ranges: list[tuple[int, int]] = []
        self._at = UPDATER
        self._known: dict[int, int] = {}

    def add(self, insn: str | a64.Instruction | Cse, current: int = 0) -> None:
        """Adds an instruction, or a CSE after which goal `current` is the first still current."""
        if isinstance(insn, Cse) or insn == "cse":
            self.cse.append(self._at)
            self.current.append(current)
            self.code[self._at] = _NOP  # never executed: see Program.cse
        else:
            word = assembled(insn, 0) if isinstance(insn, str) else insn.encode(self._at)
            self.code[self._at] = word
            insn = decode(word, self._at)
            self._known.pop(insn["d"] if "d" in insn else insn.get("t"), None)
        self._at += a64.WORD

    def constants(self, registers: Mapping[int, int]) -> None:
        """Sets registers that do not have these values already."""
        for number, value in registers.items():
            if self._known.get(number) == value:
                continue
            self.add(f"movz x{number}, #{value & 0xFFFF:#x}")
            for shift in (16, 32, 48):
                if value >> shift & 0xFFFF:
                    self.add(f"movk x{number}, #{value >> shift & 0xFFFF:#x}, lsl #{shift}")
            self._known[number] = value

    def write_code(self, address: int) -> None:
        """Writes a function's first instruction, and makes it fetchable."""
        self.constants({0: address, 1: FRESH})
        for line in ("str w1, [x0]", *maintenance(0)):
            self.add(line)

    def retarget(self, plan: Retarget, number: int, question: Question | None) -> None:
        """Adds the retarget to a goal.

        Args:
            plan: The retarget.
            number: The goal's number.
            question: Says how to change the retarget, if it is the last one.
        """
        self.constants(dict(enumerate(plan.registers)))
        first = self._at
        code = [*plan.code]
        stop, torn = len(code), None
        insert: tuple[tuple[int, str], ...] = ()
        if question is not None:
            stop = stop if question.stop is None else question.stop
            torn, insert = question.torn, question.insert
            if question.swap:
                i, j = question.swap
                code[i], code[j] = code[j], code[i]
        stores = [i for i, insn in enumerate(code) if is_store(insn)]
        current = number - 1
        for i, insn in enumerate([*code, None]):
            if i > stop:
                break
            for where, text in insert:
                if where == i:
                    self.add(text, current)
            if insn is None or i == stop:
                break
            if torn == i:
                self.torn.append(self._at)
            self.add(insn, current)
            if stores and i == stores[-1]:
                current = number
        self.ranges.append((first, self._at))
