"""static_call.c in running programs, under user-mode emulation, and its machine code by itself.

The programs in guest_c/ run in a guest with a real kernel too: what they print is the result.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest
from toolchain import (
    CLANG,
    CLANG_LLD,
    GCC,
    MUSL,
    MUSL_ROOT,
    ZIG,
    Compiler,
    missing,
    need,
    run,
    run_qemu,
    zig_is_there,
)

from static_call.cli.main import main

HERE = Path(__file__).parent / "guest_c"
INCLUDE = Path(__file__).parents[1] / "src" / "static_call" / "include"
SOURCE = INCLUDE / "static_call.c"
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror", f"-I{INCLUDE}", "-pthread")
BTI = "-mbranch-protection=standard"


def check_musl() -> None:
    """Skips the running test where there is no musl for arm64."""
    if not MUSL_ROOT.exists():
        missing(
            str(MUSL_ROOT), "dpkg --add-architecture arm64; apt-get install musl-dev:arm64"
        )  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One way to build the program; `few` runs only the tests that do not wait."""

    compiler: Compiler
    flags: str
    cxx: bool = False
    few: bool = True

    def __str__(self) -> str:
        return f"{self.compiler} {'C++ ' if self.cxx else ''}{self.flags}"

    def build(self, program: Path, *sources: str | Path) -> Path:
        """Compiles and links the sources and static_call.c."""
        if self.compiler is MUSL:
            check_musl()
        if self.compiler is ZIG and not zig_is_there():
            pytest.skip("ziglang is not installed: pip install ziglang")
        language = ["-x", "c++", "-std=c++17"] if self.cxx else ["-std=c11"]
        self.compiler(
            *language, *WARNINGS, *self.flags.split(), *sources, SOURCE, "-o", program,
            cxx=self.cxx,
        )  # fmt: skip
        return program


ROWS = [
    Row(GCC, "-O2 -static -no-pie -fno-pie", few=False),
    Row(GCC, f"-O0 -pie -fPIE {BTI}", cxx=True),
    Row(GCC, "-O3 -static-pie -fPIE -flto"),
    Row(GCC, "-O2 -no-pie -fno-pie -Wl,--gc-sections -ffunction-sections", cxx=True),
    Row(CLANG, "-O2 -pie -fPIE", few=False),
    Row(CLANG, f"-O1 -static -fno-pie {BTI}", cxx=True),
    Row(CLANG_LLD, "-O3 -static-pie -fPIE", cxx=True),
    Row(CLANG_LLD, "-O2 -no-pie -fno-pie -flto -Wl,--gc-sections -ffunction-sections"),
    Row(MUSL, "-O2 -static -no-pie -fno-pie", few=False),
    Row(MUSL, "-Os -pie -fPIE"),
    Row(ZIG, "-O2 -static -fno-sanitize=undefined", cxx=True),
]

# Not under user-mode emulation, where a child of several threads may hang: qemu-user's own locks
# are then held by threads that it does not have. A guest with a real kernel runs them all.
GUEST_ONLY = "fork_in_the_middle"
NAMES = re.findall(r'^\t{ "(\w+)"', (HERE / "runtime.c").read_text(), re.MULTILINE)
ALL = tuple(name for name in NAMES if name != GUEST_ONLY)
FEW = ("transitions", "fresh_code", "bad_input", "fork_child", "threads", "signals")


