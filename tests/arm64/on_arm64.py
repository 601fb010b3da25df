"""A plugin of pytest for the tests that run on arm64: makes sure that they do, and where.

tests/test_arm64.py starts them, with this plugin and these environment variables:

- ARM64_ENVIRONMENT: `guest` or `user-mode`;
- ARM64_PROGRAMS: the directory of the C programs and shared objects that it built.
"""

from __future__ import annotations

import os
import platform
import sys
import sysconfig
from pathlib import Path

import pytest

ENVIRONMENT = os.environ.get("ARM64_ENVIRONMENT", "")
DEVICE_TREE = Path("/proc/device-tree/compatible")
"""A device tree is where arm64 kernels read what the machine is; an x86-64 kernel has none."""


def pytest_configure(config: pytest.Config) -> None:
    """Ends the run unless it is on arm64, in the environment that it was started for."""
    for what, right in evidence(ENVIRONMENT).items():
        if not right:
            raise pytest.UsageError(f"not in the environment {ENVIRONMENT!r}: {what}")
    config.addinivalue_line("markers", "guest(why): runs in the guest only, for a stated reason")


def evidence(environment: str) -> dict[str, bool]:
    """What must hold in an environment; user-mode emulation cannot fake all of it."""
    arm64 = {
        "the machine is called aarch64": platform.machine() == "aarch64",
        "Python was built for aarch64": "aarch64" in (sysconfig.get_config_var("SOABI") or ""),
        "Python says so too": "aarch64" in sys.implementation._multiarch,
        "its file is an arm64 ELF file": machine_of(sys.executable) == 183,
    }
    if environment == "guest":
        machine = DEVICE_TREE.read_bytes() if DEVICE_TREE.exists() else b""
        return arm64 | {
            "the machine is QEMU's virt": b"linux,dummy-virt" in machine,
            "there are at least 2 CPUs": (os.cpu_count() or 0) >= 2,
        }
    return arm64 | {
        "the environment has a name": environment == "user-mode",
        "the kernel is another machine's": not DEVICE_TREE.exists(),
    }


def machine_of(path: str) -> int:
    """The field e_machine of an ELF file: 183 is EM_AARCH64."""
    return int.from_bytes(Path(path).read_bytes()[18:20], "little")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips a test that is marked for the guest, if this is not the guest."""
    mark = item.get_closest_marker("guest")
    if mark and ENVIRONMENT != "guest":
        pytest.skip(f"in the guest only: {mark.args[0]}")


@pytest.fixture(scope="session")
def programs() -> Path:
    """The directory of the C programs and shared objects."""
    return Path(os.environ["ARM64_PROGRAMS"])
