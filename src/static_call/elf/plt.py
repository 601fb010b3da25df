"""Entries of a procedure linkage table (PLT), by the name that objdump gives them: `name@plt`.

An entry branches through a word of the GOT, which a relocation fills: the loader's lookup of a
symbol (R_AARCH64_JUMP_SLOT), or the choice of a resolver (R_AARCH64_IRELATIVE).
"""

from __future__ import annotations

from collections.abc import Iterator

from static_call.elf import arm64
from static_call.elf.errors import NoSuchSymbol
from static_call.elf.image import Image
from static_call.elf.symbols import IFUNC
from static_call.isa import a64
from static_call.isa.walk import detour

SUFFIX = "@plt"
_LOOKED_UP = (arm64.JUMP_SLOT, arm64.GLOB_DAT)
_BR_X17 = bytes.fromhex("20021fd6")
_LONGEST = 4 * a64.WORD  # before the br: adrp; ldr; add; autia1716


def name(image: Image, got: int) -> str:
    """What objdump calls entries that branch through the word at `got`, without @plt; or ""."""
    entry = image.loader.relocation(got)
    if entry is None:
        return ""
    if entry.type == arm64.IRELATIVE:
        return image.names.at({entry.addend}).get(entry.addend, hex(entry.addend))
    return entry.symbol if entry.type in _LOOKED_UP else ""


def resolve(image: Image, symbol: str) -> int:
    """The address of the PLT entry that is called `symbol`, a name with @plt.

    Raises NoSuchSymbol.
    """
    wanted = symbol.removesuffix(SUFFIX)
    words = set(_words(image, wanted))
    for branch in image.code.find(_BR_X17) if words else ():
        for first in range(branch - _LONGEST, branch, a64.WORD):
            if _instruction(image, first) != "adrp":
                continue
            found = detour(image.read, first)
            if found and found.got in words and first + (found.size - 1) * a64.WORD == branch:
                before = first - a64.WORD
                return before if _instruction(image, before) == "bti c" else first
    raise NoSuchSymbol(f"{image.path}: no symbol {symbol}: it has no PLT entry for {wanted}")


def _words(image: Image, wanted: str) -> Iterator[int]:
    """The words of the GOT that will hold the address of a function of this name."""
    for entry in image.loader.relocations():
        if entry.type in _LOOKED_UP and entry.symbol == wanted:
            yield entry.address
        elif entry.type == arm64.IRELATIVE:
            for one in image.names.named(wanted):
                if one.type == IFUNC and one.value == entry.addend:
                    yield entry.address


def _instruction(image: Image, address: int) -> str:
    return a64.decode(image.word(address), address).name
