"""This process, on arm64 Linux: static calls that its threads call while they are retargeted.

Trampolines lie in memory that is readable and executable, and never writable: the kernel writes it,
through /proc/self/mem, as it writes the text of loaded files (see own_code). So there is no second
mapping through which code could be changed, and after a fork each process has its own trampolines.
Measured against two mappings of a memfd in docs/process.md.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from static_call.calls import (
    KEY_SIZE,
    RETURN0,
    KeyStore,
    NameTaken,
    Piece,
    Sharing,
    StaticCall,
)
from static_call.design.design import Design, Target
from static_call.design.retarget import Code, Cse, Retarget
from static_call.design.trampoline import Trampoline
from static_call.errors import StaticCallError
from static_call.isa import a64
from static_call.locks import Deadlock as Deadlock
from static_call.places import descriptors
from static_call.places.own_process import foreign, maps, own_code
from static_call.places.own_process.pool import Pool
from static_call.places.own_process.synchronize import Asker, is_thread

_SYNC_CORE, _REGISTER_SYNC_CORE = 1 << 5, 1 << 6  # include/uapi/linux/membarrier.h
_SYS_MEMBARRIER = 283
_READ, _WRITE, _EXEC = 1, 2, 4
_AT_HWCAP2, _HWCAP2_BTI, _HWCAP2_MOPS = 26, 1 << 17, 1 << 43  # asm/hwcap.h
_MEMORY = "/proc/thread-self/mem"  # not /proc/self, which has no memory once its thread has ended
_PAUSE = 50e-6  # seconds between two looks at a lock that another thread holds
_PATIENCE = 30.0  # seconds

_PROMISED = ("live", "cmodx", "fresh", "settled", "prefix")
_STORES = own_code.PARAMETERS.index("stores")

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.getauxval.restype = ctypes.c_ulong
_libc.getauxval.argtypes = [ctypes.c_ulong]
_Code = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_void_p)


if TYPE_CHECKING:
    from static_call.places.own_process.loaded_object import LoadedObject, Trampolines


class NotHere(StaticCallError):
    """The kernel or the process's configuration lacks what static calls in a process need."""


class Unproved(UserWarning):
    """A design that was asked for by name does not claim all that this place promises."""


class UpdateFailed(StaticCallError):
    """The kernel refused a step of an update; the text says what was changed."""


class Function(NamedTuple):
    """Code in this process's memory: callable, with integers and bytes.

    address  of its first instruction
    bits     of its result
    """

    process: OwnProcess
    address: int
    name: str
    bits: int = 64

    def __call__(self, *args: int | bytes | bytearray) -> int:
        """Calls it: see OwnProcess.call."""
        return self.process.call(self.address, *args) & (1 << self.bits) - 1

    def __repr__(self) -> str:
        return f"<function {self.name} at {self.address:#x}>"


