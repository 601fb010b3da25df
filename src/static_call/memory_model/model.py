"""Arm's memory model with instruction fetch, as tables of rules.

The rules are those of the Arm ARM (DDI 0487 issue M, B2.3, with B2.7.4 and B2.2.5 for instruction
fetch), under the Arm ARM's names. Its rules for page tables, tags and faults are left out. A rule
says that the effect at the start of a row is ordered before the effect at its end. A row reads as a
walk: a set of effects, a relation, a set, a relation, ... a set.

Sets:
    R, W, M: Explicit reads, explicit writes, both.
    F, DC, IC: Instruction fetches, cache maintenance.
    CSE: Context synchronisation events.
    A, Q, L: Acquire, acquirePC, release.
    used: A read whose result is used.
    AL: The write of an atomic with acquire and release.
    dmb.*, dsb.*: Barriers. A DSB is a DMB as well.
    sync: A context synchronisation event on every PE: see the rule shootdown.
    _, !F: Anything; anything but F. Alternatives are separated by |.

Relations:
    po: Program order, between instructions.
    loc, scl: To the same location; in the same cache line.
    instr: Of the same instruction, later.
    sca, sca?: Of the same single-copy atomic access; that or the same effect.
    lrs: From a write to a later read of the same location with no write between.
    rmw, addr, data, ctrl: An atomic pair; dependencies.
    pick-*: The pick dependencies without these.
    rf, ca: Reads-from; coherence-after (from-reads or coherence).
    DC-after, IC-after: Whether a DC or a write, an IC or a fetch, of the same line came first.
    &ext: After a relation: only its pairs between PEs.

The name of an earlier rule is a relation too. rf, ca, DC-after and IC-after differ from execution
to execution. An execution is allowed if all this together has no cycle, and the axioms of INTERNAL
hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from static_call.isa.instruction import EDITIONS


class Rule(NamedTuple):
    """One row.

    Attributes:
        name: Arm's name for it.
        walk: Sets and relations in alternation, as the module's docstring explains.
        when: The cache types that have it: "neither", "IDC" (without DIC), "DIC"; "" for all.
    """

    name: str
    walk: str
    when: str = ""

    @property
    def steps(self) -> list[str]:
        """Its walk as a list: sets and relations in alternation."""
        return self.walk.split()


# Within a PE. Each row alone orders its start before its end (Arm: locally-ordered-before).
LOCAL = (
    # Fetch-intrinsically-before, fetch-ordered-before: an instruction's effects, and all later ones
    # but fetches, come after its fetch.
    Rule("f-ib", "F instr !F"),
    Rule("f-ob", "F po !F"),
    # Cache maintenance keeps its order with accesses to its line, and needs no barrier there.
    Rule("po-scl-ob", "M po&scl DC"),
    Rule("po-scl-ob", "DC po&scl M|DC"),
    # DSB: what is before it completes before anything after it but a fetch.
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
    # Not Arm's: a CSE on every PE (see program.Program.cse), as membarrier or a kernel's IPI makes
    # one. Each is taken between the request and its completion. The PE that asks has a DMB before,
    # and no more: an IC that no DSB has completed is not waited for. An exception's return follows.
    Rule("shootdown", "M|DC po sync"),
    Rule("shootdown", "sync po _"),
)

# After LOCAL is closed (lob): pick-locally-ordered-before.
PICK = (Rule("pick-lob", "R via R|F lob W"),)

# Between PEs, and of a PE with itself where it fetches.
GLOBAL = (
    # Hazard-ordered-before: a later read of the same location sees nothing older ...
    Rule("Exp-haz-ob", "R po&loc R ca&ext W"),
    # ... and of two fetches the later sees what an IC and its DSB made visible to the earlier.
    Rule("IC-ob", "F po F IC-after IC DSB-ob _"),
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
    "coWW": "writes of one PE to one location are in coherence order as in program order",
    "coWR": "a read does not see what an earlier write of the same PE has replaced",
    "atomic": "no other PE's write comes between the read and the write of an atomic pair",
}
"""The internal visibility and atomicity requirements, under Arm's names."""

AXIOMS = tuple(dict.fromkeys([rule.name for rule in (*LOCAL, *PICK, *GLOBAL)] + [*INTERNAL]))
"""All names of rules and axioms."""


PRESENT = EDITIONS[-1]
"""The edition by which answers are given unless another is asked for: Arm's present text."""


@dataclass(frozen=True, slots=True)
class Model:
    """The model with its parameters.

    Attributes:
        idc: CTR_EL0.IDC: a store needs no DC CVAU to be fetched.
        dic: CTR_EL0.DIC: it needs no IC IVAU either. Only with idc.
        without: Axioms to leave out, to see what depends on them: names, or the walks of single
            rows.
        unsynchronised: Exceptions that are not context synchronisation events: "entry", where
            SCTLR_ELx.EIS is 0, "return", where EOS is 0. Both need FEAT_ExS (Arm ARM, SCTLR_EL1).
            Linux sets both bits (INIT_SCTLR_EL1_MMU_ON in its asm/sysreg.h).
        edition: Which edition of the Arm ARM says what may be modified while it may execute: one of
            instruction.EDITIONS, the present one by default. It decides on flags, not on orders.
    """

    idc: bool = False
    dic: bool = False
    without: frozenset[str] = frozenset()
    edition: str = PRESENT
    unsynchronised: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Raises ValueError for a cache type or an edition that does not exist."""
        if self.dic and not self.idc:
            raise ValueError("DIC=1 needs IDC=1: Arm ARM, CTR_EL0")
        if self.edition not in EDITIONS:
            raise ValueError(f"{self.edition} is none of the editions {', '.join(EDITIONS)}")

    def has(self, rule: Rule) -> bool:
        """Whether the model includes the rule."""
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
"""IDC=0 and DIC=0. What it forbids, the others forbid too."""

CACHE_TYPES = (WEAKEST, Model(idc=True), Model(idc=True, dic=True))
"""The three legal pairs of IDC and DIC, the weakest first."""
