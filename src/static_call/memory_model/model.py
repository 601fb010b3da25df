"""Arm's memory model with instruction fetch, as tables of rules.

The rules are those of the Arm ARM (DDI 0487 issue M, B2.3, with B2.7.4 and B2.2.5 for instruction
fetch), under the names that it gives them; what it has for page tables, tags and faults is left
out. A rule says that the effect at the start of a row is ordered before the effect at its end.
A row reads as a walk: a set of effects, a relation, a set, a relation, ... a set.

Sets      R W (explicit), M (both), F (instruction fetch), DC, IC, CSE (context synchronisation),
          A (acquire), Q (acquirePC), L (release), used (a read whose result is), AL (the write of
          an atomic with acquire and release), dmb.* dsb.* (barriers; a DSB is a DMB as well),
          sync (see shootdown), _ (anything), !F (anything but), with | between alternatives
Relations po (program order, between instructions), loc (to the same place), scl (in the same cache
          line), instr (of the same instruction, later), sca (of the same single-copy atomic
          access), sca? (that or the same effect), lrs (from a write to a later read of the same
          place with no write between), rmw, addr, data, ctrl and the pick dependencies without
          these, names of earlier rules; and those that differ from execution to execution:
          rf (reads-from), ca (coherence-after: from-reads or coherence), DC-after and IC-after
          (which came first, of a DC and a write, or an IC and a fetch, of the same line);
          &ext keeps those between PEs

An execution is allowed if all this together has no cycle, and the axioms of INTERNAL hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from static_call.memory_model.program import Event


class Rule(NamedTuple):
    """One row. `when` limits it to some cache types: see Model."""

    name: str
    walk: str
    when: str = ""

    @property
    def steps(self) -> list[str]:
        """Sets and relations, by turns."""
        return self.walk.split()


# Within a PE. Each is ordered before (Arm: locally-ordered-before) as it stands.
LOCAL = (
    # Fetch-intrinsically-before, fetch-ordered-before: an instruction's effects, and all later ones
    # but fetches, come after its fetch.
    Rule("f-ib", "F instr !F"),
    Rule("f-ob", "F po !F"),
    # Cache maintenance keeps its place among accesses to its line, and needs no barrier there.
    Rule("po-scl-ob", "M po&scl DC"),
    Rule("po-scl-ob", "DC po&scl M|DC"),
    # DSB: what is before it completes before anything behind it but a fetch.
    Rule("DSB-ob", "M|F|DC|IC po dsb.full po !F"),
    Rule("DSB-ob", "used po dsb.ld po !F"),
    Rule("DSB-ob", "W po dsb.st po !F"),
    # Instruction-fetch-barrier-ordered-before: a CSE holds back everything, fetches too, until
    # what was waited for; alone it waits for nothing.
    Rule("IFB-ob", "R ctrl CSE po _"),
    Rule("IFB-ob", "R pick-ctrl CSE po _"),
    Rule("IFB-ob", "R addr M po CSE po _"),
    Rule("IFB-ob", "R pick-addr M po CSE po _"),
    Rule("IFB-ob", "_ DSB-ob CSE po _"),
    # Local memory write successor.
    Rule("lmws", "M po&loc W"),
    Rule("lmws", "M po&loc W sca W"),
    # Dependency-ordered-before.
    Rule("dob", "R addr M|DC|IC"),
    Rule("dob", "R data W"),
    Rule("dob", "R ctrl W|DC|IC"),
    Rule("dob", "R addr M po W"),
    Rule("dob", "R addr M lrs R"),
    Rule("dob", "R data W lrs R"),
    # Pick-ordered-before: CSEL and CAS may be predicted, so they order writes only.
    Rule("pob", "R pick-addr W|DC|IC"),
    Rule("pob", "R pick-data W"),
    Rule("pob", "R pick-ctrl W|DC|IC"),
    Rule("pob", "R pick-addr M po W"),
    # Atomic-ordered-before.
    Rule("aob", "R rmw W"),
    Rule("aob", "R rmw W lrs A|Q"),
    # Barrier-ordered-before.
    Rule("bob", "M|DC po dmb.full po M|DC"),
    Rule("bob", "used po dmb.ld po M"),
    Rule("bob", "W po dmb.st po W"),
    Rule("bob", "AL po M"),
    Rule("bob", "L po A"),
    Rule("bob", "A|Q po M"),
    Rule("bob", "M po L"),
    # Not Arm's: a CSE on every PE (see retarget.Cse), as membarrier and a kernel's IPI make one.
    # Each is taken between the request and its completion. Who asks has a DMB before, and no more:
    # an IC that no DSB has completed is not waited for. Behind it is an exception's return.
    Rule("shootdown", "M|DC po sync"),
    Rule("shootdown", "sync po _"),
)

# After LOCAL is closed (lob): pick-locally-ordered-before.
PICK = (Rule("pick-lob", "R via R lob W"),)

# Between PEs, and of a PE with itself where it fetches.
GLOBAL = (
    # Hazard-ordered-before: a later read of the same place sees nothing older ...
    Rule("Exp-haz-ob", "R po&loc R sca? R ca&ext W sca? W"),
    # ... and of two fetches the later sees what an IC and its DSB made visible to the earlier.
    Rule("IC-ob", "F po F IC-after IC DSB-ob _"),
    Rule("IC-ob", "F po F IC-after IC IFB-ob _"),
    Rule("IC-ob", "F po F ca W", "DIC"),
    # Explicitly-observed-by.
    Rule("Exp-obs", "W rf&ext R sca? R"),
    Rule("Exp-obs", "M ca&ext W sca? W"),
    # Instruction-observed-by. A fetch comes after the write that it reads; DC and IC come before or
    # after; and a fetch that comes after an IC sees the writes whose DC (IDC=0) or which themselves
    # (IDC=1) come before that IC (IC-coherence-after). With DIC=1 fetches are coherent.
    Rule("Instr-obs", "W rf F"),
    Rule("Instr-obs", "W DC-after DC"),
    Rule("Instr-obs", "DC DC-after W"),
    Rule("Instr-obs", "F IC-after IC"),
    Rule("Instr-obs", "IC IC-after F"),
    Rule("IC-ca", "IC IC-after F ca W DC-after DC", "neither"),
    Rule("IC-ca", "IC IC-after F ca W", "IDC"),
    Rule("IC-ca", "F ca W", "DIC"),
)

INTERNAL = {
    "coRW1": "a read does not see a write that comes later in program order",
    "coWW": "writes of one PE to one place are in coherence order as in program order",
    "coWR": "a read does not see what an earlier write of the same PE has replaced",
    "atomic": "no other PE's write comes between the read and the write of an atomic pair",
}
"""The internal visibility and atomicity requirements, by Arm's names."""

