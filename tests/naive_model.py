# ruff: noqa: N806 - sets of events have the capital letters that the Arm ARM gives them
"""Arm's memory model a second time, slowly: relations as sets of pairs, straight from definitions.

It shares nothing with static_call.check.model and executions: it takes the events of one path of
each thread (their documented fields), tries every rf, every co, and every order of DCs and ICs
against writes and fetches, and keeps what has no cycle.
"""

from collections.abc import Callable, Iterator
from itertools import permutations, product
from math import factorial

from static_call.memory_model.events import Event, Path
from static_call.memory_model.program import Program

Relation = set[tuple[int, int]]
Found = tuple[frozenset[tuple[int | None, int]], *tuple[frozenset[tuple[int, int]], ...]]


def compose(*relations: Relation) -> Relation:
    """The relations one after the other."""
    result = relations[0]
    for relation in relations[1:]:
        follow: dict[int, set[int]] = {}
        for a, b in relation:
            follow.setdefault(a, set()).add(b)
        result = {(a, c) for a, b in result for c in follow.get(b, ())}
    return result


def transitive(relation: Relation) -> Relation:
    """The smallest transitive relation that contains it."""
    closed = set(relation)
    while True:
        more = compose(closed, closed) - closed
        if not more:
            return closed
        closed |= more


def cyclic(relation: Relation) -> bool:
    """Whether it has a cycle."""
    return any(a == b for a, b in transitive(relation))


