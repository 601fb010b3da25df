"""Locks that refuse the thread which holds them, where it comes back in a signal handler."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from static_call.errors import StaticCallError


class Deadlock(StaticCallError):
    """The thread holds the lock itself: it was interrupted, by a signal handler or a finalizer."""


def alone(lock: Any, *doing: str) -> AbstractContextManager[Any]:
    """A threading.RLock, for a with statement. Raises Deadlock if this thread has it already.

    Entering an RLock is one C call, so no exception of a signal handler leaves it locked. It alone
    knows who holds it: a note of ours could be left behind by such an exception.
    """
    if lock._is_owned():  # what threading.Condition asks
        what = " ".join(doing)
        raise Deadlock(f"this thread is {what} already: a signal handler must not do it again")
    held: AbstractContextManager[Any] = lock
    return held
