"""The emulated machine without what is loaded into it: functions, static calls and retargets.

One PE is emulated, without caches: this shows what code does, never what another PE may still see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from unicorn import UC_PROT_ALL
from unicorn import arm64_const as arm64

from static_call.calls import StaticCall
from static_call.design.design import Design
from static_call.design.retarget import Cse, Retarget
from static_call.design.target import Target
from static_call.design.trampoline import Trampoline
from static_call.elf.segments import Segment
from static_call.errors import StaticCallError
from static_call.isa import a64
from static_call.key import KEY_SIZE, RETURN0, KeyStore, new_key
from static_call.places.emulator.memory import PAGE, Pages
from static_call.places.emulator.processor import REGISTERS, Processor
from static_call.places.function import Function
from static_call.places.protocol import Argument, HasAddress, Piece
from static_call.sharing import Sharing

_TLS_SIZE, _TLS_ALIGN = 1 << 20, 1 << 16
_TLS_HEADER = 16  # bytes at the thread pointer, before the variables: TLS variant 1
_LITERALS = 1 << 20


class Machine(Processor):
    """An emulated machine: it has memory, knows its code and runs it.

    Attributes:
        live: True: a function may be preempted while a retarget is made.
        shared: What the StaticCall objects in it share.
        names: The static calls that were made in it and are not closed, by name.
        thread: The thread pointer, TPIDR_EL0.
    """

    live: bool = True

    def __init__(self, *, instructions: int = 100_000_000, seconds: float = 30.0) -> None:
        """A machine that has only the function that returns 0.

        Args:
            instructions: The most instructions that one call or retarget may execute.
            seconds: The most time that one may take.
        """
        super().__init__(instructions=instructions, seconds=seconds)
        self.names: dict[str, StaticCall] = {}
        self.shared: Sharing = Sharing()
        self.thread: int = self.allocate(_TLS_SIZE, align=_TLS_ALIGN)
        self._thread_locals = _TLS_HEADER
        self._scratch = self.allocate(PAGE, executable=True)
        self.uc.reg_write(arm64.UC_ARM64_REG_TPIDR_EL0, self.thread)
        self.function("bti c\nmov x0, #0\nret", name=RETURN0)

    def function(
        self, code: bytes | str, *, name: str = "", at: int | None = None, bits: int = 64
    ) -> Function:
        """Puts code into the machine and returns it as a function.

        Args:
            code: Machine code, or assembly of the a64 table's instructions, one on each line.
            name: The name for resolve() and for errors.
            at: Its address, a multiple of 4; if None, an unused address.
            bits: The bits of the result that count: 32 for a C int.
        """
        if at is not None and at % a64.WORD:
            raise a64.Misaligned(f"code at {at:#x} is not aligned to {a64.WORD} bytes")
        lines: list[str] = []
        if isinstance(code, str):
            lines = [line for line in code.splitlines() if line.strip()]
        size = a64.WORD * len(lines) if isinstance(code, str) else len(code)
        if not size:
            raise StaticCallError("the function has no instructions")
        pages = None if at is None else self.new_pages(at, size)
        try:
            address = self.allocate(size, at=at, executable=True)
            if isinstance(code, str):
                words = [a64.assemble(line, address + a64.WORD * i) for i, line in enumerate(lines)]
                code = b"".join(word.to_bytes(a64.WORD, "little") for word in words)
            self.write(address, code)
            name = name or f"code_{address:x}"
            self.symbols[name] = address
        except BaseException:
            if pages is not None:
                self.unmap(*pages)
            raise
        return Function(self, address, name, bits)

    def static_call(
        self,
        name: str,
        target: Target | HasAddress | str = None,
        *,
        design: Design | str = "inline-stub",
        at: int | None = None,
    ) -> StaticCall:
        """Makes a static call: a trampoline and a key, in fresh memory.

        Args:
            name: Its name.
            target: What StaticCall.update takes.
            design: A Design, a shipped design's name, or the path of a file with your own.
            at: The trampoline's address; if None, an unused address.
        """
        return StaticCall(name, target, design=design, place=self, at=at)

    # What static calls need

    def reserve(
        self,
        design: Design,
        pieces: list[Piece],
        *,
        near: int | None = None,
        at: int | None = None,
    ) -> tuple[Trampoline, int]:
        """Takes memory for a trampoline and its key: see places/protocol.py.

        It is at `at`, or where there is room.
        """

        def take(size: int, align: int, at: int | None, executable: bool = False) -> int:
            if at is not None:
                pieces.append(Pages(self, *self.new_pages(at, size)))
            return self.allocate(size, align=align, at=at, executable=executable)

        base = take(design.size, design.align, None if at is None else at - design.entry, True)
        entry = base + design.entry
        key = self.allocate(KEY_SIZE)
        outside: dict[str, int] = {}
        if design.outside:
            # After the trampoline, if the caller chose its address: ADRP reaches that.
            size, where = design.isa.pointer, None if at is None else entry + _LITERALS
            literals = take(size * len(design.outside), size, where)
            outside = {label: literals + size * n for n, label in enumerate(design.outside)}
        return Trampoline(design, entry, outside), key

    def create(self, trampoline: Trampoline, key: int, target: Target, function: int) -> None:
        """Puts a trampoline that calls `target` into memory, and `function` into its key."""
        self.write(key, new_key(function, trampoline.entry))
        for address, piece in trampoline.assemble(target):
            self.write(address, piece)

    def callable(self, address: int, prototype: type) -> Callable[..., Any]:
        """A callable for the function at an address; a ctypes prototype gives the result's type."""
        restype: Any = getattr(prototype, "_restype_", None)

        def call(*args: Argument) -> Any:
            result = self.call(address, *args)
            return None if restype is None else restype(result).value

        return call

    def perform(self, retarget: Retarget, key: KeyStore | None = None) -> None:
        """Stores into the key, runs a retarget: the machine code assembled from its design's text.

        There is one PE, so cse is an ISB. Text is writable only during the retarget.
        """
        steps: list[a64.Instruction | Cse] = [*retarget.code, a64.parse("ret")]
        pages = {step.address & -PAGE for step in retarget.steps if step.size}
        if key is not None:
            # One run changes key and trampoline, so no Python exception can come between.
            self.uc.reg_write(REGISTERS[19], key.key)
            self.uc.reg_write(REGISTERS[20], key.function)
            steps.insert(0, a64.parse("str x20, [x19]"))
            pages.add(key.key & -PAGE)
        words = [a64.assemble("isb") if isinstance(step, Cse) else step.encode() for step in steps]
        self.write(self._scratch, b"".join(word.to_bytes(4, "little") for word in words))
        before = {low: self._rights(low) for low in pages}
        try:
            for page, rights in before.items():
                if rights is not None:
                    self.uc.mem_protect(page, PAGE, UC_PROT_ALL)
            self._run(self._scratch, dict(enumerate(retarget.registers)), self._stack)
            self._restore(before)
        except BaseException:
            self._restore(before)
            raise

    def _restore(self, rights: Mapping[int, int | None]) -> None:
        for page, before in rights.items():
            if before is not None:
                self.uc.mem_protect(page, PAGE, before)

    # What a loaded file needs

    def reserve_thread_locals(self, segment: Segment, path: str, *, first: bool) -> int:
        """Takes memory for thread-local variables; returns its offset from the thread pointer.

        Variant 1 of the ELF TLS ABI, as linkers have it in a program's code (addenda to aaelf64).

        Args:
            segment: What they are made from (PT_TLS).
            path: The file, for messages.
            first: Whether they must come first, as a program's code has their offset in it.

        Raises:
            StaticCallError: Others already come first, or there is no room.
        """
        if first and self._thread_locals != _TLS_HEADER:
            raise StaticCallError(
                f"{path}: a program's thread-local variables must be the first ones in the "
                "machine: load it before other files, or into another machine"
            )
        at = self._thread_locals + (segment.address - self._thread_locals) % max(segment.align, 1)
        if segment.align > _TLS_ALIGN or at + segment.size > _TLS_SIZE:
            raise StaticCallError(
                f"{path}: no room for its thread-local variables: {segment.size} bytes, "
                f"aligned to {segment.align}"
            )
        self._thread_locals = at + segment.size
        return at
