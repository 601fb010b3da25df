"""A symbol table of an ELF file, searched by name and by value.

A kernel's table has several hundred thousand entries, of which a search wants a few. So a search
looks at one packed column, chunk by chunk, and makes Python objects only of what it finds.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Set
from itertools import compress, count, islice

from static_call.elf.packed import u32s, u64s
from static_call.records import NamedTuple

ENTRY_SIZE = 24
"""Bytes in an entry."""

NOTYPE, OBJECT, FUNC, IFUNC = 0, 1, 2, 10
"""The STT_ numbers of symbols for code and data; sections, files and TLS are left out."""

LOCAL, GLOBAL, WEAK = 0, 1, 2
"""STB_ numbers."""

_ENTRY = struct.Struct("<IBBHQQ")

_SYMBOLS = 1 << 11
"""Entries that are searched at once, 48 KiB: they fit in a first- or second-level cache."""

_STRINGS = 1 << 18
"""Bytes of names that are searched at once, 256 KiB: they fit in a second-level cache."""

_BLOCKS = 32
"""How many pieces of names are kept: 10 MiB with what follows each, more than a kernel's names."""

_OCCURRENCES = 1 << 18
"""How many offsets of a text in the names are kept, about 20 MiB of Python objects. Only a file
made for the purpose has more; then each symbol's name is looked at instead."""

NAME = 1 << 16
"""The most bytes of a name: in C++ and Rust some have a few thousand."""

Entry = tuple[int, int, int, int, int, int]
"""st_name, st_info, st_other, st_shndx, st_value, st_size."""


class Symbol(NamedTuple):
    """A symbol.

    Attributes:
        name: its name, as text that is safe to print on a terminal.
        value: its address, if the file defines it.
        size: its size in bytes; 0 if the file does not say.
        type: an STT_ number.
        binding: an STB_ number.
        defined: whether this file defines it.
    """

    name: str
    value: int
    size: int
    type: int
    binding: int
    defined: bool

    @property
    def preference(self) -> tuple[int, int, bool, str]:
        """A key to sort the symbols of an address: functions first, and global before local ones.

        The name that clang's CFI gives to the start of a jump table, which is a function's entry as
        well, comes last.
        """
        kind = {FUNC: 0, IFUNC: 0, OBJECT: 1}.get(self.type, 2)
        binding = {GLOBAL: 0, LOCAL: 2}.get(self.binding, 1)
        return kind, binding, self.name.startswith("__typeid_"), self.name


def printable(name: bytes) -> str:
    """A name in a file, as text that is safe to print on a terminal."""
    text = name.decode(errors="backslashreplace")
    return text if text.isprintable() else text.encode("unicode_escape").decode()


