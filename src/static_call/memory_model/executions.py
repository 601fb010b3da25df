"""The executions of a program that the model allows, and why it forbids the others.

A candidate execution is one path of each thread, a write for each read and fetch to take its value
from (rf), an order of the writes to each place (co), and which came first of each DC and write and
of each IC and fetch of the same line. Candidates are built in that order, and what each choice
orders is added to a relation that is kept transitive, so that the first cycle ends the branch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import product
from math import prod
from typing import NamedTuple

from static_call.isa import a64
from static_call.memory_model.instructions import decode
from static_call.memory_model.model import (
    GLOBAL,
    LOCAL,
    PICK,
    WEAKEST,
    Local,
    Model,
    Rows,
    bits,
    close,
    local,
    same_line,
    triggers,
)
from static_call.memory_model.program import Atom, Event, Explored, Path, Program, TooBig, explore

INITIAL = -1
"""In Execution.rf: the read takes the initial value."""

Where = Callable[[tuple[Path, ...]], bool]
"""Says whether a combination of paths is of interest."""


class Conflict(NamedTuple):
    """A fetch and a write of the same word that nothing orders, not both of them on the list of
    instructions that may be modified while they may execute (Arm ARM B2.2.5)."""

    fetch: int
    write: int


class Edge(NamedTuple):
    """One step of a cycle: events by index, the axiom that orders them, and those in between."""

    source: int
    target: int
    axiom: str
    through: tuple[int, ...] = ()


class Execution:
    """An execution.

    paths   one for each thread
    events  theirs, one thread after the other; all other members have these indexes
    thread  the thread of each event
    rf      for each read and fetch, the write that it reads, or INITIAL
    co      the writes to each atom, in coherence order
    dc ic   pairs of events of one line, the first of which came first: DC and write, IC and fetch
    ob      the ordered-before relation, transitive
    """

    def __init__(
        self, shape: Shape, paths: tuple[Path, ...], rf: Sequence[int],
        co: Mapping[Atom, tuple[int, ...]], dc: Sequence[tuple[int, int]],
        ic: Sequence[tuple[int, int]], ob: Rows,
    ) -> None:  # fmt: skip
        self.shape, self.paths, self.ob = shape, paths, ob
        self.rf = dict(zip(shape.reads, rf))
        self.co = dict(co)
        self.dc, self.ic = tuple(dc), tuple(ic)

    @property
    def program(self) -> Program:
        """The program that it is of."""
        return self.shape.program

    @property
    def thread(self) -> Sequence[int]:
        """The thread of each event."""
        return self.shape.thread

    @cached_property
    def events(self) -> tuple[Event, ...]:
        """All events, with their values."""
        return tuple(event for path in self.paths for event in path.events)

    def final(self, address: int, size: int) -> int:
        """What memory holds at the end."""
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
        """What breaks the rule for concurrent modification and execution."""
        ob, events, edition = self.ob, self.events, self.shape.model.edition
        found = []
        for f in self.shape.reads:
            if events[f].kind != "F":
                continue
            for w in self.shape.writes[Atom(events[f].address, events[f].size)]:
                ordered = ob[f] >> w & 1 or ob[w] >> f & 1
                if not ordered and not (
                    _listed(events[f], edition) and _listed(events[w], edition)
                ):
                    found.append(Conflict(f, w))
        return tuple(found)


def _listed(event: Event, edition: str) -> bool:
    """Whether the instruction fetched or written may be modified while it may execute."""
    if event.size != a64.WORD:
        return False
    return decode(event.value, event.address).cmodx in ("every", edition)


class Shape:
    """What all candidates share whose paths have the same events but for values."""

    def __init__(self, program: Program, model: Model, parts: Sequence[Local]) -> None:
        self.program, self.model, self.parts = program, model, parts
        self.bases = [0]
        for part in parts:
            self.bases.append(self.bases[-1] + part.n)
        self.n = self.bases[-1]
        events = self.events = [event for part in parts for event in part.events]
        self.thread = [t for t, part in enumerate(parts) for _ in range(part.n)]
        everyone = (1 << self.n) - 1
        self.external = [
            everyone & ~(((1 << parts[t].n) - 1) << self.bases[t]) for t in self.thread
        ]
        self.order = self._join(part.order for part in parts)
        if program.cse and "shootdown" not in model.without:
            for i, j in self.shootdowns():
                self.order[i] |= 1 << j
            close(self.order)
        self.reads = [i for i, e in enumerate(events) if e.kind in "RF"]
        self.writes: dict[Atom, list[int]] = {}
        for i, e in enumerate(events):
            if e.kind in "RFW":
                self.writes.setdefault(Atom(e.address, e.size), [])
                if e.kind == "W":
                    self.writes[Atom(e.address, e.size)].append(i)
        self.atoms = {i: Atom(events[i].address, events[i].size) for i in self.reads}
        self.dc_pairs = [
            (i, j)
            for i, a in enumerate(events) if a.kind == "DC"
            for j, b in enumerate(events) if b.kind == "W" and same_line(a, b, program.line)
        ]  # fmt: skip
        # An IC that no DSB completes promises nothing (Arm ARM B2.7.4).
        self.ic_pairs = [
            (i, j)
            for i, a in enumerate(events) if a.kind == "IC" and self._completed(i)
            for j, b in enumerate(events) if b.kind == "F" and same_line(a, b, program.line)
        ]  # fmt: skip
        self.rmw = [
            (e.rmw + self.bases[self.thread[i]], i) for i, e in enumerate(events) if e.rmw >= 0
        ]
        self.rf_rules: list[tuple[bool, Rows, Rows]] = []
        self.ca_rules: list[tuple[bool, Rows, Rows]] = []
        self.pair_rules: list[tuple[str, Rows, tuple[str, ...]]] = []
        for trigger in triggers(model):
            starts = self._join(part.starts(trigger.starts) for part in parts)
            if trigger.relation in ("rf", "ca"):
                ends = self._join(part.ends(trigger.ends) for part in parts)
                rules = self.rf_rules if trigger.relation == "rf" else self.ca_rules
                if any(starts) and any(ends):
                    rules.append((trigger.ext, starts, ends))
            else:
                self.pair_rules.append((trigger.relation, starts, trigger.ends))

    def _join(self, parts: Iterator[Rows]) -> Rows:
        return [row << base for base, rows in zip(self.bases, parts) for row in rows]

    def _completed(self, i: int) -> bool:
        t = self.thread[i]
        part = self.parts[t]
        return bool(part.after[i - self.bases[t]] & part.sets["dsb.full"])

    def shootdowns(self) -> Iterator[tuple[int, int]]:
        """A CSE on every PE: each is taken between the request and its completion."""
        cses = [(i, e) for i, e in enumerate(self.events) if e.kind == "CSE" and e.address]
        for (i, a), (j, b) in product(cses, cses):
            if a.address == b.address and (a.tag + b.tag) in ("senttaken", "takendone"):
                yield i, j

    def image(self, mask: int, relation: str, dynamic: Mapping[str, Rows]) -> int:
        """What the events in `mask` are related to, across threads."""
        rows = dynamic.get(relation)
        out = 0
        if rows is not None:
            for i in bits(mask):
                out |= rows[i]
            return out
        for base, part in zip(self.bases, self.parts):
            out |= part.image(mask >> base & part.every, relation) << base
        return out

    def set(self, name: str) -> int:
        """A set of the model's tables as a mask."""
        mask = 0
        for base, part in zip(self.bases, self.parts):
            mask |= part.set(name) << base
        return mask

    def walk(self, mask: int, steps: Sequence[str], dynamic: Mapping[str, Rows]) -> int:
        """Where a walk from the events in `mask` ends: relation, set, relation, set ..."""
        for relation, into in zip(steps[::2], steps[1::2], strict=True):
            if not mask:
                return 0
            mask = self.image(mask, relation, dynamic) & self.set(into)
        return mask