class World:
    """One path of each thread, its events flattened, with everything that does not vary."""

    def __init__(self, program: Program, paths: tuple[Path, ...], idc: bool, dic: bool) -> None:
        self.program, self.idc, self.dic = program, idc, dic
        self.e: list[Event] = []
        self.thread: list[int] = []
        base = 0
        deps: dict[str, Relation] = {
            name: set() for name in ("addr", "data", "ctrl", "paddr", "pdata", "pctrl", "via")
        }
        self.rmw: Relation = set()
        for t, path in enumerate(paths):
            for i, event in enumerate(path.events):
                masks = {
                    "addr": event.addr,
                    "data": event.data,
                    "ctrl": event.ctrl,
                    "paddr": event.pick_addr | event.addr,
                    "pdata": event.pick_data | event.data,
                    "pctrl": event.pick_ctrl | event.ctrl,
                    "via": event.via,
                }
                for name, mask in masks.items():
                    for j in range(len(path.events)):
                        if mask & (1 << j):
                            deps[name].add((base + j, base + i))
                if event.rmw >= 0:
                    self.rmw.add((base + event.rmw, base + i))
                self.e.append(event)
                self.thread.append(t)
            base += len(path.events)
        self.deps = deps
        self.all = set(range(len(self.e)))
        self.local()

    def where(self, test: Callable[[Event], bool]) -> set[int]:
        """The events that pass the test."""
        return {i for i in self.all if test(self.e[i])}

    def local(self) -> None:
        """What does not depend on rf and co."""
        e, thread = self.e, self.thread
        R = self.R = self.where(lambda x: x.kind == "R")
        W = self.W = self.where(lambda x: x.kind == "W")
        F = self.F = self.where(lambda x: x.kind == "F")
        DC = self.DC = self.where(lambda x: x.kind == "DC")
        IC = self.IC = self.where(lambda x: x.kind == "IC")
        CSE = self.where(lambda x: x.kind == "CSE")
        M = R | W
        A = self.where(lambda x: x.kind == "R" and "A" in x.tag)
        Q = self.where(lambda x: x.kind == "R" and "Q" in x.tag)
        L = self.where(lambda x: x.kind == "W" and "L" in x.tag)
        noret = self.where(lambda x: x.kind == "R" and "N" in x.tag)
        dsb = {
            which: {i for i in self.all if e[i].kind == "DSB" and e[i].tag == which}
            for which in ("full", "ld", "st")
        }
        dmb = {
            which: {i for i in self.all if e[i].kind == "DMB" and e[i].tag == which} | dsb[which]
            for which in dsb
        }
        pairs = {(a, b) for a in self.all for b in self.all if thread[a] == thread[b]}
        po = self.po = {(a, b) for a, b in pairs if e[a].step < e[b].step}
        same_instr = {(a, b) for a, b in pairs if e[a].step == e[b].step and a != b}
        self.loc = {
            (a, b)
            for a in M | F
            for b in M | F
            if (e[a].address, e[a].size) == (e[b].address, e[b].size)
        }
        line = self.program.line
        span = {
            i: (e[i].address // line, (e[i].address + max(e[i].size, 1) - 1) // line)
            for i in M | F | DC | IC
        }
        self.scl = {
            (a, b)
            for a in span
            for b in span
            if span[a][0] <= span[b][1] and span[b][0] <= span[a][1]
        }
        self.sca = {
            (a, b)
            for a, b in pairs
            if a != b
            and e[a].kind == e[b].kind
            and e[a].kind in ("R", "W")
            and e[a].group == e[b].group
        }

        def r(domain: set[int], relation: Relation, image: set[int]) -> Relation:
            return {(a, b) for a, b in relation if a in domain and b in image}

        every = self.all
        poloc = {p for p in po if p in self.loc}
        lrs = {
            (w, x)
            for w, x in r(W, poloc, R)
            if not any((w, o) in poloc and (o, x) in poloc for o in W)
        }
        d = self.deps
        dsb_ob = (
            compose(r(M | F | DC | IC, po, dsb["full"]), r(dsb["full"], po, every - F))
            | compose(r(R - noret, po, dsb["ld"]), r(dsb["ld"], po, every - F))
            | compose(r(W, po, dsb["st"]), r(dsb["st"], po, every - F))
        )
        ifb_ob = compose(
            r(R, d["ctrl"] | d["pctrl"], CSE)
            | compose(r(R, d["addr"] | d["paddr"], M), r(M, po, CSE)),
            po,
        ) | compose(r(every, dsb_ob, CSE), po)
        dob = (
            r(R, d["addr"], M | DC | IC)
            | r(R, d["data"], W)
            | r(R, d["ctrl"], W | DC | IC)
            | compose(r(R, d["addr"], M), r(M, po, W))
            | compose(r(R, d["addr"], M), lrs)
            | compose(r(R, d["data"], M), lrs)
        )
        pob = (
            r(R, d["paddr"], W | DC | IC)
            | r(R, d["pdata"], W)
            | r(R, d["pctrl"], W | DC | IC)
            | compose(r(R, d["paddr"], M), r(M, po, W))
        )
        aob = self.rmw | compose(self.rmw, r(W, lrs, A | Q))
        full_release = {w for a, w in self.rmw if a in A and w in L and "X" not in e[w].tag}
        bob = (
            compose(r(M | DC, po, dmb["full"]), r(dmb["full"], po, M | DC))
            | compose(r(R - noret, po, dmb["ld"]), r(dmb["ld"], po, M))
            | compose(r(W, po, dmb["st"]), r(dmb["st"], po, W))
            | r(full_release, po, M)
            | r(L, po, A)
            | r(A | Q, po, M)
            | r(M, po, L)
        )
        lmws = r(M, poloc, W)
        f = r(F, same_instr | po, every - F)
        maintenance = {
            p
            for p in po
            if p in self.scl and ((p[0] in M and p[1] in DC) or (p[0] in DC and p[1] in M | DC))
        }
        lob = transitive(
            f
            | maintenance
            | dsb_ob
            | ifb_ob
            | lmws
            | compose(lmws, self.sca)
            | dob
            | pob
            | aob
            | bob
        )
        self.lhr = transitive(lob | compose(r(R, d["via"], R | F), r(every, lob, W)))
        self.dsb_ob, self.poloc = dsb_ob, poloc
        self.completed = {i for i in IC if any((i, b) in po for b in dsb["full"])}
        self.ext = {(a, b) for a in every for b in every if thread[a] != thread[b]}

    def tries(self) -> int:
        """At most how many candidates there are."""
        e, count = self.e, 1
        for x in self.R | self.F:
            count *= 1 + sum((w, x) in self.loc and e[w].value == e[x].value for w in self.W)
        for atom in {(e[w].address, e[w].size) for w in self.W}:
            count *= factorial(sum((e[w].address, e[w].size) == atom for w in self.W))
        pairs = len(self.DC) * len(self.W) + len(self.completed) * len(self.F)
        return count << pairs

    def executions(self) -> Iterator[Found]:
        """All allowed (rf, co, dc, ic): rf as pairs (write or None, read)."""
        e = self.e
        reads = sorted(self.R | self.F)
        sources: list[list[int | None]] = []
        for x in reads:
            found: list[int | None] = [
                w for w in sorted(self.W) if (w, x) in self.loc and e[w].value == e[x].value
            ]
            if self.program.initial(e[x].address, e[x].size) == e[x].value:
                found.append(None)
            sources.append(found)
        atoms = sorted({(e[w].address, e[w].size) for w in self.W})
        orders = [
            list(permutations(sorted(w for w in self.W if (e[w].address, e[w].size) == atom)))
            for atom in atoms
        ]
        dc_pairs = sorted((a, b) for a in self.DC for b in self.W if (a, b) in self.scl)
        ic_pairs = sorted((a, b) for a in self.completed for b in self.F if (a, b) in self.scl)
        for choice in product(*sources):
            rf = set(zip(choice, reads))
            for order in product(*orders):
                co = {
                    (line[i], line[j])
                    for line in order
                    for i in range(len(line))
                    for j in range(i + 1, len(line))
                }
                known = {(w, x) for w, x in rf if w is not None}
                fr = {
                    (x, o)
                    for w, x in rf
                    for o in self.W
                    if (o, x) in self.loc and o != w and (w is None or (w, o) in co)
                }
                if not self.consistent(known, co, fr):
                    continue
                for turns in product((False, True), repeat=len(dc_pairs) + len(ic_pairs)):
                    turned = [
                        (b, a) if t else (a, b) for (a, b), t in zip(dc_pairs + ic_pairs, turns)
                    ]
                    dc, ic = set(turned[: len(dc_pairs)]), set(turned[len(dc_pairs) :])
                    if not cyclic(self.ob(known, co | fr, dc, ic)):
                        yield (frozenset(rf), frozenset(co), frozenset(dc), frozenset(ic))

    def consistent(self, rf: Relation, co: Relation, fr: Relation) -> bool:
        """The internal visibility requirements and atomicity."""
        ca = co | fr
        R, W = self.R, self.W
        same = self.poloc | self.rmw | self.deps["data"]  # what a CASP writes back it reads first
        if any((x, w) in same for w, x in rf if x in R):
            return False
        if any((b, a) in self.poloc for a, b in ca if a in R | W and b in W):
            return False
        fri, coi = fr - self.ext, co - self.ext
        return (
            not ((self.rmw & compose(fr, co)) - compose(fri, coi))
            if fri
            else not (self.rmw & compose(fr, co))
        )

    def ob(self, rf: Relation, ca: Relation, dc: Relation, ic: Relation) -> Relation:
        """Ordered-before, not closed."""
        R, W, F, IC = self.R, self.W, self.F, self.IC
        maybe = self.sca | {(i, i) for i in self.all}
        rfe = {(w, x) for w, x in rf & self.ext if x in R}
        cae = {(a, b) for a, b in ca & self.ext if a in R | W}
        haz = compose(
            {p for p in self.poloc if p[0] in R and p[1] in R},
            {p for p in cae if p[0] in R},
        )
        ob = set(self.lhr) | compose(rfe, maybe) | compose(cae, maybe) | haz
        ob |= {(w, x) for w, x in rf if x in F} | dc | ic
        fca = {(a, b) for a, b in ca if a in F}
        ic_f = {(a, b) for a, b in ic if a in IC}
        f_ic = {(a, b) for a, b in ic if b in IC}
        ff = {(a, b) for a, b in self.po if a in F and b in F}
        if self.dic:
            ob |= fca | compose(ff, fca)
        elif self.idc:
            ob |= compose(ic_f, fca)
        else:
            ob |= compose(ic_f, fca, {(a, b) for a, b in dc if a in W})
        return ob | compose(ff, f_ic, self.dsb_ob)
