"""Locks that refuse a thread that holds them already, as in a signal handler."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from static_call.errors import StaticCallError


class Deadlock(StaticCallError):
    """This thread holds the lock already: a signal handler or a finalizer interrupted it."""


def alone(lock: Any, *doing: str) -> AbstractContextManager[Any]:
    """Takes a lock, for a with statement.

    Entering an RLock is one C call, so an exception of a signal handler cannot leave it locked. Who
    holds it is asked of the lock itself: a note of our own could be wrong after such an exception.

    Args:
        lock: A threading.RLock.
        doing: What it is held for, in words, for the message.

    Raises:
        Deadlock: This thread holds it already.
    """
    if lock._is_owned():  # what threading.Condition asks
        what = " ".join(doing)
        raise Deadlock(f"this thread is {what} already: a signal handler must not do it again")
    held: AbstractContextManager[Any] = lock
    return held
