"""Static calls in this process, on arm64 Linux: its threads call them while they are retargeted.

Trampolines are in memory that is readable and executable, and never writable: the kernel writes it,
through /proc/self/mem, as it writes the text of loaded files (see own_code). So there is no second
mapping through which code could be changed, and after a fork each process has its own trampolines.
docs/process.md compares this with two mappings of a memfd.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

from static_call.calls import StaticCall
from static_call.design.design import Design
from static_call.design.retarget import Code, Cse, Retarget
from static_call.design.target import Target
from static_call.design.trampoline import Trampoline
from static_call.errors import NameTaken, StaticCallError
from static_call.isa import a64
from static_call.key import KEY_SIZE, RETURN0, KeyStore, new_key
from static_call.locks import Deadlock
from static_call.places.function import Function, arguments
from static_call.places.own_process import foreign, libc, own_code
from static_call.places.own_process.memory import NotHere, ProcessMemory, UpdateFailed
from static_call.places.own_process.pool import Pool
from static_call.places.own_process.synchronize import Asker, is_thread
from static_call.places.protocol import Argument, Piece
from static_call.sharing import Sharing

_PAUSE = 50e-6  # seconds between two looks at a lock that another thread holds
_PATIENCE = 30.0  # seconds

_PROMISED = ("live", "cmodx", "fresh", "settled", "prefix")
_STORES = own_code.PARAMETERS.index("stores")

_Code = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_void_p)
_NEAR = foreign.address(libc.LIBC.syscall)  # where code and trampolines are by default


class Unproved(UserWarning):
    """A design that was asked for by name does not claim everything that this place promises."""


class Process(ProcessMemory):
    """This process, without what is loaded into it.

    Attributes:
        live: True.
        shared: What the StaticCall objects in this process share. The process has one memory, so
            all places of it have the same.
        names: The static calls that were made here and are not closed, by name.
    """

    live: bool = True
    shared: Sharing = Sharing()
    translated: bool

    def __init__(self, *, weak: bool = False) -> None:
        """Opens /proc/self/mem, registers for membarrier, and checks that a change takes effect.

        Args:
            weak: Accept that an update causes no context synchronisation event on other CPUs if the
                kernel has no membarrier. A call still goes to the old target or to the new one, if
                the new one's code is older than every thread's last such event; but there is no
                limit to how long a thread may go on starting the old one (Arm ARM B2.7.4.2).

        Raises:
            NotHere: The kernel, the CPU or the configuration does not allow it.
        """
        super().__init__(weak=weak)
        self.names: dict[str, StaticCall] = {}
        self._routines: dict[int, tuple[Code, Callable[[int], int]]] = {}  # by the code's id()
        self._text = Pool(executable=True, guarded=self._bti)  # trampolines
        self._code = Pool(executable=True, guarded=self._bti)
        self._literals = Pool()
        self._keys = Pool(writable=True)
        self._pools = self._text, self._code, self._literals, self._keys
        try:
            self.fd()
            if not weak:
                self._register()
            self._try()
            self._symbols[RETURN0] = self.function("bti c\nmov x0, #0\nret", name=RETURN0).address
            self._asker = Asker(self.function(own_code.HANDLER, name="report_pc").address)
            os.register_at_fork(after_in_child=self._forked)
        except BaseException:
            self._memory.close()
            for pool in self._pools:
                pool.unmap()
            raise

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

        Args:
            design: The trampoline's design.
            pieces: Gets each piece of memory before it is taken.
            near: An address that it should reach; this process's C library if None.
            at: Must be None: the pool chooses the address.

        Raises:
            NoRoom: The kernel gives no more memory.
            Unperformable: The design's retarget is not possible in a running process.
            StaticCallError: `at` was given.
        """
        if at is not None:
            raise StaticCallError("in a process the address cannot be chosen with at=: use near=")
        if lacking := [one for one in _PROMISED if one not in design.claims]:
            warnings.warn(
                f"the design {design.name} does not claim to be {', '.join(lacking)}: see "
                "static-call check",
                Unproved,
                stacklevel=4,
            )
        if near is None:
            near = _NEAR
        self._routine(design.retarget, design.name)
        size = design.isa.pointer
        outside = {
            label: self._literals.take(size, size, near, into=pieces) for label in design.outside
        }
        key = self._keys.take(KEY_SIZE, 8, into=pieces)
        entry = self._text.take(design.size, design.align, near, into=pieces) + design.entry
        return Trampoline(design, entry, outside), key

    def create(self, trampoline: Trampoline, key: int, target: Target, function: int) -> None:
        """Puts a trampoline that calls `target` into memory, and `function` into its key."""
        ctypes.memmove(key, new_key(function, trampoline.entry), KEY_SIZE)
        for address, piece in trampoline.assemble(target):
            self._store(address, piece)
        self._barrier()

    def perform(self, retarget: Retarget, key: KeyStore | None = None) -> None:
        """Runs a retarget's machine code, under the key's lock. Raises Deadlock, UpdateFailed."""
        # New for each update: a signal handler may make another update before this one ends.
        parameters = (ctypes.c_uint64 * (own_code.SIZE // 8))()
        own_lock = ctypes.c_uint64(0)
        own_key = (ctypes.c_uint64 * 1)(0)
        lock = key.lock if key and key.lock else ctypes.addressof(own_lock)
        parameters[1:7] = [
            lock, 0, threading.get_native_id(),
            key.key if key else ctypes.addressof(own_key), key.function if key else 0,
            retarget.keep,
        ]  # fmt: skip
        for n, value in enumerate(retarget.registers, own_code.REGISTERS):
            parameters[n] = value
        routine = self._routine(retarget.code)
        deadline = time.monotonic() + _PATIENCE
        while (result := self._run(routine, parameters)) == own_code.HELD:
            parameters[2] = self._waited(parameters[2], deadline)
        if self.translated:
            self._retranslate({step.address for step in retarget.steps if step.op == "ic ivau"})
        if result < 0:
            raise self._failed(-result, parameters[_STORES], retarget)

    def pointer(self, target: object, prototype: type | None) -> tuple[int, object]:
        """The address of a ctypes or cffi function, or of a Python function with a prototype.

        Raises BadTarget.
        """
        return foreign.pointer(target, prototype)

    def parameter(self, address: int, prototype: type | None) -> object:
        """A ctypes function or, without a prototype, a ctypes.c_void_p."""
        return ctypes.c_void_p(address) if prototype is None else prototype(address)

    def callable(self, address: int, prototype: type) -> Callable[..., Any]:
        """A ctypes function for an address."""
        function: Callable[..., Any] = prototype(address)
        return function

    def call(self, address: int, /, *args: Argument) -> int:
        """Calls a function with integers and bytes; returns x0, unsigned.

        A bytearray is passed by its address, and the function may change it.
        """
        types: list[type[Any]] = []
        values: list[Any] = []
        for arg in arguments(args):
            if isinstance(arg, int):
                types.append(ctypes.c_uint64)
                values.append(arg)
            else:
                types.append(ctypes.c_void_p)
                buffer = bytearray(arg) if isinstance(arg, bytes) else arg
                values.append((ctypes.c_char * len(buffer)).from_buffer(buffer))
        result: int = ctypes.CFUNCTYPE(ctypes.c_uint64, *types)(address)(*values)
        return result

    def function(
        self, code: bytes | str, *, name: str = "", near: int | None = None, bits: int = 64
    ) -> Function:
        """Puts code into fresh memory and returns it as a function.

        Args:
            code: Machine code, or assembly of the a64 table's instructions, one on each line.
            name: The name for resolve(), which no other function has; one is made up if "".
            near: An address that it should be in reach of; this process's C library if None.
            bits: The bits of the result that count: 32 for a C int.
        """
        data = own_code.assemble(code) if isinstance(code, str) else code
        if not data or len(data) % a64.WORD:
            raise StaticCallError(
                f"{len(data)} bytes are not instructions of {a64.WORD} bytes each"
            )
        if name in self._symbols:
            raise NameTaken(f"there is a function {name} already, at {self._symbols[name]:#x}")
        pieces: list[Piece] = []
        symbol = name
        try:
            address = self._load(data, pieces, near)
            symbol = name or f"code_{address:x}"
            self._symbols[symbol] = address
        except BaseException:
            self._symbols.pop(symbol, None)
            for piece in pieces:
                piece.give()
            raise
        return Function(self, address, symbol, bits)

    def _store(self, address: int, data: bytes) -> None:
        """Writes new memory, which is not in use yet. Raises UpdateFailed."""
        super()._store(address, data)
        code = (*self._text.ranges(), *self._code.ranges())
        if self.translated and any(address in one for one in code):
            self._retranslate({address})

    def _load(self, data: bytes, pieces: list[Piece], near: int | None = None) -> int:
        """Puts code into fresh memory; `pieces` gets it before it is taken."""
        near = near or _NEAR
        address = self._code.take(len(data), 16, near, into=pieces)
        self._store(address, data)
        self._barrier()  # no thread runs what was there before
        return address

    # How it is done

    def _run(self, routine: Callable[[int], int], parameters: Any) -> int:
        parameters[0] = self.fd()
        return routine(ctypes.addressof(parameters))

    def _routine(self, code: Code, name: str = "the design") -> Callable[[int], int]:
        """The machine code for a design's retarget, made when it is first needed."""
        if (known := self._routines.get(id(code))) is not None:
            return known[1]
        # Without membarrier, at least this thread has its CSE.
        here = [a64.parse("isb") if self.weak and one == Cse() else one for one in code]
        pieces: list[Piece] = []
        try:
            made = code, _Code(self._load(own_code.retarget(here, name), pieces))
            return self._routines.setdefault(id(code), made)[1]
        except BaseException:
            if id(code) not in self._routines:
                for piece in pieces:
                    piece.give()
            raise

    def _waited(self, owner: int, deadline: float) -> int:
        """Waits; returns whom the lock may be taken from: 0 (none), or a thread that has ended."""
        if owner == threading.get_native_id():
            raise Deadlock("this thread is in an update of the static call already")
        if not is_thread(owner):
            return owner  # it was a thread of the process that forked this one
        if time.monotonic() > deadline:
            raise UpdateFailed(f"thread {owner} has been updating it for {_PATIENCE:.0f} s")
        time.sleep(_PAUSE)
        return 0

    def _failed(self, number: int, stores: int, retarget: Retarget) -> UpdateFailed:
        """What to say about a step that the kernel refused."""
        why = os.strerror(number)
        total = sum(step.op == "store" for step in retarget.steps)
        if number == errno.EIO:
            why += " (is the text mapped shared? does proc_mem.force_override forbid the write?)"
        if not stores:
            return UpdateFailed(f"{why}: nothing was changed")
        if stores == total:
            return UpdateFailed(
                f"{why}, of membarrier: the target was changed, but a thread may start the old one"
            )
        return UpdateFailed(
            f"{why}, after {stores} of {total} stores: calls go to the old target or to the new"
        )

    def _try(self) -> None:
        """Checks that changed code runs; user-mode emulation must be told. Raises NotHere."""
        pieces: list[Piece] = []
        address = self._code.take(16, 16, _NEAR, into=pieces)
        run = _Code(address)
        for self.translated in (False, True):
            for number in (1, 2):
                try:
                    self._store(address, own_code.assemble(f"bti c\nmov x0, #{number}\nret"))
                except UpdateFailed as error:
                    raise NotHere(str(error)) from None
                self._barrier()
                result = run(0)
            if result == number:
                pieces[0].give()
                return
        raise NotHere("code that was changed through /proc/self/mem still runs as it was")

    def _forked(self) -> None:
        """In the child of a fork: the parent's memory and threads are not there."""
        self._memory.forked()
        self.shared.forked()
        for pool in self._pools:
            pool.forked()
        self._asker.forked()
