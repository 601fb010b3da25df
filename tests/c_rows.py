"""Every setting under which programs with static calls are built and run: one table.

A row is a compiler, a kind of link, a language, and flags. ROWS has each setting at least once,
and pairs of those that bear on each other; `product` makes each with all compilers, kinds of link
and languages that can have it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from toolchain import (
    CLANG,
    CLANG_19,
    CLANG_LLD,
    GCC,
    MUSL,
    MUSL_ROOT,
    ZIG,
    Compiler,
    missing,
    need,
    zig_is_there,
)

KINDS: Mapping[str, tuple[str, str]] = {
    "static": ("-fno-pie", "-static"),
    "static-pie": ("-fPIE", "-static-pie"),
    "no-pie": ("-fno-pie", "-no-pie"),
    "pie": ("-fPIE", "-pie"),
    "shared": ("-fPIC", "-shared"),
    "dlopen": ("-fPIC", "-shared"),
}
"""Kind of link: what the static calls' files are compiled and linked with. `shared` and `dlopen`
have them in a library, which a program is linked with or loads."""


@dataclass(frozen=True)
class Row:
    """One way to build and run the program.

    flags      of compiler and linker; `-Wl,` ones are for the linker alone
    cxx        whether it is compiled as C++
    skip       tests of the program that this setting cannot run, with the reason
    libraries  what is given to the linker at the end
    variables  of the program's environment
    run        False if the emulator cannot run it: then it is built, and its file is looked at
    """

    compiler: Compiler
    kind: str
    flags: str
    cxx: bool = False
    skip: Mapping[str, str] = field(default_factory=dict, compare=False)
    variables: Mapping[str, str] = field(default_factory=dict, compare=False)
    run: bool = True

    def __str__(self) -> str:
        return " ".join((str(self.compiler), self.kind, "C++" if self.cxx else "C", self.flags))

    @property
    def stripped(self) -> bool:
        """Whether the linker drops the symbol table."""
        return "--strip-all" in self.flags

    @property
    def in_library(self) -> bool:
        """Whether the static calls are in a shared object."""
        return self.kind in ("shared", "dlopen")

    @property
    def ifunc(self) -> bool:
        """Whether C library, compiler and linker have IFUNCs with these flags.

        musl has none. lld 14 crashes where LTO makes one. GNU ld 2.40 makes no veneer for a branch
        to one, nor an entry for an ADR, and none at all with -Bsymbolic.
        """
        if self.compiler in (MUSL, ZIG) or (self.compiler is CLANG_LLD and "-flto" in self.flags):
            return False
        no = ("cfi-icall", "mcmodel=tiny", "0x40000000", "-Bsymbolic", "mold", "-fsanitize=thread")
        return not any(flag in self.flags for flag in no)

    @property
    def checks_pointers(self) -> bool:
        """Whether a call by pointer traps if the function has no mark of its type, as functions
        written in assembly have none."""
        return "cfi-icall" in self.flags or "kcfi" in self.flags

    @property
    def hooks(self) -> bool:
        """Whether the compiler calls functions that the program has to have."""
        return "-finstrument" in self.flags or "trace-pc" in self.flags

    @property
    def compile_flags(self) -> list[str]:
        """Flags of the static calls' files."""
        own = [flag for flag in self.flags.split() if not flag.startswith("-Wl,")]
        return [KINDS[self.kind][0], *own]

    @property
    def link_flags(self) -> list[str]:
        """Flags to link them with."""
        return [KINDS[self.kind][1], *self.flags.split()]

    def need(self) -> None:
        """Skips the running test where what the row uses is not installed."""
        need(*self.compiler.needs)
        if "-fuse-ld=gold" in self.flags:
            need("aarch64-linux-gnu-ld.gold")
        if "mold" in self.flags:
            need("ld.mold")
        if self.compiler is MUSL and not MUSL_ROOT.exists():
            missing(str(MUSL_ROOT), "dpkg --add-architecture arm64; apt-get install musl-dev:arm64")
        if self.compiler is ZIG and not zig_is_there():
            pytest.skip("ziglang is not installed: pip install ziglang")


# gcc knows no mold by name: this folder has it as `ld`.
_MOLD = "-B/usr/libexec/mold"
_BTI = "-mbranch-protection=standard"
_GC = "-ffunction-sections -fdata-sections -Wl,--gc-sections"
_CFI = "-flto -fsanitize=cfi-icall -fno-sanitize-ignorelist -fvisibility=hidden"
# A negative offset for ADRP, and out of reach of each other for code and trampolines.
_BELOW = "-Wl,--section-start=.static_call.text=0x4000000"
_AWAY = "-Wl,--section-start=.static_call.text=0x40000000"

_FAR = "what mmap gives under qemu-user lies where the sanitizer allows no memory"
_ASAN: Mapping[str, Any] = {
    # The leak checker stops the process by ptrace, which qemu-user has not.
    "variables": {"ASAN_OPTIONS": "detect_leaks=0"},
    "skip": {"near_and_far": _FAR, "fork_child": _FAR},
}

