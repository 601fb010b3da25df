"""The instruction sets by name. A new one is a row here, and its own files."""

from __future__ import annotations

from static_call.isa import a64
from static_call.isa.a64_patcher import PATCHER
from static_call.isa.isa import Cmodx, Isa
from static_call.isa.walk import walk

A64 = Isa(
    name="a64",
    word=a64.WORD,
    pointer=8,
    order="little",
    literal=".quad",
    parse=a64.parse,
    decode=a64.decode,
    walk=walk,
    patcher=PATCHER,
    pads=a64.pads,
    cmodx=Cmodx(
        "Arm ARM DDI 0487, B2.2.5",
        {
            "every": "every edition",
            "newer": "the newer editions before issue M.a",
            "present": "issue M.a with its known issues",
        },
        a64.listed,
        unchanged="present",  # known issue D25021; see https://github.com/herd/herdtools7/pull/1809
    ),
    common=frozenset({"bti c", "ret", "nop"}),
)
"""The 64-bit instruction set of Arm, with little-endian data."""

SETS: dict[str, Isa] = {A64.name: A64}
"""The instruction sets by their names in a design's `.isa`; the first is the default."""
