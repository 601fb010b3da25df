"""How a board's program knows a CPU that has an erratum: by its MIDR_EL1.

memory_model/cpus.py has the table: the errata that break what the model promises about instruction
fetch, with their sources.
"""

from __future__ import annotations

from typing import NamedTuple

from static_call.memory_model.cpus import CPUS

_MODEL = 0xFF0FFFF0
"""The bits of MIDR_EL1 that say which CPU it is, of any variant and revision: Linux's
MIDR_CPU_MODEL_MASK."""


class Erratum(NamedTuple):
    """A CPU's erratum, as the program has it.

    Attributes:
        midr: MIDR_EL1 of a CPU that may have it.
        mask: The bits of MIDR_EL1 that count.
        number: Arm's number for it.
    """

    midr: int
    mask: int
    number: str


ERRATA = tuple(
    Erratum(cpu.midr, _MODEL, str(erratum.number)) for cpu in CPUS for erratum in cpu.errata
)
"""All of them. A CPU may be of a revision without it: the table says which have it."""


def affecting(midr: int) -> list[str]:
    """The numbers of the errata of a CPU, by its MIDR_EL1, in the order of the table."""
    return [one.number for one in ERRATA if (midr ^ one.midr) & one.mask == 0]
