"""Waiting until no thread of this process is in a trampoline.

An update decides where later calls go. A thread that was interrupted in a trampoline may still go
to a former target; after `synchronize`, none does. It cannot know whether a thread is *in* a former
target, or is running a signal handler that interrupted it in a trampoline. The caller must know
that before a former target's memory is freed: by a join, a count, an RCU grace period.

A thread that waits in the kernel is not disturbed: /proc/self/task/TID/syscall says where it is. A
thread that runs is asked by a real-time signal, whose handler stores where it was. The signal and
its handler are kept, as an answer may come late.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence

from static_call.errors import StaticCallError
from static_call.locks import Lock, alone
from static_call.places.own_process import own_code
from static_call.places.own_process.libc import LIBC

_SYS_RT_SIGACTION, _SYS_RT_TGSIGQUEUEINFO = 134, 240  # include/uapi/asm-generic/unistd.h
_SYS_TGKILL = 131
_SA_SIGINFO, _SA_ONSTACK, _SA_RESTART = 0x4, 0x08000000, 0x10000000
_LISTINGS = 100
_LOOKS = 2  # at a running thread, before it is interrupted
_SELDOM = 16  # waits for an answer, for each look at where a thread that was asked is
_PAUSE = 100e-6  # seconds


class NotSynchronized(StaticCallError):
    """It could not be found out where some thread is; the text names it."""


class _SigInfo(ctypes.Structure):
    """siginfo_t as sigqueue fills it, 128 bytes (include/uapi/asm-generic/siginfo.h)."""

    _fields_ = (
        ("signo", ctypes.c_int), ("errno", ctypes.c_int), ("code", ctypes.c_int),
        ("padding", ctypes.c_int), ("pid", ctypes.c_int), ("uid", ctypes.c_int),
        ("value", ctypes.c_uint64), ("rest", ctypes.c_char * 96),
    )  # fmt: skip


class Asker:
    """Asks threads where they are."""

    def __init__(self, handler: int) -> None:
        """Takes no signal yet.

        Args:
            handler: The address of own_code.HANDLER.
        """
        self._handler = handler
        self._lock = Lock()  # of taking a signal
        self._number: int | None = None
        # Where handlers may still store, and the thread of each, by address.
        self._cells: dict[int, tuple[int, ctypes.c_uint64]] = {}

    def forked(self) -> None:
        """In the child of a fork: the threads that were asked are not there."""
        self._lock = Lock()
        self._cells.clear()

    def synchronize(self, trampolines: Sequence[range], seconds: float) -> None:
        """Returns when every other thread has been seen outside some addresses, or has ended.

        All threads are asked, and then their answers are collected.

        Args:
            trampolines: The addresses.
            seconds: How long it may take.

        Raises:
            NotSynchronized: It took longer, or there is no signal to ask with.
        """
        deadline = time.monotonic() + seconds
        for at, (thread, cell) in list(self._cells.items()):
            if cell.value or not is_thread(thread):
                self._cells.pop(at, None)
        seen = {threading.get_native_id()}
        looks: dict[int, int] = {}
        asked: dict[int, ctypes.c_uint64] = {}
        # A thread that has not been seen yet may have been started by one that has.
        for turn in itertools.count():
            if not (left := _threads() - seen):
                return
            why = ""
            for thread in left:
                pc = self._answer(thread, asked)
                if pc is None and (thread not in asked or not turn % _SELDOM):
                    pc = _where(thread)  # one that was asked may have gone to sleep before
                if pc is None:
                    why = f"thread {thread} did not say where it is in {seconds} s"
                    looks[thread] = looks.get(thread, 0) + 1
                    if looks[thread] >= _LOOKS and thread not in asked:
                        self._ask(thread, asked)
                elif any(pc in one for one in trampolines):
                    why = f"thread {thread} is in a trampoline, at {pc:#x}"
                else:
                    seen.add(thread)
            if why:
                if time.monotonic() > deadline:
                    raise NotSynchronized(why)
                time.sleep(_PAUSE)

    def _answer(self, thread: int, asked: dict[int, ctypes.c_uint64]) -> int | None:
        """Where a thread was, if it has answered; it can then be asked again."""
        if thread not in asked or not (pc := asked[thread].value):
            return None
        self._cells.pop(ctypes.addressof(asked.pop(thread)), None)
        return pc

    def _ask(self, thread: int, asked: dict[int, ctypes.c_uint64]) -> None:
        """Interrupts a thread, unless it has the signal blocked: then /proc may say it later."""
        number = self._signal()
        if (status := _status(thread)) is None or status["SigBlk"] >> number - 1 & 1:
            return
        cell = ctypes.c_uint64(0)
        at = ctypes.addressof(cell)
        info = _SigInfo(
            signo=number, code=own_code.ASKED, pid=os.getpid(), uid=os.getuid(), value=at
        )
        self._cells[at] = thread, cell
        if LIBC.syscall(_SYS_RT_TGSIGQUEUEINFO, os.getpid(), thread, number, ctypes.byref(info)):
            self._cells.pop(at, None)  # it has ended, or the kernel's queue is full
        else:
            asked[thread] = cell

    def _signal(self) -> int:
        """The number of a signal that has our handler. Raises NotSynchronized."""
        if self._number is None or _handler(self._number) != self._handler:
            with alone(self._lock, "taking a signal"):
                if self._number is None or _handler(self._number) != self._handler:
                    self._number = self._take()
        return self._number

    def _take(self) -> int:
        """Takes a signal that is not in use, and its handler, for as long as the process runs."""
        statuses = [one for thread in _threads() if (one := _status(thread))]
        for number in _candidates():
            if not any(_uses(one, number) for one in statuses):
                flags = _SA_SIGINFO | _SA_ONSTACK | _SA_RESTART
                action = (ctypes.c_uint64 * 4)(self._handler, flags, 0, 0)
                if not LIBC.syscall(_SYS_RT_SIGACTION, number, ctypes.byref(action), None, 8):
                    return number
        raise NotSynchronized("every real-time signal is in use, so threads cannot be asked")


def _candidates() -> Iterator[int]:
    """The signals to choose from: those the C library allots, or all if it allots none."""
    allocate = getattr(LIBC, "__libc_allocate_rtsig", None)
    if allocate is None:
        yield from range(signal.SIGRTMAX, signal.SIGRTMIN - 1, -1)
        return
    # From the upper end: programs count from SIGRTMIN, which must not change.
    while (number := allocate(0)) > 0:
        yield number


def _uses(status: dict[str, int], number: int) -> bool:
    """Whether a thread or its process uses a signal, as far as /proc/self/task/TID/status says.

    A thread that blocks it may wait for it with sigwait or a signalfd. A thread that blocks every
    real-time signal does not count: it may just want none, and none of them could reach it.
    """
    every = _mask(range(signal.SIGRTMIN, signal.SIGRTMAX + 1))
    waits = status["SigBlk"] if status["SigBlk"] & every != every else 0
    used = waits | status["SigPnd"] | status["ShdPnd"] | status["SigIgn"] | status["SigCgt"]
    return bool(used & _mask([number]))


def _mask(numbers: Sequence[int]) -> int:
    return sum(1 << number - 1 for number in numbers)


def _handler(number: int) -> int:
    """The address of a signal's handler."""
    action = (ctypes.c_uint64 * 4)()
    LIBC.syscall(_SYS_RT_SIGACTION, number, None, ctypes.byref(action), 8)
    return action[0]


