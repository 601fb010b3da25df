"""Each row of the table in c_rows.py: a program with static calls is built without a warning and
does what it should; `static-call` finds in its file what is there, and changes it.

BUILDS=all runs all combinations of the rows' compilers, flags, kinds of link and languages.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from c_rows import HERE, KINDS, ROWS, Row, product
from linked import Linked
from toolchain import CLANG_19, CLANG_LLD, GCC, MUSL, Compiler, need, run, run_qemu

from static_call.cli.main import main

INCLUDE = Path(__file__).parents[1] / "src" / "static_call" / "include"
SOURCE = INCLUDE / "static_call.c"
WARNINGS = (
    "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror", "-pthread",
    f"-I{INCLUDE}", f"-I{HERE.parent / 'guest_c'}",
)  # fmt: skip
ALL = os.environ.get("BUILDS") == "all"
TABLE = list(product()) if ALL else list(ROWS)

# Name: what it calls when it is linked; and of those that call nothing or return 0, the form.
CALLS = {
    "op": "one",
    "concealed_call": "concealed",
    "later_call": "later",
    "in_line_call": "in_line",
    "feeble_call": "feeble",
    "sum_call": "sum",
    "wide_call": "widen",
    "floats_call": "scale",
    "pair_call": "add_pairs",
    "many_call": "many",
    "thread_call": "count_in_thread",
    "leap_call": "leap",
}
EMPTY = {"hook": "null", "zero": "ret0"}


@dataclass(frozen=True)
class Built:
    """A program, and the file that its static calls are in."""

    row: Row
    program: Path
    image: Path

    def results(self, *tests: str) -> list[str]:
        """What the tests print, each in a line without its time, and how the program ended."""
        row = self.row
        done = run_qemu(
            self.program, *tests, ok=False, sysroot="/" if row.compiler is MUSL else None,
            # A profile goes to the folder, not to where the test was started.
            variables={"GMON_OUT_PREFIX": str(self.program), **row.variables},
        )  # fmt: skip
        lines = [re.sub(r" \d+ ms$", "", line) for line in done.stdout.splitlines()]
        if done.returncode:
            lines.append(f"exit status {done.returncode}: {done.stderr[-2000:]}")
        return lines


def build(row: Row, folder: Path) -> Built:
    """Compiles and links the program of a row, without a warning."""
    row.need()
    language = ["-x", "c++"] if row.cxx else []
    if "-std=" not in row.flags:
        language.append("-std=c++17" if row.cxx else "-std=gnu11")
    flags = [*language, *WARNINGS]
    if not row.ifunc:
        flags.append("-DNO_IFUNC")
    if row.checks_pointers:
        flags.append("-DCHECKS_POINTERS")
    sources = [HERE / "calls.c", HERE / "others.c", SOURCE]
    more: list[str | Path] = []
    if row.hooks:
        hooks = folder / "hooks.o"
        row.compiler("-O2", "-fPIC", "-c", HERE / "hooks.c", "-o", hooks)
        more = ["-x", "none", hooks]
    program, library = folder / "program", folder / "libcalls.so"
    # The compiler's counters go to the folder, not to where the test was started.
    if any(flag in row.flags for flag in ("--coverage", "-fprofile-generate")):
        flags += [f"-fprofile-dir={folder}"]
    if not row.in_library:
        row.compiler(
            *flags, *row.compile_flags, *row.link_flags, HERE / "main.c", *sources, *more,
            "-o", program, cxx=row.cxx,
        )  # fmt: skip
        return Built(row, program, program)
    row.compiler(
        *flags, *row.compile_flags, *row.link_flags, *sources, *more, "-o", library, cxx=row.cxx
    )
    # The program is quite ordinary, except for what a library requires of its program.
    asks = [flag for flag in row.flags.split() if flag.startswith("-fsanitize=")]
    asks = [flag for flag in asks if flag.partition("=")[2] in ("address", "thread", "undefined")]
    finds = [f'-DLIBRARY="{library}"', "-ldl"] if row.kind == "dlopen" else [library]
    row.compiler(
        *flags, "-O1", *asks, "-DTWO_COPIES", HERE / "main.c", SOURCE, "-x", "none", *finds,
        f"-Wl,-rpath,{folder}", "-o", program, cxx=row.cxx,
    )  # fmt: skip
    return Built(row, program, library)


def names_of_tests(row: Row) -> list[str]:
    """The tests that calls.c has in a row, as it is preprocessed."""
    text = (HERE / "calls.c").read_text()
    names = re.findall(r'^\t{ "(\w+)"', text, re.MULTILINE)
    left_out = {"op_is_two", *row.skip}
    left_out |= set() if row.ifunc else {"ifunc"}
    left_out |= set() if row.cxx else {"exceptions"}
    return [name for name in names if name not in left_out]


def check_run(built: Built) -> None:
    """Near, far, NULL, RET0, every kind of target and of argument, threads, fork, exceptions."""
    names = names_of_tests(built.row)
    assert built.results(*names) == [f"ok {name}" for name in names]


def words(image: Linked, at: int) -> list[int]:
    """Some instructions as they are in the file."""
    code = image.read(at, 16)
    return [int.from_bytes(code[i : i + 4], "little") for i in range(0, len(code), 4)]


def form_and_target(image: Linked, trampoline: int) -> tuple[str, int]:
    """What a trampoline's slot says, read by Arm's encoding of B, MOVZ and RET alone."""
    slot = words(image, trampoline)[1]
    assert slot >> 26 == 0b000101, "linkers start every trampoline in a form with a branch"
    target = trampoline + 4 + (((slot & 0x3FFFFFF) ^ 0x2000000) - 0x2000000) * 4
    code = [word for word in words(image, target) if word != 0xD503245F]  # bti c
    if trampoline <= target < trampoline + 64 and code[0] == 0xD65F03C0:  # ret
        return "null", target
    if trampoline <= target < trampoline + 64 and code[0] == 0xD2800000:  # mov x0, #0
        return "ret0", target
    return "near", target


def by_nm(path: Path) -> dict[str, int]:
    """The names of a file that are defined, and their addresses."""
    need("aarch64-linux-gnu-nm")
    lines = [line.split() for line in run("aarch64-linux-gnu-nm", path).stdout.splitlines()]
    return {line[2]: int(line[0], 16) for line in lines if len(line) == 3}


def trampolines(symbols: Mapping[str, int]) -> dict[str, int]:
    """Those of the names that are static calls, and their addresses."""
    return {
        name.removeprefix("__SCT__"): at
        for name, at in symbols.items()
        if re.fullmatch(r"__SCT__\w+", name)
    }


def base(name: str) -> str:
    """A function's name in its source: compilers add to it with a dot, and C++ mangles it."""
    mangled = re.fullmatch(r"_ZL?(\d+)(\w+)", name.partition(".")[0])
    return mangled[2][: int(mangled[1])] if mangled else name.partition(".")[0]


