"""Relocatable objects (ET_REL: .o, .ko) as a linker or a module loader makes memory of them.

The sections get consecutive addresses and the relocations are applied, so the rest of the package
sees an image like any other. layout.py does that with what is defined here: the addresses, the
symbols' values and what relocations store.

Numbers are those of the ELF gABI.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from struct import Struct

from static_call.elf.arm64_fields import BRANCHES, DATA, FIELDS, Field
from static_call.elf.packed import from_u64s, u16s, u64s
from static_call.elf.relocation import RelaTables
from static_call.elf.symbols import ENTRY_SIZE

_UNDEFINED, _RESERVED, _ABSOLUTE, _EXTENDED = 0, 0xFF00, 0xFFF1, 0xFFFF
_SPACING = 16  # bytes between the addresses of what is not in this file's memory
_TOP = 1 << 64

_BASE = 1 << 62
"""The address of the first section, chosen so that no number in a file is an address by chance."""

_BLOCK = 1 << 7
"""How many symbols are read at once, 3 KiB: neighbouring relocations often name neighbours."""

_BLOCKS = 1 << 11
"""How many blocks of symbols are kept: 6 MiB."""

_PAGE = 0xFFF
_ENTRY = Struct("<6xHQ8x")  # of a symbol: its section and its value


class OutOfReach(Exception):
    """A branch does not reach its target between the sections' addresses, or memory has no room."""


