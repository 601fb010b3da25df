"""What the dynamic section of an ELF file says of the relocations that a loader makes.

A loader that applies relocations that we have not read would change what we show or write. So a
file with the tags of other kinds of relocation is refused, and a file with an unknown tag is not
changed. Numbers are those of the ELF gABI and of glibc's elf.h; DT_ANDROID_... those of
bionic's linker; DT_AARCH64_... those of aaelf64 (section 5.8) and pauthabielf64.
"""

from __future__ import annotations

from collections.abc import Mapping

PLTRELSZ, STRTAB, SYMTAB, RELA, RELASZ, RELAENT = 2, 5, 6, 7, 8, 9
STRSZ, SYMENT, REL, RELSZ, PLTREL, JMPREL = 10, 11, 17, 18, 20, 23
RELRSZ, RELR, RELRENT = 35, 36, 37
ANDROID_REL, ANDROID_RELA, ANDROID_RELASZ = 0x6000000F, 0x60000011, 0x60000012
ANDROID_RELR, ANDROID_RELRSZ, ANDROID_RELRENT = 0x6FFFE000, 0x6FFFE001, 0x6FFFE003
RELACOUNT = 0x6FFFFFF9
"""How many R_AARCH64_RELATIVE a RELA table starts with."""

FLAGS_1, PIE = 0x6FFFFFFB, 0x08000000  # the tag, and its bit DF_1_PIE

_GNU_PRELINKED, _GNU_CONFLICT, _GNU_LIBLIST = 0x6FFFFDF5, 0x6FFFFEF8, 0x6FFFFEF9

_UNREAD = {
    REL: "DT_REL, relocations without addends",
    ANDROID_REL: "DT_ANDROID_REL, packed relocations without addends",
    0x40000026: "DT_CREL, compact relocations",
    0x70000012: "DT_AARCH64_AUTH_RELR, relocations of signed pointers",
}
"""Relocations that are not read here, by their tag."""

_KNOWN = frozenset(
    [
        *range(38),  # of the gABI
        0x6000000D, 0x6000000E, 0x60000010, ANDROID_RELA, ANDROID_RELASZ,
        ANDROID_RELR, ANDROID_RELRSZ, ANDROID_RELRENT, 0x6FFFE005,
        *range(0x6FFFFDF6, 0x6FFFFE00),  # Solaris' and GNU's: checksums, flags, sizes
        *range(0x6FFFFEF5, 0x6FFFFEF8), *range(0x6FFFFEFA, 0x6FFFFF00),  # GNU_HASH, TLSDESC, ...
        0x6FFFFFF0, *range(0x6FFFFFF9, 0x70000000),  # symbols' versions, counts, flags
        0x70000001, 0x70000003, 0x70000005,  # AARCH64_BTI_PLT, _PAC_PLT, _VARIANT_PCS
        0x70000009, 0x7000000B, 0x7000000C,  # AARCH64_MEMTAG_MODE, _HEAP, _STACK
        0x7FFFFFFD, 0x7FFFFFFE, 0x7FFFFFFF,  # AUXILIARY, USED, FILTER
    ]
)  # fmt: skip
"""Tags that add no relocations besides those that are read."""

_SIZES = {RELAENT: 24, RELRENT: 8, ANDROID_RELRENT: 8, SYMENT: 24, PLTREL: RELA}
"""The only value that a tag may have: the sizes of entries, and the kind of DT_JMPREL's table."""

Tags = Mapping[int, tuple[int, int]]
"""The value of each tag, and where in the file that is."""


def unread(tags: Tags) -> str:
    """Why the relocations cannot be read; "" where they can."""
    for tag, name in _UNREAD.items():
        if tag in tags:
            return f"it has {name}, which are not supported"
    for tag, value in _SIZES.items():
        if tags.get(tag, (value, 0))[0] != value:
            return f"its dynamic section has {tags[tag][0]} for tag {tag:#x}, which must be {value}"
    if RELR in tags and ANDROID_RELR in tags:
        return "it has two RELR tables, DT_RELR and DT_ANDROID_RELR"
    return ""


def unchangeable(tags: Tags) -> str:
    """Why a loader might change what is written; "" if that is excluded."""
    if tags.keys() & {_GNU_PRELINKED, _GNU_CONFLICT, _GNU_LIBLIST}:
        return "it is prelinked, so a loader may skip its relocations: undo that with prelink -u"
    if foreign := sorted(tags.keys() - _KNOWN):
        return (
            f"its dynamic section has the tag {foreign[0]:#x}, which is not known to this program: "
            "a loader might change what is written"
        )
    return ""