def _add(order: Rows, source: int, targets: int) -> bool:
    """Adds pairs to a transitive relation, in place; False where that makes a cycle."""
    if not targets & ~order[source]:
        return True
    reached = targets
    for target in bits(targets):
        reached |= order[target]
    if reached >> source & 1:
        return False
    order[source] |= reached
    for i, row in enumerate(order):
        if row >> source & 1:
            order[i] = row | reached
    return True


class _Candidates:
    """The search below one combination of paths; without `check`, forbidden ones are found too."""

    def __init__(
        self, shape: Shape, paths: tuple[Path, ...], every: bool, check: bool = True
    ) -> None:
        self.shape, self.paths, self.every, self.check = shape, paths, every, check
        self.values = [event.value for path in paths for event in path.events]
        self.co: dict[Atom, tuple[int, ...]] = {}
        self.rf = dict.fromkeys(shape.reads, INITIAL)
        self.without = shape.model.without

    def run(self) -> Iterator[Execution]:
        shape, values = self.shape, self.values
        sources: list[tuple[int, list[int]]] = []
        for r in shape.reads:
            atom = shape.atoms[r]
            found = [w for w in shape.writes[atom] if values[w] == values[r] and self.may(w, r)]
            if shape.program.initial(*atom) == values[r]:
                found.append(INITIAL)
            if not found:
                return
            sources.append((r, found))
        sources.sort(key=lambda item: len(item[1]))
        atoms = [atom for atom, writes in shape.writes.items() if writes]
        yield from self.order_writes(atoms, 0, list(shape.order), sources)

    def may(self, w: int, r: int) -> bool:
        """coRW1: whether the read may take its value from the write."""
        shape = self.shape
        if shape.thread[w] != shape.thread[r] or shape.events[r].kind == "F" or not self.check:
            return True
        return shape.events[w].step < shape.events[r].step or "coRW1" in self.without

    def order_writes(
        self, atoms: Sequence[Atom], at: int, order: Rows, sources: list[tuple[int, list[int]]]
    ) -> Iterator[Execution]:
        """Chooses co for atoms[at:], then rf."""
        if at == len(atoms):
            yield from self.choose_reads(sources, 0, order)
            return
        atom = atoms[at]
        for writes, extended in self.orders((), self.shape.writes[atom], order):
            self.co[atom] = writes
            yield from self.order_writes(atoms, at + 1, extended, sources)

    def orders(
        self, done: tuple[int, ...], left: list[int], order: Rows
    ) -> Iterator[tuple[tuple[int, ...], Rows]]:
        if not left:
            yield done, order
            return
        for w in left:
            extended = list(order) if done else order
            if all(self.coherence_after(extended, before, w) for before in done):
                yield from self.orders((*done, w), [o for o in left if o != w], extended)

    def coherence_after(self, order: Rows, a: int, w: int) -> bool:
        """Adds that `w` is coherence-after `a`; False where an axiom forbids it."""
        shape = self.shape
        if (
            shape.thread[a] == shape.thread[w]
            and shape.events[w].step < shape.events[a].step
            and shape.events[a].kind != "F"
            and ("coWW" if shape.events[a].kind == "W" else "coWR") not in self.without
        ):
            return not self.check
        return self.apply(order, shape.ca_rules, a, w)

    def apply(self, order: Rows, rules: Sequence[tuple[bool, Rows, Rows]], a: int, b: int) -> bool:
        if not self.check:
            return True
        external = self.shape.external[a] >> b & 1
        for ext, starts, ends in rules:
            if starts[a] and ends[b] and (external or not ext):
                for source in bits(starts[a]):
                    if not _add(order, source, ends[b]):
                        return False
        return True

    def choose_reads(
        self, sources: list[tuple[int, list[int]]], at: int, order: Rows
    ) -> Iterator[Execution]:
        """Chooses rf for sources[at:], then the rest."""
        if at == len(sources):
            if self.atomic():
                yield from self.choose_maintenance(order)
            return
        shape = self.shape
        r, found = sources[at]
        for w in found:
            extended = list(order)
            writes = self.co.get(shape.atoms[r], ())
            later = writes[writes.index(w) + 1 :] if w != INITIAL else writes
            if (w == INITIAL or self.apply(extended, shape.rf_rules, w, r)) and all(
                self.coherence_after(extended, r, o) for o in later if o != r
            ):
                self.rf[r] = w
                yield from self.choose_reads(sources, at + 1, extended)

    def atomic(self) -> bool:
        if "atomic" in self.without or not self.check:
            return True
        shape = self.shape
        for r, w in shape.rmw:
            writes = self.co[shape.atoms[r]]
            start = writes.index(self.rf[r]) + 1 if self.rf[r] != INITIAL else 0
            between = writes[start : writes.index(w)]
            # One of its own there makes it no atomic pair any more (Arm's rule excepts fri; coi).
            if between and all(shape.thread[o] != shape.thread[r] for o in between):
                return False
        return True

    def choose_maintenance(self, order: Rows) -> Iterator[Execution]:
        shape = self.shape
        pairs = [("DC-after", *pair) for pair in shape.dc_pairs]
        pairs += [("IC-after", *pair) for pair in shape.ic_pairs]
        dynamic: dict[str, Rows] = {}
        if pairs:
            ca = dynamic["ca"] = [0] * shape.n
            for r, w in self.rf.items():
                writes = self.co.get(shape.atoms[r], ())
                for o in writes[writes.index(w) + 1 :] if w != INITIAL else writes:
                    ca[r] |= 1 << o
            dynamic["DC-after"] = [0] * shape.n
            dynamic["IC-after"] = [0] * shape.n
        chosen: list[tuple[int, int]] = []
        for complete in self.choose_pairs(pairs, 0, order, dynamic, chosen):
            split = len(shape.dc_pairs)
            yield Execution(
                shape, self.paths, [self.rf[r] for r in shape.reads], self.co,
                chosen[:split], chosen[split:], complete,
            )  # fmt: skip
            if not self.every:
                return

    def choose_pairs(
        self, pairs: Sequence[tuple[str, int, int]], at: int, order: Rows,
        dynamic: dict[str, Rows], chosen: list[tuple[int, int]],
    ) -> Iterator[Rows]:  # fmt: skip
        """Chooses which came first, for pairs[at:]."""
        if at == len(pairs):
            yield order
            return
        relation, i, j = pairs[at]
        for a, b in ((i, j), (j, i)):
            if self.shape.order[b] >> a & 1:  # no choice
                continue
            extended = list(order)
            rows = dynamic[relation]
            rows[a] |= 1 << b
            chosen.append((a, b))
            if self.apply_pair(extended, relation, a, b, dynamic):
                yield from self.choose_pairs(pairs, at + 1, extended, dynamic, chosen)
            chosen.pop()
            rows[a] &= ~(1 << b)

    def apply_pair(
        self, order: Rows, relation: str, a: int, b: int, dynamic: Mapping[str, Rows]
    ) -> bool:
        if not self.check:
            return True
        shape = self.shape
        for name, starts, ends in shape.pair_rules:
            if name == relation and starts[a] and shape.set(ends[0]) >> b & 1:
                targets = shape.walk(1 << b, ends[1:], dynamic)
                if targets:
                    for source in bits(starts[a]):
                        if not _add(order, source, targets):
                            return False
        return True


