"""What can be wrong with an ELF file. Each text begins with the file's path."""

from __future__ import annotations

from static_call.errors import StaticCallError


class ElfError(StaticCallError):
    """Something about an ELF file; the base of the others."""


class Damaged(ElfError):
    """The file's headers or tables contradict the file."""


class NotArm64(ElfError):
    """The file is not an ELF file of a kind that can hold arm64 static calls."""


class NotLinked(ElfError):
    """The file is a relocatable object, and the request needs a linked file."""


class SymbolsOnly(ElfError):
    """The file has the symbols of another one, and neither code nor data."""


class WrongDebugFile(ElfError):
    """The file with symbols belongs to another build."""


class NotInFile(ElfError):
    """The file does not hold the memory at an address: it is .bss, or there is no memory."""


class NoSuchSymbol(ElfError):
    """The file defines no symbol of this name."""


class AmbiguousSymbol(ElfError):
    """Several symbols of this name are at different addresses."""
