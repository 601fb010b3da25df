"""static_call.h through real compilers: what they make of it, byte by byte, and what it does."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from linked import Linked
from toolchain import CLANG, CLANG_LLD, COMPILERS, GCC, Compiler, need, qemu, run, run_qemu

from static_call.cli.main import main
from static_call.design.design import Design
from static_call.design.notation import load

HERE = Path(__file__).parent / "c"
INCLUDE = Path(__file__).parents[1] / "src" / "static_call" / "include"
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{INCLUDE}")
NOP = bytes.fromhex("1f2003d5")

# By hand from the sources: calls_self(4) is op(4, 1) * 10000 + 4 + 2 + 1000, and so on.
OUTPUT = """\
calls 51006
others 530
names 540
main 23 25 0
query 37
name lass
caught 77
"""

# With op set to sub and policy to double_it.
OUTPUT_SET = """\
calls 31014
others 523
names 540
main 17 25 2
query 136
name lass
caught 77
"""

# Name: form and function, as nm shows it.
STATIC_CALLS = {
    "op": ("near", "add"),
    "local_op": ("near", "local_add"),
    "hook": ("null", ""),
    "policy": ("ret0", ""),
    "twice": ("near", "double_it"),
    "hidden_name": ("near", "_ZN12_GLOBAL__N_16hiddenEi"),
    "generic_name": ("near", "_ZN12_GLOBAL__N_17genericIiEET_S1_"),
    "member_name": ("near", "_ZN12_GLOBAL__N_15Class6memberEi"),
    "names_hook": ("null", ""),
    "names_policy": ("ret0", ""),
    "geo_area": ("near", "_ZN3geo4areaEi"),
    "geo_area2": ("near", "_ZN3geo4areaEii"),
    "geo_name": ("near", "_ZN3geo4nameEPKc"),
    "geo_throws": ("near", "_ZN3geo6throwsEi"),
}

# The ones that main.cpp uses, which may be in another object.
EXPORTED = ("op", "policy", "geo_area", "geo_name", "geo_throws")

# Kind of link: flags to compile with, flags to link with.
KINDS = {
    "static": (["-fno-pie"], ["-static"]),
    "static-pie": (["-fPIE"], ["-static-pie"]),
    "no-pie": (["-fno-pie"], ["-no-pie"]),
    "pie": (["-fPIE"], ["-pie"]),
    "shared": (["-fPIC"], ["-shared"]),
}

LINK = ["-Wl,--fatal-warnings", "-Wl,-z,text"]
BTI = "-mbranch-protection=standard"
GC = "-ffunction-sections -fdata-sections -Wl,--gc-sections"


@dataclass(frozen=True)
class Row:
    """One way to build the test program: the table has every pair of compiler and kind."""

    compiler: Compiler
    kind: str
    flags: str

    def __str__(self) -> str:
        return f"{self.compiler} {self.kind} {self.flags}".replace(GC, "gc").replace(BTI, "bti")

    @property
    def design(self) -> Design:
        """The design that the header chooses."""
        return load("inline-stub" if self.kind in ("static", "no-pie") else "adrp-stub")


ROWS = [
    Row(GCC, "static", "-O0 -std=c11"),
    Row(GCC, "static", f"-O3 -std=gnu11 {BTI} {GC}"),
    Row(GCC, "static", "-O2 -flto"),
    Row(GCC, "static-pie", f"-O1 -std=c11 {BTI}"),
    Row(GCC, "no-pie", f"-O2 -std=c11 -fno-plt {GC}"),
    Row(GCC, "pie", f"-O2 -std=gnu11 {BTI} -g"),
    Row(GCC, "pie", "-O3 -std=c11 -flto -fno-plt"),
    Row(GCC, "shared", "-O0 -std=gnu11"),
    Row(GCC, "shared", f"-O2 -std=c11 {BTI} {GC}"),
    Row(GCC, "shared", "-O1 -fvisibility=hidden -fno-plt"),
    Row(CLANG, "static", f"-O2 -std=c11 {BTI}"),
    Row(CLANG, "static-pie", "-O3 -std=gnu11"),
    Row(CLANG, "no-pie", "-O0 -std=gnu11 -g"),
    Row(CLANG, "pie", f"-O1 -std=c11 -fno-plt {GC}"),
    Row(CLANG, "shared", f"-O2 -std=c11 {BTI}"),
    Row(CLANG_LLD, "static", f"-O1 -std=gnu11 {GC}"),
    Row(CLANG_LLD, "static-pie", "-O0 -std=c11"),
    Row(CLANG_LLD, "no-pie", f"-O3 -std=c11 {BTI}"),
    Row(CLANG_LLD, "pie", "-O2 -std=c11 -flto"),
    Row(CLANG_LLD, "pie", f"-O2 -flto=thin {GC}"),
    Row(CLANG_LLD, "shared", f"-O3 -std=gnu11 -fno-plt {GC}"),
]


@dataclass(frozen=True)
class Built:
    """The test program: what to run, and the file that its static calls are in."""

    row: Row
    program: Path
    image: Linked

    def branches(self) -> dict[int, tuple[int, str]]:
        """The B instructions among the trampolines as objdump sees them: address, symbol."""
        need("aarch64-linux-gnu-objdump")
        text = run(
            "aarch64-linux-gnu-objdump", "-d", "-j", ".static_call.text", self.image.path
        ).stdout
        found = re.findall(r"^ *(\w+):\t\w{8} \tb\t(\w+) <([^>]*)>", text, re.MULTILINE)
        return {int(at, 16): (int(to, 16), name) for at, to, name in found}

    def symbol(self, name: str) -> int:
        """A function's address, whatever link-time optimisation has added to its name."""
        return next(
            one.value
            for one in self.image.symbols.values()
            if one.name.partition(".")[0] == name and one.defined
        )


