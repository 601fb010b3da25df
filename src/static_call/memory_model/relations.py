"""The model's sets and relations within one thread, as bits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache

from static_call.memory_model.events import Event
from static_call.memory_model.model import LOCAL, PICK, Model, Rule

Rows = list[int]
"""A relation as a matrix of bits: row i has bit j where i is related to j."""


def bits(mask: int) -> Iterator[int]:
    """The numbers of the bits that are set, lowest first."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def close(rows: Rows) -> None:
    """Makes a relation transitive, in place."""
    for k, row in enumerate(rows):
        if row:
            bit = 1 << k
            for i, other in enumerate(rows):
                if other & bit:
                    rows[i] |= rows[k]


def add(order: Rows, source: int, targets: int) -> bool:
    """Adds pairs to a transitive relation, in place. Returns False where that makes a cycle."""
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


@lru_cache(maxsize=256)  # a few tables and names for each of the models that are in use
def _rules(table: tuple[Rule, ...], model: Model, name: str = "") -> tuple[tuple[str, ...], ...]:
    """The steps of the rules of a table that the model has: all, or those of one name."""
    return tuple(tuple(rule.steps) for rule in table if model.has(rule) and name in ("", rule.name))


class Local:
    """What the model says of one thread's events, whatever the values.

    Attributes:
        events: The events.
        n: How many there are.
        every: A mask of all of them.
        after: For each event, the later ones in program order, as a mask.
        sets: Masks, by the names in the tables.
        rows: Relations, by name.
        order: What is locally ordered before what, transitive.
    """

    n: int
    every: int
    sets: dict[str, int]
    after: list[int]

    def __init__(self, events: Sequence[Event], line: int, model: Model) -> None:
        self.events = events
        self.n = len(events)
        self.every = (1 << self.n) - 1
        self._model = model
        self.sets = self._sets()
        self.after = [
            sum(1 << j for j, later in enumerate(events) if later.step > event.step)
            for event in events
        ]
        self.rows: dict[str, Rows] = {}
        self._line = line
        self._starts: dict[tuple[str, ...], Rows] = {}
        self._ends: dict[tuple[str, ...], Rows] = {}
        lob = self._union(_rules(LOCAL, model))
        close(lob)
        self.rows["lob"] = lob
        order = self._union(_rules(PICK, model), lob)
        close(order)
        self.order = order

    def _sets(self) -> dict[str, int]:
        sets = dict.fromkeys(
            ("R", "W", "F", "DC", "IC", "CSE", "A", "Q", "L", "AL", "used", "sync"), 0
        ) | {f"{kind}.{which}": 0 for kind in ("dmb", "dsb") for which in ("full", "ld", "st")}
        for i, event in enumerate(self.events):
            for name in self._kinds(event):
                sets[name] |= 1 << i
        sets["M"] = sets["R"] | sets["W"]
        sets["_"] = self.every
        return sets

    def _kinds(self, event: Event) -> Iterator[str]:
        kind, tag = event.kind, event.tag
        match kind:
            case "DMB" | "DSB":
                yield f"dmb.{tag}"
                if kind == "DSB":
                    yield f"dsb.{tag}"
                return
            case "CSE" if tag in ("sent", "done", "taken"):
                yield "sync"
            case "CSE" if tag in self._model.unsynchronised:
                return
            case "R" if "N" not in tag:
                yield "used"
            case "W" if tag == "L" and event.rmw >= 0 and "A" in self.events[event.rmw].tag:
                yield "AL"
        yield kind
        if kind in "RW":
            yield from tag.translate({ord("N"): None, ord("X"): None})

    def set(self, name: str) -> int:
        """A set of the tables as a mask."""
        mask = self.sets.get(name)
        if mask is None:
            mask = 0
            for part in name.split("|"):
                mask |= self.every & ~self.sets[part[1:]] if part[0] == "!" else self.sets[part]
            self.sets[name] = mask
        return mask

    def relation(self, name: str) -> Rows:
        """A relation of the tables, within the thread."""
        rows = self.rows.get(name)
        if rows is None:
            base = name.removesuffix("?")
            if base in _DEPENDENCIES:
                rows = self._sources(_DEPENDENCIES[base])
            elif base == "ctrl" or base == "pick-ctrl":
                rows = self._sources(lambda e: e.ctrl if base == "ctrl" else e.pick_ctrl)
            elif base in _SAME:
                rows = self._same(_SAME[base])
            elif base == "lrs":
                rows = self._lrs()
            else:
                rows = self._union(_rules(LOCAL, self._model, base))
            if name.endswith("?"):
                rows = [row | 1 << i for i, row in enumerate(rows)]
            self.rows[name] = rows
        return rows

    def _sources(self, of: Callable[[Event], int]) -> Rows:
        rows = [0] * self.n
        for i, event in enumerate(self.events):
            for source in bits(of(event)):
                rows[source] |= 1 << i
        return rows

    def _same(self, related: Callable[[Event, Event, int], bool]) -> Rows:
        events, line = self.events, self._line
        rows = [0] * self.n
        for i, a in enumerate(events):
            for j, b in enumerate(events):
                if i != j and related(a, b, line):
                    rows[i] |= 1 << j
        return rows

    def _lrs(self) -> Rows:
        rows = [0] * self.n
        last: dict[tuple[int, int], int] = {}
        for i, event in enumerate(self.events):
            atom = event.address, event.size
            if event.kind == "W":
                last[atom] = i
            elif event.kind == "R" and atom in last:
                rows[last[atom]] |= 1 << i
        return rows

    def image(self, mask: int, relation: str) -> int:
        """What the events in `mask` are related to, as a mask."""
        if not mask:
            return 0
        if relation == "po":
            return self.after[(mask & -mask).bit_length() - 1]
        rows = self.relation(relation)
        out = 0
        for i in bits(mask):
            out |= rows[i]
        return out

    def walk(self, mask: int, steps: Sequence[str]) -> int:
        """Where a walk from the events in `mask` ends; the steps are relation, set, ... set."""
        for relation, into in zip(steps[::2], steps[1::2], strict=True):
            mask = self.image(mask, relation) & self.set(into)
            if not mask:
                break
        return mask

    def _union(self, rules: Iterable[Sequence[str]], start: Rows | None = None) -> Rows:
        rows = list(start) if start else [0] * self.n
        for first, *steps in rules:
            if all(self.set(name) for name in steps[1::2]):
                for i in bits(self.set(first)):
                    rows[i] |= self.walk(1 << i, steps)
        return rows

    def starts(self, steps: tuple[str, ...]) -> Rows:
        """For each event, where a walk (set, relation, ... set) that ends there may start."""
        known = self._starts.get(steps)
        if known is not None:
            return known
        rows = self._starts[steps] = [0] * self.n
        for i in bits(self.set(steps[0])):
            for end in bits(self.walk(1 << i, steps[1:])):
                rows[end] |= 1 << i
        return rows

    def ends(self, steps: tuple[str, ...]) -> Rows:
        """For each event, where a walk (set, relation, ... set) that starts there may end."""
        known = self._ends.get(steps)
        if known is not None:
            return known
        rows = self._ends[steps] = [0] * self.n
        for i in bits(self.set(steps[0])):
            rows[i] = self.walk(1 << i, steps[1:])
        return rows