AXIOMS = tuple(dict.fromkeys([rule.name for rule in (*LOCAL, *PICK, *GLOBAL)] + [*INTERNAL]))
"""All names of rules and axioms."""

_STAGES = ("rf", "ca", "DC-after", "IC-after")
"""The relations that differ from execution to execution, in the order that they are chosen in."""


@dataclass(frozen=True, slots=True)
class Model:
    """The model with its parameters.

    idc      CTR_EL0.IDC: a store needs no DC CVAU to be fetched
    dic      CTR_EL0.DIC: it needs no IC IVAU either; only with idc
    without  axioms to leave out, to see what depends on them: names, or single rows by their walk
    edition  which list of instructions may be modified while they may execute: "every" edition of
             the Arm ARM has these, or "newer" ones
    """

    idc: bool = False
    dic: bool = False
    without: frozenset[str] = frozenset()
    edition: str = "every"

    def __post_init__(self) -> None:
        """Raises ValueError for a cache type that there is not."""
        if self.dic and not self.idc:
            raise ValueError("DIC=1 needs IDC=1: Arm ARM, CTR_EL0")

    def has(self, rule: Rule) -> bool:
        """Whether the rule counts here."""
        if rule.name in self.without or rule.walk in self.without:
            return False
        match rule.when:
            case "neither":
                return not self.idc
            case "IDC":
                return self.idc and not self.dic
            case "DIC":
                return self.dic
        return True


