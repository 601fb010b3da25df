"""The base of every exception that this package raises on purpose, and those of ELF files."""


class StaticCallError(Exception):
    """What was asked for cannot be done; the text is one line for the user."""


class ElfError(StaticCallError):
    """Something about an ELF file; the text begins with its path."""


class Damaged(ElfError):
    """The file's headers or tables contradict the file."""
