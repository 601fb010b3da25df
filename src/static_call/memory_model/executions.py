"""The executions of a program that the model allows.

A candidate execution is made of choices: a path for each thread; for each read and fetch, the write
that it takes its value from (rf); an order of the writes to each atom (co); and, for each DC and
write and each IC and fetch of the same line, which of the two came first. The choices are made in
that order. What each choice orders is added to a relation that is kept transitive, so the first
cycle ends the branch.
cycles.py says why the model forbids the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from functools import cached_property
from itertools import product
from math import prod
from typing import NamedTuple

from static_call.isa import a64
from static_call.isa.a64_more import decode
from static_call.isa.sets import A64
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

    def run(self) -> Iterator[Execution]:
        """The executions."""
        shape, values = self._shape, self._values
        sources: list[tuple[int, list[int]]] = []
        for r in shape.reads:
            atom = shape.atoms[r]
            found = [w for w in shape.writes[atom] if values[w] == values[r] and self._may(w, r)]
            if shape.program.initial(*atom) == values[r]:
                found.append(INITIAL)
            if not found:
                return
            sources.append((r, found))
        sources.sort(key=lambda item: len(item[1]))
        atoms = [atom for atom, writes in shape.writes.items() if writes]
        yield from self._order_writes(atoms, 0, list(shape.order), sources)

    def _may(self, w: int, r: int) -> bool:
        """coRW1: whether the read may take its value from the write."""
        shape = self._shape
        if shape.thread[w] != shape.thread[r] or shape.events[r].kind == "F" or not self._check:
            return True
        return shape.events[w].step < shape.events[r].step or "coRW1" in self._without

    def _order_writes(
        self, atoms: Sequence[Atom], at: int, order: Rows, sources: list[tuple[int, list[int]]]
    ) -> Iterator[Execution]:
        """Chooses co for atoms[at:], then rf."""
        if at == len(atoms):
            yield from self._choose_reads(sources, 0, order)
            return
        atom = atoms[at]
        for writes, extended in self._orders((), self._shape.writes[atom], order):
            self._co[atom] = writes
            yield from self._order_writes(atoms, at + 1, extended, sources)

    def _orders(
        self, done: tuple[int, ...], left: list[int], order: Rows
    ) -> Iterator[tuple[tuple[int, ...], Rows]]:
        if not left:
            yield done, order
            return
        for w in left:
            extended = list(order) if done else order
            if all(self._coherence_after(extended, before, w) for before in done):
                yield from self._orders((*done, w), [o for o in left if o != w], extended)

    def _coherence_after(self, order: Rows, a: int, w: int) -> bool:
        """Adds that `w` is coherence-after `a`; False where an axiom forbids it."""
        shape = self._shape
        if (
            shape.thread[a] == shape.thread[w]
            and shape.events[w].step < shape.events[a].step
            and shape.events[a].kind != "F"
            and ("coWW" if shape.events[a].kind == "W" else "coWR") not in self._without
        ):
            return not self._check
        return self._apply(order, shape.ca_rules, a, w)

    def _apply(self, order: Rows, rules: Sequence[tuple[bool, Rows, Rows]], a: int, b: int) -> bool:
        if not self._check:
            return True
        external = self._shape.external[a] >> b & 1
        for ext, starts, ends in rules:
            if starts[a] and ends[b] and (external or not ext):
                for source in bits(starts[a]):
                    if not add(order, source, ends[b]):
                        return False
        return True

    def _choose_reads(
        self, sources: list[tuple[int, list[int]]], at: int, order: Rows
    ) -> Iterator[Execution]:
        """Chooses rf for sources[at:], then the rest."""
        if at == len(sources):
            if self._atomic():
                yield from self._choose_maintenance(order)
            return
        shape = self._shape
        r, found = sources[at]
        for w in found:
            extended = list(order)
            writes = self._co.get(shape.atoms[r], ())
            if (w == INITIAL or self._apply(extended, shape.rf_rules, w, r)) and all(
                self._coherence_after(extended, r, o) for o in after(writes, w)
            ):
                self._rf[r] = w
                yield from self._choose_reads(sources, at + 1, extended)

    def _atomic(self) -> bool:
        if "atomic" in self._without or not self._check:
            return True
        shape = self._shape
        for r, w in shape.rmw:
            inside = between(self._co[shape.atoms[r]], self._rf[r], w)
            if breaks_pair(shape, r, inside):
                return False
        return True

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


def combinations(explored: Explored) -> Iterator[tuple[Path, ...]]:
    """One path of each thread, in all ways such that some path writes the value of each read.

    Raises:
        TooBig: there are more than the limits allow.
    """
    if prod(map(len, explored.paths)) > explored.limits.combinations:
        raise TooBig(
            f"{' x '.join(str(len(paths)) for paths in explored.paths)} paths of the threads to "
            f"combine, more than {explored.limits.combinations}: raise --combinations"
        )
    options = [
        [(path, *_needs(explored.program, path)) for path in paths] for paths in explored.paths
    ]
    for combination in product(*options):
        given = set().union(*(gives for _, _, gives in combination))
        if all(needs <= given for _, needs, _ in combination):
            yield tuple(path for path, _, _ in combination)


_Written = set[tuple[int, int, int]]


def _needs(program: Program, path: Path) -> tuple[_Written, _Written]:
    """What a path reads that memory does not hold at the start, and what it writes."""
    needs: _Written = set()
    gives: _Written = set()
    for event in path.events:
        if event.kind == "W":
            gives.add((event.address, event.size, event.value))
        elif event.kind in "RF" and event.value != program.initial(event.address, event.size):
            needs.add((event.address, event.size, event.value))
    return needs, gives


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
    for paths in combinations(explored):
        if where is None or where(paths):
            shape = shapes.shape(explored.program, model, paths)
            for execution in Candidates(shape, paths, every).run():
                count += 1
                if count > explored.limits.executions:
                    raise TooBig(f"more than {count - 1} executions: raise --executions")
                yield execution
