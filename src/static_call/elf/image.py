"""An arm64 ELF file as memory and names: a program, a shared object, a kernel, an object.

Only little-endian files are read. An image is memory (memory.py) with names (names.py) and code
(code.py). Relocations are applied to the file's bytes: in a linked file as a loader would do it
(loader.py), in a relocatable object as a linker would (layout.py).
"""

from __future__ import annotations

import os
import stat
from functools import cached_property

from static_call.elf import dynamic
from static_call.elf.code import Code
from static_call.elf.errors import NotArm64, NotLinked
from static_call.elf.headers import PT_INTERP, PT_TLS, Headers, Section
from static_call.elf.lazy import Records
from static_call.elf.loader import Loader
from static_call.elf.memory import Memory
from static_call.elf.names import Names
from static_call.elf.reader import Reader
from static_call.elf.segments import Segment, Segments

TYPE_CHECKING = False  # as typing has it, without its import
if TYPE_CHECKING:
    from static_call.elf.layout import Layout


class Image(Memory):
    """An arm64 ELF file.

    Symbol tables, which may have several hundred thousand entries, are read in chunks as packed
    columns, without a Python object for each entry. Nothing that an image holds refers back to it,
    so an image that is dropped closes its file at once.

    Attributes:
        stat: the file's status when it was opened.
        headers: what its headers say.
        type: "EXEC", "DYN" or "REL".
        entry: the address where execution begins.
        segments: the program headers of type PT_LOAD, in order of address; in a relocatable
            object, its sections.
        sections: the section headers; none in a file that was stripped of them.
        names: its symbols.
        code: its code.
        loader: its dynamic relocations.
        debug: another file that symbols are taken from, or None.
    """

    stat: os.stat_result
    headers: Headers
    type: str
    entry: int
    sections: Records[Section]
    names: Names
    code: Code
    loader: Loader
    debug: Image | None

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, symbols_only: bool = False) -> Image:
        """The image that a file is.

        Args:
            path: the file's path.
            symbols_only: whether it may be a file that objcopy --only-keep-debug made. Only its
                symbols and sections may be used then.

        Raises:
            OSError: it cannot be opened.
            NotArm64: it is not an ELF file for arm64.
            SymbolsOnly: it has the symbols of another file, and no code.
            Damaged: its headers contradict the file.
        """
        return cls(os.fspath(path), symbols_only=symbols_only)

    def __init__(self, path: str, *, symbols_only: bool = False) -> None:
        """See open."""
        file = self._file = Reader(path)
        try:
            self.stat = file.stat
            if not stat.S_ISREG(self.stat.st_mode):
                raise NotArm64(f"{path}: not a regular file")
            headers = self.headers = Headers(file, symbols_only=symbols_only)
            self.type, self.entry = headers.type, headers.entry
            self._layout: Layout | None = None
            if self.linked:
                segments = Segments.of(file, headers.loaded)
                self.loader = Loader(file, headers, segments)
                super().__init__(file, segments, self.loader.patches, headers)
                self.names = Names(file, headers, file)
                self.code = Code(file, headers, segments, None)
            else:
                from static_call.elf.layout import Layout

                layout = self._layout = Layout(file, headers)
                segments = layout.segments
                self.loader = Loader(file, headers, segments)
                super().__init__(file, segments, layout.patches, headers)
                self.names = Names(file, headers, layout.entries)
                self.code = Code(file, headers, segments, layout.branches)
            self.sections = headers.sections
            self.debug = None
        except BaseException:
            self.close()  # a traceback keeps this object
            raise

    def close(self) -> None:
        """Closes the file; nothing can be read afterwards."""
        self._file.close()

    def __enter__(self) -> Image:
        """Closes itself at the end of a with statement."""
        return self

    def __exit__(self, *_: object) -> None:
        """See __enter__."""
        self.close()

    def fileno(self) -> int:
        """The descriptor of the open file, which is read-only."""
        return self._file.fileno()

    @property
    def path(self) -> str:
        """The name of the file in messages; at first the path that it was opened by."""
        return self._file.path

    @path.setter
    def path(self, path: str) -> None:
        self._file.path = path

    @property
    def linked(self) -> bool:
        """Whether a linker chose its addresses; those of a relocatable object are made up here."""
        return self.type != "REL"

    def require_linked(self) -> None:
        """Raises NotLinked for a relocatable object."""
        if not self.linked:
            raise NotLinked(
                f"{self.path}: a relocatable object, whose code a linker or a module loader "
                "completes: link it first"
            )

    @property
    def position_independent(self) -> bool:
        """Whether it may be loaded at an address other than the one it was linked for."""
        return self.type == "DYN"

    @property
    def thread_locals(self) -> Segment | None:
        """The initial contents of each thread's variables (PT_TLS), if it has such variables."""
        return self.headers.others.get(PT_TLS)

    @property
    def program(self) -> bool:
        """Whether it is a program, not a shared object: its thread-local variables come first."""
        flags, _ = self.loader.dynamic.get(dynamic.FLAGS_1, (0, 0))
        interpreted = PT_INTERP in self.headers.others
        return self.type == "EXEC" or interpreted or bool(flags & dynamic.PIE)

    @cached_property
    def build_id(self) -> bytes:
        """The build-id that a linker put into it (NT_GNU_BUILD_ID); empty if there is none."""
        from static_call.elf import notes

        return notes.build_id(self._file, self.headers)

    @cached_property
    def guarded(self) -> bool:
        """Whether it is marked for BTI: its code is mapped guarded where the machine has BTI.

        A kernel is never marked.
        """
        from static_call.elf import notes

        return notes.guarded(self._file, self.headers)

    def use_symbols_of(self, debug: Image) -> None:
        """Uses a file's symbols in addition to its own. debug_file.py checks that they match."""
        self.debug = debug
        self.names.use(debug.names)

    # Addresses for people

    def elsewhere(self, address: int) -> str:
        """What an address outside a relocatable object's memory is; "" for any other address.

        It is a symbol of another file, or one whose section is not part of memory.
        """
        return self._layout.elsewhere(address) if self._layout else ""

    def locate(self, address: int) -> tuple[str, int]:
        """The section and the offset in it, in a relocatable object; else "" and the address."""
        return self._layout.locate(address) if self._layout else ("", address)

    def where(self, address: int) -> str:
        """An address for people: 0x..., or what a relocatable object has for it."""
        section, offset = self.locate(address)
        return f"{section}+{offset:#x}" if section else self.elsewhere(address) or hex(address)
