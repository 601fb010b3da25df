"""Real arm64 ELF files for tests: one small program, linked in every way that matters here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from toolchain import CLANG_LLD, CLANG_MOLD, GCC, Compiler, need, run

PROGRAM = """
#include <stdio.h>
int one(void) { return 1; }
__attribute__((noinline)) static int two(void) { return 2; }
int three(void) { return 3; }
int forty_two = 42;
int (*volatile pointer)(void) = one;
int (*volatile other)(void) = two;
__attribute__((section(".data"))) int (*volatile nothing)(void) = 0;
int (*volatile zeros)(void);
static int show(int (*function)(void)) { return function ? function() : -1; }
void report(void)
{
    printf("%d %d %d %d\\n", show(pointer), show(other), show(nothing), show(zeros));
}
"""
"""Prints "1 2 -1 -1": what its pointers' functions return, -1 for a null pointer.

pointer  to a global function         nothing  null, in .data
other    to a local function          zeros    null, in .bss
"""

MAIN = "extern void report(void); int main(void) { report(); return 0; }"

KINDS: dict[str, tuple[Compiler, Sequence[str]]] = {
    "static": (GCC, ("-static",)),
    "pie": (GCC, ("-pie", "-fPIE")),
    "static-pie": (GCC, ("-static-pie", "-fPIE")),
    "shared": (GCC, ("-shared", "-fPIC")),
    "bti": (GCC, ("-pie", "-fPIE", "-mbranch-protection=standard", "-Wl,-z,force-bti")),
    "applied": (CLANG_LLD, ("-pie", "-fPIE", "-Wl,--apply-dynamic-relocs")),
    "relr": (CLANG_LLD, ("-static-pie", "-fPIE", "-Wl,--pack-dyn-relocs=relr")),
    "mold-relr": (CLANG_MOLD, ("-static-pie", "-fPIE", "-Wl,--pack-dyn-relocs=relr")),
}
"""How the program is linked, by name: with the words that linkers use for it."""


def build(folder: Path, kind: str, source: str = PROGRAM, *more: str) -> Path:
    """The program, linked as a kind; for a shared object, without main. Skips without tools."""
    compiler, flags = KINDS[kind]
    text = folder / f"{kind}.c"
    text.write_text(source if kind == "shared" else source + MAIN)
    target = folder / (f"lib{kind}.so" if kind == "shared" else kind)
    compiler("-O1", *flags, *more, text, "-o", target)
    return target


def assemble(folder: Path, name: str, source: str, *flags: str) -> Path:
    """A file linked by GNU ld from assembly alone."""
    need("aarch64-linux-gnu-as")
    text, made, target = folder / f"{name}.s", folder / f"{name}.o", folder / name
    text.write_text(source)
    run("aarch64-linux-gnu-as", "-o", made, text)
    run("aarch64-linux-gnu-ld", *flags, "-o", target, made)
    return target


def readelf(*arguments: str | Path) -> list[str]:
    """The lines that readelf prints."""
    need("aarch64-linux-gnu-readelf")
    return run("aarch64-linux-gnu-readelf", "-W", *arguments).stdout.splitlines()