def combinations(explored: Explored) -> Iterator[tuple[Path, ...]]:
    """One path of each thread, such that each read's value is written by one of them.

    Raises program.TooBig.
    """
    program = explored.program
    if prod(map(len, explored.paths)) > explored.limits.combinations:
        raise TooBig(
            f"{' x '.join(str(len(paths)) for paths in explored.paths)} paths of the threads to "
            f"combine, more than {explored.limits.combinations}: raise --combinations"
        )
    options = []
    for paths in explored.paths:
        with_needs = []
        for path in paths:
            needs, gives = set(), set()
            for event in path.events:
                if event.kind == "W":
                    gives.add((event.address, event.size, event.value))
                elif event.kind in "RF" and event.value != program.initial(
                    event.address, event.size
                ):
                    needs.add((event.address, event.size, event.value))
            with_needs.append((path, needs, gives))
        options.append(with_needs)
    for combination in product(*options):
        given = set().union(*(gives for _, _, gives in combination))
        if all(needs <= given for _, needs, _ in combination):
            yield tuple(path for path, _, _ in combination)


_shapes: dict[tuple[object, ...], Shape] = {}


def _shape(program: Program, model: Model, paths: tuple[Path, ...]) -> Shape:
    parts = [local(path.events, program.line, model) for path in paths]
    key = (id(program), *map(id, parts))
    found = _shapes.get(key)
    if found is None or found.program is not program or list(found.parts) != parts:
        if len(_shapes) > 4096:
            _shapes.clear()
        found = _shapes[key] = Shape(program, model, parts)
    return found


