"""A question: a design, a change of its target, and how the program for it differs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from static_call.check.changes import Change
from static_call.design.design import Design
from static_call.design.retarget import Code, Cse
from static_call.isa import a64


@dataclass(frozen=True)
class Question:
    """A question to the model. build.py makes a program of it.

    Attributes:
        design: The design.
        change: The change of its target, in one or more retargets.
        kind: "call": a call at any time. "fresh": the same, where the last target's code was
            written just before the last retarget. "settled": a call that starts after the last
            retarget has returned, which the caller knows by a store-release and a load-acquire.
        stop: How many instructions of the last retarget are executed; None for all.
        torn: The number of the instruction of the last retarget whose store is made in two halves,
            or None.
        insert: Instructions to add to the last retarget, each with the number of the instruction
            that it comes before.
        swap: The numbers of two instructions of the last retarget to exchange.
        isb: Whether the caller of "settled" executes an ISB before it calls.
        lse2: Whether FEAT_LSE2 is there.
        shift: How many bytes the trampoline and its literals are moved up, which changes their
            alignment.
    """

    design: Design
    change: Change
    kind: str = "call"
    stop: int | None = None
    torn: int | None = None
    insert: tuple[tuple[int, str], ...] = ()
    swap: tuple[int, int] | None = None
    isb: bool = False
    lse2: bool = False
    shift: int = 0

    def but(self, **changes: Any) -> Question:  # the types of the fields, which can't be written
        """The same question with other values of some fields."""
        return replace(self, **changes)


def maintenance(register: int) -> tuple[str, ...]:
    """The assembly that makes an instruction stored at [X`register`] fetchable, line by line.

    Source: Arm ARM DDI 0487, B2.7.4.2.
    """
    return f"dc cvau, x{register}", "dsb ish", f"ic ivau, x{register}", "dsb ish"


def is_store(insn: a64.Instruction | Cse) -> bool:
    """Whether a retarget's instruction writes memory."""
    return not isinstance(insn, Cse) and insn.name in ("str", "stp", "stlr")


def stores(code: Code) -> Iterator[tuple[int, a64.Instruction]]:
    """A retarget's stores, with their numbers."""
    for i, insn in enumerate(code):
        if not isinstance(insn, Cse) and is_store(insn):
            yield i, insn


def stops(question: Question) -> list[int]:
    """Where a retarget may stop for good: before the first step, and after each store and CSE."""
    code = question.design.retarget
    return [0, *(i + 1 for i, insn in enumerate(code) if isinstance(insn, Cse) or is_store(insn))]
