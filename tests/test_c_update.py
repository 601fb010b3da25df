"""static_call_update(): whose trampoline it changes, and right however it is compiled."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from linked import Linked
from toolchain import CLANG, CLANG_LLD, GCC, Compiler, need, run, run_qemu

HERE = Path(__file__).parent / "guest_c"
INCLUDE = Path(__file__).parents[1] / "src" / "static_call" / "include"
SOURCE = INCLUDE / "static_call.c"
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror", f"-I{INCLUDE}", "-pthread")
COMPILERS = (GCC, CLANG, CLANG_LLD)


# Whose trampoline


def same_name(
    compiler: Compiler, path: Path, number: int, flags: str, *more: str | Path
) -> Path:  # fmt: skip
    """Builds an object of same_name.c, whose functions are named after the file."""
    name = path.name.partition(".")[0]
    compiler(
        "-std=gnu11", *WARNINGS, f"-DOBJECT={name}", f"-DNUMBER={number}", *flags.split(),
        HERE / "same_name.c", SOURCE, *more, "-o", path,
    )  # fmt: skip
    return path


LIBRARY = "-O2 -shared -fPIC"
OWN = f"{LIBRARY} -DDEFINES"
EXPORTED = f"{OWN} -DEXPORTS"


@pytest.mark.parametrize(
    ("compiler", "binding"),
    [
        (GCC, "-Wl,-z,lazy"),
        (GCC, "-fno-plt"),
        (CLANG, "-Wl,-Bsymbolic"),
        (CLANG_LLD, "-Wl,-z,now"),
    ],
)
def test_own_ones_of_one_name(compiler: Compiler, binding: str, tmp_path: Path) -> None:
    """Programs and libraries that each have one: an update is of the object's own, and none
    is refused, whether they are exported or not, and however they are loaded."""
    first = same_name(compiler, tmp_path / "first.so", 1, f"{OWN} {binding}")
    second = same_name(compiler, tmp_path / "second.so", 2, f"{EXPORTED} {binding}")
    third = same_name(compiler, tmp_path / "third.so", 3, f"{EXPORTED} {binding} -O0")
    kinds = ("-pie -fPIE -DEXPORTS -rdynamic", "-no-pie -fno-pie", "-pie -fPIE -flto")
    for kind, how in zip(kinds, ("ln", "gl", "d"), strict=True):
        program = same_name(
            compiler if "flto" not in kind else GCC, tmp_path / "program", 4,
            f"-O2 {kind} -DDEFINES -DPROGRAM", "-ldl",
        )  # fmt: skip
        done = run_qemu(
            program, "first", first, how,
            "second", second, how, "third", third, how, ok=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        expected = [
            f"{name} 0 {1000 * number + 5 + 500 * fast}"
            for fast in (1, 0)
            for name, number in (("third", 3), ("second", 2), ("first", 1), ("program", 4))
        ]
        assert done.stdout.splitlines() == expected


@pytest.mark.parametrize(
    ("compiler", "binding"),
    [(GCC, "-Wl,-z,lazy"), (GCC, "-fno-plt"), (CLANG, "-Wl,-z,now"), (CLANG_LLD, "-Wl,-z,lazy")],
)
def test_anothers(compiler: Compiler, binding: str, tmp_path: Path) -> None:
    """A library that uses another's: its update changes what its calls do, although a third library
    of that name is loaded between its update and its first call."""
    exporter = same_name(compiler, tmp_path / "exporter.so", 1, EXPORTED)
    user = same_name(compiler, tmp_path / "user.so", 2, f"{LIBRARY} {binding}", exporter)
    third = same_name(compiler, tmp_path / "third.so", 3, EXPORTED)
    for kind in ("-pie -fPIE", "-no-pie -fno-pie"):
        # A program that uses the exporter's too, or has its own.
        for own in ("-DDEFINES", ""):
            program = same_name(
                GCC, tmp_path / "program", 4, f"-O2 {kind} {own} -DPROGRAM",
                *(() if own else (exporter,)), "-ldl",
            )  # fmt: skip
            for how in ("l", "g", "d", "gn"):
                done = run_qemu(
                    program, "user", user, "l", "third", third, how, "exporter", exporter, "l",
                    ok=False,
                )  # fmt: skip
                assert done.returncode == 0, done.stdout + done.stderr
                assert all(line.split()[1] == "0" for line in done.stdout.splitlines())


def test_bound_with_the_update(tmp_path: Path) -> None:
    """The calls of an object that updates another's static call are not bound lazily."""
    exporter = same_name(GCC, tmp_path / "exporter.so", 1, EXPORTED)
    for compiler in COMPILERS:
        user = same_name(compiler, tmp_path / "user.so", 2, f"{LIBRARY} -Wl,-z,lazy", exporter)
        need("aarch64-linux-gnu-readelf")
        dynamic = run("aarch64-linux-gnu-readelf", "-dW", user).stdout
        assert "AARCH64_VARIANT_PCS" in dynamic


