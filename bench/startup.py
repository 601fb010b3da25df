"""Start-up of the command line compared with Python's own: medians of whole processes."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from make_elf import TOOLS, trampoline

from static_call.design import notation

RUNS = 21


def small_elf(folder: Path) -> Path:
    """An executable of some kilobytes with one static call of the default design."""
    source, compiled, linked = folder / "small.s", folder / "small.o", folder / "small"
    lines = [
        ".text\n.globl _start\n_start: bl __SCT__policy\nret\n.globl fast\nfast: ret",
        *trampoline(notation.load("inline-stub"), "policy", "near", "fast"),
        ".data\n.balign 8\n.globl __SCK__policy\n__SCK__policy: .quad fast, 0, 0",
    ]
    source.write_text("\n".join(lines) + "\n")
    subprocess.run([f"{TOOLS}as", "-o", compiled, source], check=True)
    subprocess.run([f"{TOOLS}ld", "-o", linked, compiled], check=True)
    return linked


def median_ms(commands: dict[str, list[str]]) -> dict[str, float]:
    """Milliseconds of each command; the commands take turns, so other load affects all alike."""
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
    nothing, peer = "python -c pass", 'python -c "import argparse"'
    with tempfile.TemporaryDirectory() as folder:
        small = small_elf(Path(folder))
        kilobytes = small.stat().st_size / 1e3
        times = median_ms(
            {
                nothing: [sys.executable, "-c", "pass"],
                peer: [sys.executable, "-c", "import argparse"],
                "static-call --help": [tool, "--help"],
                "static-call designs": [tool, "designs"],
                f"static-call list, {kilobytes:.0f} KB": [tool, "list", str(small)],
            }
        )
    for name, ms in times.items():
        print(f"{name:28}{ms:8.1f} ms  {ms / times[nothing]:5.2f} x pass")


if __name__ == "__main__":
    main()
