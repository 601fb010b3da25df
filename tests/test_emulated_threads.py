"""Thread-local variables of ELF files in the emulated machine: what the program itself reads."""

from __future__ import annotations

from pathlib import Path

import pytest
from elf_files import build
from toolchain import qemu

from static_call import Emulator, StaticCallError

SOURCE = """
#include <stdio.h>
static __thread int zero;
__thread int five = 5;
__thread struct { char c[64]; } line __attribute__((aligned(64))) = { "aligned" };
__thread int *pointer;
int value(int x) { return five * 1000 + zero * 100 + line.c[0] + x; }
int change(int x) { five += x; return five; }
int own(void) { return ((long)&line & 63) == 0 && pointer == 0; }
void report(void) { printf("%d ", value(3)); printf("%d %d %d\\n", change(4), value(3), own()); }
"""


@pytest.mark.parametrize("kind", ["static", "pie", "static-pie", "applied", "relr"])
def test_thread_local_variables_start_as_the_file_says(kind: str, tmp_path: Path) -> None:
    """Initial values, zeros and alignment are those that the program has when it runs."""
    path = build(tmp_path, kind, SOURCE)
    said = [int(word) for word in qemu(path).split()]
    image = Emulator().load(str(path))
    value, change = image.function("value", bits=32), image.function("change", bits=32)
    ours = [value(3), change(4), value(3), image.function("own", bits=32)()]
    assert ours == said
    assert said[0] == 5000 + ord("a") + 3


def test_a_second_program_with_thread_local_variables_is_refused(tmp_path: Path) -> None:
    """Two programs are linked for one place; a shared object's variables go after a program's."""
    program = build(tmp_path, "static", SOURCE)
    source = SOURCE + "int get(void) { return five; }"
    shared = build(tmp_path, "shared", source, "-ftls-model=initial-exec", "-fvisibility=hidden")
    machine = Emulator()
    assert machine.load(str(program)).function("value", bits=32)(0) == 5000 + ord("a")
    with pytest.raises(StaticCallError, match=r"pie: a program's thread-local variables must"):
        machine.load(str(build(tmp_path, "pie", SOURCE)))
    assert machine.load(str(shared)).function("get", bits=32)() == 5
    assert machine.load(str(program.with_name("libshared.so"))).function("get", bits=32)() == 5