@pytest.mark.parametrize("compiler", COMPILERS, ids=str)
def test_a_taken_address_is_not_updated_blindly(compiler: Compiler, tmp_path: Path) -> None:
    """In a program at a fixed address, a trampoline's address that C takes may be that of a PLT
    entry, and a key's that of a copy: the update changes what is called, or is refused."""
    exporter = same_name(GCC, tmp_path / "exporter.so", 1, EXPORTED)
    source = tmp_path / "main.c"
    source.write_text(
        '#include <stdio.h>\n#include "static_call.h"\n'
        "DECLARE_STATIC_CALL(policy, int(int));\n"
        "int exporter_call(int);\n"
        "static int other(int a) { return a + 7000; }\n"
        "int (*volatile taken)(int) = STATIC_CALL_TRAMP(policy);\n"
        "struct static_call_key *volatile key;\n"
        "int main(void)\n{\n\tint error;\n\n\tkey = &STATIC_CALL_KEY(policy);\n"
        "\terror = static_call_update(policy, other);\n"
        "\tif (!error && (static_call(policy)(5) != 7005 || exporter_call(5) != 7005 || "
        "taken(5) != 7005 || static_call_query(policy) != other))\n\t\treturn 1;\n"
        '\tprintf("%d\\n", error);\n\treturn 0;\n}\n'
    )
    for kind in ("-no-pie -fno-pie", "-pie -fPIE"):
        program = tmp_path / "main"
        compiler(
            "-std=c11", "-O1", *WARNINGS, *kind.split(), source, SOURCE, exporter, "-o", program
        )
        done = run_qemu(program, ok=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_library_twice(tmp_path: Path) -> None:
    """One library's code in a program and in a shared object that it loads: two static calls."""
    shared = same_name(GCC, tmp_path / "library.so", 1, OWN)
    part = tmp_path / "library.o"
    GCC("-std=gnu11", *WARNINGS, "-O2", "-DDEFINES", "-DOBJECT=program", "-DNUMBER=2", "-DPROGRAM",
        "-c", HERE / "same_name.c", "-o", part)  # fmt: skip
    need("aarch64-linux-gnu-ar")
    archive = tmp_path / "library.a"
    run("aarch64-linux-gnu-ar", "rcs", archive, part)
    program = tmp_path / "program"
    GCC(*WARNINGS, "-Wl,-u,main", SOURCE, archive, "-ldl", "-rdynamic", "-o", program)
    done = run_qemu(program, "library", shared, "g", ok=False)
    assert done.returncode == 0, done.stdout
    assert done.stdout.split() == [
        "library", "0", "1505", "program", "0", "2505",
        "library", "0", "1005", "program", "0", "2005",
    ]  # fmt: skip


@pytest.mark.parametrize("compiler", COMPILERS, ids=str)
@pytest.mark.parametrize("flags", ["-O0 -fvisibility=hidden", "-O2 -flto"])
@pytest.mark.parametrize("cxx", [False, True])
def test_what_is_exported(compiler: Compiler, flags: str, cxx: bool, tmp_path: Path) -> None:
    """What EXPORT_STATIC_CALL names, before its definition or after it, and nothing else."""
    if compiler is CLANG and "flto" in flags:
        compiler = CLANG_LLD  # GNU ld needs LLVM's plug-in for it
    source = tmp_path / "source.c"
    source.write_text(
        '#include "static_call.h"\n'
        "static int f(int a) { return a; }\n"
        "DECLARE_STATIC_CALL(after, int(int));\nDECLARE_STATIC_CALL(own, int(int));\n"
        "EXPORT_STATIC_CALL(before);\nDEFINE_STATIC_CALL(before, f);\n"
        "DEFINE_STATIC_CALL(after, f);\nEXPORT_STATIC_CALL(after);\n"
        "DEFINE_STATIC_CALL_RET0(own, f);\nDEFINE_STATIC_CALL_NULL(hook, f);\n"
    )
    for more, names in (((), {"before", "after"}), (("-DSTATIC_CALL_HIDDEN",), set())):
        path = tmp_path / "library.so"
        language = ("-x", "c++", "-std=c++17") if cxx else ("-std=c11",)
        all_flags = (*language, *WARNINGS, *flags.split(), *more, "-fPIC", "-shared")
        compiler(*all_flags, source, "-o", path, cxx=cxx)
        exported = Linked(path).exported
        found = {name: one for name, one in exported.items() if name.startswith("__SC")}
        assert set(found) == {f"__SC{kind}__{name}" for kind in "TK" for name in names}
        assert {one.visibility for one in found.values()} <= {"PROTECTED"}


# However it is compiled


def run_update(program: Path, *names: str) -> list[str]:
    """The lines of update.c that are not `ok`, and whether there were any."""
    done = run_qemu(program, *names, ok=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert all(line.startswith("ok ") for line in lines), done.stdout
    return lines


@pytest.mark.parametrize(
    ("compiler", "flags"),
    [
        (GCC, "-std=gnu11 -O2 -static"),
        (GCC, "-x c++ -std=gnu++17 -O0 -pie -fPIE"),
        (CLANG, "-std=gnu11 -O3 -pie -fPIE"),
    ],
)
def test_files_keys_and_turns(compiler: Compiler, flags: str, tmp_path: Path) -> None:
    """No descriptor below 3, no write to others' files; a forged key is refused; where a literal
    is, for each ADRP; updates in turn, handlers that leave a waiting one, abandoned tickets."""
    compiler(
        *(flag for flag in WARNINGS if flag != "-Wpedantic"), *flags.split(), HERE / "update.c",
        "-o", tmp_path / "update", cxx="c++" in flags,
    )  # fmt: skip
    assert len(run_update(tmp_path / "update")) == 10


HOOKS = """
#define NOT __attribute__((__no_instrument_function__))
#define SPOIL __asm__ volatile("mov x0, #77\\n mov x1, #77\\n mov x2, #77\\n mov x3, #77\\n" \
    "mov x4, #77\\n mov x5, #77\\n mov x8, #77" : : : "x0", "x1", "x2", "x3", "x4", "x5", "x8")
NOT void __cyg_profile_func_enter(void *f, void *from);
NOT void __cyg_profile_func_exit(void *f, void *from);
void __sanitizer_cov_trace_pc(void);
NOT void __cyg_profile_func_enter(void *f, void *from) { (void)f; (void)from; SPOIL; }
NOT void __cyg_profile_func_exit(void *f, void *from) { (void)f; (void)from; SPOIL; }
void __sanitizer_cov_trace_pc(void) { SPOIL; }
"""

INSTRUMENTED = [
    *itertools.product([GCC], [
        "-O2 --coverage", "-O0 --coverage -fprofile-update=atomic", "-O1 -fprofile-generate",
        "-O3 -fprofile-generate -fprofile-update=atomic", "-O0 -finstrument-functions",
        "-O3 -finstrument-functions", "-O2 -fsanitize-coverage=trace-pc",
        "-O0 -fsanitize=undefined -fno-sanitize-recover",
        "-O2 -mbranch-protection=standard -static", "-O2 -mbranch-protection=pac-ret+leaf",
        "-O2 -ffixed-x18", "-O2 -fstack-protector-all -fstack-clash-protection",
        "-O2 -mcmodel=tiny -static", "-O2 -mcmodel=large -fno-pie -no-pie", "-O3 -fipa-pta -flto",
    ]),
    *itertools.product([CLANG_LLD], [
        "-O0 -finstrument-functions", "-O2 -finstrument-functions-after-inlining",
        "-O2 -mbranch-protection=standard", "-O2 -ffixed-x18 -fsanitize=shadow-call-stack -S",
        "-O3 -fstack-protector-all", "-O2 -Wl,--icf=all -ffunction-sections",
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("compiler", "flags"), INSTRUMENTED)
def test_instrumented(compiler: Compiler, flags: str, tmp_path: Path) -> None:
    """What the compiler adds between statements does not come between a system call's registers:
    400 updates return 0, and each has changed what is called."""
    hooks, program = tmp_path / "hooks.c", tmp_path / "main"
    hooks.write_text(HOOKS)
    main = tmp_path / "main.c"
    main.write_text(
        '#include <errno.h>\n#include <stdio.h>\n#include "static_call.h"\n'
        "static int one(int a) { return a + 1; }\nstatic int two(int a) { return a + 2; }\n"
        "DEFINE_STATIC_CALL(op, one);\n"
        "int main(void)\n{\n\terrno = 5;\n\tfor (int i = 0; i < 400; i++) {\n"
        "\t\tint error = static_call_update(op, i % 2 ? one : two);\n\n"
        "\t\tif (error || static_call(op)(0) != 2 - i % 2 || errno != 5) {\n"
        '\t\t\tprintf("%d: %d, %d, errno %d\\n", i, error, static_call(op)(0), errno);\n'
        "\t\t\treturn 1;\n\t\t}\n\t}\n\treturn 0;\n}\n"
    )
    part = tmp_path / "hooks.o"
    compiler("-O2", "-c", hooks, "-o", part)
    if "-S" in flags.split():  # no run-time support for it here: that it compiles is all
        compiler(*WARNINGS, *flags.split(), SOURCE, "-o", tmp_path / "source.s")
        return
    compiler(*WARNINGS, *flags.split(), main, SOURCE, part, "-o", program)
    done = run_qemu(program, ok=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("at", ["0x4000000", "0x60000000", "0x200000", "0x10000"])
@pytest.mark.parametrize("kind", ["-static -fPIE -no-pie", "-no-pie -fPIE", "-pie -fPIE"])
def test_far_from_the_literals(at: str, kind: str, tmp_path: Path) -> None:
    """Trampolines that the linker puts far before or after their literals: the offset's sign."""
    program = tmp_path / "update"
    GCC(
        "-std=gnu11", "-O2", f"-I{INCLUDE}", "-pthread", *kind.split(), HERE / "update.c",
        f"-Wl,--section-start=.static_call.text={at}", "-o", program,
    )  # fmt: skip
    run_update(program, "forged", "stolen")


CFI = "-flto -fvisibility=hidden -fsanitize=cfi-icall -fsanitize-trap=cfi -fno-sanitize-ignorelist"


@pytest.mark.parametrize(
    "flags",
    ["-O2", "-O0", "-O2 -flto=thin", "-O2 -pie -fPIE", "-O3 -static", "-O1 -fno-pie -no-pie"],
)
@pytest.mark.parametrize("cxx", [False, True])
def test_control_flow_integrity(flags: str, cxx: bool, tmp_path: Path) -> None:
    """Under clang's CFI, where a function's address is that of a jump table's entry: updates work,
    queries give what was given, and may be called; so may a trampoline's address."""
    source, program = tmp_path / "main.c", tmp_path / "main"
    source.write_text(
        '#include <stdio.h>\n#include "static_call.h"\n'
        "static int slow(int x) { return x + 1; }\nstatic int fast(int x) { return x + 2; }\n"
        "DEFINE_STATIC_CALL(policy, slow);\nDEFINE_STATIC_CALL_NULL(hook, slow);\n"
        "static int (*volatile pointer)(int);\n"
        "#define SHOW(e) printf(\"%d %d %d\\n\", e, static_call(policy)(1), \\\n"
        "\t(pointer = static_call_query(policy)) ? pointer(1) : -1)\n"
        "int main(void)\n{\n\tSHOW(static_call_query(policy) != slow);\n"
        "\tSHOW(static_call_update(policy, fast));\n\tSHOW(static_call_query(policy) != fast);\n"
        "\tSHOW(static_call_update(policy, NULL));\n"
        '\tprintf("%d ", static_call_update(policy, __static_call_return0));\n'
        '\tprintf("%d ", (void (*)(void))static_call_query(policy) ==\n'
        '\t\t(void (*)(void))__static_call_return0);\n'
        '\tprintf("%d\\n", static_call(policy)(1));\n'
        '\tprintf("%d 0 -1\\n", static_call_query(hook) != 0);\n'
        "\tpointer = STATIC_CALL_TRAMP(policy);\n"
        '\tprintf("%d\\n", pointer(1));\n\treturn 0;\n}\n'
    )  # fmt: skip
    language = ("-x", "c++", "-std=c++17") if cxx else ("-std=c11",)
    CLANG_LLD(*language, f"-I{INCLUDE}", "-pthread", *CFI.split(), *flags.split(), source, SOURCE,
              "-o", program, cxx=cxx)  # fmt: skip
    done = run_qemu(program, ok=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "0 2 2\n0 3 3\n0 3 3\n0 1 -1\n0 1 0\n0 0 -1\n0\n"


# What may be defined


@pytest.mark.parametrize(
    ("compiler", "kind", "cxx"),
    [
        (GCC, "-O0 -static -fno-pie -no-pie", False),
        (GCC, "-O0 -static-pie -fPIE", True),
        (GCC, "-O2 -pie -fPIE -flto", False),
        (GCC, "-O2 -pie -fPIE -fuse-ld=gold", True),
        (GCC, "-O1 -no-pie -fno-pie -Wl,--gc-sections", True),
        (CLANG, "-O0 -no-pie -fno-pie", True),
        (CLANG, "-O2 -pie -fPIE", False),
        (CLANG_LLD, "-O2 -static -fno-pie", False),
        (CLANG_LLD, "-O0 -static-pie -fPIE", True),
        (CLANG_LLD, "-O2 -pie -fPIE -flto", False),
    ],
)
def test_a_weak_function(compiler: Compiler, kind: str, cxx: bool, tmp_path: Path) -> None:
    """One without a definition is none: the static call returns at once, its query gives NULL. One
    that the program or a library defines is called."""
    source, program = tmp_path / "main.c", tmp_path / "main"
    source.write_text(
        '#include <stdio.h>\n#include "static_call.h"\n'
        "extern int nowhere(int) __attribute__((weak)), here(int) __attribute__((weak));\n"
        "int here(int x) { return x + 50; }\nstatic int two(int x) { return x + 2; }\n"
        "DEFINE_STATIC_CALL(a, nowhere);\nDEFINE_STATIC_CALL(b, here);\n"
        "#define SHOW(name, function) printf(\"%d %d \", static_call(name)(5), \\\n"
        "\tstatic_call_query(name) == function)\n"
        "int main(void)\n{\n\tSHOW(a, NULL);\n\tSHOW(b, here);\n"
        '\tprintf("%d ", static_call_update(a, two));\n\tSHOW(a, two);\n'
        '\tprintf("%d ", static_call_update(a, nowhere));\n\tSHOW(a, NULL);\n\treturn 0;\n}\n'
    )  # fmt: skip
    language = ("-x", "c++", "-std=c++17") if cxx else ("-std=c11",)
    compiler(*language, *WARNINGS, *kind.split(), source, SOURCE, "-o", program, cxx=cxx)
    assert run_qemu(program).stdout == "5 1 55 1 0 7 1 0 5 1 "


X0_TYPES = {
    True: ["void", "char", "int", "unsigned long", "long long", "int *", "enum colour", "void *"],
    False: ["float", "double", "long double", "unsigned __int128", "__int128"],
}
CXX_TYPES = {
    True: [*X0_TYPES[True], "bool", "char16_t", "Scoped"],
    False: [*X0_TYPES[False], "Pair", "One", "Class", "int &", "int Pair::*", "int8x16_t"],
}
SOME = """#include <arm_neon.h>
#include "static_call.h"
enum colour { RED };
"""
CXX_SOME = """enum class Scoped : short { A };
struct Pair { long a, b; }; struct One { int a; }; struct Class { int a; ~Class(); };
"""
USES = [
    "DEFINE_STATIC_CALL_RET0(a#, function#);",
    "DEFINE_STATIC_CALL_NULL(a#, function#);",
    "DECLARE_STATIC_CALL(a#, function#); "
    "int f#(void) { return static_call_update(a#, __static_call_return0); }",
    "DECLARE_STATIC_CALL(a#, function#); int f#(void) { return static_call_update(a#, NOTHING); }",
]


@pytest.mark.parametrize("compiler", [GCC, CLANG], ids=str)
@pytest.mark.parametrize("cxx", [False, True])
@pytest.mark.parametrize("use", range(len(USES)))
def test_results_that_cannot_be_zero(
    compiler: Compiler, cxx: bool, use: int, tmp_path: Path
) -> None:  # fmt: skip
    """Only what returns in x0 alone, or nothing, may return 0 or nothing: else it does not compile,
    and says why."""
    source = tmp_path / ("source.cpp" if cxx else "source.c")
    text = USES[use].replace("NOTHING", "nullptr" if cxx else "(void *)0")
    for good, types in (CXX_TYPES if cxx else X0_TYPES).items():
        # A line for each, after those of the start.
        start = SOME + (CXX_SOME if cxx else "")
        lines = [
            f"extern {result} function{i}(int, long); {text.replace('#', str(i))}"
            for i, result in enumerate(types)
        ]
        source.write_text(start + "\n".join(lines) + "\n")
        done = compiler(
            "-std=gnu++17" if cxx else "-std=gnu11", "-fsyntax-only", f"-I{INCLUDE}", source,
            cxx=cxx, ok=False,
        )  # fmt: skip
        if good:
            assert done.returncode == 0, done.stderr
            continue
        said = {int(n) for n in re.findall(r"source\.\w+:(\d+):", done.stderr)}
        first = start.count("\n") + 1
        assert said & {*range(first, first + len(types))} == {*range(first, first + len(types))}
        assert done.stderr.count("does not return in x0 alone") >= len(types)


def test_a_null_that_is_not_known_when_it_is_compiled(tmp_path: Path) -> None:
    """It is refused when it is given, and nothing has changed."""
    source, program = tmp_path / "main.c", tmp_path / "main"
    source.write_text(
        '#include <errno.h>\n#include "static_call.h"\n'
        "static double one(double a) { return a + 1; }\n"
        "static double (*volatile none)(double);\nDEFINE_STATIC_CALL(op, one);\n"
        "int main(void)\n{\n\tif (static_call_update(op, none) != EINVAL ||\n"
        "\t    static_call(op)(1) != 2)\n"
        "\t\treturn 1;\n\tnone = one;\n\treturn static_call_update(op, none);\n}\n"
    )
    for cxx in (False, True):
        language = ("-x", "c++", "-std=c++17") if cxx else ("-std=c11",)
        GCC(*language, *WARNINGS, source, SOURCE, "-o", program, cxx=cxx)
        assert run_qemu(program, ok=False).returncode == 0


def test_a_cpu_that_copies_by_other_instructions(tmp_path: Path) -> None:
    """With FEAT_MOPS the kernel does not promise one store: refused, and nothing has changed."""
    source, program = tmp_path / "main.c", tmp_path / "main"
    source.write_text(
        '#include <errno.h>\n#include "static_call.h"\n'
        "unsigned long getauxval(unsigned long type);\nstatic unsigned long features = 1ul << 43;\n"
        "unsigned long getauxval(unsigned long type)\n"
        "{\n\treturn type == 26 ? features : type == 6 ? 4096 : 0;\n}\n"
        "static int one(int a) { return a + 1; }\nstatic int two(int a) { return a + 2; }\n"
        "DEFINE_STATIC_CALL(op, one);\n"
        "int main(void)\n{\n\tif (static_call_update(op, two) != ENOTSUP ||\n"
        "\t    static_call(op)(1) != 2 ||\n"
        "\t    static_call_query(op) != one)\n\t\treturn 1;\n\tfeatures = ~(1ul << 43);\n"
        "\treturn static_call_update(op, two) || static_call(op)(1) != 3;\n}\n"
    )
    GCC("-std=c11", *WARNINGS, source, SOURCE, "-o", program)
    assert run_qemu(program, ok=False).returncode == 0


@pytest.mark.parametrize("compiler", COMPILERS, ids=str)
def test_the_probe_is_not_a_function(compiler: Compiler, tmp_path: Path) -> None:
    """The code that tests whether written code runs has no function symbol, and is not called by
    name: so an optimiser of linked files drops none of it, although nothing seems to reach it."""
    source = tmp_path / "main.c"
    source.write_text("int main(void) { return 0; }\n")
    compiler("-O2", *WARNINGS, "-static", source, SOURCE, "-o", tmp_path / "main")
    image = Linked(tmp_path / "main")
    probe = image.symbols["__static_call_version"]
    assert (probe.type, image.section_of(probe.value)) == ("OBJECT", ".static_call.text")
    need("aarch64-linux-gnu-objdump")
    text = run("aarch64-linux-gnu-objdump", "-d", tmp_path / "main").stdout
    assert not re.search(r"\tbl?\t\w+ <__static_call_version", text)
