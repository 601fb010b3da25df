"""The values that memory can hold while a program runs, found from what its threads write."""

from __future__ import annotations

from itertools import pairwise

from static_call.memory_model.events import Atom
from static_call.memory_model.program import Program


class Values:
    """The values that each atom can hold, and how accesses divide memory into atoms.

    Attributes:
        changed: Whether a value was found since this was last set to False.
        split_changed: Whether atoms were divided since this was last set to False.
        version: How often atoms were divided. Values found at another version mean nothing.
    """

    changed: bool
    split_changed: bool
    version: int

    def __init__(self, program: Program) -> None:
        self.changed = self.split_changed = False
        self.version = 0
        self._program = program
        self._accesses: set[tuple[int, int]] = set()
        self._held: dict[Atom, dict[int, int]] = {}  # value -> the threads that write it
        self._written_now: set[tuple[int, Atom, int]] = set()
        self._split_of: dict[tuple[int, int], tuple[Atom, ...]] = {}

    def split(self, address: int, size: int) -> tuple[Atom, ...]:
        """The atoms that an access of `size` bytes consists of."""
        known = self._split_of.get((address, size))
        return self._note((address, size)) if known is None else known

    def _note(self, access: tuple[int, int]) -> tuple[Atom, ...]:
        address, size = access
        self._accesses.add(access)
        if not any(a < address + size and address < a + s for a, s in self._split_of):
            self._split_of[access] = (Atom(*access),)  # most are of words that nothing else touches
            return self._split_of[access]
        cuts = {at for a, s in self._accesses for at in (a, a + s)}
        old, self._split_of = self._split_of, {}
        for a, s in self._accesses:
            points = [a, *sorted(at for at in cuts if a < at < a + s), a + s]
            self._split_of[a, s] = tuple(Atom(p, q - p) for p, q in pairwise(points))
        if any(self._split_of[key] != atoms for key, atoms in old.items()):
            self._held.clear()
            self._written_now.clear()
            self.changed = self.split_changed = True
            self.version += 1
        return self._split_of[access]

    def known(self, thread: int, atom: Atom) -> bool:
        """Whether the program says what the atom holds, or another thread writes it."""
        return self._program.mentions(*atom) or bool(self.written(atom) & ~(1 << thread))

    def held(self, atom: Atom) -> dict[int, int]:
        """The values that an atom can hold, the initial one first, each with its writers' mask."""
        values = self._held.get(atom)
        if values is None:
            values = self._held[atom] = {self._program.initial(*atom): 0}
        return values

    def write(self, thread: int, atom: Atom, value: int) -> None:
        """Notes a write. Other paths can read it from the next round on."""
        if not self.held(atom).get(value, 0) >> thread & 1:
            self._written_now.add((thread, atom, value))

    def end_round(self) -> None:
        """Makes the writes that were noted readable."""
        for thread, atom, value in sorted(self._written_now):
            values = self.held(atom)
            values[value] = values.get(value, 0) | 1 << thread
            self.changed = True
        self._written_now.clear()

    def written(self, atom: Atom) -> int:
        """The threads that write an atom, as a mask."""
        mask = 0
        for writers in self.held(atom).values():
            mask |= writers
        return mask

    def state_of(self, atom: Atom) -> tuple[int, int]:
        """Something that changes whenever the paths of the atom's readers may change."""
        return len(self.held(atom)), self.written(atom)

    def options(self, thread: int, atom: Atom, own: int | None) -> list[int]:
        """The values that a read can see.

        An atom that no other thread writes holds what the thread last wrote.

        Args:
            thread: The reader.
            atom: What it reads.
            own: What it last wrote there, if it has.
        """
        values = self.held(atom)
        if self.written(atom) & ~(1 << thread):
            return list(values)
        return [next(iter(values))] if own is None else [own]
