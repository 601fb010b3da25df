"""Locks that no exception leaves locked, and that refuse a thread which holds them already."""

from __future__ import annotations

from _thread import RLock
from contextlib import suppress
from typing import Any

from static_call.errors import StaticCallError


class Deadlock(StaticCallError):
    """This thread holds the lock already: a signal handler or a finalizer interrupted it."""


class Lock(RLock):  # type: ignore[misc]  # final in typeshed alone: see tests/test_locks.py
    """A threading.RLock for with statements, which no exception of a signal handler leaves locked.

    Python looks for signals after a call, and in 3.14 also after the call that enters a with
    statement: an exception that comes there does not leave the statement, as it has not begun.
    So entering is a function, which catches that; after its return nothing looks for signals.
    Leaving stays one C call: a function would look for signals before it gives the lock back.
    """

    def __enter__(self, blocking: bool = True, timeout: float = -1) -> bool:
        try:
            taken = self.acquire(blocking, timeout)
        except BaseException:
            with suppress(RuntimeError):  # it is not held where this thread waited for it
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

    Who holds it is asked of the lock itself: a note of our own could be wrong after an exception.

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
