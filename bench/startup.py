"""Start-up of the command line beside Python's own argparse: whole processes, medians."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

RUNS = 21


def median_ms(commands: dict[str, list[str]]) -> dict[str, float]:
    """Milliseconds of each command; the commands take turns, so that they share the weather."""
    # As an installed program runs: with its bytecode cached.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(RUNS):
        for name, command in commands.items():
            start = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env=environment)
            taken[name].append(time.perf_counter() - start)
    return {name: 1e3 * statistics.median(times) for name, times in taken.items()}


def main() -> None:
    """Prints milliseconds and ratios."""
    tool = str(Path(sys.executable).with_name("static-call"))
    peer = 'python -c "import argparse"'
    times = median_ms(
        {
            "python -c pass": [sys.executable, "-c", "pass"],
            peer: [sys.executable, "-c", "import argparse"],
            "static-call --help": [tool, "--help"],
            "static-call designs": [tool, "designs"],
        }
    )
    for name, ms in times.items():
        print(f"{name:28}{ms:8.1f} ms  {ms / times[peer]:5.2f} x argparse")


if __name__ == "__main__":
    main()