def results(program: Path, *names: str) -> list[str]:
    """What each test of a program said, without the time that it took."""
    sysroot = ("/",) if b"ld-musl" in program.read_bytes() else ()
    done = run_qemu(program, *names, ok=False, sysroot=sysroot[0] if sysroot else None)
    lines = [line.partition(" ms")[0].rsplit(" ", 1)[0] for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stdout + done.stderr
    return lines


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_program_updates_its_own(row: Row, tmp_path: Path) -> None:
    """All transitions, fork, threads, handlers, errors: for each compiler, library and link."""
    program = row.build(tmp_path / "runtime", HERE / "runtime.c")
    names = FEW if row.few else ALL
    lines = results(program, *names)
    # qemu-user has no seccomp.
    assert [line for line in lines if not line.startswith("ok ")] == (
        [] if row.few else ["skip seccomp: no seccomp"]
    )
    assert len(lines) == len(names)


@pytest.mark.parametrize("row", [Row(GCC, "-O2"), Row(CLANG_LLD, "-O2", cxx=True)], ids=str)
@pytest.mark.parametrize("kind", ["-pie -fPIE", "-no-pie -fno-pie"])
def test_shared_objects_update(row: Row, kind: str, tmp_path: Path) -> None:
    """A dlopened object updates its own static calls and the program's, from two copies of
    static_call.c at once, and leaves no file open when it is closed."""
    shared = Row(row.compiler, f"{row.flags} -shared -fPIC", row.cxx)
    shared.build(tmp_path / "first.so", "-DNAME=first", HERE / "library.c")
    shared.build(
        tmp_path / "second.so", "-DNAME=second", "-DNO_CALL_OF_ITS_OWN", HERE / "library.c"
    )
    program = Row(row.compiler, f"{row.flags} {kind} -rdynamic", row.cxx).build(
        tmp_path / "loads", HERE / "loads.c"
    )
    lines = results(program)
    assert lines == ["ok own_and_the_programs", "ok only_the_programs", "ok cycles",
                     "ok two_copies"]  # fmt: skip


@pytest.mark.parametrize("kind", ["-pie -fPIE", "-no-pie -fno-pie"])
def test_a_program_updates_a_librarys(kind: str, tmp_path: Path) -> None:
    """A program updates a static call of a shared object that it is linked with, and both see it;
    one that is not position-independent has a copy of the key, which is then the only one."""
    library = Row(GCC, "-O2 -shared -fPIC").build(
        tmp_path / "library.so", "-Dshared=in_library", "-DNAME=library", HERE / "library.c"
    )
    source = tmp_path / "main.c"
    source.write_text(
        '#include <stdio.h>\n#include "static_call.h"\n'
        "int library_call(int); int library_update(int);\n"
        "DECLARE_STATIC_CALL(in_library, int(int));\n"
        "static int seven(int a) { return 100 * a + 7; }\n"
        "static void show(int e)\n"
        '{ printf("%d %d %d %d\\n", e, library_call(5), static_call(in_library)(5),\n'
        "  static_call_query(in_library) ? static_call_query(in_library)(5) : -1); }\n"
        "int main(void) { show(0); show(static_call_update(in_library, seven));\n"
        "show(library_update(1)); show(static_call_update(in_library, NULL));\n"
        "show(library_update(0)); return 0; }\n"
    )
    program = Row(GCC, f"-O2 {kind} -Wl,-rpath,{tmp_path}").build(
        tmp_path / "main", source, library
    )
    expected = "0 505 505 505\n0 507 507 507\n0 506 506 506\n0 5 5 -1\n0 505 505 505\n"
    assert run_qemu(program).stdout == expected


# Without "killed", which makes children of several threads: see GUEST_ONLY.
MODES = ("near", "far", "null", "ret0", "mix", "fresh", "signals", "fork")


def torture(
    tmp_path: Path, kind: str, *arguments: str, source: Path = SOURCE
) -> subprocess.CompletedProcess[str]:
    """Builds and runs the torture program with static_call.c or a changed copy."""
    program = tmp_path / "torture"
    flags = ("-std=c11", *WARNINGS, "-O2", *kind.split())
    GCC(*flags, HERE.parent / "torture" / "torture.c", source, "-o", program)
    return run_qemu(program, *arguments, ok=False)


@pytest.mark.parametrize("kind", ["-static -no-pie -fno-pie", "-pie -fPIE"])
@pytest.mark.parametrize("updaters", [1, 2])
def test_torture(kind: str, updaters: int, tmp_path: Path) -> None:
    """In each mode no call goes to anything but the old or the new target, none to the old one
    after the update; for a moment here, and for long in a guest with a real kernel."""
    done = torture(tmp_path, kind, "-c", "50000", "-n", "300", "-u", str(updaters), *MODES)
    assert done.returncode == 0, done.stdout + done.stderr
    head, *rows = [line.split() for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == list(MODES)
    for row in rows:
        values = dict(zip(head, row))
        assert (values["wrong"], values["stale"], values["unfetched"]) == ("0", "0", "0")
        assert int(values["calls"]) >= 50000
        assert int(values["updates"]) >= 300


@pytest.mark.parametrize(
    ("line", "instead", "column"),
    [
        # Nobody sees the new slot.
        ("	maintain(trampoline->slot);\n", "", "unfetched"),
        # The update is not made before it is said to be.
        (
            "	error = store(fd, trampoline->slot, &slot, sizeof(slot));\n",
            "	{ static unsigned r; r = r * 1103515245 + 12345; if (r >> 16 & 1) return 0; }\n"
            "	error = store(fd, trampoline->slot, &slot, sizeof(slot));\n",
            "stale",
        ),
        # The slot says that the literal is to be used before it is right.
        (
            "	error = store(fd, trampoline->literal, &literal, sizeof(literal));\n",
            "	{ uint64_t bad = trampoline->ret0;\n"
            "	error = store(fd, trampoline->literal, &bad, 8); }\n"
            "	{ uint32_t far = NOP; error |= store(fd, trampoline->slot, &far, 4); }\n"
            "	maintain(trampoline->slot); pause_us(50);\n"
            "	error |= store(fd, trampoline->literal, &literal, sizeof(literal));\n",
            "wrong",
        ),
    ],
    ids=["no-maintenance", "not-done", "literal-late"],
)  # fmt: skip
def test_torture_finds(line: str, instead: str, column: str, tmp_path: Path) -> None:
    """The torture finds the fault in an update that has one."""
    text = SOURCE.read_text()
    assert text.count(line) == 1
    source = tmp_path / "static_call.c"
    source.write_text(text.replace(line, instead))
    arguments = ("-c", "1000000", "-n", "4000", "near")
    done = torture(tmp_path, "-static -no-pie -fno-pie", *arguments, source=source)
    assert done.returncode == 1
    head, row = [line.split() for line in done.stdout.splitlines()]
    assert int(dict(zip(head, row))[column]) > 0


C_AND_CXX = [(compiler, cxx) for compiler in (GCC, CLANG) for cxx in (False, True)]


@pytest.mark.parametrize(("compiler", "cxx"), C_AND_CXX)
@pytest.mark.parametrize(
    "wrong",
    [
        "static_call_update(op, takes_text);",
        "static_call_update(op, returns_long);",
        "static_call_update(op, 5);",
        "static_call_update_flags(op, takes_text, STATIC_CALL_OLD_CODE);",
        "static_call_update(op, &variable);",
        "static_call_update(unknown, right);",
    ],
)
def test_types_are_checked(compiler: Compiler, cxx: bool, wrong: str, tmp_path: Path) -> None:
    """What could not be assigned to a pointer of the static call's type is refused."""
    text = (
        '#include <stddef.h>\n#include "static_call.h"\n'
        "int right(int); int takes_text(const char *); long returns_long(int); int variable;\n"
        "DECLARE_STATIC_CALL(op, int(int));\n"
        "DECLARE_STATIC_CALL(op2, long(void));\n"
        "void f(void) { static_call_update(op, right); static_call_update(op, NULL);\n"
        "static_call_update(op, &right); static_call_update(op, 0);\n"
        "static_call_update(op, __static_call_return0);\n"
        "static_call_update(op, &__static_call_return0);\n"
        "static_call_update(op2, __static_call_return0);\n"
        "static_call_update(op, static_call_query(op)); static_call_synchronize(op);\n"
        f"{'static_call_update(op, nullptr);' if cxx else ''}"
        "static_call_close(); %s }\n"
    )
    source = tmp_path / ("source.cpp" if cxx else "source.c")
    flags = ("-std=c++17" if cxx else "-std=c11", "-fsyntax-only", *WARNINGS, source)
    source.write_text(text % "")
    compiler(*flags, cxx=cxx)
    source.write_text(text % wrong)
    assert compiler(*flags, cxx=cxx, ok=False).returncode


@pytest.mark.parametrize("compiler", [GCC, CLANG], ids=str)
def test_cxx_types(compiler: Compiler, tmp_path: Path) -> None:
    """An overloaded function is picked by the static call's type; noexcept counts; so do lambdas
    that capture nothing, and functions that take and return classes."""
    source = tmp_path / "source.cpp"
    text = """
#include <string>
#include "static_call.h"
namespace geo {
struct Point { int x; ~Point() {} };
int area(int a) { return a; }
int area(int a, int b) { return a * b; }
int quiet(int a) noexcept { return a; }
Point move(Point a) { return a; }
DEFINE_STATIC_CALL(area_call, int(int));
DEFINE_STATIC_CALL_NULL(quiet_call, quiet);
DECLARE_STATIC_CALL(move_call, Point(Point));
template <typename T> T generic(T a) { return a; }
int all()
{
    return static_call_update(area_call, area) + static_call_update(area_call, quiet) +
           static_call_update(area_call, generic<int>) + static_call_update(quiet_call, quiet) +
           static_call_update(area_call, [](int a) { return a; }) +
           static_call_update(move_call, move) + static_call_update(quiet_call, nullptr) +
           static_call_update(quiet_call, __static_call_return0);
}
%s
}
"""
    text = text.replace("DEFINE_STATIC_CALL(area_call", "DEFINE_STATIC_CALL_NULL(area_call")
    flags = ("-std=c++17", "-fsyntax-only", *WARNINGS, source)
    source.write_text(text % "")
    compiler(*flags, cxx=True)
    source.write_text(text % "int bad() { return static_call_update(quiet_call, generic<int>); }")
    assert compiler(*flags, cxx=True, ok=False).returncode


def test_links_with_what_the_commands_print(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """cflags and libs are all that a compiler needs."""
    assert main(["cflags"]) == 0
    assert main(["libs"]) == 0
    flags = capsys.readouterr().out.split()
    program = tmp_path / "runtime"
    GCC("-static", "-pthread", HERE / "runtime.c", *flags, "-o", program)
    assert results(program, "transitions") == ["ok transitions"]


def test_pkg_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """pkg-config finds the same, wherever the package was copied to, and its version."""
    need("pkg-config")
    assert main(["pkgconfig"]) == 0
    folder = Path(capsys.readouterr().out.strip())
    moved = tmp_path / "moved"
    shutil.copytree(INCLUDE, moved / "include")
    shutil.copytree(folder, moved / "pkgconfig")

    def pkg_config(where: Path, *arguments: str) -> str:
        return subprocess.run(
            ["pkg-config", *arguments, "static-call"], text=True, check=True, capture_output=True,
            env={**os.environ, "PKG_CONFIG_PATH": str(where)},
        ).stdout.strip()  # fmt: skip

    assert pkg_config(folder, "--modversion") == version("static-call")
    for where in (folder, moved / "pkgconfig"):
        include, source = pkg_config(where, "--cflags", "--libs").split()
        assert Path(include.removeprefix("-I"), "static_call.h").samefile(
            where.parent / "include" / "static_call.h"
        )
        assert Path(source).samefile(where.parent / "include" / "static_call.c")
        assert pkg_config(where, "--variable=source") == source


@pytest.mark.parametrize("compiler", [GCC, CLANG], ids=str)
def test_needs_no_heap(compiler: Compiler, tmp_path: Path) -> None:
    """An update calls nothing in the C library except to ask for the page size."""
    part = tmp_path / "static_call.o"
    compiler("-O2", "-std=c11", *WARNINGS, "-c", SOURCE, "-o", part)
    need("aarch64-linux-gnu-objdump")
    text = run("aarch64-linux-gnu-objdump", "-dr", part).stdout
    functions = {}
    for block in text.split("\n\n"):
        head = block.partition(">:")[0].rpartition("<")[2]
        lines = block.splitlines()
        calls = {line.split()[2] for line in lines if "R_AARCH64_CALL26" in line}
        calls |= {line.split()[2] for line in lines if "R_AARCH64_JUMP26" in line}
        calls |= {line.rpartition("<")[2].partition("+")[0].rstrip(">") for line in lines
                  if "\tbl\t" in line}  # fmt: skip
        functions[head] = {call.partition("+")[0] for call in calls}
    reached, waiting = set(), ["__static_call_update"]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += functions.get(name, ())
    outside = {name for name in reached if name not in functions}
    # The compiler's own atomic operations are functions, too.
    assert {name for name in outside if not name.startswith("__aarch64_")} == {"getauxval"}
