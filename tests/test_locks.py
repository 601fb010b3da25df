"""Locks: whatever interrupts it, and when, a with statement leaves them as it found them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from types import FrameType

import pytest

from static_call.locks import Deadlock, Lock, alone


class Interrupted(Exception):
    """What the signal handler raises."""


@pytest.fixture
def interrupts() -> Iterator[None]:
    """SIGALRM raises Interrupted."""

    def interrupt(_: int, __: FrameType | None) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_signal_at_any_moment_leaves_no_lock(interrupts: None) -> None:
    """Python 3.14 looks for signals between taking a lock and the with statement's body."""
    lock, left = Lock(), 0
    for number in range(2000):
        with pytest.raises(Interrupted):  # noqa: PT012
            signal.setitimer(signal.ITIMER_REAL, 1e-6 * (20 + number % 100))
            while True:
                with lock:
                    pass
        if lock.mine:
            lock.release()
            left += 1
    assert left == 0


def test_interrupted_while_it_waits(interrupts: None) -> None:
    """It does not give back what another thread holds."""
    lock, held, done = Lock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        held.wait()
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        with pytest.raises(Interrupted), lock:
            pass
        assert not lock.acquire(blocking=False)
    finally:
        done.set()
        thread.join()
    with lock:
        pass


def test_alone_refuses_the_thread_that_holds_it() -> None:
    """With what it was doing; after that the lock is free."""
    lock = Lock()
    with alone(lock, "in an update of", "policy"):
        with pytest.raises(Deadlock, match="this thread is in an update of policy already"):
            alone(lock, "in an update of", "policy")
        assert lock.mine
    assert not lock.mine