def listed_in(path: Path, *options: str) -> list[dict[str, Any]]:
    """What `static-call list` prints of a file."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert main(["list", "--json", *options, str(path)]) == 0, "list failed"
    found: list[dict[str, Any]] = json.loads(printed.getvalue())["static_calls"]
    return found


def check_list(built: Built) -> None:
    """`static-call list` shows nm's names, and the form and the target of each slot."""
    image = Linked(built.image)
    symbols = by_nm(built.image)
    listed = {one["name"]: one for one in listed_in(built.image)}
    assert {name: one["address"] for name, one in listed.items()} == trampolines(symbols)
    functions: dict[str, set[int]] = {}
    for name, at in symbols.items():
        functions.setdefault(base(name), set()).add(at)
    for name, one in listed.items():
        form, target = form_and_target(image, one["address"])
        assert (name, one["form"]) == (name, form)
        if name in EMPTY:
            assert (name, form) == (name, EMPTY[name])
        elif name in CALLS:
            # If it goes through a PLT entry or a veneer, what that reaches is shown.
            assert one["target"]["address"] in functions[CALLS[name]], one
        if form == "near" and not one["target"]["via"]:
            assert one["target"]["address"] == target, one


def check_scan(built: Built) -> None:
    """Without its names, `static-call list --scan` finds the same trampolines and no others."""
    bare = built.image.with_name("bare")
    need("aarch64-linux-gnu-strip")
    run("aarch64-linux-gnu-strip", built.image, "-o", bare)
    wanted = trampolines(by_nm(built.image)).values()
    assert sorted(one["address"] for one in listed_in(bare, "--scan")) == sorted(wanted)


