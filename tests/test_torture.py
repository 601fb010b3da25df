"""Torture: threads call in C while others update, in the guest, and every call is checked.

With its CPUs taking turns, QEMU is as strict as an arm64 machine: no call may be wrong or stale. In
parallel, QEMU before 8.1 may run a translation of code that is no more, so stale calls are counted
and allowed there: that run is for what only parallel threads meet. The environment variable TORTURE
multiplies calls and updates; `make torture` sets it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import arm64_linux
import guest
import pytest
import toolchain

TESTS = Path(__file__).parent
INCLUDE = TESTS.parent / "src" / "static_call" / "include"

TIMES = int(os.environ.get("TORTURE", "1"))
MODES = ("near", "far", "null", "ret0", "mix", "fresh", "signals", "fork", "killed")
SECONDS = 280
"""That the guest has, for one time."""


class Row(NamedTuple):
    """One mode of torture.c, as it prints it."""

    mode: str
    callers: int
    updaters: int
    calls: int
    updates: int
    wrong: int
    stale: int


def rows(console: str) -> Iterator[Row]:
    """The rows of the tables that torture.c printed."""
    for line in console.splitlines():
        fields = line.split()
        if fields and fields[0] in MODES:
            yield Row(fields[0], *map(int, fields[1:7]))


def torture(options: str, updaters: Sequence[int], folder: Path, *, parallel: bool) -> str:
    """Runs torture.c with so many updaters, one after the other; returns the tables."""
    program = folder / "torture"
    toolchain.GCC(
        *("-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-static", f"-I{INCLUDE}"),
        *(TESTS / "torture" / "torture.c", INCLUDE / "static_call.c", "-o", program),
    )
    try:
        return arm64_linux.in_guest(
            " && ".join(f"/torture {options} -t 4 -u {number}" for number in updaters),
            {"/torture": program},
            folder,
            parallel=parallel,
            seconds=SECONDS * TIMES,
        )
    except arm64_linux.Unavailable as error:
        toolchain.missing("an arm64 environment", str(error))
    except guest.GuestError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.mark.parametrize("parallel", [False, True], ids=["in turns", "in parallel"])
def test_torture(
    parallel: bool, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """No call is wrong, in any mode; and none reaches a target after its update has returned."""
    updaters = (2,) if parallel else (1, 2)
    calls, updates = (20_000, 500) if parallel else (600_000, 5_600)
    options = f"-c {calls * TIMES} -n {updates * TIMES} -s {SECONDS * TIMES // 2}"
    console = torture(options + " -e" * parallel, updaters, tmp_path, parallel=parallel)
    record_property(
        "report",
        f"torture, two emulated CPUs {'in parallel' if parallel else 'in turns'}\n{console}",
    )
    found = list(rows(console))
    assert [(row.mode, row.updaters) for row in found] == [
        (mode, number) for number in updaters for mode in MODES
    ]
    assert not [row for row in found if row.wrong]
    if not parallel:
        assert not [row for row in found if row.stale]
        assert sum(row.calls for row in found) >= 10_000_000
        assert sum(row.updates for row in found) >= 100_000