def allowed(
    what: Program | Explored,
    model: Model = WEAKEST,
    *,
    where: Where | None = None,
    every: bool = True,
) -> Iterator[Execution]:
    """The executions that the model allows.

    where  only of these combinations of paths
    every  each of them; else, where executions differ only in which came first of a DC or an IC
           and another event, one: enough for final states, not for Execution.conflicts

    Raises program.TooBig and program.Unmodelled.
    """
    explored = explore(what) if isinstance(what, Program) else what
    count = 0
    for paths in combinations(explored):
        if where is None or where(paths):
            shape = _shape(explored.program, model, paths)
            for execution in _Candidates(shape, paths, every).run():
                count += 1
                if count > explored.limits.executions:
                    raise TooBig(f"more than {count - 1} executions: raise --executions")
                yield execution


class Refused(NamedTuple):
    """A candidate execution that the model forbids.

    execution  without its ob
    cycles     what forbids it: a cycle for each way in which its DCs and ICs may have come before
               or after writes and fetches, without repetitions, the shortest first
    """

    execution: Execution
    cycles: tuple[tuple[Edge, ...], ...]


def forbidden(
    what: Program | Explored, model: Model = WEAKEST, *, where: Where | None = None
) -> Iterator[Refused]:
    """The candidate executions that the model forbids, and why.

    where  only of these combinations of paths

    Raises program.TooBig and program.Unmodelled.
    """
    explored = explore(what) if isinstance(what, Program) else what
    for paths in combinations(explored):
        if where is not None and not where(paths):
            continue
        shape = _shape(explored.program, model, paths)
        found: dict[object, list[Execution]] = {}
        for execution in _Candidates(shape, paths, every=True, check=False).run():
            key = tuple(execution.rf.items()), tuple(execution.co.items())
            found.setdefault(key, []).append(execution)
        for executions in found.values():
            cycles = [shortest_cycle(execution) for execution in executions]
            if all(cycles):
                unique = dict.fromkeys(cycle for cycle in cycles if cycle is not None)
                yield Refused(executions[0], tuple(sorted(unique, key=len)))