def check_set(built: Built) -> None:
    """After `static-call set FILE op=two` the program calls two, and updates from there."""
    before = built.image.read_bytes()
    two = "two"
    if not built.row.stripped:
        two = next(name for name in by_nm(built.image) if base(name) == "two")
    done = main(["set", str(built.image), f"op={two}"])
    if built.row.stripped and "__SCT__op" not in Linked(built.image).exported:
        assert done != 0, "there are no names"
        assert built.image.read_bytes() == before
        return
    assert done == 0, "set failed"
    if built.row.run:
        assert built.results("op_is_two") == ["ok op_is_two"]


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_builds(row: Row, tmp_path: Path) -> None:
    """In each way to build the program, it compiles without a warning and does what it should;
    `list` and `list --scan` show the same as binutils, and `set` changes what it does."""
    built = build(row, tmp_path)
    checks = [check_run, check_list, check_scan, check_set]
    if row.stripped:
        checks = [check_run, check_set]
    if not row.run:
        checks.remove(check_run)
    wrong = []
    for check in checks:
        try:
            check(built)
        except AssertionError as error:
            wrong.append(f"{check.__name__}: {error}")
    assert not wrong, "\n".join(wrong)


SETTINGS = {
    "-O0", "-O1", "-O2", "-O3", "-Os", "--coverage", "-fprofile-generate",
    "-finstrument-functions", "-fsanitize=address", "-fsanitize=undefined", "-fsanitize=thread",
    "-fsanitize-coverage=trace-pc", "-flto", "-flto=thin", "-flto-partition=max",
    "-flto-partition=one", "-fsanitize=cfi-icall", "-fsanitize=kcfi",
    "-mbranch-protection=standard", "-Wl,--gc-sections", "-Wl,--icf=all", "-Wl,-z,now",
    "-Wl,-z,lazy", "-Wl,-Bsymbolic", "-mcmodel=tiny", "-mcmodel=large", "-ffixed-x18", "-fno-plt",
    "-fvisibility=hidden", "-mno-outline-atomics", "-Wl,--emit-relocs",
    "-Wl,-z,pack-relative-relocs", "-Wl,--strip-all", "-g", "-fuse-ld=gold", "-fuse-ld=mold",
}  # fmt: skip


def test_the_table_has_every_setting() -> None:
    """Each setting that docs/c.md promises is in the table, with each kind of link and compiler."""
    flags = {flag for row in ROWS for flag in row.flags.split()}
    assert flags >= SETTINGS
    assert {row.kind for row in ROWS} == set(KINDS)
    assert {row.cxx for row in ROWS} == {False, True}
    assert {row.compiler for row in ROWS if row.in_library} >= {GCC, MUSL}
    assert {str(row) for row in ROWS} <= {str(row) for row in product()} | {
        str(row) for row in ROWS if "-std=" in row.flags
    }


@pytest.mark.parametrize("compiler", [GCC, CLANG_LLD, CLANG_19], ids=str)
def test_updates_in_guarded_pages(compiler: Compiler, tmp_path: Path) -> None:
    """With `-z force-bti` and pages that are guarded, every form's calls land, by a branch and by a
    register; without a C library, for Debian's has no landing pads in its start files."""
    program = tmp_path / "guarded"
    flags = [*WARNINGS, "-static", "-fno-pie", "-O2", "-std=gnu11"]
    compiler(
        *flags, "-mbranch-protection=standard", "-nostdlib", "-mno-outline-atomics",
        "-ffunction-sections",
        "-Wl,--gc-sections", "-Wl,--unresolved-symbols=ignore-all", "-Wl,-z,force-bti",
        "-Wl,--section-start=.far=0x20000000",
        HERE / "guarded.c", SOURCE, "-o", program,
    )  # fmt: skip
    need("aarch64-linux-gnu-readelf")
    assert "BTI" in run("aarch64-linux-gnu-readelf", "-n", program).stdout
    assert run_qemu(program, ok=False).returncode == 0