class SymbolTable:
    """A symbol table in a file."""

    def __init__(
        self,
        read: Callable[[int, int], bytes],
        entries: tuple[int, int],
        strings: tuple[int, int],
    ) -> None:
        """Takes what says where the table is; nothing is read before it is asked for.

        Args:
            read: gives bytes of the file, by offset and size; fewer where the file ends.
            entries: the table's offset and size, in bytes.
            strings: the offset and size of its string table, in bytes.
        """
        self._read = read
        self._offset, self._size = entries
        self._strings, self._strings_size = strings
        self._blocks: dict[int, bytes] = {}

    def mentions(self, text: str) -> bool:
        """Whether any name has this text in it."""
        return any(True for _ in self._occurrences(text.encode()))

    def named(self, *starts: str) -> Iterator[Symbol]:
        """The symbols whose name starts with one of these texts.

        A text with a NUL at its end is a whole name. In the string table a name may be the end of
        another one, as linkers merge them.
        """
        texts = tuple(start.encode(errors="surrogateescape") for start in starts)
        found = (at for text in texts for at in self._occurrences(text))
        wanted = set(islice(found, _OCCURRENCES))
        if len(wanted) < _OCCURRENCES:
            return self._symbols(self._select(lambda data: u32s(data)[::6], wanted))
        # Too many to keep: each symbol's name is looked at instead.
        every = (entry for data in self._chunks() for entry in _ENTRY.iter_unpack(data))
        return self._symbols(entry for entry in every if self._starts(entry[0], texts))

    def at(self, addresses: Set[int]) -> Iterator[Symbol]:
        """The symbols whose value is one of these addresses."""
        return self._symbols(self._select(lambda data: u64s(data)[1::3], addresses))

    def functions_around(self, address: int) -> Iterator[Symbol]:
        """The functions that contain an address."""
        for data in self._chunks():
            words = u64s(data)
            covers = (0 <= address - start < size for start, size in zip(words[1::3], words[2::3]))
            for index in compress(count(), covers):
                for symbol in self._symbols([_ENTRY.unpack_from(data, ENTRY_SIZE * index)]):
                    if symbol.type in (FUNC, IFUNC):
                        yield symbol

    def __getitem__(self, index: int) -> Symbol:
        """The symbol at an index; an undefined one without a name if it is not of use here."""
        data = self._read(self._offset + ENTRY_SIZE * index, ENTRY_SIZE)
        found = list(self._symbols([_ENTRY.unpack(data)])) if len(data) == ENTRY_SIZE else []
        return found[0] if found else Symbol("", 0, 0, NOTYPE, LOCAL, False)

    def _chunks(self) -> Iterator[bytes]:
        """The table in pieces of whole entries."""
        size = self._size // ENTRY_SIZE * ENTRY_SIZE
        for at in range(0, size, ENTRY_SIZE * _SYMBOLS):
            data = self._read(self._offset + at, min(ENTRY_SIZE * _SYMBOLS, size - at))
            yield data[: len(data) // ENTRY_SIZE * ENTRY_SIZE]  # all, unless the file shrinks

    def _select(
        self, column: Callable[[bytes], Iterable[int]], wanted: Set[int]
    ) -> Iterator[Entry]:
        """The entries whose column holds one of the wanted numbers."""
        if not wanted:
            return
        for data in self._chunks():
            values = column(data)
            if not wanted.isdisjoint(values):  # twice as fast as the next line, which few need
                for index in compress(count(), map(wanted.__contains__, values)):
                    yield _ENTRY.unpack_from(data, ENTRY_SIZE * index)

    def _symbols(self, entries: Iterable[Entry]) -> Iterator[Symbol]:
        """The entries as symbols, without those that name no code or data."""
        for name_at, info, _, section, value, size in entries:
            if info & 15 not in (NOTYPE, OBJECT, FUNC, IFUNC):
                continue
            name = self._name(name_at)
            if name and name[0] != "$":  # $x and $d: mapping symbols, aaelf64 section 5.5.5
                yield Symbol(name, value, size, info & 15, info >> 4, section != 0)

    def _starts(self, at: int, texts: tuple[bytes, ...]) -> bool:
        """Whether the name at an offset of the string table starts with one of these."""
        longest = min(max(map(len, texts)), max(self._strings_size - at, 0))
        return self._read(self._strings + at, longest).startswith(texts)

    def _occurrences(self, text: bytes) -> Iterator[int]:
        """The offsets of a text in the string table."""
        for number in range(-(-self._strings_size // _STRINGS)):
            data = self._text(number)
            end = _STRINGS + len(text) - 1
            at = data.find(text, 0, end)
            while at >= 0:
                yield number * _STRINGS + at
                at = data.find(text, at + 1, end)

    def _name(self, at: int) -> str:
        """The printable name at an offset of the string table; "" for an offset outside it."""
        block, start = divmod(at, _STRINGS)
        data = self._text(block)
        end = data.find(b"\0", start)
        if end < 0:  # the name is cut off by the table's end, or is longer than NAME
            return ""
        return printable(data[start:end])

    def _text(self, number: int) -> bytes:
        """A block of the string table, and as much of the next one as a name may need."""
        data = self._blocks.get(number)
        if data is None:
            start = number * _STRINGS
            size = max(min(_STRINGS + NAME, self._strings_size - start), 0)
            data = self._read(self._strings + start, size)
            if len(self._blocks) >= _BLOCKS:
                self._blocks.clear()
            self._blocks[number] = data
        return data
