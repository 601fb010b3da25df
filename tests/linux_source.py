"""The files of Debian's Linux sources that the port concerns, without the rest of the tree.

They are taken out of /usr/src/linux-source-*.tar.xz, which takes some 20 s, and kept in the user's
cache for the next time: this project contains no part of Linux.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tarfile
import zlib
from pathlib import Path

from toolchain import missing

VERSIONS = ("6.1", "6.12")
FILES = (
    "COPYING", "CREDITS", "Kbuild", "MAINTAINERS", "Makefile", "README",
    "arch/Kconfig",
    "arch/arm64/Kconfig",
    "arch/arm64/include/asm/cacheflush.h",
    "arch/arm64/include/asm/insn.h",
    "arch/arm64/include/asm/module.lds.h",
    "arch/arm64/include/asm/patching.h",
    "arch/arm64/include/asm/sections.h",
    "arch/arm64/kernel/Makefile",
    "arch/arm64/kernel/patching.c",
    "arch/arm64/kernel/probes/kprobes.c",
    "arch/arm64/kernel/vmlinux.lds.S",
    "include/asm-generic/sections.h",
    "include/asm-generic/vmlinux.lds.h",
    "include/linux/cacheflush.h",
    "include/linux/memory.h",
    "include/linux/smp.h",
    "include/linux/static_call.h",
    "scripts/checkpatch.pl", "scripts/const_structs.checkpatch", "scripts/spelling.txt",
)  # fmt: skip
FOLDERS = ("Documentation", "drivers", "fs", "init", "ipc", "kernel", "lib")
"""What checkpatch.pl tells a kernel tree by, besides."""


def tree(version: str, folder: Path) -> Path:
    """A tree of these files in a new folder. Skips the test if the source is missing."""
    return Path(shutil.copytree(_cached(version), folder))


def _cached(version: str) -> Path:
    archive = Path(f"/usr/src/linux-source-{version}.tar.xz")
    if not archive.exists():
        missing(str(archive), f"apt-get install linux-source-{version}")
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    what = zlib.crc32(repr((archive.stat().st_size, FILES)).encode())
    cache = Path(home) / "static-call" / f"port-{version}-{what:08x}"
    cache.parent.mkdir(parents=True, exist_ok=True)
    with open(
        cache.with_name(f"{cache.name}.lock"), "w"
    ) as lock:  # the tests' other processes wait
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not cache.exists():
            partial = cache.with_name(f"{cache.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            _extract(archive, partial)
            partial.rename(cache)
    return cache


def _extract(archive: Path, to: Path) -> None:
    for name in FOLDERS:
        (to / name).mkdir(parents=True)
    wanted = set(FILES)
    with tarfile.open(archive, "r|xz") as tar:
        for member in tar:
            name = member.name.partition("/")[2]
            if name in wanted and member.isfile():
                wanted.remove(name)
                path = to / name
                path.parent.mkdir(parents=True, exist_ok=True)
                file = tar.extractfile(member)
                assert file is not None
                path.write_bytes(file.read())
                path.chmod(member.mode & 0o777)
            if not wanted:
                return
    raise AssertionError(f"{archive} has no {wanted}")