ALIKE = [
    Row(compiler, kind, flags)
    for compiler in (GCC, CLANG_19, MUSL)
    for kind in ("pie", "no-pie")
    for flags in ("-O2", "-O2 -fno-plt", "-O0 -Wl,-z,now", "-O2 -Wl,-Bsymbolic")
    if compiler is not MUSL or kind == "pie"
] + [Row(GCC, "pie", "-O2 -fuse-ld=gold"), Row(CLANG_19, "pie", "-O2 -fuse-ld=mold")]


@pytest.mark.parametrize("exported", [False, True], ids=["hidden", "exported"])
@pytest.mark.parametrize("row", ALIKE, ids=str)
def test_three_of_one_name(row: Row, exported: bool, tmp_path: Path) -> None:
    """A program and two libraries with a static call of one name: an update changes what its own
    object calls, or says that it did not."""
    row.need()
    flags = [*WARNINGS, "-std=gnu11", *row.flags.split(), *(["-DEXPORTED"] if exported else [])]
    if row.compiler is MUSL and "-fno-plt" in row.flags and exported:
        flags.append("-DCALLS_BY_GOT")
    libraries = []
    for number, name in enumerate(("first", "second"), start=2):
        libraries.append(tmp_path / f"lib{name}.so")
        row.compiler(
            *flags, "-fPIC", "-shared", f"-DOBJECT={name}", f"-DNUMBER={number}",
            HERE / "alike.c", SOURCE, "-o", libraries[-1],
        )  # fmt: skip
    row.compiler(
        *flags, *KINDS[row.kind], "-DMAIN", "-DOBJECT=main", "-DNUMBER=1", HERE / "alike.c",
        SOURCE, *libraries, f"-Wl,-rpath,{tmp_path}", "-o", tmp_path / "program",
    )  # fmt: skip
    assert Built(row, tmp_path / "program", libraries[0]).results() == []


@pytest.mark.parametrize(
    "row",
    [
        Row(compiler, kind, flags)
        for kind in ("pie", "no-pie")
        for compiler, flags in (
            (GCC, "-O2"), (GCC, "-O2 -fno-plt"), (GCC, "-O2 -fuse-ld=gold"),
            (CLANG_LLD, "-O2"), (CLANG_19, "-O2 -fuse-ld=mold"), (MUSL, "-O2"),
        )
    ],
    ids=str,
)  # fmt: skip
def test_anothers_is_updated(row: Row, tmp_path: Path) -> None:
    """A program that defines no static call updates an exported one of a library, with each linker
    (they differ in what a name that nobody defines is)."""
    row.need()
    library, program, source = (tmp_path / name for name in ("lib.so", "program", "lib.c"))
    source.write_text(
        '#include "static_call.h"\nint slow(int a);\nint library_call(int a);\n'
        "int slow(int a) { return a + 1; }\nDEFINE_STATIC_CALL(policy, slow);\n"
        "EXPORT_STATIC_CALL(policy);\n"
        "int library_call(int a) { int b = static_call(policy)(a); return b; }\n"
    )
    flags = [*WARNINGS, "-std=gnu11", *row.flags.split()]
    row.compiler(*flags, "-fPIC", "-shared", source, "-o", library)
    source = tmp_path / "program.c"
    source.write_text(
        '#include <stdio.h>\n#include "static_call.h"\nint slow(int a);\nint library_call(int a);\n'
        "static int fast(int a) { return a + 3; }\nDECLARE_STATIC_CALL(policy, slow);\n"
        "int main(void)\n{\n\tint error = static_call_update(policy, fast);\n\n"
        '\tprintf("%d %d %d\\n", error, static_call(policy)(1), library_call(1));\n'
        "\treturn 0;\n}\n"
    )
    row.compiler(
        *flags, *KINDS[row.kind], source, SOURCE, library, f"-Wl,-rpath,{tmp_path}", "-o", program
    )
    assert Built(row, program, library).results() == ["0 4 4"]


