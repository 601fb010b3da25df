"""The processor of the emulated machine: calls functions, within bounds, and explains faults.

Every run is bounded, in instructions and in seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import unicorn
from unicorn import arm64_const as arm64
from unicorn import unicorn_const
from unicorn.unicorn import UcError

from static_call.errors import StaticCallError
from static_call.isa import a64
from static_call.places.emulator.faults import EmulatorFault, OutOfBounds, base
from static_call.places.emulator.memory import EmulatedMemory
from static_call.places.function import arguments
from static_call.places.protocol import Argument

REGISTERS: list[int] = [
    *(getattr(arm64, f"UC_ARM64_REG_X{n}") for n in range(31)),
    arm64.UC_ARM64_REG_SP,
]
"""unicorn's numbers of x0 to x30 and SP."""

_NEEDED = (2, 1, 2)
"""The oldest unicorn. 2.1.1 may go on with code that an update has replaced: a call then goes to
the old target. Its ctl_flush_tb fails, too."""

_VERSION = ("MAJOR", "MINOR", "PATCH")
_STACK_SIZE = 1 << 20
_SLICE = 1_000_000  # instructions between two looks at the clock
_MISSING = 0x7F00_0000_0000
_RETURN = 0xFFFF_F000  # where a call returns to: never mapped
_ARGUMENTS = 8  # in x0 to x7, AAPCS64 6.8.2
_SCRATCH = range(19)  # x0 to x18, which a callee may change: AAPCS64 6.1.1
_SVC = 2
_EXCEPTIONS = {  # QEMU's EXCP_* in target/arm/cpu.h
    1: "undefined instruction", 2: "system call, and there is no kernel", 3: "prefetch abort",
    4: "data abort", 7: "breakpoint", 11: "hypervisor call", 13: "secure monitor call",
}  # fmt: skip


class Processor(EmulatedMemory):
    """One PE with memory and a stack.

    Attributes:
        instructions: The most instructions that one call or retarget may execute.
        seconds: The most time that one may take.
    """

    def __init__(self, *, instructions: int = 100_000_000, seconds: float = 30.0) -> None:
        """Makes a stack; there is no code yet. Raises StaticCallError if unicorn is too old."""
        version = tuple(getattr(unicorn_const, f"UC_VERSION_{one}") for one in _VERSION)
        if version < _NEEDED:
            raise StaticCallError(
                f"unicorn {'.'.join(map(str, version))} is too old, as it may run code that an "
                f"update has replaced: {'.'.join(map(str, _NEEDED))} or newer is needed"
            )
        super().__init__()
        self.instructions: int = instructions
        self.seconds: float = seconds
        self.uc.reg_write(arm64.UC_ARM64_REG_CPACR_EL1, 3 << 20)  # FP and SIMD without a trap
        self._missing: dict[int, str] = {}
        self._fault: tuple[int, int, str] | None = None
        self.uc.hook_add(unicorn.UC_HOOK_MEM_INVALID, self._on_invalid)
        self.uc.hook_add(unicorn.UC_HOOK_INTR, self._on_exception)
        self._stack = self.allocate(_STACK_SIZE) + _STACK_SIZE

    def call(self, function: int | str, /, *args: Argument) -> int:
        """Calls a function by address or name with up to 8 arguments; returns x0, unsigned.

        Bytes are copied into the machine and their address is passed; a bytearray is copied back.

        Raises:
            EmulatorFault: The code does something that it may not; the text has the address, the
                instruction and its registers.
            OutOfBounds: It does not return within the bounds.
        """
        address = self.resolve(function) if isinstance(function, str) else function
        if len(args) > _ARGUMENTS:
            raise StaticCallError(f"{len(args)} arguments: only the 8 in registers can be passed")
        sp = self._stack
        registers: dict[int, int] = {}
        copies: list[tuple[int, bytearray]] = []
        for n, arg in enumerate(arguments(args)):
            if isinstance(arg, int):
                registers[n] = arg
                continue
            # Buffers are on the stack, above the function's frame.
            sp = sp - len(arg) & -16
            if sp < self._stack - _STACK_SIZE // 2:
                raise StaticCallError(f"argument {n} is too long: {len(arg)} bytes")
            self.write(sp, bytes(arg))
            registers[n] = sp
            if isinstance(arg, bytearray):
                copies.append((sp, arg))
        result = self._run(address, registers, sp)
        for at, buffer in copies:
            buffer[:] = self.read(at, len(buffer))
        return result

    def preempt(self, function: int, *args: int, after: int, then: Callable[[], None]) -> int:
        """Calls a function, stops it after `after` instructions, runs `then`, and continues it.

        This shows what a thread sees if it is preempted there while another one retargets.

        Args:
            function: The function's address.
            args: Integers.
            after: How many instructions are executed first.
            then: Called at that point; it may retarget but not call.
        """
        registers = dict(enumerate(args))
        self._enter(registers, self._stack)
        pc = self._step(function, after)
        context = self.uc.context_save()
        then()
        self.uc.context_restore(context)
        return self._resume(pc)

    def trace(self, function: int | str, *args: Argument) -> tuple[int, list[int]]:
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

    def missing(self, name: str) -> int:
        """An address without memory, for a function in a file that is not loaded."""
        address = _MISSING + 16 * len(self._missing)
        self._missing[address] = name
        return address

    def _run(self, address: int, registers: Mapping[int, int], sp: int) -> int:
        self._enter(registers, sp)
        return self._resume(address)

    def _enter(self, registers: Mapping[int, int], sp: int) -> None:
        self.uc.reg_write(arm64.UC_ARM64_REG_SP, sp)
        self.uc.reg_write(arm64.UC_ARM64_REG_LR, _RETURN)
        for number in _SCRATCH:  # so that no run depends on the one before
            self.uc.reg_write(REGISTERS[number], registers.get(number, 0))

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
        """Executes `count` instructions from `pc`, or up to the return; returns the new pc."""
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
        if insn.row is None:
            numbers = base(insn.word)
        else:
            numbers = {insn[one.name] for one in insn.row.operands if one.is_register}
        values = " ".join(
            f"{'sp' if n == 31 else f'x{n}'}={self.uc.reg_read(REGISTERS[n]):#x}"
            for n in sorted(numbers)
        )
        link = self.uc.reg_read(arm64.UC_ARM64_REG_LR)
        return f"{pc:#x}: {insn}: {what}: {values} lr={link:#x}".replace(":  ", ": ")
