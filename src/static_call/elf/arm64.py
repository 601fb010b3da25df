"""Relocation types of arm64, as numbers: ELF for the Arm 64-bit Architecture (aaelf64), 5.7."""

from __future__ import annotations

NONE = 0
ABS64 = 257
COPY = 1024
GLOB_DAT = 1025
JUMP_SLOT = 1026
RELATIVE = 1027
TPREL64 = 1030
TLSDESC = 1031
IRELATIVE = 1032

RELR = -1
"""Our number for an R_AARCH64_RELATIVE that a RELR table makes."""

SYMBOLIC = (ABS64, GLOB_DAT, JUMP_SLOT)
"""Types that store a symbol's address and the addend."""