def build(folder: Path, row: Row, *more: str) -> Built:
    """Compiles and links the test program."""
    compile_flags, link_flags = KINDS[row.kind]
    flags = [*row.flags.split(), *more]
    c_flags = [*WARNINGS, *compile_flags, *flags]
    cxx_flags = ["-std=c++17", *(flag for flag in c_flags if not flag.startswith("-std="))]
    for name in ("calls", "others"):
        row.compiler(*c_flags, "-c", HERE / f"{name}.c", "-o", folder / f"{name}.o")
    row.compiler(*cxx_flags, "-c", HERE / "names.cpp", "-o", folder / "names.o", cxx=True)
    parts = [folder / f"{name}.o" for name in ("calls", "others", "names")]
    program = folder / "program"
    image = program
    if row.kind == "shared":
        image = folder / "libcalls.so"
        visible = [flag for flag in cxx_flags if flag != "-fPIC"]
        row.compiler(*flags, *link_flags, *LINK, *parts, "-o", image, cxx=True)
        row.compiler(*visible, *LINK, HERE / "main.cpp", image, "-o", program, cxx=True)
    else:
        row.compiler(*cxx_flags, "-c", HERE / "main.cpp", "-o", folder / "main.o", cxx=True)
        parts.append(folder / "main.o")
        row.compiler(*compile_flags, *flags, *link_flags, *LINK, *parts, "-o", program, cxx=True)
    return Built(row, program, Linked(image))


@pytest.fixture(scope="module", params=ROWS, ids=str)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The test program, built in each way of the table."""
    return build(tmp_path_factory.mktemp("program"), request.param)


def test_table_covers() -> None:
    """Every compiler makes every kind of link in the table, and sees every optimisation level."""
    for compiler in COMPILERS:
        rows = [row for row in ROWS if row.compiler is compiler]
        assert {row.kind for row in rows} == set(KINDS)
        assert {flag for row in rows for flag in row.flags.split() if flag[:2] == "-O"} == {
            "-O0",
            "-O1",
            "-O2",
            "-O3",
        }


def test_runs(built: Built) -> None:
    """Compiles without a warning; C and C++ call each other's static calls; an exception passes."""
    assert qemu(built.program) == OUTPUT


def test_set(built: Built) -> None:
    """`static-call set` on the linked file, whatever its kind, changes what the program does."""
    before = built.image.path.read_bytes()
    double_it = next(name for name in built.image.symbols if name.partition(".")[0] == "double_it")
    try:
        assert main(["set", str(built.image.path), "op=sub", f"policy={double_it}"]) == 0
        assert qemu(built.program) == OUTPUT_SET
    finally:
        built.image.path.write_bytes(before)


