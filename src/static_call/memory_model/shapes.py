"""What candidate executions share if their paths differ in the values of events alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from functools import lru_cache
from itertools import product
from typing import NamedTuple

from static_call.memory_model.events import Atom, Event, Path
from static_call.memory_model.model import GLOBAL, Model, Rule
from static_call.memory_model.program import Program
from static_call.memory_model.relations import Local, Rows, bits, close, same_line

_STAGES = ("rf", "ca", "DC-after", "IC-after")
"""The relations that differ from execution to execution, in the order in which they are chosen."""


class Trigger(NamedTuple):
    """A rule of GLOBAL as seen from the last relation in it to be chosen.

    Attributes:
        rule: The rule.
        relation: That relation.
        ext: Whether only pairs between PEs count.
        starts: What comes before it in the walk.
        ends: What comes after it.
    """

    rule: Rule
    relation: str
    ext: bool
    starts: tuple[str, ...]
    ends: tuple[str, ...]


@lru_cache(maxsize=16)  # the three cache types, and models without an axiom
def triggers(model: Model) -> tuple[Trigger, ...]:
    """The model's rules of GLOBAL, each at the stage that completes it."""
    found = []
    for rule in GLOBAL:
        if model.has(rule):
            steps = rule.steps
            names = [step.removesuffix("&ext") for step in steps]
            at = max(
                (i for i, name in enumerate(names) if name in _STAGES),
                key=lambda i: _STAGES.index(names[i]),
            )
            found.append(
                Trigger(
                    rule, names[at], steps[at] != names[at], tuple(steps[:at]),
                    tuple(steps[at + 1 :]),
                )
            )  # fmt: skip
    return tuple(found)


class Shape:
    """What all candidates share whose paths differ in the values of events alone.

    Attributes:
        program: The program.
        model: The model that says what is ordered.
        parts: What it says of each thread.
        bases: The index of each thread's first event; the last item is the number of events.
        n: How many events there are.
        events: The events, thread after thread; all else here uses their indexes.
        thread: The thread of each event.
        external: For each event, the events of the other threads, as a mask.
        order: What is ordered before what in every candidate, transitive.
        reads: The reads and fetches.
        writes: The writes to each atom.
        atoms: The atom of each read and fetch.
        dc_pairs: Each DC with each write of its line.
        ic_pairs: Each IC that a DSB completes with each fetch of its line.
        rmw: The read and the write of each atomic pair.
        rf_rules: The rules that a choice of rf completes: whether only between PEs, and for each
            event where the walk may start before it, and end after it.
        ca_rules: The same for a choice of ca.
        pair_rules: The rules that are complete once it is known which of two events came first:
            the relation, where the walk may start, and its other steps.
    """

    program: Program
    model: Model
    parts: Sequence[Local]
    bases: list[int]
    n: int
    events: list[Event]
    thread: list[int]
    external: list[int]
    order: Rows
    reads: list[int]
    atoms: dict[int, Atom]
    dc_pairs: list[tuple[int, int]]
    ic_pairs: list[tuple[int, int]]
    rmw: list[tuple[int, int]]

    def __init__(self, program: Program, model: Model, parts: Sequence[Local]) -> None:
        self.program, self.model, self.parts = program, model, parts
        self.bases = [0]
        for part in parts:
            self.bases.append(self.bases[-1] + part.n)
        self.n = self.bases[-1]
        self.events = [event for part in parts for event in part.events]
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
        self._pair()
        self._prepare_rules()

    def _pair(self) -> None:
        """Finds reads, writes, and the pairs of events that may come in either order."""
        events, line = self.events, self.program.line
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
            for j, b in enumerate(events) if b.kind == "W" and same_line(a, b, line)
        ]  # fmt: skip
        # An IC that no DSB completes promises nothing (Arm ARM B2.7.4).
        self.ic_pairs = [
            (i, j)
            for i, a in enumerate(events) if a.kind == "IC" and self._completed(i)
            for j, b in enumerate(events) if b.kind == "F" and same_line(a, b, line)
        ]  # fmt: skip
        self.rmw = [
            (e.rmw + self.bases[self.thread[i]], i) for i, e in enumerate(events) if e.rmw >= 0
        ]

    def _prepare_rules(self) -> None:
        """Works out where the walks of GLOBAL may start and end."""
        self.rf_rules: list[tuple[bool, Rows, Rows]] = []
        self.ca_rules: list[tuple[bool, Rows, Rows]] = []
        self.pair_rules: list[tuple[str, Rows, tuple[str, ...]]] = []
        for trigger in triggers(self.model):
            parts = [part.starts(trigger.starts) for part in self.parts]
            if not any(map(any, parts)):
                continue
            starts = self._join(iter(parts))
            if trigger.relation in ("rf", "ca"):
                ends = self._join(part.ends(trigger.ends) for part in self.parts)
                rules = self.rf_rules if trigger.relation == "rf" else self.ca_rules
                if any(ends):
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
        """The order that a CSE on every PE makes: taken between the request and its completion."""
        cses = [(i, e) for i, e in enumerate(self.events) if e.kind == "CSE" and e.address]
        for (i, a), (j, b) in product(cses, cses):
            if a.address == b.address and (a.tag + b.tag) in ("senttaken", "takendone"):
                yield i, j

    def image(self, mask: int, relation: str, dynamic: Mapping[str, Rows]) -> int:
        """What the events in `mask` are related to, across threads.

        Args:
            mask: The events.
            relation: A relation of the model's tables.
            dynamic: The relations of one execution, by name.
        """
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


class Shapes:
    """The shapes of executions, each worked out once.

    For paths that differ only in values, the model says the same of each thread's events, and
    similar programs have much of that in common too. So keep one of these while such programs are
    run: check/checker.py has one for each design.
    """

    MOST = 4096
    """How many of either kind are kept before all are dropped: 100 MB, as one takes about 12 KB.

    The single changes of a shipped design need 267 at most; only long litmus tests have more."""

    def __init__(self) -> None:
        self._locals: dict[tuple[object, ...], Local] = {}
        self._shapes: dict[tuple[int, ...], Shape] = {}

    def shape(self, program: Program, model: Model, paths: Sequence[Path]) -> Shape:
        """The shape of the executions that consist of these paths."""
        if max(len(self._locals), len(self._shapes)) > self.MOST:
            self._locals.clear()
            self._shapes.clear()  # with them, as their keys are ids of what the other has
        parts = [self._local(path.events, program.line, model) for path in paths]
        key = (bool(program.cse), *map(id, parts))
        found = self._shapes.get(key)
        if found is None:
            found = self._shapes[key] = Shape(program, model, parts)
        elif found.program is not program:
            found = copy(found)
            found.program = program
        return found

    def _local(self, events: Sequence[Event], line: int, model: Model) -> Local:
        key = tuple(event[:-1] for event in events), line, model  # all but the value
        found = self._locals.get(key)
        if found is None:
            found = self._locals[key] = Local(events, line, model)
        return found
