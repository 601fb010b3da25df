"""A trampoline: a design at an address in a place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from static_call.design import Design, Recognised, Target
from static_call.errors import StaticCallError
from static_call.retarget import Cse, Read, Retarget, steps


class NotATrampoline(StaticCallError):
    """The bytes at an address are not a trampoline of the design that they should be."""


class Trampoline(NamedTuple):
    """A design at an address.

    entry    the address that callers branch to
    outside  the addresses of the literals in other sections, by label
    """

    design: Design
    entry: int
    outside: Mapping[str, int] = {}

    def state(self, read: Read) -> Recognised:
        """The form that it is in and its target. Raises NotATrampoline for foreign bytes."""
        state = self.design.recognise(self.entry, read)
        if state is None or state.outside != self.outside:
            raise NotATrampoline(f"no {self.design.name} trampoline at {self.entry:#x}")
        return state

    def plan(self, target: Target, read: Read, *, fresh: bool = True) -> Retarget:
        """The retarget to `target`. Nothing is changed yet.

        fresh  the target's code may be younger than some caller's last context synchronisation
               event: the retarget starts with one. Saying False of old code saves it.
        Raises what Design.form_for raises, and NotATrampoline for foreign bytes.
        """
        self.state(read)
        form = self.design.form_for(self.entry, target, self.outside)
        address = target if isinstance(target, int) else None
        registers: list[int] = []
        for cell in self.design.place(self.entry, form, address, self.outside):
            now = int.from_bytes(read(cell.address, cell.item.size), "little")
            registers += [cell.address, now if cell.value is None else cell.value]
        code = self.design.retarget
        if not fresh and isinstance(code[0], Cse):
            code = code[1:]
        return Retarget(code, tuple(registers), steps(code, registers, read))