def test_bytes_are_the_designs(built: Built) -> None:
    """Each linked trampoline is what the design's text assembles to, and its literal too."""
    image, design = built.image, built.row.design
    branches = built.branches()
    for name, (form, function) in STATIC_CALLS.items():
        symbol = image.symbols[f"__SCT__{name}"]
        assert (symbol.type, symbol.size) == ("FUNC", design.size), name
        assert symbol.value % design.align == 0, name
        assert image.section_of(symbol.value) == ".static_call.text", name
        found = design.recognise(symbol.value, image.read)
        assert found is not None, name
        assert found.form == form, name
        target = built.symbol(function) if function else None
        branch, where = branches[symbol.value + design.labels["slot"]]
        code, *literals = design.assemble(symbol.value, form, branch, found.outside)
        if target is not None and branch != target:
            # The library's users may put their own function in its place: by a PLT entry.
            assert (built.row.kind, where) == ("shared", f"{function}@plt"), name
            assert literals, "only a literal in data can differ from the branch"
        assert image.read(symbol.value, design.size) == code[1], name
        for at, data in design.assemble(symbol.value, form, target, found.outside)[1:]:
            assert image.read(at, 8) == data, name
            assert image.section_of(at) == ".data.rel.ro", name
            assert at % 8 == 0, name


def test_no_text_relocations(built: Built) -> None:
    """The dynamic linker is never asked to write to code."""
    assert not built.image.has_textrel
    assert built.image.text_relocations == []


def test_literals_are_read_only_at_run_time(built: Built) -> None:
    """Literals in data lie in the part that the dynamic linker makes read-only."""
    image, design = built.image, built.row.design
    if not design.outside:
        return
    (relro,) = image.elf.iter_segments("PT_GNU_RELRO")
    for name in STATIC_CALLS:
        found = design.recognise(image.symbols[f"__SCT__{name}"].value, image.read)
        assert found is not None
        at = found.outside["literal"]
        assert relro["p_vaddr"] <= at
        assert at + 8 <= relro["p_vaddr"] + relro["p_memsz"]


def test_keys(built: Built) -> None:
    """A key holds the function, the trampoline, and a lock; for no function the trampoline."""
    image = built.image
    for name, (form, function) in STATIC_CALLS.items():
        key = image.symbols[f"__SCK__{name}"]
        trampoline = image.symbols[f"__SCT__{name}"].value
        return0 = image.symbols["__static_call_return0"].value
        expected = {"null": trampoline, "ret0": return0}
        assert (key.type, key.size) == ("OBJECT", 24), name
        assert image.word(key.value) == expected.get(form, function and built.symbol(function)), (
            name
        )
        assert image.word(key.value + 8) == trampoline, name
        assert image.word(key.value + 16) == 0, "nobody is changing it"


def test_return0_is_there_once(built: Built) -> None:
    """Three files define static calls, and the link has one __static_call_return0, hidden."""
    table = built.image.elf.get_section_by_name(".symtab")
    (symbol,) = table.get_symbol_by_name("__static_call_return0")
    assert symbol["st_size"] == 12
    code = built.image.read(symbol["st_value"], 12)
    assert code == bytes.fromhex("5f2403d5 000080d2 c0035fd6")  # bti c; mov x0, #0; ret
    assert "__static_call_return0" not in built.image.exported


@pytest.mark.parametrize("compiler", [GCC, CLANG], ids=str)
def test_sections(compiler: Compiler, tmp_path: Path) -> None:
    """An object file asks for the design's alignment, and for data that ends up read-only."""
    part = tmp_path / "calls.o"
    compiler(*WARNINGS, "-fPIC", "-c", HERE / "calls.c", "-o", part)
    elf = Linked(part).elf
    for name, flags in ((".static_call.text", "AX"), (".data.rel.ro.static_call", "WA")):
        section = elf.get_section_by_name(name)
        assert section["sh_addralign"] == 8, name
        assert section["sh_flags"] == sum({"W": 1, "A": 2, "X": 4}[flag] for flag in flags), name


def calls_of(image: Linked, function: str) -> list[str]:
    """What a function calls, as objdump names it."""
    need("aarch64-linux-gnu-objdump")
    text = run("aarch64-linux-gnu-objdump", "-d", f"--disassemble={function}", image.path).stdout
    return re.findall(r"\t(?:bl|b)\t\w+ <([^>+]*)>", text) + re.findall(r"\t(blr)\t", text)


