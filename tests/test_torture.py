"""Torture: threads call in C while others update, in the guest, and every call is checked.

No call may be wrong or stale, with the CPUs taking turns and in parallel. The environment variable
TORTURE multiplies calls and updates; `make torture` sets it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import arm64_linux
import guest
import pytest
import toolchain
from patience import patient

TESTS = Path(__file__).parent
INCLUDE = TESTS.parent / "src" / "static_call" / "include"

TIMES = int(os.environ.get("TORTURE", "1"))
MODES = ("near", "far", "null", "ret0", "mix", "fresh", "signals", "fork", "killed")
SECONDS = 280
"""That the guest takes at most, for one time."""


UNFETCHED = (5, 50)
"""Calls of the emulator's fault that a row in parallel may have, and one of `killed`, where 18 came
at once; kernels showed single ones."""


class Row(NamedTuple):
    """One mode of torture.c, as it prints it."""

    mode: str
    callers: int
    updaters: int
    calls: int
    updates: int
    wrong: int
    stale: int
    unfetched: int


def rows(console: str) -> Iterator[Row]:
    """The rows of the tables that torture.c printed."""
    for line in console.splitlines():
        fields = line.split()
        if fields and fields[0] in MODES:
            yield Row(fields[0], *map(int, fields[1:8]))


def torture(options: str, updaters: Sequence[int], folder: Path, **how: Any) -> str:
    """Runs torture.c once for each number of updaters; returns the tables.

    Args:
        options: Of torture.c.
        updaters: How many threads update at the same time.
        folder: For the program.
        how: What arm64_linux.in_guest takes.
    """
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
            seconds=SECONDS * TIMES,
            **how,
        )
    except arm64_linux.Unavailable as error:
        toolchain.missing("an arm64 environment", str(error))
    except guest.GuestError as error:
        pytest.fail(str(error), pytrace=False)


class Run(NamedTuple):
    """How the guest runs.

    Attributes:
        cpus: How many CPUs it has.
        parallel: Whether QEMU has a thread for each CPU.
        updaters: The number of updaters of each run of torture.c.
        calls: How many calls each mode makes, at least.
        updates: How many updates each mode makes, at least.
    """

    cpus: int
    parallel: bool
    updaters: Sequence[int]
    calls: int
    updates: int
    kernel: Callable[[], Path] = arm64_linux.kernel
    append: str = ""


RUNS = {
    "in turns": Run(2, False, (1, 2), 600_000, 5_600),
    "in parallel": Run(2, True, (2,), 20_000, 500),
    "4 CPUs in parallel, 7.3 without MOPS": Run(
        4, True, (2,), 20_000, 100, arm64_linux.kernel_new, f"arm64.nomops {arm64_linux.MAY_WRITE}"
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_torture(name: str, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """No call is wrong, in any mode; and none reaches a target after its update has returned.

    In parallel QEMU 10.0 may, in the mode `killed`, once in some 50,000 updates go on with a
    translation of code that has changed, until the slot is written again. After a fork the first
    store is to a new page, which other CPUs translate at that time. Seen: memory had the new word
    before and after the call, and the caller's own DC, IC, DSB and ISB changed nothing. torture.c
    tells such calls from stale ones by what is in memory. In parallel a few are allowed.
    """
    run = RUNS[name]
    options = f"-c {run.calls * TIMES} -n {run.updates * TIMES}"
    options += f" -s {patient(SECONDS * TIMES / 2)}" + " -e" * run.parallel
    console = torture(
        options,
        run.updaters,
        tmp_path,
        parallel=run.parallel,
        cpus=run.cpus,
        kernel=run.kernel,
        append=run.append,
    )
    record_property("report", f"torture, {run.cpus} emulated CPUs, {name}\n{console}")
    found = list(rows(console))
    assert [(row.mode, row.updaters) for row in found] == [
        (mode, number) for number in run.updaters for mode in MODES
    ]
    assert not [row for row in found if row.wrong or row.stale]
    for row in found:
        assert row.unfetched <= (UNFETCHED[row.mode == "killed"] if run.parallel else 0), row
    if not run.parallel:
        assert sum(row.calls for row in found) >= 10_000_000
        assert sum(row.updates for row in found) >= 100_000