class OwnProcess:
    """This process.

    weak        accept that an update gives no context synchronisation event on other CPUs, where
                the kernel has no membarrier: a call still goes to the old target or to the new one,
                if the new one's code is older than every thread's last such event; but there is no
                limit to how long a thread may go on starting the old one (Arm ARM B2.7.4.2)
    translated  whether this is user-mode emulation by qemu-user
    names       the static calls that were made here, by name
    """

    live = True
    shared = Sharing()
    """The process has one memory, so this is of all its places."""

    def __init__(self, *, weak: bool = False) -> None:
        """Opens /proc/self/mem, registers for membarrier, and tries that a change takes effect.

        Raises NotHere.
        """
        self.weak = weak
        self.names: dict[str, StaticCall] = {}
        self.translated = False
        self._memory = descriptors.Held(_MEMORY)
        self._routines: dict[int, tuple[Code, Callable[[int], int]]] = {}  # by the code's id()
        self._symbols: dict[str, int] = {}
        self._maps: list[maps.Mapping] = []
        self._guarded: dict[int, bool] = {}  # pages, for as long as _maps holds
        capabilities = _libc.getauxval(_AT_HWCAP2)
        _check_capabilities(capabilities)
        self._bti = bool(capabilities & _HWCAP2_BTI)
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

    # Memory

    def fd(self) -> int:
        """A file descriptor of this process's memory. Raises NotHere."""
        try:
            return self._memory.fileno()
        except OSError as error:
            raise NotHere(
                f"cannot open {_MEMORY}: {error.strerror}; "
                "text is written through it: mount /proc, or allow it"
            ) from None

    def read(self, address: int, size: int) -> bytes:
        """Memory; fewer bytes where it ends."""
        try:
            return os.pread(self.fd(), size, address) if 0 <= address < 1 << 63 else b""
        except OSError:
            return b""

    def executable(self, address: int, *, held: bool = False) -> bool:
        """Whether there is code at an address.

        held  an object keeps it mapped, so that what /proc said earlier still holds
        """
        if held and maps.executable(self._maps, address):
            return True
        if (now := maps.mappings()) != self._maps:
            self._maps, self._guarded = now, {}
        if self.translated and held:
            # qemu-user's maps lack some, and show others with a neighbour's rights.
            return bool(self.read(address, a64.WORD))
        return maps.executable(self._maps, address)

    def guarded(self, address: int) -> bool:
        """Whether the page of an address is guarded, on a CPU with FEAT_BTI."""
        if not self._bti:
            return False
        known, page = self._guarded, address & -os.sysconf("SC_PAGESIZE")
        if page not in known:
            known[page] = maps.guarded(address)
        return known[page]

    def resolve(self, name: str) -> int:
        """The address of a symbol: of functions made here, then what dlsym finds.

        A library's own: give `library.function`. Raises StaticCallError.
        """
        if name in self._symbols:
            return self._symbols[name]
        try:
            return foreign.address(getattr(_libc, name))
        except AttributeError:
            raise StaticCallError(f"no symbol {name} that dlsym finds in this process") from None

    def _store(self, address: int, data: bytes) -> None:
        """Writes new memory, which nobody uses yet; caches are the kernel's business.

        Raises UpdateFailed.
        """
        try:
            done = os.pwrite(self.fd(), data, address)
        except OSError as error:
            raise UpdateFailed(
                f"cannot write to text through /proc/self/mem: {error.strerror}; "
                "the kernel may forbid it (boot with proc_mem.force_override=always)"
            ) from None
        if done != len(data):
            raise UpdateFailed(f"only {done} of {len(data)} bytes were written at {address:#x}")
        code = (*self._text.ranges(), *self._code.ranges())
        if self.translated and any(address in one for one in code):
            self._retranslate({address})

    # What static calls need

    def reserve(
        self,
        design: Design,
        pieces: list[Piece],
        *,
        near: int | None = None,
        at: int | None = None,
    ) -> tuple[Trampoline, int]:
        """Memory for a trampoline and its key.

        near  an address that it should have in reach; this process's C library if None
        Raises pool.NoRoom, own_code.Unperformable, and StaticCallError for `at`: the pool decides.
        """
        if at is not None:
            raise StaticCallError("in a process the pool decides where a trampoline is; say near=")
        if lacking := [one for one in _PROMISED if one not in design.claims]:
            warnings.warn(
                f"the design {design.name} does not claim to be {', '.join(lacking)}: see "
                "static-call check",
                Unproved,
                stacklevel=4,
            )
        if near is None:
            near = foreign.address(_libc.syscall)
        self._routine(design.retarget, design.name)
        outside = {label: self._literals.take(8, 8, near, into=pieces) for label in design.outside}
        key = self._keys.take(KEY_SIZE, 8, into=pieces)
        entry = self._text.take(design.size, design.align, near, into=pieces) + design.entry
        return Trampoline(design, entry, outside), key

    def create(self, trampoline: Trampoline, key: int, target: Target, function: int) -> None:
        """Puts a trampoline that calls `target` into memory, and `function` into its key."""
        (ctypes.c_uint64 * 3).from_address(key)[:] = [function, trampoline.entry, 0]
        for address, piece in trampoline.assemble(target):
            self._store(address, piece)
        self._barrier()

    def perform(self, retarget: Retarget, key: KeyStore | None = None) -> None:
        """Runs a retarget's machine code, under the key's lock. Raises Deadlock, UpdateFailed."""
        # One of its own for each update: a signal handler may make another one meanwhile.
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

        Raises static_call.BadTarget.
        """
        return foreign.pointer(target, prototype)

    def parameter(self, address: int, prototype: type | None) -> object:
        """A ctypes function or, without a prototype, a ctypes.c_void_p."""
        return ctypes.c_void_p(address) if prototype is None else prototype(address)

    def callable(self, address: int, prototype: type) -> Callable[..., Any]:
        """A ctypes function for an address."""
        function: Callable[..., Any] = prototype(address)
        return function

    def call(self, address: int, *args: int | bytes | bytearray) -> int:
        """Calls a function with integers and bytes; returns x0, unsigned.

        A bytearray is passed by its address, and the function may change it.
        """
        types: list[type[Any]] = []
        values: list[Any] = []
        for number, arg in enumerate(args):
            if isinstance(arg, int):
                types.append(ctypes.c_uint64)
                values.append(arg & (1 << 64) - 1)
            elif isinstance(arg, bytes | bytearray):
                types.append(ctypes.c_void_p)
                buffer = bytearray(arg) if isinstance(arg, bytes) else arg
                values.append((ctypes.c_char * len(buffer)).from_buffer(buffer))
            else:
                raise StaticCallError(f"argument {number} is neither an integer nor bytes: {arg!r}")
        result: int = ctypes.CFUNCTYPE(ctypes.c_uint64, *types)(address)(*values)
        return result

    def function(
        self, code: bytes | str, *, name: str = "", near: int | None = None, bits: int = 64
    ) -> Function:
        """Puts code into fresh memory and returns it as a function.

        code  machine code, or assembly of the a64 table's instructions, a line each
        near  an address that should have it in reach
        """
        data = own_code.assemble(code) if isinstance(code, str) else code
        if not data or len(data) % a64.WORD:
            raise StaticCallError(f"{len(data)} bytes are no instructions")
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

    def _load(self, data: bytes, pieces: list[Piece], near: int | None = None) -> int:
        """Puts code into fresh memory; `pieces` gets it before it is taken."""
        near = near or foreign.address(_libc.syscall)
        address = self._code.take(len(data), 16, near, into=pieces)
        self._store(address, data)
        self._barrier()  # no thread runs what was there before
        return address

    def loaded(self, designs: Sequence[str] = ()) -> list[LoadedObject]:
        """The program and the libraries of this process that have static calls.

        designs  files with designs of one's own that they may have
        """
        from static_call.places.own_process.loaded_object import loaded

        return loaded(self, designs)

    def synchronize(self, seconds: float = 10.0) -> None:
        """Returns when no thread is in a trampoline, on its way to a former target.

        See places/synchronize.py for what that does not say. Raises synchronize.NotSynchronized.
        """
        if self.translated:
            raise NotHere("user-mode emulation has threads of its own, which cannot be asked")
        self._asker.synchronize([*self._text.ranges(), *self._trampolines.ranges()], seconds)

    # How it is done

    @cached_property
    def _trampolines(self) -> Trampolines:
        from static_call.places.own_process.loaded_object import Trampolines

        return Trampolines(self)

    def _run(self, routine: Callable[[int], int], parameters: Any) -> int:
        parameters[0] = self.fd()
        return routine(ctypes.addressof(parameters))

    def _routine(self, code: Code, name: str = "the design") -> Callable[[int], int]:
        """The machine code for a design's retarget, made when it is first wanted."""
        if (known := self._routines.get(id(code))) is not None:
            return known[1]
        # Without membarrier, this thread at least.
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
        """Whom the lock may be taken from, after a while: 0, or a thread that is no more."""
        if owner == threading.get_native_id():
            raise Deadlock("this thread is in an update of the static call already")
        if not is_thread(owner):
            return owner  # it was a thread of the process that forked this one
        if time.monotonic() > deadline:
            raise UpdateFailed(f"thread {owner} has been updating it for {_PATIENCE:.0f} s")
        time.sleep(_PAUSE)
        return 0

    def _failed(self, number: int, stores: int, retarget: Retarget) -> UpdateFailed:
        """What to say of a step that the kernel refused."""
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

    def _register(self) -> None:
        """Registers for membarrier; a second time does nothing. Raises NotHere."""
        if _membarrier(_REGISTER_SYNC_CORE):
            why = os.strerror(ctypes.get_errno())
            raise NotHere(
                f"membarrier PRIVATE_EXPEDITED_SYNC_CORE: {why}; without it a thread may start a "
                "former target at any time after an update: OwnProcess(weak=True) accepts that"
            )

    def _barrier(self) -> None:
        if not self.weak and _membarrier(_SYNC_CORE):
            raise NotHere(f"membarrier: {os.strerror(ctypes.get_errno())}")

    def _try(self) -> None:
        """Tries that changed code runs, which user-mode emulation must be told. Raises NotHere."""
        pieces: list[Piece] = []
        address = self._code.take(16, 16, foreign.address(_libc.syscall), into=pieces)
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
        raise NotHere("code that was changed through /proc/self/mem runs on as it was")

    def _retranslate(self, addresses: set[int]) -> None:
        """Makes qemu-user drop its translation of pages, which it does where one becomes writable.

        It takes no notice of who executes meanwhile, so there is no gap for other threads.
        """
        size = os.sysconf("SC_PAGESIZE")
        for page in {address & -size for address in addresses}:
            for rights in (_READ | _WRITE | _EXEC, _READ | _EXEC):
                _libc.mprotect(page, size, rights)

    def _forked(self) -> None:
        """In the child of a fork: the parent's memory and threads are not its own."""
        self._memory.forked()
        self.shared.forked()
        for pool in self._pools:
            pool.forked()
        self._asker.forked()


def _check_capabilities(capabilities: int) -> None:
    """Refuses a CPU on which the kernel's stores may be torn. Raises NotHere."""
    if capabilities & _HWCAP2_MOPS:
        raise NotHere(
            "the CPU has FEAT_MOPS: newer kernels copy by it, and what they write to text is then "
            "not promised to be one store; boot with arm64.nomops to do without it"
        )


def _membarrier(command: int) -> int:
    result: int = _libc.syscall(_SYS_MEMBARRIER, command, 0, 0)
    return result