WEAKEST = Model()
"""IDC=0 and DIC=0: what it forbids, the others forbid too."""

CACHE_TYPES = (WEAKEST, Model(idc=True), Model(idc=True, dic=True))
"""The three legal pairs of IDC and DIC, the weakest first."""

Skeleton = tuple[tuple[object, ...], ...]
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


class Local:
    """What the model says of one thread's events, whatever the values.

    n      how many events
    sets   masks, by the names in the tables
    rows   relations, by name
    order  locally ordered before, transitive
    """

    def __init__(self, events: Sequence[Event], line: int, model: Model) -> None:
        self.events, self.model = events, model
        self.n = len(events)
        self.every = (1 << self.n) - 1
        self.sets = self._sets()
        self.after = [
            sum(1 << j for j, later in enumerate(events) if later.step > event.step)
            for event in events
        ]
        self.rows: dict[str, Rows] = {}
        self.line = line
        lob = self._union(rule for rule in LOCAL if model.has(rule))
        close(lob)
        self.rows["lob"] = lob
        order = self._union((rule for rule in PICK if model.has(rule)), lob)
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
            case "R" if "N" not in tag:
                yield "used"
            case "W" if tag == "L" and event.rmw >= 0 and "A" in self.events[event.rmw].tag:
                yield "AL"
        yield kind
        if kind in "RW":
            yield from tag.translate({ord("N"): None, ord("X"): None})

    def set(self, name: str) -> int:
        """A set of the tables as a mask."""
        mask = 0
        for part in name.split("|"):
            mask |= self.every & ~self.sets[part[1:]] if part[0] == "!" else self.sets[part]
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
                rows = self._union(r for r in LOCAL if r.name == base and self.model.has(r))
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
        events, line = self.events, self.line
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
            place = event.address, event.size
            if event.kind == "W":
                last[place] = i
            elif event.kind == "R" and place in last:
                rows[last[place]] |= 1 << i
        return rows

    def image(self, mask: int, relation: str) -> int:
        """What the effects in `mask` are related to."""
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
        """Where a walk from the effects in `mask` ends: relation, set, relation, set ..."""
        for relation, into in zip(steps[::2], steps[1::2], strict=True):
            mask = self.image(mask, relation) & self.set(into)
            if not mask:
                break
        return mask

    def _union(self, rules: Iterator[Rule], start: Rows | None = None) -> Rows:
        rows = list(start) if start else [0] * self.n
        for rule in rules:
            first, *steps = rule.steps
            if all(self.set(name) for name in steps[1::2]):
                for i in bits(self.set(first)):
                    rows[i] |= self.walk(1 << i, steps)
        return rows

    def starts(self, steps: Sequence[str]) -> Rows:
        """For each effect, where a walk set, relation, ... set that ends there may start."""
        rows = [0] * self.n
        for i in bits(self.set(steps[0])):
            for end in bits(self.walk(1 << i, steps[1:])):
                rows[end] |= 1 << i
        return rows

    def ends(self, steps: Sequence[str]) -> Rows:
        """For each effect, where a walk set, relation, ... set that starts there may end."""
        first = self.set(steps[0])
        return [self.walk(1 << i, steps[1:]) if first >> i & 1 else 0 for i in range(self.n)]


def same_line(a: Event, b: Event, line: int) -> bool:
    """Whether two effects are in the same cache line."""
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


class Trigger(NamedTuple):
    """A rule of GLOBAL as seen from the last relation in it to be chosen.

    relation  that one
    ext       whether only pairs between PEs count
    starts    what comes before it in the walk
    ends      what comes behind it
    """

    rule: Rule
    relation: str
    ext: bool
    starts: tuple[str, ...]
    ends: tuple[str, ...]


@lru_cache
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


_locals: dict[tuple[Skeleton, int, Model], Local] = {}


def local(events: Sequence[Event], line: int, model: Model) -> Local:
    """The thread's Local, remembered for all paths that differ in values only."""
    key = tuple(event[:-1] for event in events), line, model
    found = _locals.get(key)
    if found is None:
        if len(_locals) > 4096:
            _locals.clear()
        found = _locals[key] = Local(events, line, model)
    return found