@pytest.mark.parametrize("compiler", COMPILERS, ids=str)
def test_shared_object(compiler: Compiler, tmp_path: Path) -> None:
    """A shared object exports what it says, protected; all calls are direct: by no PLT entry."""
    image = build(tmp_path, Row(compiler, "shared", "-O2 -fvisibility=hidden")).image
    exported = {f"__SC{kind}__{name}" for kind in "TK" for name in EXPORTED}
    assert {name for name in image.exported if name.startswith("__SC")} == exported
    assert {image.exported[name].visibility for name in exported} == {"PROTECTED"}
    assert sorted(set(calls_of(image, "calls_self"))) == [
        f"__SCT__{name}" for name in ("hook", "local_op", "op", "policy")
    ]


@pytest.mark.parametrize("compiler", [GCC, CLANG_LLD], ids=str)
def test_hidden(compiler: Compiler, tmp_path: Path) -> None:
    """With STATIC_CALL_HIDDEN nothing is exported, and -fno-plt leaves the calls direct."""
    for name in ("calls", "others"):
        compiler(*WARNINGS, "-O2", "-fPIC", "-fno-plt", "-DSTATIC_CALL_HIDDEN", "-std=c11", "-c",
                 HERE / f"{name}.c", "-o", tmp_path / f"{name}.o")  # fmt: skip
    compiler(*WARNINGS, "-O2", "-fPIC", "-fno-plt", "-DSTATIC_CALL_HIDDEN", "-std=c++17", "-c",
             HERE / "names.cpp", "-o", tmp_path / "names.o", cxx=True)  # fmt: skip
    parts = [tmp_path / f"{name}.o" for name in ("calls", "others", "names")]
    compiler("-shared", *LINK, *parts, "-o", tmp_path / "lib.so", cxx=True)
    image = Linked(tmp_path / "lib.so")
    assert not [name for name in image.exported if name.startswith("__SC")]
    assert {"__SCT__op", "__SCT__hook"} <= set(calls_of(image, "calls_self"))
    assert "blr" not in calls_of(image, "calls_self")


@pytest.mark.parametrize("compiler", COMPILERS, ids=str)
def test_gc_sections(compiler: Compiler, tmp_path: Path) -> None:
    """--gc-sections drops a static call that nobody calls, and keeps the key of one that is."""
    flags = [*WARNINGS, "-O2", "-fno-pie", *GC.split(), "-static"]
    program = tmp_path / "program"
    for name in ("called", "unused"):
        compiler(*flags, "-c", HERE / f"{name}.c", "-o", tmp_path / f"{name}.o")
    compiler(*flags, *LINK, tmp_path / "called.o", tmp_path / "unused.o", "-o", program)
    symbols = Linked(program).symbols.keys()
    assert not {"__SCT__unused", "__SCK__unused", "lonely"} & symbols
    assert {"__SCT__called", "__SCK__called", "__static_call_return0"} <= symbols
    assert qemu(program) == ""


@pytest.mark.parametrize("compiler", [GCC, CLANG_LLD], ids=str)
def test_lto_does_not_take_the_key_for_a_constant(compiler: Compiler, tmp_path: Path) -> None:
    """An optimiser that sees no write to the key must still read it, as a patched file shows."""
    flags = [*WARNINGS, "-O3", "-flto", "-fno-pie", "-static"]
    compiler(*flags, HERE / "constant.c", *LINK, "-o", tmp_path / "program")
    assert qemu(tmp_path / "program") == "1 1\n"
    image = Linked(tmp_path / "program")
    two = next(s.value for s in image.symbols.values() if s.name.partition(".")[0] == "two")
    image.write_word(image.symbols["__SCK__number"].value, two)
    assert qemu(image.save(tmp_path / "patched")) == "1 2\n"


@pytest.mark.parametrize("compiler", [GCC, CLANG_LLD], ids=str)
def test_archive(compiler: Compiler, tmp_path: Path) -> None:
    """A call alone pulls the defining file out of a static library."""
    need("aarch64-linux-gnu-ar")
    source = tmp_path / "main.c"
    source.write_text(
        '#include "calls.h"\n#include <stdio.h>\n'
        'int main(void) { printf("%d\\n", static_call(op)(40, 2)); return 0; }\n'
    )
    part, library = tmp_path / "calls.o", tmp_path / "libcalls.a"
    compiler(*WARNINGS, "-O2", "-c", HERE / "calls.c", "-o", part)
    run("aarch64-linux-gnu-ar", "rcs", library, part)
    program = tmp_path / "program"
    compiler(*WARNINGS, f"-I{HERE}", "-O2", source, library, *LINK, "-o", program)
    assert qemu(program) == "42\n"


