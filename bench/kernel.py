"""Static calls in a Linux kernel: what a call executes, what an update costs, how large it gets.

One configuration and one guest for all: no static calls (plain pointers), the mainline design, the
mails' inline literal, the default. Instructions are counted by the guest's PMU under QEMU -icount,
which is exact: tests/kernel/module/static_call_count.c. Nanoseconds are an emulator's.

    python bench/kernel.py [--version 6.12] [--kcfi CLANG]

--kcfi builds all of them again with this clang and CONFIG_CFI_CLANG. Takes a kernel build for each
row, the first time; what is built is kept: see tests/kernel/linux.py.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "tests" / part) for part in ("", "kernel")]

from linux import CROSS, Kernel, cache_lock, say  # noqa: E402

DESIGNS = {
    None: "plain pointer",
    "mainline": "mainline",
    "slot-inline-literal": "inline literal (seed)",
    "inline-stub": "inline stub (default)",
}
CALLS = ("near", "far", "null", "ret0")
UPDATES = ("near-near", "near-far", "near-null")


def kernels(version: str, kcfi: str | None) -> Iterator[Kernel]:
    """What is compared."""
    for design in DESIGNS:
        name = f"{version}-{design or 'stock'}"
        if kcfi:
            fragments = ("guest", "kcfi")
            yield Kernel(f"{name}-kcfi", version, kcfi, fragments, (), design, force=True)
        else:
            yield Kernel(
                name if design != "inline-stub" else version,  # as the tests build it
                version, without=("ARM64_BTI_KERNEL",), design=design, force=True,
            )  # fmt: skip


def row(kernel: Kernel) -> list[str]:
    """A kernel's figures."""
    kernel.build()
    null_is_ret0 = kernel.design == "mainline"
    parameters = f"null_is_ret0={int(null_is_ret0)}"
    counted = kernel.boot(f"{parameters} updates=0", parameters, append="nokaslr", mode="count")
    loaded = kernel.boot(f"{parameters} calls=1000000 updates=5000", parameters, append="nokaslr")
    for text in (counted, loaded):
        if "init: PASS" not in text:
            raise SystemExit(f"{kernel.name}: the test failed\n{text[-3000:]}")
    if "nops instructions=100\n" not in counted:
        raise SystemExit(f"{kernel.name}: 100 NOPs were not counted as 100\n{counted[-3000:]}")
    calls = dict(re.findall(r"count: call (\w+) instructions=(\d+) rest=0\n", counted))
    updates = dict(re.findall(r"count: update (\S+) instructions=(\d+)\n", counted))
    took = re.search(r"ns_per_update=(\d+)", loaded)
    size = subprocess.run(
        [CROSS + "size", str(kernel.vmlinux)], capture_output=True, text=True, check=True
    ).stdout.splitlines()[1]
    return [
        DESIGNS[kernel.design],
        *(calls.get(name, "?") for name in CALLS),
        *(updates.get(name, "?") for name in UPDATES),
        took[1] if took and kernel.design else "-",
        *size.split()[:2],
    ]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--version", default="6.12")
    parser.add_argument("--kcfi", metavar="CLANG")
    options = parser.parse_args()
    head = ["design", *CALLS, *UPDATES, "ns/update", "text", "data"]
    with cache_lock():
        rows = [row(kernel) for kernel in kernels(options.version, options.kcfi)]
    say("done")
    compiler = options.kcfi or f"{CROSS}gcc"
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True)
    print(f"Linux {options.version}, {version.stdout.splitlines()[0]}")
    for line in (head, *rows):
        first, *others = line
        print(f"{first:24}" + "".join(f"{cell:>11}" for cell in others))


if __name__ == "__main__":
    main()