def shortest_cycle(execution: Execution) -> tuple[Edge, ...] | None:
    """The shortest cycle of orders in an execution, or None where the model allows it."""
    broken = _internal(execution)
    if broken:
        return broken
    follow: dict[int, list[Edge]] = {}
    for edge in order_edges(execution):
        follow.setdefault(edge.source, []).append(edge)
    best: tuple[Edge, ...] | None = None
    for start in follow:
        reached: dict[int, tuple[Edge, ...]] = {start: ()}
        queue = [start]
        while queue and (best is None or len(reached[queue[0]]) + 1 < len(best)):
            node = queue.pop(0)
            for edge in follow.get(node, ()):
                path = (*reached[node], edge)
                if edge.target == start:
                    if best is None or len(path) < len(best):
                        best = path
                elif edge.target not in reached:
                    reached[edge.target] = path
                    queue.append(edge.target)
    return best


def order_edges(execution: Execution) -> Iterator[Edge]:
    """What is ordered before what in an execution, by which axiom and through which events.

    Not transitive; of several axioms for the same two events, the one with the fewest between.
    """
    shape, n = execution.shape, execution.shape.n
    rf, ca, dc, ic = ([0] * n for _ in range(4))
    for r, w in execution.rf.items():
        if w != INITIAL:
            rf[w] |= 1 << r
    for a, b in _coherence_after(execution):
        ca[a] |= 1 << b
    for pairs, rows in ((execution.dc, dc), (execution.ic, ic)):
        for a, b in pairs:
            rows[a] |= 1 << b
    dynamic = {"rf": rf, "ca": ca, "DC-after": dc, "IC-after": ic}
    for name in ("rf", "ca"):
        dynamic[f"{name}&ext"] = [row & shape.external[i] for i, row in enumerate(dynamic[name])]
    edges: dict[tuple[int, int], Edge] = {}
    for rule in (*LOCAL, *PICK, *GLOBAL):
        if shape.model.has(rule):
            first, *steps = rule.steps
            for source in bits(shape.set(first)):
                for target, through in _ways(shape, source, steps, dynamic):
                    known = edges.get((source, target))
                    if known is None or len(through) < len(known.through):
                        edges[source, target] = Edge(source, target, rule.name, through)
    if "shootdown" not in shape.model.without:
        for a, b in shape.shootdowns():
            edges.setdefault((a, b), Edge(a, b, "shootdown"))
    yield from edges.values()