# Its start takes from seconds to minutes under qemu-user 7.2, if its addresses are free at all.
_TSAN: Mapping[str, Any] = {"run": False}

_GCC_ROWS = [
    # Levels and kinds.
    Row(GCC, "pie", "-O0"),
    Row(GCC, "static", "-O0", cxx=True),
    Row(GCC, "no-pie", "-O1"),
    Row(GCC, "static-pie", "-O2", cxx=True),
    Row(GCC, "shared", "-O2"),
    Row(GCC, "dlopen", "-O3", cxx=True),
    Row(GCC, "static", "-Os"),
    Row(GCC, "no-pie", "-Ofast -funroll-all-loops -fno-exceptions"),
    Row(GCC, "pie", "-O2 -g -std=gnu17 -fno-asynchronous-unwind-tables"),
    Row(GCC, "shared", "-O2 -std=c++20 -Wl,-z,now", cxx=True),
    # What is called between the instructions.
    Row(GCC, "pie", "-O2 --coverage"),
    Row(GCC, "pie", "-O0 --coverage -fprofile-update=atomic", cxx=True),
    Row(GCC, "shared", "-O2 --coverage -fprofile-update=atomic"),
    Row(GCC, "static", "-O2 -fprofile-generate"),
    Row(GCC, "no-pie", "-O2 -finstrument-functions"),
    Row(GCC, "shared", "-O0 -finstrument-functions"),
    Row(GCC, "pie", "-O2 -fsanitize-coverage=trace-pc"),
    Row(GCC, "static", "-O2 -pg"),
    Row(GCC, "pie", "-O2 -fpatchable-function-entry=4,2"),
    Row(GCC, "pie", "-O1 -g -fsanitize=address", **_ASAN),
    Row(GCC, "shared", "-O1 -fsanitize=address", cxx=True, **_ASAN),
    Row(GCC, "pie", "-O1 -fsanitize=undefined -fno-sanitize-recover"),
    Row(GCC, "no-pie", "-O1 -fsanitize=undefined -fno-sanitize-recover", cxx=True),
    Row(GCC, "pie", "-O1 -g -fsanitize=thread", **_TSAN),
    # The optimiser sees all files.
    Row(GCC, "static", "-O2 -flto"),
    Row(GCC, "pie", "-O3 -flto -flto-partition=one", cxx=True),
    Row(GCC, "shared", "-O2 -flto -flto-partition=max"),
    Row(GCC, "no-pie", "-O2 -flto -flto-partition=none -fno-plt"),
    Row(GCC, "pie", f"-O2 -flto --coverage {_BTI}"),
    # The instruction set and the code model.
    Row(GCC, "static-pie", f"-O2 {_BTI}"),
    Row(GCC, "pie", "-O2 -mbranch-protection=pac-ret+leaf+b-key", cxx=True),
    Row(GCC, "static", "-O2 -mcmodel=tiny"),
    Row(GCC, "no-pie", "-O2 -mcmodel=large"),
    Row(GCC, "pie", "-O2 -ffixed-x18 -mno-outline-atomics"),
    Row(GCC, "pie", "-O3 -march=armv8.5-a+sve2+memtag"),
    Row(GCC, "shared", "-O2 -mtrack-speculation -mharden-sls=all"),
    Row(GCC, "pie", "-O2 -fstack-protector-all -D_FORTIFY_SOURCE=2 -fstack-clash-protection"),
    Row(GCC, "no-pie", "-O2 -fshort-enums -funsigned-char -fno-common -fno-toplevel-reorder"),
    # What is seen from outside, and how it is bound.
    Row(GCC, "shared", "-O2 -fvisibility=hidden -fno-plt"),
    Row(GCC, "shared", "-O1 -Wl,-Bsymbolic -Wl,-z,lazy"),
    Row(GCC, "dlopen", "-O2 -fno-semantic-interposition"),
    # What linkers do.
    Row(GCC, "static", f"-O2 {_GC}", cxx=True),
    Row(GCC, "shared", f"-O2 {_GC}"),
    Row(GCC, "pie", f"-O2 {_BELOW}"),
    Row(GCC, "static-pie", f"-O2 {_AWAY}"),
    Row(GCC, "static", f"-O2 {_AWAY}", cxx=True),
    Row(GCC, "shared", f"-O2 {_AWAY}"),
    Row(GCC, "pie", "-O2 -Wl,--emit-relocs"),
    Row(GCC, "pie", "-O2 -Wl,--strip-all"),
    Row(GCC, "shared", "-O2 -Wl,--strip-all"),
    Row(GCC, "static", f"-O2 -fuse-ld=gold {_GC} -Wl,--icf=all"),
    Row(GCC, "pie", "-O2 -fuse-ld=gold"),
    Row(GCC, "shared", "-O2 -fuse-ld=gold", cxx=True),
    Row(GCC, "static", f"-O2 {_MOLD}"),
    Row(GCC, "static-pie", f"-O2 {_MOLD}"),
    Row(GCC, "pie", f"-O2 {_MOLD} {_GC} -Wl,--icf=all", cxx=True),
    Row(GCC, "static-pie", f"-Os {_MOLD} -Wl,-z,pack-relative-relocs"),
    Row(GCC, "shared", f"-O2 {_MOLD}"),
]

