"""How the relocations of arm64 objects change instructions and data, by type: aaelf64, 5.7."""

from __future__ import annotations

from static_call.records import NamedTuple


class Field(NamedTuple):
    """How an instruction holds an address.

    Attributes:
        of: "lo12", the address's low 12 bits; "page", how many pages it is away; or "distance", how
            many bytes it is away.
        shift: how many low bits are left out, since they are 0.
        parts: the lowest bit and the width of each field in the word, the least significant part
            first.
        reach: how far it gets in each direction, in units of 1 << shift.
    """

    of: str
    shift: int
    parts: tuple[tuple[int, int], ...]
    reach: int = 0


_LO12 = ((10, 12),)
_ADR = ((29, 2), (5, 19))

FIELDS = {
    273: Field("distance", 2, ((5, 19),), 1 << 18),  # LD_PREL_LO19
    274: Field("distance", 0, _ADR, 1 << 20),  # ADR_PREL_LO21
    275: Field("page", 12, _ADR, 1 << 20),  # ADR_PREL_PG_HI21
    276: Field("page", 12, _ADR, 1 << 20),  # ADR_PREL_PG_HI21_NC
    277: Field("lo12", 0, _LO12),  # ADD_ABS_LO12_NC
    278: Field("lo12", 0, _LO12),  # LDST8_ABS_LO12_NC
    279: Field("distance", 2, ((5, 14),), 1 << 13),  # TSTBR14
    280: Field("distance", 2, ((5, 19),), 1 << 18),  # CONDBR19
    282: Field("distance", 2, ((0, 26),), 1 << 25),  # JUMP26
    283: Field("distance", 2, ((0, 26),), 1 << 25),  # CALL26
    284: Field("lo12", 1, _LO12),  # LDST16_ABS_LO12_NC
    285: Field("lo12", 2, _LO12),  # LDST32_ABS_LO12_NC
    286: Field("lo12", 3, _LO12),  # LDST64_ABS_LO12_NC
    299: Field("lo12", 4, _LO12),  # LDST128_ABS_LO12_NC
}
"""How a relocatable object's relocations change instructions, by type."""

BRANCHES = (282, 283)
"""JUMP26 and CALL26, which make B and BL."""

DATA = {257: (8, False), 258: (4, False), 260: (8, True), 261: (4, True)}
"""ABS64, ABS32, PREL64, PREL32: how many bytes, and whether PC-relative."""
