"""CPUs that are known by name: their cache types, and errata that weaken instruction fetch.

A row is a machine under Linux. Few rows with sources are better than many that are guessed: a CPU
that is not here is asked about without a name, in all cache types and without errata.
"""

from __future__ import annotations

from typing import NamedTuple

from static_call.errors import StaticCallError
from static_call.memory_model.model import PRESENT, Model

CacheType = tuple[bool, bool]
"""CTR_EL0.IDC and CTR_EL0.DIC."""

NEITHER: CacheType = False, False
IDC: CacheType = True, False
BOTH: CacheType = True, True


class UnknownCpu(StaticCallError):
    """There is no CPU of this name in the table."""


class Erratum(NamedTuple):
    """What is known to be wrong with a CPU.

    Attributes:
        number: Arm's number for it.
        revisions: The revisions that have it.
        says: What it does, as its source says.
        reading: What the checker makes of that. It is ours, and takes away no less than the source
            says.
        without: The model's rules that do not hold: see Model.without.
        sources: Where that is from.
    """

    number: int
    revisions: str
    says: str
    reading: str
    without: frozenset[str]
    sources: tuple[str, ...]


class Cpu(NamedTuple):
    """A CPU under Linux.

    Attributes:
        name: Its name on the command line.
        midr: Its MIDR_EL1 with variant and revision 0.
        about: Which machines the row is about.
        user: The cache types that user space may see.
        kernel: Those that the kernel may see.
        errata: Those that weaken instruction fetch. An empty tuple says that none is known to us.
        sources: Where the cache types are from.
    """

    name: str
    midr: int
    about: str
    user: tuple[CacheType, ...]
    kernel: tuple[CacheType, ...]
    errata: tuple[Erratum, ...]
    sources: tuple[str, ...]

    @property
    def without(self) -> frozenset[str]:
        """The model's rules that do not hold on it."""
        return frozenset().union(*(one.without for one in self.errata))

    def models(self, edition: str = PRESENT) -> tuple[Model, ...]:
        """The models that it may be, in user space and in the kernel, the weakest first.

        What holds in the first holds in the others: a cache type adds orders, and the errata take
        the same away from each.
        """
        types = sorted({*self.user, *self.kernel})
        return tuple(Model(idc, dic, self.without, edition) for idc, dic in types)

    def __str__(self) -> str:
        if not self.errata:
            return f"{self.name}, {self.about}: no erratum of instruction fetch is known to us"
        read = "; ".join(f"erratum {e.number} as we read it: {e.reading}" for e in self.errata)
        return f"{self.name}, {self.about}; {read}"


_NO_FETCH_ORDER = (
    "a fetch that sees a new branch does not make the next one see the code it branches to; the "
    "rule IC-ob, which orders two fetches of one PE, is left out everywhere"
)

CPUS = (
    Cpu(
        "neoverse-n1",
        midr=0x410FD0C0,
        about="with DIC=1 in the kernel as in Graviton 2 (if not, leave --cpu out: it has no such "
        "erratum)",
        # Linux hides DIC from user space. In the kernel it stays set, and only an IPI helps.
        user=(IDC,),
        kernel=(BOTH,),
        errata=(
            Erratum(
                1542419,
                revisions="r3p0 to r4p0; Linux takes all revisions with DIC=1 to have it",
                says="may execute stale instructions where software relies on prefetch speculation "
                "protection (a PE that sees a new branch sees the new code at its target) instead "
                "of explicit synchronisation. Linux hides DIC and fakes IminLine, so that user "
                "space executes IC IVAU; firmware traps it and invalidates TLBs instead",
                # Whether the firmware does that cannot be seen, so it is not assumed.
                reading=f"{_NO_FETCH_ORDER}, in user space too, since it cannot be seen whether "
                "the firmware does its part",
                without=frozenset({"IC-ob"}),
                sources=(
                    "Arm Neoverse N1 (MP050) Software Developer Errata Notice, SDEN885747",
                    "20191002094935.48848-1-james.morse@arm.com",
                    "Linux 05460849c3b5 (user space), dd8a1f134884 (kernel)",
                    "Linux arch/arm64/kernel/cpu_errata.c, has_neoverse_n1_erratum_1542419()",
                    "Trusted Firmware-A lib/cpus/aarch64/neoverse_n1.S",
                ),
            ),
        ),
        sources=(
            "Linux arch/arm64/kernel/cpu_errata.c, cpu_enable_trap_ctr_access()",
            "IDC=1 and DIC=1 on Graviton 2: https://reviews.freebsd.org/D24853",
        ),
    ),
    Cpu(
        "cortex-a77",
        midr=0x410FD0D0,
        about="r0p0 to r1p0, whose cache type is not known to us, so each is asked about",
        user=(NEITHER, IDC, BOTH),
        kernel=(NEITHER, IDC, BOTH),
        errata=(
            Erratum(
                1542418,
                revisions="r0p0, r1p0",
                says="may execute stale instructions from the L0 macro-op cache where software "
                "relies on prefetch speculation protection. It takes a branch predicted from the "
                "history of an earlier address space with the same ASID or VMID that had a branch "
                "from the same address to the same address. Linux never took the workaround (60 "
                "ASIDs used up before one is used again)",
                reading=f"{_NO_FETCH_ORDER}, with no regard to ASIDs",
                without=frozenset({"IC-ob"}),
                sources=(
                    "Arm Cortex-A77 Software Developer Errata Notice, version 9",
                    "20191114145918.235339-1-suzuki.poulose@arm.com, and its patch 2",
                    "14773d6b-96d5-b894-7fc4-17c54f15ee30@arm.com",
                    "not in Linux Documentation/arch/arm64/silicon-errata.rst",
                ),
            ),
        ),
        sources=("none",),
    ),
    Cpu(
        "cortex-a72",
        midr=0x410FD080,
        about="all revisions",
        user=(NEITHER,),
        kernel=(NEITHER,),
        errata=(),
        sources=("CTR_EL0 0x8444c004: QEMU target/arm/tcg/cpu64.c, aarch64_a72_initfn()",),
    ),
)
"""The table."""


def named(name: str) -> Cpu:
    """The CPU of a name. Raises UnknownCpu, which lists the names that there are."""
    found = next((cpu for cpu in CPUS if cpu.name == name.lower()), None)
    if found is None:
        known = ", ".join(cpu.name for cpu in CPUS)
        raise UnknownCpu(
            f"{name!r} is not the name of a CPU known here: {known} are. For another, leave "
            "--cpu out: all cache types are asked about then, without errata"
        )
    return found