# What `main` prints for op(20, 3). A NULL one leaves the first argument where the result is.
FORMS = {
    ("near", "sub"): 17,
    ("far", "sub"): 17,
    ("far", "add"): 23,
    ("null", ""): 20,
    ("ret0", ""): 0,
}


@pytest.mark.parametrize("kind", ["static", "static-pie"])
def test_every_form_runs(kind: str, tmp_path: Path) -> None:
    """The design's bytes for every form, put over the linked trampoline, do what they say."""
    built = build(tmp_path, Row(GCC, kind, f"-O2 {BTI}"))
    design = built.row.design
    entry = built.image.symbols["__SCT__op"].value
    found = design.recognise(entry, built.image.read)
    assert found is not None
    for (form, function), result in FORMS.items():
        image = Linked(built.program)
        target = built.symbol(function) if function else None
        code, *literals = design.assemble(entry, form, target, found.outside)
        image.write(*code)
        for at, data in literals:
            image.write_word(at, int.from_bytes(data, "little"))
        assert image.read(*code[:1], len(code[1])) == code[1]
        printed = qemu(image.save(tmp_path / "patched"))
        assert f"main {result} 25 0\n" in printed, (form, function)


@pytest.mark.parametrize("compiler", [GCC, CLANG_LLD], ids=str)
def test_landing_pads(compiler: Compiler, tmp_path: Path) -> None:
    """Under BTI: calls by register, the far form and literals that lead to the stubs all land."""
    program = tmp_path / "program"
    compiler(
        *WARNINGS, "-O2", BTI, "-fno-pie", "-nostdlib", "-static", HERE / "bti.c", "-o", program
    )
    note = run("aarch64-linux-gnu-readelf", "-n", program).stdout
    assert "BTI" in note, "the linker dropped the mark: an object without it"
    assert run_qemu(program, ok=False).returncode == 99
    image = Linked(program)
    for name in ("direct", "nothing", "zero"):
        slot = image.symbols[f"__SCT__{name}"].value + 4
        image.write(slot, NOP)
    patched = image.save(tmp_path / "patched")
    assert run_qemu(patched, ok=False).returncode == 99
    # The same without the target's pad: else the test above would prove nothing.
    image.write(image.symbols["nine"].value, NOP)
    assert run_qemu(image.save(patched), ok=False).returncode not in (0, 99)


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("x86_64-linux-gnu", "static_call.h is for little-endian arm64"),
        ("aarch64_be-linux-gnu", "static_call.h is for little-endian arm64"),
    ],
)
def test_other_machines_are_refused(target: str, says: str) -> None:
    """Any other machine gets one clear error."""
    need("clang")
    done = run(
        "clang", f"--target={target}", "-fsyntax-only", f"-I{INCLUDE}", HERE / "unused.c", ok=False
    )
    assert done.returncode
    assert says in done.stderr


@pytest.mark.parametrize("compiler", [GCC, CLANG], ids=str)
@pytest.mark.parametrize(
    "wrong",
    [
        'int f(void) { return static_call(op)("text", 1); }',
        "int f(void) { return static_call(op)(1); }",
        "DEFINE_STATIC_CALL(op, hook_count);",
        "int (*f(void))(const char *) { return static_call_query(op); }",
    ],
)
def test_types_are_checked(compiler: Compiler, wrong: str, tmp_path: Path) -> None:
    """A static call has its function's type: in calls, in its definition, and in the query."""
    for suffix, cxx in ((".c", False), (".cpp", True)):
        source = tmp_path / f"wrong{suffix}"
        flags = ("-fsyntax-only", "-Werror", f"-I{INCLUDE}", f"-I{HERE}")
        source.write_text('#include "calls.h"\n')
        compiler(*flags, source, cxx=cxx)
        source.write_text(f'#include "calls.h"\n{wrong}\n')
        assert compiler(*flags, source, cxx=cxx, ok=False).returncode