def _ways(
    shape: Shape, source: int, steps: Sequence[str], dynamic: Mapping[str, Rows]
) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Where a walk ends, each with the events that it first got there through."""
    reached: dict[int, tuple[int, ...]] = {source: ()}
    for number, (relation, into) in enumerate(zip(steps[::2], steps[1::2], strict=True)):
        following: dict[int, tuple[int, ...]] = {}
        allowed_in = shape.set(into)
        for event, through in reached.items():
            passed = (*through, event) if number else ()
            for target in bits(shape.image(1 << event, relation, dynamic) & allowed_in):
                following.setdefault(target, passed)
        reached = following
    for target, through in reached.items():
        yield target, tuple(event for event in through if event not in (source, target))


def _coherence_after(execution: Execution) -> Iterator[tuple[int, int]]:
    for order in execution.co.values():
        for at, w in enumerate(order):
            for later in order[at + 1 :]:
                yield w, later
    for r, w in execution.rf.items():
        order = execution.co.get(execution.shape.atoms[r], ())
        for later in order[order.index(w) + 1 :] if w != INITIAL else order:
            if later != r:
                yield r, later


def _internal(execution: Execution) -> tuple[Edge, ...]:
    """What breaks an internal axiom: the two orders that contradict each other."""
    shape, without = execution.shape, execution.shape.model.without
    events, thread = shape.events, shape.thread
    for r, w in execution.rf.items():
        if w == INITIAL or events[r].kind != "R" or thread[w] != thread[r]:
            continue
        if events[w].step >= events[r].step and "coRW1" not in without:
            return Edge(w, r, "rf"), Edge(r, w, "coRW1")
    for a, b in _coherence_after(execution):
        axiom = {"W": "coWW", "R": "coWR", "F": ""}[events[a].kind]
        backwards = thread[a] == thread[b] and events[b].step < events[a].step
        if axiom and backwards and axiom not in without:
            return Edge(a, b, "ca"), Edge(b, a, axiom)
    if "atomic" not in without:
        for r, w in shape.rmw:
            order, source = execution.co[shape.atoms[r]], execution.rf[r]
            between = order[order.index(source) + 1 if source != INITIAL else 0 : order.index(w)]
            if between and all(thread[o] != thread[r] for o in between):
                return Edge(r, between[0], "ca"), Edge(between[0], w, "ca"), Edge(w, r, "atomic")
    return ()