def same_line(a: Event, b: Event, line: int) -> bool:
    """Whether two events access a common cache line, of `line` bytes."""
    first, last = a.address // line, (a.address + max(a.size, 1) - 1) // line
    return first <= (b.address + max(b.size, 1) - 1) // line and b.address // line <= last


_DEPENDENCIES: dict[str, Callable[[Event], int]] = {
    "addr": lambda e: e.addr,
    "data": lambda e: e.data,
    "pick-addr": lambda e: e.pick_addr,
    "pick-data": lambda e: e.pick_data,
    "via": lambda e: e.via,
    "rmw": lambda e: 1 << e.rmw if e.rmw >= 0 else 0,
}
_MEMORY = frozenset("RWF")
_LINES = frozenset(("R", "W", "F", "DC", "IC"))
_SAME: dict[str, Callable[[Event, Event, int], bool]] = {
    "instr": lambda a, b, line: a.step == b.step,
    "sca": lambda a, b, line: a.kind == b.kind and a.kind in "RW" and a.group == b.group,
    "po&loc": lambda a, b, line: (
        a.step < b.step
        and a.kind in _MEMORY
        and b.kind in _MEMORY
        and (a.address, a.size) == (b.address, b.size)
    ),
    "po&scl": lambda a, b, line: (
        a.step < b.step and a.kind in _LINES and b.kind in _LINES and same_line(a, b, line)
    ),
}
