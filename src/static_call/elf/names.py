"""The symbols of an ELF image, by name and by address."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import cached_property

from static_call.elf.errors import AmbiguousSymbol, NoSuchSymbol
from static_call.elf.headers import SHT_DYNSYM, SHT_SYMTAB, Headers
from static_call.elf.reader import Reader
from static_call.elf.symbols import LOCAL, Symbol, SymbolTable

_KEPT = 1024
"""How many names' symbols are kept, about 400 KiB: an update asks for its target's a few times."""


class Names:
    """The symbols of an image: its own, and those of its debug file.

    Attributes:
        more: the symbols of the file given to use(); None without one.
    """

    more: Names | None = None

    def __init__(
        self,
        file: Reader,
        headers: Headers,
        read: Callable[[int, int], bytes],
    ) -> None:
        """Takes what says where the tables are; nothing is read before it is asked for.

        Args:
            file: the image's file.
            headers: its headers.
            read: gives bytes of .symtab, by offset in the file and size, with the symbols' values
                filled in.
        """
        self._file, self._headers, self._read = file, headers, read
        self._kept: dict[str, list[Symbol]] = {}

    def use(self, more: Names) -> None:
        """Uses another file's symbols in addition. debug_file.py checks that they match."""
        self.more = more
        self._kept.clear()

    @cached_property
    def _own(self) -> list[SymbolTable]:
        """.symtab, which strip takes away, and .dynsym."""
        return [
            SymbolTable(
                self._read if kind == SHT_SYMTAB else self._file,
                *self._headers.symbol_table(index),
            )
            for kind in (SHT_SYMTAB, SHT_DYNSYM)
            for index, _ in self._headers.of_type(kind)
        ]

    def _tables(self) -> list[SymbolTable]:
        return self._own + (self.more._tables() if self.more else [])

    @property
    def stripped(self) -> bool:
        """Whether there is no full symbol table, in the file itself or in its debug file."""
        own = self._headers.first(SHT_SYMTAB) is not None
        return not own and (self.more is None or self.more.stripped)

    def mention(self, text: str) -> bool:
        """Whether any name has this text in it: only the strings are searched, not the tables."""
        return any(table.mentions(text) for table in self._tables())

    def starting(self, *prefixes: str) -> list[Symbol]:
        """The symbols that the file defines and whose name starts with one of the prefixes."""
        found = {
            (symbol.name, symbol.value): symbol
            for table in reversed(self._tables())
            for symbol in table.named(*prefixes)
            if symbol.defined
        }
        return list(found.values())

    def named(self, name: str) -> list[Symbol]:
        """All symbols of this name, including those that other files define."""
        if name not in self._kept:
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            self._kept[name] = [one for table in self._tables() for one in table.named(name + "\0")]
        return self._kept[name]

    def load(self, names: Iterable[str]) -> None:
        """Looks several names up in one search, for the calls of named and symbol that follow."""
        plain = [name for name in names if name.isascii() and name.isprintable()]
        missing = dict.fromkeys(name for name in plain if name not in self._kept)
        found: dict[str, list[Symbol]] = {name: [] for name in missing}
        for table in self._tables() if found else ():
            for symbol in table.named(*(name + "\0" for name in found)):
                found[symbol.name].append(symbol)
        self._kept.update(found)

    def symbol(self, name: str) -> Symbol:
        """The symbol of this name that the file defines; a global one is preferred to a local one.

        Raises:
            NoSuchSymbol: the file defines none.
            AmbiguousSymbol: local ones are at several addresses.
        """
        path, found = self._file.path, self.named(name)
        defined = [one for one in found if one.defined]
        if not defined:
            why = "it is another file's" if found else "none has this name"
            if self.stripped and not found:
                why = "its symbols are stripped: give the file that has them with --debug-file"
            raise NoSuchSymbol(f"{path}: no symbol {name}: {why}")
        chosen = [one for one in defined if one.binding != LOCAL] or defined
        addresses = sorted({one.value for one in chosen})
        if len(addresses) > 1:
            several = ", ".join(map(hex, addresses))
            raise AmbiguousSymbol(f"{path}: {name} is at {several}: say which by the address")
        return min(chosen, key=lambda one: one.preference)

    def at(self, addresses: Collection[int]) -> dict[int, str]:
        """The names of what is exactly at these addresses; an address without one is left out.

        Of several names, functions come first, then global symbols, then alphabetical order.
        """
        best: dict[int, Symbol] = {}
        wanted = frozenset(addresses)
        for table in self._tables():
            for symbol in table.at(wanted):
                other = best.get(symbol.value)
                if symbol.defined and (other is None or symbol.preference < other.preference):
                    best[symbol.value] = symbol
        return {address: symbol.name for address, symbol in best.items()}

    def function(self, address: int) -> Symbol | None:
        """The function that contains an address, by the symbols' sizes."""
        found = [
            one
            for table in self._tables()
            for one in table.functions_around(address)
            if one.defined
        ]
        return min(found, key=lambda one: one.preference, default=None)
