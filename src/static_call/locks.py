"""Locks that no exception leaves locked, and that refuse a thread that already holds them."""

from __future__ import annotations

from _thread import RLock
from contextlib import suppress
from typing import Any

from static_call.errors import StaticCallError


class Deadlock(StaticCallError):
    """This thread holds the lock already: a signal handler or a finalizer interrupted it."""


class Lock(RLock):  # type: ignore[misc]  # final in typeshed alone: see tests/test_locks.py
    """A threading.RLock for with statements, which no exception of a signal handler leaves locked.

    Python checks for signals after a call, and since 3.14 also after the call that enters a with
    statement. An exception raised there does not run the statement's exit, as the statement has not
    begun. So entering is a Python function, which catches that; nothing checks for signals after it
    returns. Leaving is one C call: a Python function would check for signals before it gives the
    lock back.
    """

    def __enter__(self, blocking: bool = True, timeout: float = -1) -> bool:
        try:
            taken = self.acquire(blocking, timeout)
        except BaseException:
            with suppress(RuntimeError):  # this thread may not hold it yet: it was waiting for it
                self.release()
            raise
        return taken

    @property
    def mine(self) -> bool:
        """Whether this thread holds it."""
        lock: Any = self  # typeshed does not know what threading.Condition asks
        return bool(lock._is_owned())


def alone(lock: Lock, *doing: str) -> Lock:
    """Takes a lock, for a with statement.

    The lock itself says who holds it: a separate record could be wrong after an exception.

    Args:
        lock: The lock.
        doing: What it is held for, in words, for the message.

    Raises:
        Deadlock: This thread holds it already.
    """
    if lock.mine:
        what = " ".join(doing)
        raise Deadlock(f"this thread is {what} already: a signal handler must not do it again")
    return lock
