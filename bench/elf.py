"""Listing and changing static calls in a large ELF file, compared with the usual tools.

Medians of whole processes, which take turns, so that other load affects all of them alike. The
file is in the page cache. Peak memory and bytes written are the kernel's counts: ru_maxrss, and
ru_oublock, which is 0 on a file system in memory. The file is what make_elf.py makes, or one that
is given. With --list, only `list` is measured, beside `readelf -sW` and an empty Python program, on
any ELF file: a distribution's vmlinux, or a small program for the start-up.

    python bench/elf.py [--file FILE | --list FILE] [--runs N]
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import make_elf

TOOL = str(Path(sys.executable).with_name("static-call"))
READELF, OBJDUMP = f"{make_elf.TOOLS}readelf", f"{make_elf.TOOLS}objdump"
PYELFTOOLS = """
import sys
from elftools.elf.elffile import ELFFile
with open(sys.argv[1], "rb") as file:
    table = ELFFile(file).get_section_by_name(".symtab")
    print(sum(symbol.name.startswith("__SCT__") for symbol in table.iter_symbols()))
"""
COUNT = """
import os, sys
from elftools.elf.elffile import ELFFile
with open(sys.argv[1], "rb") as file:
    sections = [one.header for one in ELFFile(file).iter_sections() if one["sh_flags"] & 4]
    total = 0
    for one in sections:
        for at in range(one.sh_offset, one.sh_offset + one.sh_size, 1 << 17):
            total += os.pread(file.fileno(), 1 << 17, at).count(bytes.fromhex("00021fd6"))
    print(total)
"""
"""The search that --scan is compared with: one word counted in all code, in plain Python."""


class Run(NamedTuple):
    """What a process took.

    Attributes:
        seconds: wall time.
        memory: the peak, in bytes.
        written: bytes that it wrote to files.
    """

    seconds: float
    memory: int
    written: int


def measure(command: Sequence[str], output: Path | None = None, others: Sequence[int] = ()) -> Run:
    """Runs a command to its end; its output goes to a file or nowhere.

    Args:
        command: a program and its arguments.
        output: the file.
        others: exit statuses other than 0 that are allowed.
    """
    # As an installed program runs: with its bytecode cached.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    with open(output or os.devnull, "wb") as sink:
        errors = subprocess.DEVNULL if others else None
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=sink, stderr=errors, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, *others):
        raise SystemExit(f"{' '.join(command)}: exit status {process.returncode}")
    return Run(seconds, usage.ru_maxrss << 10, usage.ru_oublock << 9)


def median(runs: Sequence[Run]) -> Run:
    """The median of each figure."""
    return Run(*(type(column[0])(statistics.median(column)) for column in zip(*runs)))


def compare(
    commands: dict[str, list[str]], runs: int, others: Sequence[int] = ()
) -> dict[str, Run]:
    """The medians of commands that take turns, after one turn that warms the caches."""
    taken: dict[str, list[Run]] = {name: [] for name in commands}
    for turn in range(runs + 1):
        for name, command in commands.items():
            run = measure(command, others=others)
            if turn:
                taken[name].append(run)
    return {name: median(each) for name, each in taken.items()}


def report_list(file: Path, runs: int) -> None:
    """Prints what `list` takes on a file, beside readelf and an empty Python program."""
    name = str(file)
    ours, theirs, empty = "static-call list", "readelf -sW", "python -c pass"
    commands = {
        ours: [TOOL, "list", name],
        theirs: [READELF, "-sW", name],
        empty: [sys.executable, "-c", "pass"],
    }
    results = compare(commands, runs, others=[1])  # 1: there are no static calls
    print(f"{name}: {file.stat().st_size / 1e6:.1f} MB, medians of {runs}")
    for what, run in results.items():
        print(f"{what:28}{run.seconds * 1e3:8.1f} ms")
    seconds = results[ours].seconds
    print(f"list is {seconds / results[empty].seconds:.2f} x {empty}")
    print(f"{theirs} is {results[theirs].seconds / seconds:.2f} x list")


def count_in_objdump(listing: Path) -> int:
    """The BL and B to trampolines in objdump's listing."""
    branch = re.compile(rb"\tbl?\t[0-9a-f]+ <__SCT__\w+>$")
    with listing.open("rb") as lines:
        return sum(1 for line in lines if branch.search(line))


def count_in_list(listing: Path) -> int:
    """The call sites in our listing: the last column."""
    rows = listing.read_text().splitlines()[1:]
    return sum(int(row.split()[-1]) for row in rows if row)


def report(file: Path, folder: Path, runs: int) -> None:
    """Prints all figures for a file; `folder` takes copies and listings."""
    name = str(file)
    print(f"{name}: {file.stat().st_size / 1e6:.0f} MB, medians of {runs}")
    results = compare(
        {
            "static-call list": [TOOL, "list", name],
            "readelf -sW": [READELF, "-sW", name],
            "static-call list --sites": [TOOL, "list", "--sites", name],
        },
        runs,
    )
    results |= compare(
        {
            "static-call list --scan": [TOOL, "list", "--scan", name],
            "counting br x16 by bytes": [sys.executable, "-c", COUNT, name],
        },
        runs,
    )
    slow = {"pyelftools, its symbols": [sys.executable, "-c", PYELFTOOLS, name]}
    results |= compare(slow, min(runs, 3))
    results["objdump -d (once)"] = measure([OBJDUMP, "-d", name], folder / "objdump")
    base = results["static-call list"].seconds
    print(f"{'':28}{'seconds':>10}{'x list':>9}{'peak MB':>9}")
    for what, run in results.items():
        print(f"{what:28}{run.seconds:10.3f}{run.seconds / base:9.2f}{run.memory / 1e6:9.1f}")
    measure([TOOL, "list", "--sites", name], folder / "sites")
    ours, theirs = count_in_list(folder / "sites"), count_in_objdump(folder / "objdump")
    print(f"call sites: {ours}, by objdump {theirs}")

    copy = folder / "copy"
    shutil.copyfile(file, copy)
    hundred = [
        [TOOL, "set", str(copy), *(f"call_{number:04}={to}" for number in range(100))]
        for to in TARGETS
    ]
    changes = {
        "set, one static call": [[TOOL, "set", str(copy), f"call_0001={to}"] for to in TARGETS],
        "set, a hundred": hundred,
    }
    print(f"{'':28}{'seconds':>10}{'MB written':>12}{'peak MB':>9}")
    for what, commands in changes.items():
        run = median([measure(command) for command in commands])
        print(f"{what:28}{run.seconds:10.3f}{run.written / 1e6:12.1f}{run.memory / 1e6:9.1f}")


TARGETS = ["answer", "null", "ret0", "function_000000", "function_000001"]


def main() -> None:
    """Makes the file, unless one is given, and prints the figures."""
    parser = argparse.ArgumentParser(description="Measure static-call on a large ELF file.")
    parser.add_argument("--file", type=Path, help="an ELF file that make_elf.py made")
    parser.add_argument("--list", type=Path, metavar="FILE", help="measure list on any ELF file")
    parser.add_argument("--runs", type=int, default=9, help="turns to take the median of")
    options = parser.parse_args()
    if options.list:
        report_list(options.list, options.runs)
        return
    with tempfile.TemporaryDirectory(dir=options.file and options.file.parent) as folder:
        file = options.file or Path(folder, "large")
        if not options.file:
            make_elf.make(file)
        report(file, Path(folder), options.runs)


if __name__ == "__main__":
    main()
