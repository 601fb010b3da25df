"""What tests of this process share: C functions, prototypes, and children that may be broken."""

from __future__ import annotations

import ctypes
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from patience import patient

from static_call import StaticCall

U64 = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64)
"""The prototype of the functions in callers.c and library.c."""

KINDS = ("zero", "argument", "one", "two", "three", "wrong")
"""What callers.c counts results as."""


class Callers:
    """callers.so: functions that return 1, 2 and 3, and threads in C that call what they get."""

    def __init__(self, programs: Path) -> None:
        self.library = ctypes.CDLL(str(programs / "callers.so"))
        self.one, self.two, self.three = (
            U64((name, self.library)) for name in ("one", "two", "three")
        )
        self.library.call_once.restype = ctypes.c_uint64
        self.library.call_once.argtypes = [ctypes.c_void_p, ctypes.c_uint64]
        self.library.start_callers.argtypes = [ctypes.c_void_p, ctypes.c_uint]

    def call(self, address: int, argument: int = 1000) -> int:
        """Calls a function from C."""
        result: int = self.library.call_once(address, argument)
        return result

    def seen(self) -> dict[str, int]:
        """What the running threads saw so far, by kind."""
        counts = (ctypes.c_uint64 * len(KINDS))()
        self.library.look_at_callers(counts)
        return dict(zip(KINDS, counts))

    @contextmanager
    def running(self, address: int, threads: int = 2) -> Iterator[dict[str, int]]:
        """Threads in C call a function; afterwards the dictionary has what they saw, by kind."""
        seen: dict[str, int] = {}
        assert self.library.start_callers(address, threads) == 0
        try:
            yield seen
        finally:
            counts = (ctypes.c_uint64 * len(KINDS))()
            self.library.stop_callers(counts)
            seen |= dict(zip(KINDS, counts))


def agree(call: StaticCall) -> None:
    """Key, slot and literal of a static call with static_call.h's key agree on the target."""
    trampoline, place = call.trampoline, call.place
    assert call.key is not None
    key = int.from_bytes(place.read(call.key, 8), "little")
    lock = int.from_bytes(place.read(call.key + 16, 4), "little")
    slot = trampoline.entry + 4
    word = int.from_bytes(place.read(slot, 4), "little")
    if trampoline.outside:
        (at,) = trampoline.outside.values()
    else:
        at = trampoline.entry + 16
    literal = int.from_bytes(place.read(at, 8), "little")
    assert lock == 0
    # NOP, or B with its 26 bits of signed words (Arm ARM C6.2.26).
    if word == 0xD503201F:
        assert key == literal
    else:
        assert word >> 26 == 0b000101
        offset = (word & 0x3FFFFFF) - ((word & 0x2000000) << 1)
        assert slot + 4 * offset == literal
        assert key == literal or trampoline.entry < literal < trampoline.entry + 48


def in_child(do: Callable[[], object], *, seconds: float = 30) -> str:
    """What a function returns in a forked child, as text; what it raises, as `Type: text`."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            try:
                text = str(do())
            except BaseException as error:  # pytest's failures are not Exceptions
                text = f"{type(error).__name__}: {error}"
                if isinstance(error, AssertionError):
                    text += "\n" + traceback.format_exc()
            os.write(write, text.encode())
        finally:
            os._exit(0)
    os.close(write)
    deadline = time.monotonic() + patient(seconds)
    while not os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.001)
    _, status = os.waitpid(child, 0)
    with open(read, encoding="utf-8") as pipe:
        text = pipe.read()
    return text if status == 0 else f"{text} (status {os.waitstatus_to_exitcode(status)})"


_LIBC: Any = ctypes.CDLL(None, use_errno=True)
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_LOAD_NUMBER, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
_ERRNO, _ALLOW = 0x00050000, 0x7FFF0000  # SECCOMP_RET_*


class _Filter(ctypes.Structure):
    """A struct sock_filter."""

    _fields_ = (
        ("code", ctypes.c_uint16), ("true", ctypes.c_uint8), ("false", ctypes.c_uint8),
        ("k", ctypes.c_uint32),
    )  # fmt: skip


class _Program(ctypes.Structure):
    """A struct sock_fprog."""

    _fields_ = (("length", ctypes.c_uint16), ("filter", ctypes.POINTER(_Filter)))


def deny(number: int, error: int) -> None:
    """From now on a system call of this process fails with an errno value: a seccomp filter."""
    lines = (_Filter * 4)(
        _Filter(_LOAD_NUMBER, 0, 0, 0),
        _Filter(_EQUAL, 0, 1, number),
        _Filter(_RETURN, 0, 0, _ERRNO | error),
        _Filter(_RETURN, 0, 0, _ALLOW),
    )
    program = _Program(len(lines), lines)
    assert _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert _LIBC.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) == 0


def writable_code() -> list[str]:
    """The lines of /proc/self/maps that are writable and executable."""
    with open("/proc/self/maps", encoding="utf-8") as maps:
        return [line for line in maps if "w" in line.split()[1] and "x" in line.split()[1]]


def mapping(address: int) -> tuple[str, str]:
    """The rights of the page that an address is in, such as "r-xp", and the file it is from."""
    with open("/proc/self/maps", encoding="utf-8") as maps:
        for line in maps:
            start, end = (int(number, 16) for number in line.split()[0].split("-"))
            if start <= address < end:
                return line.split()[1], line[73:].strip()
    return "", ""
