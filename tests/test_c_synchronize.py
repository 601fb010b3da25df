"""static_call_synchronize(): a program's signals and threads, and unloading a plugin.

Under user-mode emulation, where each thread has to be asked by a signal, and in a guest with a real
kernel, which says where those are that sleep.
"""

from __future__ import annotations

import signal
from pathlib import Path

import arm64_linux
import guest
import pytest
import toolchain
from test_c_runtime import SOURCE, Row
from toolchain import CLANG_LLD, GCC, MUSL, SYSROOT, run, run_qemu

HERE = Path(__file__).parent / "guest_c"
EXAMPLES = Path(__file__).parents[1] / "examples"
SECONDS = 300
"""That the guest may take."""

# An emulator's /proc tells nothing of the program's threads, and its children of several threads
# may hang: see test_c_runtime.GUEST_ONLY.
GUEST_ONLY = ("sleeping", "blocked_sleeping", "forked")
IN_USER_MODE = (
    *("busy", "new_threads", "blocked", "alternate_stack", "jumped_out_of", "nested", "cancelled"),
    *("waited_for", "installed_meanwhile", "no_queue", "all_taken"),
)


def outcomes(text: str) -> list[str]:
    """What each test of a C program said, without the time that it took."""
    lines = [line.strip() for line in text.splitlines()]
    return [
        line.removesuffix(" ms").rpartition(" ")[0] if line.endswith(" ms") else line
        for line in lines
        if line
    ]


ROWS = [
    Row(GCC, "-O2 -static -no-pie -fno-pie"),
    Row(GCC, "-O0 -pie -fPIE -finstrument-functions"),
    Row(GCC, "-O3 -static-pie -fPIE -flto", cxx=True),
    Row(CLANG_LLD, "-O2 -pie -fPIE -flto"),
    Row(MUSL, "-O2 -static -no-pie -fno-pie"),
]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_signals_and_threads(row: Row, tmp_path: Path) -> None:
    """The program keeps its signals, and synchronize its promise, when threads block or end."""
    program = row.build(tmp_path / "synchronize", HERE / "synchronize.c")
    done = run("qemu-aarch64", "-cpu", "max", "-L", sysroot(program), program, *IN_USER_MODE,
               ok=False, timeout=280)  # fmt: skip
    assert outcomes(done.stdout) == [f"ok {name}" for name in IN_USER_MODE], done.stderr


def sysroot(program: Path) -> str:
    """Where the libraries of a program are."""
    return "/" if b"ld-musl" in program.read_bytes() else SYSROOT


def example(folder: Path, *options: str) -> Path:
    """Builds the plugin and its host."""
    toolchain.need("make", *GCC.needs)
    run("make", "-s", "-C", EXAMPLES, "plugin", f"O={folder}", *options)
    return folder


def test_unloading_a_plugin(tmp_path: Path) -> None:
    """Threads call while their static call's target is loaded and unloaded a hundred times."""
    folder = example(tmp_path)
    done = run("qemu-aarch64", "-L", SYSROOT, folder / "host", folder / "plugin.so", "100", "2",
               timeout=280)  # fmt: skip
    assert done.stdout.startswith("loaded and unloaded 100 times: ")
    assert done.stdout.endswith(" calls, 0 wrong\n")


def test_unloading_without_waiting(tmp_path: Path) -> None:
    """The example finds out: without its waiting it crashes."""
    folder = example(tmp_path, "CFLAGS=-O2 -DDO_NOT_WAIT")
    done = run_qemu(folder / "host", folder / "plugin.so", "1000000", "4", ok=False)
    assert done.returncode == -signal.SIGSEGV


def test_copies(tmp_path: Path) -> None:
    """Copies of static_call.c share one signal, and one that is unloaded leaves nothing."""
    options = ("-std=c11", "-O2", "-shared", "-fPIC", "-pthread", f"-I{SOURCE.parent}")
    for name in ("first", "second"):
        GCC(*options, f"-DNAME={name}", HERE / "library.c", SOURCE, "-o", tmp_path / f"{name}.so")
    program = Row(GCC, "-O2 -pie -fPIE -rdynamic").build(tmp_path / "unload", HERE / "unload.c")
    done = run("qemu-aarch64", "-L", SYSROOT, program, ok=False, timeout=280)
    assert outcomes(done.stdout) == ["ok one_signal", "ok late_answer"], done.stderr


def test_in_a_guest(tmp_path: Path) -> None:
    """All of this with a real kernel: sleeping threads are not disturbed; children have theirs."""
    for row, name in ((ROWS[0], "static"), (ROWS[-1], "musl")):
        row.build(tmp_path / name, HERE / "synchronize.c")
    folder = example(tmp_path)
    example(tmp_path / "broken", "CFLAGS=-O2 -DDO_NOT_WAIT")
    files = {
        "/static": tmp_path / "static",
        "/musl": tmp_path / "musl",
        "/host": folder / "host",
        "/broken": tmp_path / "broken" / "host",
        "/plugin.so": folder / "plugin.so",
    }
    job = (
        "/static; /musl; /host /plugin.so 100 2\n"
        "/broken /plugin.so 1000000 4 2>/dev/null; echo status $?\ntrue"
    )
    try:
        console = arm64_linux.in_guest(job, files, tmp_path, seconds=SECONDS)
    except arm64_linux.Unavailable as error:
        toolchain.missing("an arm64 environment", str(error))
    except guest.GuestError as error:
        pytest.fail(str(error), pytrace=False)
    lines = outcomes(console)
    names = sorted((*GUEST_ONLY, *IN_USER_MODE))
    start = next(at for at, line in enumerate(lines) if line.startswith(("ok ", "FAIL ")))
    assert sorted(lines[start : start + 2 * len(names)]) == sorted(f"ok {n}" for n in names * 2)
    hosted, crashed = [line for line in lines if line.startswith(("loaded ", "status "))]
    assert hosted.startswith("loaded and unloaded 100 times: ")
    assert hosted.endswith(" calls, 0 wrong")
    assert crashed == f"status {128 + signal.SIGSEGV}"