def _threads() -> set[int]:
    """All threads. A listing may miss some while another ends: then they are listed again."""
    found: set[int] = set()
    for _ in range(_LISTINGS):
        found |= {int(name) for name in os.listdir("/proc/self/task")}
        if len(found) >= os.stat("/proc/self/task").st_nlink - 2:
            break
    return {thread for thread in found if is_thread(thread)}


def is_thread(thread: int) -> bool:
    """Whether this process has a thread of this id."""
    ctypes.set_errno(0)
    LIBC.syscall(_SYS_TGKILL, os.getpid(), thread, 0)
    return ctypes.get_errno() != errno.ESRCH


def _status(thread: int) -> dict[str, int] | None:
    """The signal masks of /proc/self/task/TID/status by name; None for a thread that has ended."""
    try:
        with open(f"/proc/self/task/{thread}/status", encoding="utf-8", errors="replace") as file:
            fields = [line.split() for line in file]
    except OSError:
        return None
    named = {one[0][:-1]: one[1] for one in fields if len(one) == 2}
    names = ("SigBlk", "SigPnd", "ShdPnd", "SigIgn", "SigCgt")
    return {name: int(named[name], 16) for name in names}


def _where(thread: int) -> int | None:
    """Where a thread that waits in the kernel will continue; None if it runs or has just ended."""
    try:
        with open(f"/proc/self/task/{thread}/syscall", encoding="ascii") as file:
            fields = file.read().split()
    except OSError:
        return None
    return int(fields[-1], 16) if fields and fields[0] != "running" else None
