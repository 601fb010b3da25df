"""A trampoline: a design at an address in a place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from static_call.design.design import Design, Recognised
from static_call.design.retarget import Retarget, Unreadable, steps
from static_call.design.target import Target
from static_call.errors import StaticCallError
from static_call.isa.isa import Read, Step
from static_call.records import NamedTuple


class NotATrampoline(StaticCallError):
    """The bytes at an address are not a trampoline of the expected design."""


class BadRetarget(StaticCallError):
    """A design's retarget code does not do what its cells say."""


class Trampoline(NamedTuple):
    """A design at an address.

    Attributes:
        design: the design.
        entry: the address that callers branch to.
        outside: the addresses of the literals in other sections, by label.
    """

    design: Design
    entry: int
    outside: Mapping[str, int] = {}

    @property
    def extent(self) -> range:
        """The addresses of its code, without literals in other sections."""
        start = self.entry - self.design.entry
        return range(start, start + self.design.size)

    def assemble(self, target: Target) -> list[tuple[int, bytes]]:
        """A new one that calls `target`, as (address, bytes): see Design.assemble."""
        form = self.design.form_for(self.entry, target, self.outside)
        address = target if isinstance(target, int) else None
        return self.design.assemble(self.entry, form, address, self.outside)

    def contents(self, read: Read) -> bytes:
        """Its bytes and its literals', all that `plan` looks at."""
        start = self.entry - self.design.entry
        pieces = (read(address, self.design.isa.pointer) for address in self.outside.values())
        return b"".join((read(start, self.design.size), *pieces))

    def state(self, read: Read) -> Recognised:
        """The form that it is in and its target. Raises NotATrampoline for other bytes."""
        state = self.design.recognise(self.entry, read)
        if state is None or state.outside != self.outside:
            raise NotATrampoline(f"no {self.design.name} trampoline at {self.entry:#x}")
        return state

    def plan(self, target: Target, read: Read, *, fresh: bool = True) -> Retarget:
        """The retarget to `target`. Nothing is changed yet.

        Args:
            target: the new target.
            read: gives memory as it is now.
            fresh: whether the target's code may be newer than some caller's last context
                synchronisation event. If so, the retarget starts with one.

        Raises:
            NotATrampoline: the bytes are not a trampoline of the design.
            BadRetarget: the design's code does not do what its cells say.
            StaticCallError: as Design.form_for raises it.
        """
        self.state(read)
        form = self.design.form_for(self.entry, target, self.outside)
        address = target if isinstance(target, int) else None
        registers: list[int] = []
        for cell in self.design.fill(self.entry, form, address, self.outside):
            now = self.design.isa.number(read(cell.address, cell.item.size))
            registers += [cell.address, now if cell.value is None else cell.value]
        code = self.design.retarget if fresh else self.design.retarget_to_old
        try:
            taken = steps(code, registers, read, self.design.isa)
        except Unreadable as error:
            raise BadRetarget(f"{self.design.name}: {error}") from None
        retarget = Retarget(code, tuple(registers), taken, self._keep(taken, target, read))
        self._check(retarget, read)
        return retarget

    def _keep(self, taken: Sequence[Step], target: Target, read: Read) -> int:
        """After how many of the stores a call goes to the new target."""
        stores = [step for step in taken if step.op == "store"]
        memory: dict[int, int] = {}

        def after(address: int, size: int) -> bytes:
            now = read(address, size)
            return bytes(memory.get(address + i, byte) for i, byte in enumerate(now))

        for number, step in enumerate(stores[:-1], 1):
            memory.update(enumerate(step.data, step.address))
            state = self.design.recognise(self.entry, after)
            if state is not None and state.target == target:
                return number
        return len(stores)

    def _check(self, retarget: Retarget, read: Read) -> None:
        """Raises BadRetarget unless the steps leave each cell with what was asked, change nothing
        else, and maintain nothing but the trampoline: elsewhere DC and IC may fault."""
        isa = self.design.isa
        memory: dict[int, int] = {}
        for step in retarget.steps:
            memory.update(enumerate(step.data, step.address))
        for item, address, value in zip(
            self.design.cells, retarget.registers[::2], retarget.registers[1::2]
        ):
            now = read(address, item.size)
            left = bytes(memory.pop(address + i, byte) for i, byte in enumerate(now))
            if left != isa.data(value, item.size):
                raise BadRetarget(
                    f"the retarget of {self.design.name} leaves {item.title} at {address:#x} as "
                    f"{isa.number(left):#x}, where {value:#x} was to be stored"
                )
        ours = [(self.entry - self.design.entry, self.design.size)]
        ours += [(address, isa.pointer) for address in self.outside.values()]
        for step in retarget.steps:
            if step.op in isa.patcher.maintains and not any(
                at <= step.address < at + size for at, size in ours
            ):
                raise BadRetarget(
                    f"the retarget of {self.design.name} maintains {step.address:#x}, where "
                    "nothing of the trampoline is"
                )
        for address, byte in memory.items():
            if read(address, 1) != bytes([byte]):
                raise BadRetarget(
                    f"the retarget of {self.design.name} writes to {address:#x}, "
                    "which is not a cell"
                )
