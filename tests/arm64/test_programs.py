"""C programs that update their own static calls, with this kernel: those of tests/guest_c."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from patience import patient


@pytest.mark.guest("user-mode emulation has tests/test_c_runtime.py")
@pytest.mark.parametrize(
    ("name", "telling"),
    [
        ("runtime-static", "seccomp"),
        ("runtime-pie", "seccomp"),
        ("loads", "two_copies"),
        ("update", "in_turn"),
    ],
)
def test_program(programs: Path, name: str, telling: str) -> None:
    """Every test of the program passes, and none is left out: seccomp, threads, dlopen."""
    done = subprocess.run([programs / name], capture_output=True, text=True, timeout=patient(110))
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    assert not [line for line in lines if not line.startswith("ok ")]
    assert any(line.startswith(f"ok {telling} ") for line in lines)
