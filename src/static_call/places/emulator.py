"""The emulated machine: one arm64 PE, by unicorn, that runs functions, static calls and retargets.

This is emulation, of one PE and without caches: it shows what code does, never what another PE may
still see. Every run is bounded, in instructions and in seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import unicorn
from unicorn import UC_PROT_ALL, UC_PROT_EXEC, UC_PROT_READ, UC_PROT_WRITE
from unicorn import arm64_const as arm64
from unicorn.unicorn import Uc, UcError

from static_call.calls import (
    KEY_SIZE,
    RETURN0,
    BadTarget,
    HasAddress,
    KeyStore,
    Piece,
    Sharing,
    StaticCall,
)
from static_call.design.design import Design, Target
from static_call.design.retarget import Cse, Retarget
from static_call.design.trampoline import Trampoline
from static_call.elf.image import NoSuchSymbol
from static_call.errors import StaticCallError
from static_call.isa import a64

if TYPE_CHECKING:
    from static_call.elf.image import Segment
    from static_call.places.emulated_elf import EmulatedElf

_PAGE = 0x1000
_BOTTOM = 0x1_0000_0000
_ARENA_SIZE = 1 << 16
_STACK_SIZE = 1 << 20
_TLS_SIZE, _TLS_ALIGN = 1 << 20, 1 << 16
_TLS_HEADER = 16  # bytes at the thread pointer, before the variables: TLS variant 1
_SLICE = 1_000_000  # instructions between two looks at the clock
_LITERALS = 1 << 20
_MISSING = 0x7F00_0000_0000
_RETURN = 0xFFFF_F000  # where a call returns to: never mapped
_ARGUMENTS = range(8)  # x0 to x7, AAPCS64 6.8.2
_SCRATCH = range(19)  # x0 to x18, which a callee may change: AAPCS64 6.1.1
_SVC = 2
_EXCEPTIONS = {  # QEMU's EXCP_* in target/arm/cpu.h
    1: "undefined instruction", 2: "system call, and there is no kernel", 3: "prefetch abort",
    4: "data abort", 7: "breakpoint", 11: "hypervisor call", 13: "secure monitor call",
}  # fmt: skip
_REGISTERS = [getattr(arm64, f"UC_ARM64_REG_X{n}") for n in range(31)] + [arm64.UC_ARM64_REG_SP]


class EmulatorFault(StaticCallError):
    """The code that the machine ran did what it may not.

    address  of the instruction (of the data, for what was no instruction)
    """

    def __init__(self, message: str, address: int) -> None:
        super().__init__(message)
        self.address = address


class OutOfBounds(EmulatorFault):
    """A run was ended because it executed too many instructions or took too long."""


@dataclass(frozen=True)
class Function:
    """A function in the machine: callable, with integers and bytes.

    bytes are copied into the machine and their address is passed; a bytearray is copied back.
    The result is x0, an unsigned integer of `bits` bits.
    """

    machine: Emulator
    address: int
    name: str
    bits: int = 64

    def __call__(self, *args: int | bytes | bytearray) -> int:
        """Calls it: see Emulator.call."""
        return self.machine.call(self.address, *args) & (1 << self.bits) - 1

    def __repr__(self) -> str:
        return f"<function {self.name} at {self.address:#x}>"


@dataclass(frozen=True)
class _Pages:
    """Pages of a machine that a static call has for itself: it was said where it is to be."""

    machine: Emulator
    low: int
    high: int

    def give(self) -> None:
        """Unmaps them."""
        self.machine.unmap(self.low, self.high)


class Emulator:
    """An emulated machine.

    instructions, seconds  the bounds of one call or retarget
    thread                 the thread pointer, TPIDR_EL0
    """

    live = True

    def __init__(self, *, instructions: int = 100_000_000, seconds: float = 30.0) -> None:
        self.instructions, self.seconds = instructions, seconds
        self.uc: Any = Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
        self.uc.ctl_set_cpu_model(arm64.UC_CPU_ARM64_MAX)
        self.uc.reg_write(arm64.UC_ARM64_REG_CPACR_EL1, 3 << 20)  # FP and SIMD without a trap
        self.symbols: dict[str, int] = {}
        self.names: dict[str, StaticCall] = {}
        self.shared = Sharing()
        self._arenas: dict[bool, tuple[int, int]] = {}
        self._guarded: list[range] = []
        self._images: list[EmulatedElf] = []
        self._missing: dict[int, str] = {}
        self._fault: tuple[int, int, str] | None = None
        self.uc.hook_add(unicorn.UC_HOOK_MEM_INVALID, self._on_invalid)
        self.uc.hook_add(unicorn.UC_HOOK_INTR, self._on_exception)
        self._stack = self.allocate(_STACK_SIZE) + _STACK_SIZE
        self.thread = self.allocate(_TLS_SIZE, align=_TLS_ALIGN)
        self._thread_locals = _TLS_HEADER
        self._scratch = self.allocate(_PAGE, executable=True)
        self.uc.reg_write(arm64.UC_ARM64_REG_TPIDR_EL0, self.thread)
        self.function("bti c\nmov x0, #0\nret", name=RETURN0)

    # Memory

    def allocate(
        self, size: int, *, align: int = 16, at: int | None = None, executable: bool = False
    ) -> int:
        """Takes `size` bytes of zeroed memory; returns its address, a multiple of `align`.

        at  where; if None, where there is room, code and data within reach of each other
        """
        if at is not None:
            self.map(at, size, write=not executable, execute=executable)
            return at
        start, end = self._arenas.get(executable, (0, 0))
        start += -start % align
        if start + size > end:
            start = self.room(_ARENA_SIZE + size)
            end = start + _ARENA_SIZE + size
            self.map(start, end - start, write=not executable, execute=executable)
            start += -start % align
        self._arenas[executable] = (start + size, end)
        return start

    def map(self, address: int, size: int, *, write: bool, execute: bool) -> None:
        """Maps whole pages for `size` bytes of zeroed memory at an address."""
        low, high = self._pages(address, size)
        protection = UC_PROT_READ | write * UC_PROT_WRITE | execute * UC_PROT_EXEC
        try:
            self.uc.mem_map(low, high - low, protection)
        except (UcError, OverflowError, ValueError):
            raise StaticCallError(f"cannot map {high - low:#x} bytes at {low:#x}") from None

    def _pages(self, address: int, size: int) -> tuple[int, int]:
        """Where the pages of `size` bytes begin and end, which are to be mapped: none is yet."""
        if not size:
            raise StaticCallError("nothing to map: no bytes")
        low, high = address & -_PAGE, address + size + _PAGE - 1 & -_PAGE
        taken = [(start, end + 1) for start, end, _ in self.uc.mem_regions()]
        if any(start < high and low < end for start, end in taken):
            raise StaticCallError(f"there is memory already between {low:#x} and {high:#x}")
        return low, high

    def unmap(self, low: int, high: int) -> None:
        """Gives back pages that were mapped at once, if they were."""
        if any((low, high) == (start, end + 1) for start, end, _ in self.uc.mem_regions()):
            self.uc.mem_unmap(low, high - low)

    def allow(self, page: int, *, write: bool, execute: bool) -> None:
        """Adds rights to a page."""
        now = self._rights(page) or 0
        self.uc.mem_protect(page, _PAGE, now | write * UC_PROT_WRITE | execute * UC_PROT_EXEC)

    def room(self, size: int) -> int:
        """The lowest address with `size` unmapped bytes; data and code lie close together."""
        start = _BOTTOM
        for low, high, _ in sorted(self.uc.mem_regions()):
            if start + size <= low:
                break
            start = max(start, high + 1)
        return start

    def read(self, address: int, size: int) -> bytes:
        """Memory; fewer bytes where it ends."""
        try:
            return bytes(self.uc.mem_read(address, size))
        except UcError:
            known = [
                high + 1 - address
                for low, high, _ in self.uc.mem_regions()
                if low <= address <= high
            ]
            return bytes(self.uc.mem_read(address, known[0])) if known and known[0] < size else b""

    def write(self, address: int, data: bytes) -> None:
        """Writes memory, read-only memory too. Raises EmulatorFault where none is mapped."""
        try:
            self.uc.mem_write(address, data)
        except UcError:
            raise EmulatorFault(f"no memory at {address:#x} to write to", address) from None
        if self.executable(address):
            self.uc.ctl_remove_cache(address, address + len(data))

    def executable(self, address: int, *, held: bool = False) -> bool:
        """Whether there is code at an address."""
        return any(
            low <= address <= high and protection & UC_PROT_EXEC
            for low, high, protection in self.uc.mem_regions()
        )

    def guarded(self, address: int) -> bool:
        """Whether an address is in an image marked for BTI, where pads are needed."""
        return any(address in pages for pages in self._guarded)

    # Functions and static calls

    def function(
        self, code: bytes | str, *, name: str = "", at: int | None = None, bits: int = 64
    ) -> Function:
        """Puts code into the machine and returns it as a function.

        code  machine code, or assembly of the a64 table's instructions, a line each
        name  for resolve() and for errors
        at    its address, a multiple of 4; where there is room, if None
        bits  of the result: 32 for a C int
        """
        if at is not None and at % a64.WORD:
            raise a64.Misaligned(f"code at {at:#x} is not aligned to {a64.WORD} bytes")
        if isinstance(code, str):
            lines = [line for line in code.splitlines() if line.strip()]
            size = a64.WORD * len(lines)
        else:
            size = len(code)
        if not size:
            raise StaticCallError("a function without an instruction")
        pages = None if at is None else self._pages(at, size)
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

        design  a Design, a shipped design's name or the path of a file with a user's own
        at      the trampoline's address; where there is room, if None
        """
        return StaticCall(name, target, design=design, place=self, at=at)

    def reserve(
        self,
        design: Design,
        pieces: list[Piece],
        *,
        near: int | None = None,
        at: int | None = None,
    ) -> tuple[Trampoline, int]:
        """Memory for a trampoline and its key; the room decides where, or `at`."""

        def take(size: int, align: int, at: int | None, executable: bool = False) -> int:
            if at is not None:
                pieces.append(_Pages(self, *self._pages(at, size)))
            return self.allocate(size, align=align, at=at, executable=executable)

        base = take(design.size, design.align, None if at is None else at - design.entry, True)
        entry = base + design.entry
        key = self.allocate(KEY_SIZE)
        outside: dict[str, int] = {}
        if design.outside:
            # After its trampoline where the caller says where that is: ADRP reaches it.
            literals = take(8 * len(design.outside), 8, None if at is None else entry + _LITERALS)
            outside = {label: literals + 8 * n for n, label in enumerate(design.outside)}
        return Trampoline(design, entry, outside), key

    def create(self, trampoline: Trampoline, key: int, target: Target, function: int) -> None:
        """Puts a trampoline that calls `target` into memory, and `function` into its key."""
        self.write(
            key, b"".join(word.to_bytes(8, "little") for word in (function, trampoline.entry, 0))
        )
        for address, piece in trampoline.assemble(target):
            self.write(address, piece)

    def pointer(self, target: object, prototype: type | None) -> tuple[int, object]:
        """Raises BadTarget: no function of this process runs in an emulated machine."""
        raise BadTarget(f"{target!r} is no address, function of the machine, name, None or RET0")

    def parameter(self, address: int, prototype: type | None) -> object:
        """Raises StaticCallError: C code of this process cannot call into an emulated machine."""
        raise StaticCallError(
            f"the function at {address:#x} is in an emulated machine: C code of this process "
            "cannot call it; call it from Python, or run this on arm64 Linux"
        )

    def callable(self, address: int, prototype: type) -> Callable[..., Any]:
        """What calls a function at an address, its result as a ctypes prototype has it."""
        restype = prototype._restype_  # type: ignore[attr-defined]

        def call(*args: int | bytes | bytearray) -> Any:
            result = self.call(address, *args)
            return None if restype is None else restype(result).value

        return call

    def load(self, path: str, designs: Sequence[str] = ()) -> EmulatedElf:
        """Loads an ELF file; `designs` are files with designs of one's own that it may have.

        Raises OSError, elf.ElfError, or StaticCallError where there is no room for it.
        """
        from static_call.places.emulated_elf import EmulatedElf

        image = EmulatedElf(self, path, designs)
        self._images.append(image)
        return image

    def reserve_thread_locals(self, segment: Segment, path: str, *, first: bool) -> int:
        """Takes memory for thread-local variables; returns where, from the thread pointer.

        Variant 1 of the ELF TLS ABI, as linkers have it in a program's code (addenda to aaelf64).

        segment  what they are made from (PT_TLS)
        first    they have to come first, as a program's code has their place in it
        Raises StaticCallError where that is taken, or there is no room.
        """
        if first and self._thread_locals != _TLS_HEADER:
            raise StaticCallError(
                f"{path}: a program's thread-local variables must be the first ones in the "
                "machine: load it before other files, or into a machine of its own"
            )
        at = self._thread_locals + (segment.address - self._thread_locals) % max(segment.align, 1)
        if segment.align > _TLS_ALIGN or at + segment.size > _TLS_SIZE:
            raise StaticCallError(
                f"{path}: no room for its thread-local variables: {segment.size} bytes, "
                f"aligned to {segment.align}"
            )
        self._thread_locals = at + segment.size
        return at

    def missing(self, name: str) -> int:
        """An address without memory that stands for a function of a file that is not loaded."""
        address = _MISSING + 16 * len(self._missing)
        self._missing[address] = name
        return address

    def guard(self, pages: range) -> None:
        """Marks addresses as guarded: see guarded."""
        self._guarded.append(pages)

    def function_at(self, address: int, name: str, *, bits: int = 64) -> Function:
        """A function that is in the machine already."""
        return Function(self, address, name, bits)

    def resolve(self, name: str) -> int:
        """The address of a symbol: of the images in the order of loading, then of own functions."""
        for image in self._images:
            try:
                return image.resolve(name)
            except NoSuchSymbol:
                continue
        if name not in self.symbols:
            raise StaticCallError(f"no symbol {name} in the machine")
        return self.symbols[name]

    # Running

    def perform(self, retarget: Retarget, key: KeyStore | None = None) -> None:
        """Stores into the key, runs a retarget: the machine code assembled from its design's text.

        There is one PE, so cse is an ISB. Text is writable for the retarget alone.
        """
        steps: list[a64.Instruction | Cse] = [*retarget.code, a64.parse("ret")]
        pages = {step.address & -_PAGE for step in retarget.steps if step.size}
        if key is not None:
            # One run changes key and trampoline: no exception of Python's comes between.
            self.uc.reg_write(_REGISTERS[19], key.key)
            self.uc.reg_write(_REGISTERS[20], key.function)
            steps.insert(0, a64.parse("str x20, [x19]"))
            pages.add(key.key & -_PAGE)
        words = [a64.assemble("isb") if isinstance(step, Cse) else step.encode() for step in steps]
        self.write(self._scratch, b"".join(word.to_bytes(4, "little") for word in words))
        before = {low: self._rights(low) for low in pages}
        try:
            for page, rights in before.items():
                if rights is not None:
                    self.uc.mem_protect(page, _PAGE, UC_PROT_ALL)
            self._run(self._scratch, dict(enumerate(retarget.registers)), self._stack)
            self._restore(before)
        except BaseException:
            self._restore(before)
            raise

    def _restore(self, rights: Mapping[int, int | None]) -> None:
        for page, before in rights.items():
            if before is not None:
                self.uc.mem_protect(page, _PAGE, before)

    def _rights(self, page: int) -> int | None:
        """What may be done with a page; None for one that is not mapped."""
        regions = self.uc.mem_regions()
        return next((rights for low, high, rights in regions if low <= page <= high), None)

    def call(self, function: int | str, *args: int | bytes | bytearray) -> int:
        """Calls a function by address or name with up to 8 arguments; returns x0, unsigned.

        Raises EmulatorFault with the address, the instruction and its registers where the code
        does what it may not, and OutOfBounds where it does not come back.
        """
        address = self.resolve(function) if isinstance(function, str) else function
        if len(args) > len(_ARGUMENTS):
            raise StaticCallError(f"{len(args)} arguments: only the 8 in registers can be passed")
        sp = self._stack
        registers: dict[int, int] = {}
        copies: list[tuple[int, bytearray]] = []
        for n, arg in enumerate(args):
            if not isinstance(arg, int | bytes | bytearray):
                raise StaticCallError(f"argument {n} is neither an integer nor bytes: {arg!r}")
            if isinstance(arg, int):
                registers[n] = arg & (1 << 64) - 1
                continue
            # Buffers lie on the stack, above the function's own frame.
            sp = sp - len(arg) & -16
            if sp < self._stack - _STACK_SIZE // 2:
                raise StaticCallError(f"argument {n} is too long: {len(arg)} bytes")
            self.write(sp, bytes(arg))
            registers[n] = sp
            if isinstance(arg, bytearray):
                copies.append((sp, arg))
        result = self._run(address, registers, sp)
        for place, buffer in copies:
            buffer[:] = self.read(place, len(buffer))
        return result

    def preempt(self, function: int, *args: int, after: int, then: Callable[[], None]) -> int:
        """Calls a function, stops it after `after` instructions, runs `then`, lets it go on.

        What a thread sees that is preempted there while another one retargets; `then` may retarget
        but not call.
        """
        registers = dict(enumerate(args))
        self._enter(registers, self._stack)
        pc = self._step(function, after)
        context = self.uc.context_save()
        then()
        self.uc.context_restore(context)
        return self._resume(pc)

    def trace(self, function: int | str, *args: int | bytes | bytearray) -> tuple[int, list[int]]:
        """Calls a function; returns x0 and the address of every instruction that it executed."""
        executed: list[int] = []

        def note(_uc: Any, address: int, _size: int, _data: object) -> None:
            executed.append(address)

        hook = self.uc.hook_add(unicorn.UC_HOOK_CODE, note)
        self.uc.ctl_flush_tb()  # code translated before has no calls to the hook in it
        try:
            return self.call(function, *args), executed
        finally:
            self.uc.hook_del(hook)
            self.uc.ctl_flush_tb()

    def _run(self, address: int, registers: Mapping[int, int], sp: int) -> int:
        self._enter(registers, sp)
        return self._resume(address)

    def _enter(self, registers: Mapping[int, int], sp: int) -> None:
        self.uc.reg_write(arm64.UC_ARM64_REG_SP, sp)
        self.uc.reg_write(arm64.UC_ARM64_REG_LR, _RETURN)
        for number in _SCRATCH:  # so that no run depends on the one before
            self.uc.reg_write(_REGISTERS[number], registers.get(number, 0))

    def _resume(self, pc: int) -> int:
        """Runs until the call returns, within the bounds; the clock is read between slices."""
        left, deadline = self.instructions, time.monotonic() + self.seconds
        while pc != _RETURN:
            if left <= 0:
                bound = f"no return after {self.instructions} instructions"
                raise OutOfBounds(self._where(pc, bound), pc)
            if time.monotonic() > deadline:
                raise OutOfBounds(self._where(pc, f"no return after {self.seconds} s"), pc)
            pc = self._step(pc, min(left, _SLICE))
            left -= _SLICE
        result: int = self.uc.reg_read(arm64.UC_ARM64_REG_X0)
        return result

    def _step(self, pc: int, count: int) -> int:
        """Executes `count` instructions from `pc`, or to the return; where it then is."""
        self._fault = None
        try:
            self.uc.emu_start(pc, _RETURN, count=count)
        except UcError as error:
            raise self._explain(error) from None
        if self._fault is not None:
            raise self._explain(None)
        at: int = self.uc.reg_read(arm64.UC_ARM64_REG_PC)
        return at

    # Faults

    def _on_invalid(
        self, _uc: Any, access: int, address: int, size: int, _v: int, _d: object
    ) -> bool:
        what = "reads from"
        if access in (unicorn.UC_MEM_WRITE_PROT, unicorn.UC_MEM_WRITE_UNMAPPED):
            what = "writes to"
        elif access in (unicorn.UC_MEM_FETCH_PROT, unicorn.UC_MEM_FETCH_UNMAPPED):
            what = "goes to"
        self._fault = (address, size, what)
        return False

    def _on_exception(self, uc: Any, number: int, _data: object) -> None:
        self._fault = (0, 0, _EXCEPTIONS.get(number, f"raises QEMU's exception {number}"))
        uc.emu_stop()

    def _explain(self, error: UcError | None) -> EmulatorFault:
        pc = self.uc.reg_read(arm64.UC_ARM64_REG_PC)
        if self._fault is None:
            return EmulatorFault(self._where(pc, f"stopped: {error}"), pc)
        if self._fault[2] == _EXCEPTIONS[_SVC]:
            pc -= a64.WORD  # the address that it would return to
        address, size, what = self._fault
        if what == "goes to":
            link = self.uc.reg_read(arm64.UC_ARM64_REG_LR)
            x16 = self.uc.reg_read(arm64.UC_ARM64_REG_X16)
            name = self._missing.get(address, "")
            missing = f" ({name}: in a file that is not loaded)" if name else ""
            registers = f"lr={link:#x} x16={x16:#x}"
            text = f"branch to {address:#x}, where there is no code{missing}: {registers}"
            return EmulatorFault(text, address)
        if size:
            what = f"{what} {address:#x} ({size} bytes)"
        return EmulatorFault(self._where(pc, what), pc)

    def _where(self, pc: int, what: str) -> str:
        """The line for a fault: the address, the instruction, what it did, its registers."""
        data = self.read(pc, a64.WORD)
        insn = a64.decode(int.from_bytes(data, "little"), pc)
        if insn.row is not None:
            numbers = {insn[one.name] for one in insn.row.operands if one.is_register}
        else:
            numbers = _base(insn.word)
        values = " ".join(
            f"{'sp' if n == 31 else f'x{n}'}={self.uc.reg_read(_REGISTERS[n]):#x}"
            for n in sorted(numbers)
        )
        link = self.uc.reg_read(arm64.UC_ARM64_REG_LR)
        return f"{pc:#x}: {insn}: {what}: {values} lr={link:#x}".replace(":  ", ": ")


def _base(word: int) -> set[int]:
    """The base register of a load or store that the a64 table lacks; none for another word.

    Arm ARM C4.1: bits 28 to 25 are x1x0 in loads and stores, and bits 9 to 5 are the base register
    but in LDR (literal), whose bits 29 to 24 are 011x00.
    """
    literal = word & 0x3B000000 == 0x18000000
    return {word >> 5 & 31} if word & 0x0A000000 == 0x08000000 and not literal else set()
