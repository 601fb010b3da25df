"""Waiting until no thread of this process is in a trampoline.

An update says where calls go that start later. A thread that was interrupted in a trampoline may
still go to a former target. After `synchronize` none does. What it cannot know: whether a thread is
*in* a former target, and whether a signal handler runs whose thread it interrupted in a trampoline.
Who frees a former target's memory must know of those: by a join, a count, an RCU grace period.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from static_call.errors import StaticCallError

_SYS_RT_SIGACTION, _SYS_RT_TGSIGQUEUEINFO = 134, 240  # include/uapi/asm-generic/unistd.h
_SYS_TGKILL = 131
_SA_SIGINFO, _SA_ONSTACK, _SA_RESTART = 0x4, 0x08000000, 0x10000000
_SIG_DFL, _SIG_IGN = 0, 1
_SI_QUEUE = -1
_LISTINGS = 100
_LOOKS = 3  # at a running thread, before it is interrupted
_PAUSE = 100e-6  # seconds

_lock = threading.Lock()  # one of us asks at a time
_unanswered: list[ctypes.c_uint64] = []  # cells that a handler may still store into

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class NotSynchronized(StaticCallError):
    """Of some thread it could not be found out where it is; the text names it."""


class _SigInfo(ctypes.Structure):
    """siginfo_t as sigqueue fills it, 128 bytes (include/uapi/asm-generic/siginfo.h)."""

    _fields_ = (
        ("signo", ctypes.c_int), ("errno", ctypes.c_int), ("code", ctypes.c_int),
        ("padding", ctypes.c_int), ("pid", ctypes.c_int), ("uid", ctypes.c_int),
        ("value", ctypes.c_uint64), ("rest", ctypes.c_char * 96),
    )  # fmt: skip


def synchronize(handler: int, trampolines: Sequence[range], seconds: float) -> None:
    """Returns when every other thread has been seen outside of `trampolines`, or has ended.

    handler  the address of own_code.HANDLER

    A thread that waits in the kernel is not disturbed: /proc/self/task/TID/syscall says where it
    is. One that runs is interrupted by a real-time signal that nobody uses, whose handler says so.
    Raises NotSynchronized.
    """
    deadline = time.monotonic() + seconds
    seen = {threading.get_native_id()}
    with _lock, _signal(handler) as number:
        # A thread that is not seen yet may have been started by one that was seen.
        while left := _threads() - seen:
            for thread in left:
                pc = _where(thread)
                while pc is None or any(pc in one for one in trampolines):
                    if time.monotonic() > deadline:
                        raise NotSynchronized(
                            f"thread {thread} did not say where it is in {seconds} s"
                            if pc is None
                            else f"thread {thread} is in a trampoline, at {pc:#x}"
                        )
                    pc = _ask(thread, number, deadline)
                seen.add(thread)


def _threads() -> set[int]:
    """All threads. A listing during which one ends may lack others: then there is another one."""
    found: set[int] = set()
    for _ in range(_LISTINGS):
        found |= {int(name) for name in os.listdir("/proc/self/task")}
        if len(found) >= os.stat("/proc/self/task").st_nlink - 2:
            break
    return found


def is_thread(thread: int) -> bool:
    """Whether this process has a thread of this id."""
    ctypes.set_errno(0)
    _libc.syscall(_SYS_TGKILL, os.getpid(), thread, 0)
    return ctypes.get_errno() != errno.ESRCH


def _where(thread: int) -> int | None:
    """Where a thread goes on that waits in the kernel; -1 for one that ended, None if it runs."""
    for _ in range(_LOOKS):
        try:
            with open(f"/proc/self/task/{thread}/syscall", encoding="ascii") as file:
                fields = file.read().split()
        except OSError:
            return None if is_thread(thread) else -1
        if fields and fields[0] != "running":
            return int(fields[-1], 16)
        time.sleep(_PAUSE)
    return None


def _ask(thread: int, number: int, deadline: float) -> int | None:
    """Interrupts a thread and returns where it was; -1 if it ended, None if it didn't answer."""
    cell = ctypes.c_uint64(0)
    info = _SigInfo(
        signo=number, code=_SI_QUEUE, pid=os.getpid(), uid=os.getuid(), value=ctypes.addressof(cell)
    )
    _unanswered.append(cell)
    if _libc.syscall(_SYS_RT_TGSIGQUEUEINFO, os.getpid(), thread, number, ctypes.byref(info)):
        return None if is_thread(thread) else -1
    while not cell.value:
        if time.monotonic() > deadline:
            return None
        if not is_thread(thread):
            return -1
        time.sleep(_PAUSE)
    _unanswered.pop()
    return cell.value


@contextmanager
def _signal(handler: int) -> Iterator[int]:
    """A real-time signal without a handler of its own, with ours for a while."""
    flags = _SA_SIGINFO | _SA_ONSTACK | _SA_RESTART
    before = (ctypes.c_uint64 * 4)()
    for number in range(signal.SIGRTMAX, signal.SIGRTMIN - 1, -1):
        if _libc.syscall(_SYS_RT_SIGACTION, number, None, ctypes.byref(before), 8) == 0 and (
            before[0] == 0
        ):
            break
    else:
        raise NotSynchronized("every real-time signal has a handler: none is left to ask threads")
    _set(number, handler, flags)
    try:
        yield number
    finally:
        # A thread that has it blocked must not die of it later: ignoring drops what is queued.
        _set(number, _SIG_IGN, 0)
        _set(number, _SIG_DFL, 0)


def _set(number: int, handler: int, flags: int) -> None:
    action = (ctypes.c_uint64 * 4)(handler, flags, 0, 0)
    _libc.syscall(_SYS_RT_SIGACTION, number, ctypes.byref(action), None, 8)
