"""The arm64 compilers, binary tools and emulator that tests use, where they are installed.

A test that needs one which is missing is skipped, and says which Debian package would run it. On CI
(the environment variable CI) it fails instead.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest
from patience import patient

SYSROOT = "/usr/aarch64-linux-gnu"
"""Where Debian puts the arm64 C library."""

_PACKAGES = {
    "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
    "aarch64-linux-gnu-g++": "g++-aarch64-linux-gnu",
    "aarch64-linux-gnu-ar": "binutils-aarch64-linux-gnu",
    "aarch64-linux-gnu-ld.gold": "binutils-aarch64-linux-gnu",
    "aarch64-linux-gnu-strip": "binutils-aarch64-linux-gnu",
    "aarch64-linux-gnu-as": "binutils-aarch64-linux-gnu",
    "aarch64-linux-gnu-objdump": "binutils-aarch64-linux-gnu",
    "aarch64-linux-gnu-readelf": "binutils-aarch64-linux-gnu",
    "apt-cache": "apt",
    "apt-get": "apt",
    "clang": "clang",
    "clang++": "clang",
    "clang-19": "clang-19",
    "clang++-19": "clang-19",
    "ld.lld": "lld",
    "llvm-objdump": "llvm",
    "llvm-readelf": "llvm",
    "aarch64-linux-gnu-objcopy": "binutils-aarch64-linux-gnu",
    "aarch64-linux-gnu-nm": "binutils-aarch64-linux-gnu",
    "dpkg-deb": "dpkg",
    "git": "git",
    "groff": "groff-base",
    "ld.lld-19": "lld-19",
    "ld.mold": "mold",
    "make": "make",
    "mold": "mold",
    "perl": "perl",
    "pkg-config": "pkg-config",
    "qemu-aarch64": "qemu-user",
    "tar": "tar",
}


def missing(what: str, remedy: str) -> NoReturn:
    """Skips the running test, or fails it on CI."""
    message = f"{what} is missing: {remedy}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def need(*tools: str) -> None:
    """Skips the running test unless all these programs are there."""
    for name in tools:
        if shutil.which(name) is None:
            missing(name, f"apt-get install {_PACKAGES[name]}")


def run(
    *command: str | Path, ok: bool = True, text: str = "", timeout: float = 600
) -> subprocess.CompletedProcess[str]:
    """Runs a command with `text` for its input. With `ok`, the test fails if the command does."""
    done = subprocess.run(
        [str(part) for part in command],
        input=text,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=patient(timeout),
    )
    if ok and done.returncode:
        pytest.fail(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stderr}")
    return done


def qemu(program: Path, *arguments: str | Path, text: str = "", ok: bool = True) -> str:
    """What an arm64 program prints under qemu-aarch64, an emulator of user space."""
    return run_qemu(program, *arguments, text=text, ok=ok).stdout


def run_qemu(
    program: Path,
    *arguments: str | Path,
    text: str = "",
    ok: bool = True,
    sysroot: str | None = None,
    variables: Mapping[str, str] | None = None,
    timeout: float = 300,
) -> subprocess.CompletedProcess[str]:
    """Runs an arm64 program under qemu-aarch64 on a CPU that has all features.

    sysroot    where its libraries are; SYSROOT if None
    variables  of the program's environment, besides those of the test
    """
    need("qemu-aarch64")
    root = sysroot or SYSROOT
    # Or a C library of the machine's own would be used with the other's dynamic linker.
    path = ("-E", f"LD_LIBRARY_PATH={root}/lib") if sysroot is None else ()
    # The emulator's own, too: sanitizers read /proc/self/environ, which is that.
    given = ("env", *(f"{name}={value}" for name, value in (variables or {}).items()))
    command = (*given, "qemu-aarch64", "-cpu", "max", "-L", root, *path, program, *arguments)
    return run(*command, text=text, ok=ok, timeout=timeout)


@dataclass(frozen=True)
class Compiler:
    """A C and C++ compiler for arm64 Linux, with its linker.

    needs  the programs that it is made of
    """

    name: str
    cc: tuple[str, ...]
    cxx: tuple[str, ...]
    needs: tuple[str, ...] = ()

    def __call__(
        self, *arguments: str | Path, cxx: bool = False, ok: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Runs the compiler: for C++ where `cxx`. Skips the test where it is not installed."""
        need(*self.needs)
        return run(*(self.cxx if cxx else self.cc), *arguments, ok=ok)

    def __str__(self) -> str:
        return self.name


_CROSS = ("aarch64-linux-gnu-gcc", "aarch64-linux-gnu-g++")
_CLANG = ("--target=aarch64-linux-gnu", "-Wno-unused-command-line-argument")
_LLD = (*_CLANG, "-fuse-ld=lld")
_ZIG = (sys.executable, "-m", "ziglang")

GCC = Compiler("gcc", _CROSS[:1], _CROSS[1:], _CROSS)
# clang finds the C library and the start files through the cross gcc.
CLANG = Compiler("clang", ("clang", *_CLANG), ("clang++", *_CLANG), ("clang", "clang++", *_CROSS))
CLANG_LLD = Compiler(
    "clang-lld", ("clang", *_LLD), ("clang++", *_LLD), ("clang", "clang++", "ld.lld", *_CROSS)
)
CLANG_MOLD = Compiler(
    "clang-mold",
    ("clang", *_CLANG, "-fuse-ld=mold"),
    ("clang++", *_CLANG, "-fuse-ld=mold"),
    ("clang", "clang++", "ld.mold", *_CROSS),
)
CLANG_19 = Compiler(
    "clang-19",
    ("clang-19", *_LLD),
    ("clang++-19", *_LLD),
    ("clang-19", "clang++-19", "ld.lld-19", *_CROSS),
)
"""With the lld of the same version. It has what the other clang lacks: kCFI."""

MUSL_ROOT = Path("/usr/lib/aarch64-linux-musl")
"""Where Debian puts musl for arm64, in the package musl-dev:arm64."""

MUSL = Compiler(
    "gcc-musl",
    # The compiler's own atomic operations, as its library wants glibc.
    (_CROSS[0], f"-specs={MUSL_ROOT}/musl-gcc.specs", "-mno-outline-atomics"),
    (),
    (_CROSS[0],),
)
"""C only; where MUSL_ROOT is."""

ZIG = Compiler(
    "zig",
    (*_ZIG, "cc", "-target", "aarch64-linux-musl"),
    (*_ZIG, "c++", "-target", "aarch64-linux-musl"),
)

COMPILERS: Sequence[Compiler] = (GCC, CLANG, CLANG_LLD)


def zig_is_there() -> bool:
    """Whether the Python package ziglang is installed: a compiler that no test requires."""
    return importlib.util.find_spec("ziglang") is not None