def addresses(sizes: Iterable[tuple[int, int]]) -> array[int]:
    """The addresses of sections, given the size and alignment of each, in bytes.

    An unused byte follows each, so a symbol at its end, or in an empty section, is in no other
    section. Raises OutOfReach.
    """
    at = _BASE
    result = array("Q")
    for size, alignment in sizes:
        at = -(-at // alignment) * alignment
        if at + size >= _TOP:
            raise OutOfReach
        result.append(at)
        at += size + 1
    return result


class Symbols:
    """The symbol table with the values that symbols get.

    What is not in this file's memory gets an unused address below the sections, so that what leads
    there can be named: another file's symbol, a symbol of a section that is not part of memory, and
    each of these with an addend. The entries stay in the file.

    Attributes:
        count: the number of entries in the table.
    """

    def __init__(
        self,
        read: Callable[[int, int], bytes],
        entries: tuple[int, int],
        extended: tuple[int, int],
        bases: Sequence[int],
    ) -> None:
        """Takes what says where everything is; nothing is read before it is asked for.

        Args:
            read: gives bytes of the file, by offset and size; fewer where the file ends.
            entries: the table's offset and size, in bytes.
            extended: the same for SHT_SYMTAB_SHNDX, with section numbers beyond 16 bits.
            bases: the sections' addresses, by number; 0 for what is not part of memory.
        """
        self._read, self._bases = read, bases
        self._offset, size = entries
        self.count: int = size // ENTRY_SIZE
        self._extended, self._extended_size = extended
        self._blocks: dict[int, bytes] = {}
        self._moved: dict[tuple[int, int], int] = {}  # foreign symbols with an addend
        self._by_address: list[tuple[int, int]] = []

    def value(self, index: int, addend: int) -> int:
        """What a relocation stores as data. Without a symbol (number 0), that is the addend."""
        section, value = self._entry(index)
        base = self._base(index, section, value)
        if not index or section == _ABSOLUTE:
            return value + addend
        return self._made_up(index, addend) if base is None else base + value + addend

    def destination(self, index: int, addend: int) -> int:
        """Where an instruction leads: `value`; how far an absolute symbol is, is unknown."""
        section, value = self._entry(index)
        base = self._base(index, section, value)
        return self._made_up(index, addend) if not base else base + value + addend

    def _made_up(self, index: int, addend: int) -> int:
        if not addend and 0 < index < self.count:
            return _BASE - _SPACING * index
        number = self._moved.setdefault((index, addend), len(self._by_address))
        if number == len(self._by_address):
            self._by_address.append((index, addend))
        return _BASE - _SPACING * (self.count + number + 1)

    def foreign(self, address: int) -> tuple[int, int] | None:
        """The number of the symbol, and the addend, for an address below the sections."""
        number, rest = divmod(_BASE - address, _SPACING)
        if rest or number <= 0:
            return None
        if number > self.count:
            moved = number - self.count - 1
            return self._by_address[moved] if moved < len(self._by_address) else None
        known = self._base(number, *self._entry(number)) is None
        return (number, 0) if known else None

    def entries(self, offset: int, size: int) -> bytes:
        """Entries of the table, read from the file, with the values that symbols get."""
        data = self._read(offset, size)
        first, rest = divmod(offset - self._offset, ENTRY_SIZE)
        if rest or not 0 <= first < self.count:
            return data
        words = u64s(data[: len(data) // ENTRY_SIZE * ENTRY_SIZE])
        sections = u16s(data)[3::12]
        for index, (section, value) in enumerate(zip(sections, words[1::3])):
            base = self._base(first + index, section, value)
            words[3 * index + 1] = (
                _BASE - _SPACING * (first + index) if base is None else base + value
            )
        return from_u64s(words)

    def section(self, index: int) -> int:
        """The number of the section that a symbol is in, or one of the ELF gABI's special ones."""
        return self._section(index, self._entry(index)[0])

    def _section(self, index: int, number: int) -> int:
        if number == _EXTENDED and 4 * index + 4 <= self._extended_size:
            return int.from_bytes(self._read(self._extended + 4 * index, 4), "little")
        return number

    def _base(self, index: int, number: int, value: int) -> int | None:
        """What a symbol's value is relative to; None if its address is made up."""
        if number == _ABSOLUTE:
            return 0
        section = self._section(index, number)
        if (number >= _RESERVED and number != _EXTENDED) or section >= len(self._bases):
            return None
        known = self._bases[section]
        return known if known and value < _TOP - known else None

    def _entry(self, index: int) -> tuple[int, int]:
        """The 16-bit number of a symbol's section, and its value."""
        number, at = divmod(index, _BLOCK)
        data = self._block(number)
        if index >= self.count or len(data) < ENTRY_SIZE * (at + 1):
            return _UNDEFINED, 0
        section, value = _ENTRY.unpack_from(data, ENTRY_SIZE * at)
        return section, value

    def _block(self, number: int) -> bytes:
        data = self._blocks.get(number)
        if data is None:
            data = self._read(self._offset + ENTRY_SIZE * _BLOCK * number, ENTRY_SIZE * _BLOCK)
            if len(self._blocks) >= _BLOCKS:
                self._blocks.clear()
            self._blocks[number] = data
        return data


class Relocations:
    """The relocations of one section."""

    def __init__(self, address: int, tables: RelaTables, symbols: Symbols) -> None:
        """Takes the section's address, its tables and the symbols that they name."""
        self._address, self._tables, self._symbols = address, tables, symbols

    def patches(
        self, start: int, end: int, read: Callable[[int], int]
    ) -> Iterator[tuple[int, bytes]]:
        """What they store into [start, end), as addresses and bytes; the first may begin earlier.

        Relocations of types that are not in arm64_fields.py leave what the file has.

        Args:
            start: the first address.
            end: the address after the last one.
            read: gives the instruction word at an address, as the file has it.

        Raises:
            OutOfReach: a branch does not reach.
        """
        for entry in self._tables.between(start - self._address - 7, end - self._address):
            at = self._address + entry.address
            if entry.type in DATA:
                size, relative = DATA[entry.type]
                value = self._symbols.value(entry.symbol, entry.addend)
                stored = value - at if relative else value
                yield at, (stored % (1 << 8 * size)).to_bytes(size, "little")
            elif entry.type in FIELDS and start <= at <= end - 4:
                value = self._symbols.destination(entry.symbol, entry.addend)
                yield (
                    at,
                    _insert(FIELDS[entry.type], read(at), at, value).to_bytes(4, "little"),
                )

    def branches(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The B and BL in [start, end) that they make: the address of each, and its target."""
        for entry in self._tables.between(start - self._address, end - self._address - 3):
            if entry.type in BRANCHES:
                destination = self._symbols.destination(entry.symbol, entry.addend)
                yield self._address + entry.address, destination


def _insert(field: Field, word: int, at: int, value: int) -> int:
    """The instruction with the address in it."""
    if field.of == "lo12":
        number = (value & _PAGE) >> field.shift
    else:
        page = -1 - _PAGE if field.of == "page" else -1
        number = (value & page) - (at & page) >> field.shift
        if not -field.reach <= number < field.reach:
            raise OutOfReach
    for low, bits in field.parts:
        mask = (1 << bits) - 1
        word = word & ~(mask << low) | (number & mask) << low
        number >>= bits
    return word
