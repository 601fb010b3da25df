"""The executions of a program that the model allows.

A candidate execution is made of choices: a path for each thread; for each read and fetch, the write
that it takes its value from (rf); an order of the writes to each atom (co); and, for each DC and
write and each IC and fetch of the same line, which of the two came first. They are made in this
order:

1. The paths: see combine.py.
2. rf for each read that can take its value from one write only.
3. co, one atom after another. The first write to an atom is chosen, then the second, and so on. As
   soon as one is chosen, all that are not come after it and after those that read it.
4. rf for the other reads.
5. DCs and ICs.

At each step all choices are tried, so no execution is lost. What a choice orders is added to a
relation that is kept transitive, so the first cycle ends the branch.
cycles.py says why the model forbids the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from functools import cached_property
from typing import NamedTuple

from static_call.isa import a64
from static_call.isa.a64_more import decode
from static_call.isa.sets import A64
from static_call.memory_model.combine import combinations
from static_call.memory_model.events import Atom, Event, Path
from static_call.memory_model.explore import Explored, explore
from static_call.memory_model.model import WEAKEST, Model
from static_call.memory_model.program import Program, TooBig
from static_call.memory_model.relations import Rows, add, bits
from static_call.memory_model.shapes import Shape, Shapes

INITIAL = -1
"""In Execution.rf: the read takes the initial value."""

Where = Callable[[tuple[Path, ...]], bool]
"""Says whether a combination of paths is of interest."""


def after(order: Sequence[int], write: int) -> Sequence[int]:
    """The writes in a coherence order that come after a write, or after INITIAL."""
    return order[order.index(write) + 1 :] if write != INITIAL else order


def between(order: Sequence[int], first: int, last: int) -> Sequence[int]:
    """The writes in a coherence order after `first`, which may be INITIAL, and before `last`."""
    later = after(order, first)
    return later[: later.index(last)] if last in later else ()


class Conflict(NamedTuple):
    """A fetch and a write of the same word that break the rule of Arm ARM B2.2.5.

    Nothing orders them, the write modifies the word, and not both are on the list of instructions
    that may be modified while they may execute.

    Attributes:
        fetch: The fetch, by index.
        write: The write.
    """

    fetch: int
    write: int


class Execution:
    """An execution.

    Attributes:
        shape: What it shares with others.
        paths: One for each thread.
        rf: For each read and fetch the write that it reads, or INITIAL.
        co: The writes to each atom, in coherence order.
        dc: Pairs of a DC and a write of the same line. The first of a pair came first.
        ic: The same for an IC and a fetch.
        ob: The ordered-before relation, transitive.
        edition: The edition of the Arm ARM that `conflicts` is by: at first the model's.
    """

    shape: Shape
    edition: str
    paths: tuple[Path, ...]
    ob: Rows
    rf: dict[int, int]
    co: dict[Atom, tuple[int, ...]]
    dc: tuple[tuple[int, int], ...]
    ic: tuple[tuple[int, int], ...]

    def __init__(
        self, shape: Shape, paths: tuple[Path, ...], rf: Sequence[int],
        co: Mapping[Atom, tuple[int, ...]], dc: Sequence[tuple[int, int]],
        ic: Sequence[tuple[int, int]], ob: Rows,
    ) -> None:  # fmt: skip
        self.shape, self.paths, self.ob = shape, paths, ob
        self.rf = dict(zip(shape.reads, rf))
        self.co = dict(co)
        self.dc, self.ic = tuple(dc), tuple(ic)
        self.edition = shape.model.edition

    @property
    def program(self) -> Program:
        """The program that it is an execution of."""
        return self.shape.program

    @property
    def thread(self) -> Sequence[int]:
        """The thread of each event."""
        return self.shape.thread

    @cached_property
    def events(self) -> tuple[Event, ...]:
        """The events, thread after thread. Their indexes here are used everywhere else."""
        return tuple(event for path in self.paths for event in path.events)

    def from_reads(self, read: int) -> Sequence[int]:
        """The writes after the one that a read or fetch sees, in coherence order."""
        return after(self.co.get(self.shape.atoms[read], ()), self.rf[read])

    def final(self, address: int, size: int) -> int:
        """The little-endian number that `size` bytes at an address hold at the end."""
        held = self.program.initial(address, size).to_bytes(size, "little")
        data = bytearray(held)
        for atom, order in self.co.items():
            if order:
                value = self.events[order[-1]].value.to_bytes(atom.size, "little")
                for i, byte in enumerate(value, atom.address - address):
                    if 0 <= i < size:
                        data[i] = byte
        return int.from_bytes(data, "little")

    @cached_property
    def conflicts(self) -> tuple[Conflict, ...]:
        """What breaks the rule for concurrent modification and execution (Arm ARM B2.2.5)."""
        return self.conflicts_by(self.edition)

    def by(self, edition: str) -> Execution:
        """The same execution by one of instruction.EDITIONS: the orders do not depend on it."""
        other = copy(self)
        other.edition = edition
        other.__dict__.pop("conflicts", None)
        return other

    def conflicts_by(self, edition: str) -> tuple[Conflict, ...]:
        """What breaks the rule by one of instruction.EDITIONS."""
        ob, events = self.ob, self.events
        found = []
        for f in self.shape.reads:
            if events[f].kind != "F":
                continue
            for w in self.shape.writes[Atom(events[f].address, events[f].size)]:
                ordered = ob[f] >> w & 1 or ob[w] >> f & 1
                if (
                    not ordered
                    and self._modifies(w, edition)
                    and not (_listed(events[f], edition) and _listed(events[w], edition))
                ):
                    found.append(Conflict(f, w))
        return tuple(found)

    def _modifies(self, write: int, edition: str) -> bool:
        """Whether a write modifies an instruction.

        By the present text (known issue D25021 of issue M.a) it does not where the latest write
        before it in coherence order, or the initial value, has the same value. That is a matter of
        this execution: in another, someone else's write may come in between. A write of less than
        an instruction modifies it in any case.
        """
        event = self.events[write]
        if event.size != a64.WORD or not A64.cmodx.may_rewrite(edition):
            return True
        atom = Atom(event.address, event.size)
        at = self.co[atom].index(write)
        before = self.events[self.co[atom][at - 1]].value if at else self.program.initial(*atom)
        return before != event.value


def _listed(event: Event, edition: str) -> bool:
    """Whether the instruction fetched or written may be modified while it may execute."""
    if event.size != a64.WORD:
        return False
    return decode(event.value, event.address).modifiable(edition)


class Candidates:
    """The search among the executions of one combination of paths.

    Args:
        shape: What they share.
        paths: One for each thread.
        every: Whether to find also those that differ only in whether a DC or an IC came before or
            after another event.
        check: Whether to leave out those that the model forbids.
    """

    def __init__(
        self, shape: Shape, paths: tuple[Path, ...], every: bool, check: bool = True
    ) -> None:
        self._shape, self._paths, self._every, self._check = shape, paths, every, check
        self._values = [event.value for path in paths for event in path.events]
        self._co: dict[Atom, tuple[int, ...]] = {}
        self._rf = dict.fromkeys(shape.reads, INITIAL)
        self._without = shape.model.without
        atomic = check and "atomic" not in self._without
        self._write_of = dict(shape.rmw) if atomic else {}
        self._read_of = {w: r for r, w in self._write_of.items()}
        self._sources: dict[int, list[int]] = {}
        self._readers: dict[int, list[int]] = {}  # of a write: the reads that have no other source

    def run(self) -> Iterator[Execution]:
        """The executions."""
        shape, values, order = self._shape, self._values, list(self._shape.order)
        for r in shape.reads:
            atom = shape.atoms[r]
            found = [w for w in shape.writes[atom] if values[w] == values[r] and self._may(w, r)]
            if shape.program.initial(*atom) == values[r]:
                found.append(INITIAL)
            if not found or (len(found) == 1 and not self._must_read(order, r, found[0])):
                return
            self._sources[r] = found
        atoms = [atom for atom, writes in shape.writes.items() if writes]
        yield from self._order_writes(atoms, 0, order)

    def _may(self, w: int, r: int) -> bool:
        """coRW1: whether the read may take its value from the write."""
        shape = self._shape
        if shape.thread[w] != shape.thread[r] or shape.events[r].kind == "F" or not self._check:
            return True
        return shape.events[w].step < shape.events[r].step or "coRW1" in self._without

    def _must_read(self, order: Rows, r: int, w: int) -> bool:
        """Gives a read its only source; False where an axiom forbids it."""
        self._rf[r] = w
        if w == INITIAL:
            return self._before(order, r, self._shape.writes[self._shape.atoms[r]])
        self._readers.setdefault(w, []).append(r)
        return self._apply(order, self._shape.rf_rules, w, [r])

    def _order_writes(self, atoms: Sequence[Atom], at: int, order: Rows) -> Iterator[Execution]:
        """Chooses co for atoms[at:], then the rest of rf."""
        if at == len(atoms):
            several = [item for item in self._sources.items() if len(item[1]) > 1]
            several.sort(key=lambda item: len(item[1]))
            yield from self._choose_reads(several, 0, order)
            return
        atom = atoms[at]
        for writes, extended in self._orders((), self._shape.writes[atom], order):
            self._co[atom] = writes
            yield from self._order_writes(atoms, at + 1, extended)

    def _orders(
        self, done: tuple[int, ...], left: list[int], order: Rows
    ) -> Iterator[tuple[tuple[int, ...], Rows]]:
        """The orders of the writes `left` to an atom, after those that are `done`.

        Whichever is next, the others come after it, and after its readers. So what does not fit is
        seen before the others are put in order.
        """
        if not left:
            yield done, order
            return
        for w in left:
            if not self._can_be_atomic(w, done):
                continue
            later = [o for o in left if o != w]
            extended = list(order) if later else order
            if all(self._before(extended, a, later) for a in (w, *self._readers.get(w, ()))):
                yield from self._orders((*done, w), later, extended)

    def _can_be_atomic(self, w: int, done: Sequence[int]) -> bool:
        """Whether a write may come after those that are done, for the read of its atomic pair."""
        r = self._read_of.get(w)
        return r is None or any(
            source not in (INITIAL, *done) or not breaks_pair(self._shape, r, after(done, source))
            for source in self._sources[r]
        )

    def _before(self, order: Rows, a: int, later: Sequence[int]) -> bool:
        """Adds that the writes `later` are coherence-after `a`; False where an axiom forbids it."""
        shape = self._shape
        if not self._check:
            return True
        for w in later:
            if (
                shape.thread[a] == shape.thread[w]
                and shape.events[w].step < shape.events[a].step
                and shape.events[a].kind != "F"
                and ("coWW" if shape.events[a].kind == "W" else "coWR") not in self._without
            ):
                return False
        return self._apply(order, shape.ca_rules, a, later)

    def _apply(
        self, order: Rows, rules: Sequence[tuple[bool, Rows, Rows]], a: int, later: Sequence[int]
    ) -> bool:
        """Adds what the rules say of `a` and what comes after it; False where that is a cycle."""
        if not self._check:
            return True
        external = self._shape.external[a]
        for ext, starts, ends in rules:
            if starts[a]:
                targets = 0
                for b in later:
                    if external >> b & 1 or not ext:
                        targets |= ends[b]
                if targets:
                    for source in bits(starts[a]):
                        if not add(order, source, targets):
                            return False
        return True

    def _choose_reads(
        self, sources: list[tuple[int, list[int]]], at: int, order: Rows
    ) -> Iterator[Execution]:
        """Chooses rf for sources[at:], then the rest."""
        if at == len(sources):
            yield from self._choose_maintenance(order)
            return
        shape = self._shape
        r, found = sources[at]
        co = self._co.get(shape.atoms[r], ())
        for w in found:
            if r in self._write_of and breaks_pair(shape, r, between(co, w, self._write_of[r])):
                continue
            extended = list(order)
            if (w == INITIAL or self._apply(extended, shape.rf_rules, w, [r])) and self._before(
                extended, r, after(co, w)
            ):
                self._rf[r] = w
                yield from self._choose_reads(sources, at + 1, extended)

    def _choose_maintenance(self, order: Rows) -> Iterator[Execution]:
        shape = self._shape
        pairs = [("DC-after", *pair) for pair in shape.dc_pairs]
        pairs += [("IC-after", *pair) for pair in shape.ic_pairs]
        dynamic: dict[str, Rows] = {}
        if pairs:
            ca = dynamic["ca"] = [0] * shape.n
            for r, w in self._rf.items():
                writes = self._co.get(shape.atoms[r], ())
                for o in after(writes, w):
                    ca[r] |= 1 << o
            dynamic["DC-after"] = [0] * shape.n
            dynamic["IC-after"] = [0] * shape.n
        chosen: list[tuple[int, int]] = []
        for complete in self._choose_pairs(pairs, 0, order, dynamic, chosen):
            split = len(shape.dc_pairs)
            yield Execution(
                shape, self._paths, [self._rf[r] for r in shape.reads], self._co,
                chosen[:split], chosen[split:], complete,
            )  # fmt: skip
            if not self._every:
                return

    def _choose_pairs(
        self, pairs: Sequence[tuple[str, int, int]], at: int, order: Rows,
        dynamic: dict[str, Rows], chosen: list[tuple[int, int]],
    ) -> Iterator[Rows]:  # fmt: skip
        """Chooses which came first, for pairs[at:]."""
        if at == len(pairs):
            yield order
            return
        relation, i, j = pairs[at]
        for a, b in ((i, j), (j, i)):
            if self._shape.order[b] >> a & 1:  # no choice
                continue
            extended = list(order)
            rows = dynamic[relation]
            rows[a] |= 1 << b
            chosen.append((a, b))
            if self._apply_pair(extended, relation, a, b, dynamic):
                yield from self._choose_pairs(pairs, at + 1, extended, dynamic, chosen)
            chosen.pop()
            rows[a] &= ~(1 << b)

    def _apply_pair(
        self, order: Rows, relation: str, a: int, b: int, dynamic: Mapping[str, Rows]
    ) -> bool:
        if not self._check:
            return True
        shape = self._shape
        for name, starts, ends in shape.pair_rules:
            if name == relation and starts[a] and shape.set(ends[0]) >> b & 1:
                targets = shape.walk(1 << b, ends[1:], dynamic)
                if targets:
                    for source in bits(starts[a]):
                        if not add(order, source, targets):
                            return False
        return True


def breaks_pair(shape: Shape, read: int, inside: Sequence[int]) -> bool:
    """Whether the writes inside an atomic pair break it, given the pair's read.

    With a write of the pair's own thread in between it is no longer an atomic pair: Arm's rule
    excludes fri; coi.
    """
    return bool(inside) and all(shape.thread[o] != shape.thread[read] for o in inside)


def allowed(
    what: Program | Explored,
    model: Model = WEAKEST,
    *,
    where: Where | None = None,
    every: bool = True,
    shapes: Shapes | None = None,
) -> Iterator[Execution]:
    """The executions that the model allows.

    Args:
        what: A program, or what its threads can do.
        model: The model.
        where: Says which combinations of paths to look at; all if None.
        every: Whether to give all of them. If not, only one is given of those that differ only in
            whether a DC or an IC came before or after another event: enough for final states, but
            not for Execution.conflicts.
        shapes: Remembers what executions share, from one call to the next.

    Raises:
        TooBig: there are more executions or combinations than the limits allow.
        Unmodelled: an instruction has no semantics here.
    """
    explored = explore(what) if isinstance(what, Program) else what
    shapes = shapes or Shapes()
    count = 0
    for paths in combinations(explored, coherent=not model.without):
        if where is None or where(paths):
            shape = shapes.shape(explored.program, model, paths)
            for execution in Candidates(shape, paths, every).run():
                count += 1
                if count > explored.limits.executions:
                    raise TooBig(f"more than {count - 1} executions: raise --executions")
                yield execution
