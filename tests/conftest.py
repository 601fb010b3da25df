"""What all tests share: how hypothesis searches, and reports at the end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# No example has a time limit, as machines differ. On CI the same examples run every time, so that
# a failure is due to the change.
settings.register_profile("all", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("all"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "all")

collect_ignore = [
    str(file)
    for file in (Path(__file__).parent / "arm64").glob("test_*.py")
    if file.name != "test_host.py"
]
"""What runs on arm64 only, as test_arm64.py starts it; the interface of host() is everywhere."""


SLOW = [
    "arm64",
    "board",
    "c_builds",
    "c_header",
    "c_runtime",
    "c_runtime_steps",
    "c_synchronize",
    "c_update",
    "check_model",
    "check_output",
    "check_random",
    "ctrl_c_everywhere",
    "debian",
    "docs",
    "elf",
    "elf_file",
    "elf_mutations",
    "halfway",
    "herd7",
    "kernel_image",
    "kernel_port",
    "litmus",
    "new_kernels",
    "package",
    "relocatable",
    "scan",
    "set",
    "torture",
]
"""The files of tests that compile, boot or search for long: `make quick` leaves them out."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests of slow files."""
    for item in items:
        if item.path.stem.removeprefix("test_") in SLOW:
            item.add_marker(pytest.mark.slow)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Shows the texts that tests recorded as their property `report`."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, text in getattr(report, "user_properties", ()):
                if name == "report" and report.when == "call":
                    terminalreporter.write_line(str(text))
