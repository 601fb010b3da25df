"""Where these tests run."""

import ctypes
import os
import threading
from pathlib import Path

import pytest
from on_arm64 import ENVIRONMENT, evidence


def test_evidence_tells_the_environments_apart() -> None:
    """A run that was given the wrong environment ends before its first test."""
    other = "user-mode" if ENVIRONMENT == "guest" else "guest"
    assert all(evidence(ENVIRONMENT).values())
    assert not all(evidence(other).values())
    assert not all(evidence("").values()) or ENVIRONMENT == "user-mode"


def test_programs_are_loaded(programs: Path) -> None:
    """A cross-compiled shared object runs in this Python: its threads too."""
    library = ctypes.CDLL(str(programs / "callers.so"))
    assert library.add(2, 40) == 42


@pytest.mark.guest("this host's kernel has its own CPUs")
def test_threads_run_on_two_cpus() -> None:
    """The guest's CPUs are there for its threads."""
    assert len(os.sched_getaffinity(0)) >= 2
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