_CLANG_ROWS = [
    Row(CLANG, "no-pie", "-O0"),
    Row(CLANG, "pie", "-O1", cxx=True),
    Row(CLANG, "shared", "-O2"),
    Row(CLANG, "static", f"-O3 {_BTI}", cxx=True),
    Row(CLANG, "dlopen", "-Os"),
    Row(CLANG_LLD, "static-pie", "-O2"),
    Row(CLANG_LLD, "no-pie", f"-O2 {_GC} -Wl,--icf=all", cxx=True),
    Row(CLANG_LLD, "static", "-O2 -flto"),
    Row(CLANG_LLD, "pie", "-O2 -flto=thin", cxx=True),
    Row(CLANG_LLD, "shared", "-O2 -flto"),
    Row(CLANG_LLD, "shared", f"-O2 -flto=thin {_GC}", cxx=True),
    Row(CLANG_LLD, "pie", f"-O2 {_CFI}"),
    Row(CLANG_LLD, "static", f"-O2 {_CFI}"),
    Row(CLANG_LLD, "shared", f"-O2 {_CFI}"),
    Row(CLANG_LLD, "pie", f"-O2 {_BELOW}"),
    Row(CLANG_19, "pie", "-O2"),
    Row(CLANG_19, "shared", "-O2 -fno-plt", cxx=True),
    Row(CLANG_19, "static", "-O2 -fsanitize=kcfi"),
    Row(CLANG_19, "pie", f"-O2 -fsanitize=kcfi {_BTI}"),
    Row(CLANG_19, "static", f"-O2 {_CFI}"),
    Row(CLANG_19, "pie", f"-O2 {_CFI} -flto=thin"),
    Row(CLANG_19, "pie", "-O2 -fsanitize-coverage=trace-pc -fno-sanitize-link-runtime"),
    Row(CLANG_19, "no-pie", "-O1 -finstrument-functions"),
    Row(CLANG_19, "pie", "-O1 -fsanitize=undefined -fsanitize-trap=all"),
    Row(CLANG_19, "static", "-Oz -moutline -flto"),
    Row(CLANG_19, "no-pie", "-O2 -mcmodel=large"),
    Row(CLANG_19, "pie", "-O2 -march=armv9-a -std=c++20", cxx=True),
    Row(CLANG_19, "static-pie", "-O2 -Wl,--pack-dyn-relocs=relr"),
    Row(CLANG_19, "shared", "-O2 -Wl,-z,pack-relative-relocs"),
    Row(CLANG_19, "static", f"-O2 -fuse-ld=mold {_GC}"),
    Row(CLANG_19, "shared", "-O2 -fuse-ld=mold", cxx=True),
    Row(CLANG_19, "no-pie", f"-O2 {_AWAY}"),
]

_MUSL_ROWS = [
    Row(MUSL, "static", "-O2"),
    Row(MUSL, "pie", "-Os"),
    Row(MUSL, "shared", "-O2"),
    Row(MUSL, "dlopen", f"-O1 {_GC}"),
    Row(MUSL, "static", "-O3 -flto"),
    Row(ZIG, "static", "-O2 -fno-sanitize=undefined"),
]

ROWS: Sequence[Row] = (*_GCC_ROWS, *_CLANG_ROWS, *_MUSL_ROWS)

_ONLY_POSITION_DEPENDENT = ("-mcmodel=tiny", "-mcmodel=large")
_NOT_STATIC = ("-fsanitize=address", "-fsanitize=thread")


def _can_be(row: Row) -> bool:
    """Whether compilers, linkers and libraries have such a combination at all."""
    if any(flag in row.flags for flag in _ONLY_POSITION_DEPENDENT):
        return row.kind in ("static", "no-pie")
    if any(flag in row.flags for flag in _NOT_STATIC):
        return not row.kind.startswith("static")
    if row.compiler in (MUSL, ZIG):
        return not row.cxx and (row.compiler is MUSL or row.kind == "static")
    return True


def product() -> Iterator[Row]:
    """Each row's compiler and flags with all kinds of link and both languages."""
    seen = set()
    for row in ROWS:
        for kind in KINDS:
            for cxx in (False, True):
                flags = [flag for flag in row.flags.split() if not flag.startswith("-std=")]
                one = replace(row, kind=kind, cxx=cxx, flags=" ".join(flags))
                if _can_be(one) and str(one) not in seen:
                    seen.add(str(one))
                    yield one


HERE = Path(__file__).parent / "c_builds"
"""The programs that rows build."""
