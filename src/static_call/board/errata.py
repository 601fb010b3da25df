"""Errata of CPUs that break what the model promises about instruction fetch."""

from __future__ import annotations

from typing import NamedTuple


class Erratum(NamedTuple):
    """A row.

    Attributes:
        number: Arm's number for it.
        midr: MIDR_EL1 of a CPU that has it.
        mask: The bits of MIDR_EL1 that count.
        name: The CPU.
        breaks: What may happen.
    """

    number: str
    midr: int
    mask: int
    name: str
    breaks: str


_PART = 0xFF00FFF0  # implementer and part number, of any variant and revision

ERRATA = (
    Erratum(
        "1542419", 0x4100D0C0, _PART, "Neoverse-N1",
        "with DIC, a CPU that takes a new branch may execute older instructions where it leads",
    ),
    Erratum(
        "1542418", 0x4100D0D0, _PART, "Cortex-A77",
        "a CPU may execute older instructions after others were made fetchable",
    ),
)  # fmt: skip
"""The rows. Some revisions may be without. Of Neoverse-N1, Linux takes all to be affected
(arch/arm64/kernel/cpu_errata.c, has_neoverse_n1_erratum_1542419: MIDR_ALL_VERSIONS); for Cortex-A77
it has no row, and Arm's errata notice for the CPU has the revisions."""


def affecting(midr: int) -> list[str]:
    """The numbers of the errata of a CPU, by its MIDR_EL1, in the order of the rows."""
    return [row.number for row in ERRATA if (midr ^ row.midr) & row.mask == 0]