LIBRARY_FUNCTIONS = """#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "static_call.h"
DEFINE_STATIC_CALL(length, strlen);
DEFINE_STATIC_CALL(print, printf);
DEFINE_STATIC_CALL(copy, memcpy);
DEFINE_STATIC_CALL(end, abort);
DECLARE_STATIC_CALL(sort, qsort);
DEFINE_STATIC_CALL_NULL(release, free);
DEFINE_STATIC_CALL_RET0(compare, strcmp);
int update(void);
int update(void)
{
	return static_call_update(length, strlen) | static_call_update(compare, strcmp) |
		static_call_update(print, printf) | static_call_update(release, NULL);
}
"""


@pytest.mark.parametrize("cxx", [False, True], ids=["C", "C++"])
@pytest.mark.parametrize("compiler", [GCC, CLANG_LLD, CLANG_19], ids=str)
def test_functions_with_attributes(compiler: Compiler, cxx: bool, tmp_path: Path) -> None:
    """Static calls of a C library's functions, whose types have attributes, give no warning."""
    source = tmp_path / "source.c"
    source.write_text(LIBRARY_FUNCTIONS)
    language = ("-x", "c++", "-std=c++17", "-Wold-style-cast") if cxx else ("-std=c11",)
    if cxx:
        source.write_text(LIBRARY_FUNCTIONS.replace("NULL)", "nullptr)"))
    compiler(*language, *WARNINGS, "-Wstrict-prototypes" if not cxx else "-Wextra", "-O1",
             "-c", source, "-o", tmp_path / "source.o", cxx=cxx)  # fmt: skip


@pytest.mark.parametrize("cxx", [False, True], ids=["C", "C++"])
@pytest.mark.parametrize("compiler", [CLANG_LLD, CLANG_19], ids=str)
def test_a_weak_function_under_cfi(compiler: Compiler, cxx: bool, tmp_path: Path) -> None:
    """Where CFI makes a weak function's address an expression (its type is called by a
    pointer), the static call is NULL where nobody defines it, and can be updated."""
    source, program = tmp_path / "source.c", tmp_path / "program"
    source.write_text(
        '#include <stdio.h>\n#include "static_call.h"\n'
        "extern int nowhere(int) __attribute__((weak));\n"
        "static int two(int a) { return a + 2; }\nstatic int (*volatile pointer)(int) = two;\n"
        "DEFINE_STATIC_CALL(call, nowhere);\n"
        "int main(void)\n{\n\tint error, empty = static_call_query(call) == NULL;\n\n"
        "\tpointer(1);\n\tstatic_call(call)(5);\n\terror = static_call_update(call, two);\n"
        '\tprintf("%d %d %d\\n", empty, error, static_call(call)(5));\n\treturn 0;\n}\n'
    )
    language = ("-x", "c++", "-std=c++17") if cxx else ("-std=c11",)
    compiler(*language, f"-I{INCLUDE}", "-O2", "-pthread", "-flto", "-fsanitize=cfi-icall",
             "-fno-sanitize-ignorelist", "-fvisibility=hidden", "-fPIE", "-pie", source, SOURCE,
             "-o", program, cxx=cxx)  # fmt: skip
    assert run_qemu(program).stdout == "1 0 7\n"


@pytest.mark.parametrize("kind", ["static", "no-pie", "pie"])
def test_a_stub_has_a_name(kind: str, tmp_path: Path) -> None:
    """`list` names the stub by which a weak function is called that nobody defines."""
    source, program = tmp_path / "source.c", tmp_path / "program"
    source.write_text(
        '#include "static_call.h"\nextern int nowhere(int) __attribute__((weak));\n'
        "DEFINE_STATIC_CALL(call, nowhere);\nint main(void) { return static_call(call)(0); }\n"
    )
    GCC(f"-I{INCLUDE}", *KINDS[kind], source, "-o", program)
    found = listed_in(program)[0]["target"]
    assert "__SCS__call" in (found["symbol"], found["via"]), found
