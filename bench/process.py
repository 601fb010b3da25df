"""Static calls in a running arm64 process: what calls, updates and memory cost, all in one run.

There is no arm64 hardware here. The environments are those of the tests: user-mode emulation
(qemu-aarch64), and a guest with two CPUs (qemu-system-aarch64), each CPU a thread of this host.
Instructions are counted and exact: in the guest by single steps, under user-mode emulation in the
emulator's log. Times are the emulator's, and say nothing about an arm64 CPU: the costs of a system
call, a barrier and changed code are different there. Ratios between methods that make the same
system calls say more.

    PYTHONPATH=tests python bench/process.py [--only guest|user-mode]
"""

from __future__ import annotations

import argparse
import re
import shlex
import statistics
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

import arm64_linux

from static_call.design import notation
from static_call.key import KEY_SIZE

HERE = Path(__file__).parent
SOURCE = HERE.parent / "src"
INCLUDE = SOURCE / "static_call" / "include"
CALLERS = HERE.parent / "tests" / "arm64" / "c" / "callers.c"

STARTS = 7  # of Python
CALLS = {"user-mode": 100_000, "guest": 10_000}  # made in Python; the guest is slower
SECONDS = 3000
LITERAL = 8
KINDS = {"no-pie": "inline-stub", "pie": "adrp-stub"}
WAYS = {
    "direct": "direct",
    "pointer": "function pointer, loaded from memory",
    "plt": "PLT entry",
    "near": "static call, near",
    "far": "static call, far",
    "null": "static call of nothing",
    "ret0": "static call that returns 0",
}
UPDATES = {
    "static_call_update": "static_call_update",
    "by_hand": "the same stores, maintenance and membarriers by hand",
    "static_call_update_old_code": "static_call_update_flags(..., STATIC_CALL_OLD_CODE)",
    "alias": "the same, stores through a second mapping of a memfd",
    "mprotect": "mprotect, memcpy, __builtin___clear_cache, mprotect",
}
PYTHON = {
    "update_us": "update(f), from Python",
    "update_old_code_us": "update(f, fresh=False), from Python",
    "update_by_address_us": "update(address), from Python",
}

Figures = dict[str, list[float]]
"""Names to what was measured, once or several times."""


def build(folder: Path) -> None:
    """Builds the programs that measure."""

    def gcc(*arguments: str | Path) -> None:
        command = ["aarch64-linux-gnu-gcc", "-std=gnu11", "-O2", "-Wall", "-pthread"]
        subprocess.run([*command, f"-I{INCLUDE}", *arguments], check=True)

    sources, runtime = HERE / "arm64", INCLUDE / "static_call.c"
    library = folder / "libtarget.so"
    shared = ("-shared", "-fPIC")
    gcc(*shared, "-DTARGET=target_of_library", sources / "target.c", "-o", library)
    gcc(*shared, CALLERS, "-o", folder / "callers.so")
    for kind in KINDS:
        flags = ("-pie", "-fPIE") if kind == "pie" else ("-no-pie", "-fno-pie")
        target = folder / f"target-{kind}.o"
        gcc(*flags, "-DTARGET=target", "-c", sources / "target.c", "-o", target)
        program = folder / f"calls-{kind}"
        link = (f"-L{folder}", "-ltarget", "-Wl,-rpath,$ORIGIN")
        gcc(*flags, sources / "calls.c", target, runtime, *link, "-o", program)
    gcc("-static", sources / "update.c", runtime, "-o", folder / "update")


def commands(programs: Path, script: Path, where: str) -> list[list[str]]:
    """What is run in each environment; it prints lines of names and numbers."""
    python = ["python3.11", str(script)]
    library = str(programs / "callers.so")
    return [
        *([str(programs / f"calls-{kind}"), "time"] for kind in KINDS),
        *([str(programs / "update"), str(threads)] for threads in (0, 1)),
        *([*python, "start"] for _ in range(STARTS + 1)),
        [*python, "update", library],
        [*python, "many", library, str(CALLS[where])],
    ]


def figures(text: str) -> Figures:
    """The lines that end in a number; `== NAME` puts NAME in front of what follows."""
    found: Figures = defaultdict(list)
    prefix = ""
    for line in text.splitlines():
        if line.startswith("== "):
            prefix = line[3:].strip()
            prefix += " " * bool(prefix)
        elif match := re.fullmatch(r"(\S+(?: \S+)?) (-?[\d.]+(?:e-?\d+)?)\s*", line):
            found[prefix + match[1]].append(float(match[2]))
    return found


def title(command: list[str]) -> str:
    """The prefix of a command's figures: the program's name, for C programs."""
    name = Path(command[0]).name
    return name if name.startswith("calls-") else ""


def in_user_mode(folder: Path) -> Figures:
    """Measures under user-mode emulation."""
    text = ""
    for command in commands(folder, HERE / "arm64" / "in_python.py", "user-mode"):
        program = command[0]
        if program == "python3.11":
            program = str(arm64_linux.root() / arm64_linux.PYTHON)
        environment = ["-E", f"LD_LIBRARY_PATH={folder}", "-E", f"PYTHONPATH={SOURCE}"]
        emulated = [*arm64_linux.user_mode(), *environment, program, *command[1:]]
        done = subprocess.run(emulated, capture_output=True, text=True, check=True, timeout=SECONDS)
        text += f"== {title(command)}\n{done.stdout}"
    found = figures(text)
    for kind in KINDS:
        found |= counts_in_log(folder / f"calls-{kind}", folder)
    return found


def counts_in_log(program: Path, folder: Path) -> Figures:
    """Executed instructions, from the emulator's log of each one."""
    log = folder / "log"
    options = ["-singlestep", "-d", "nochain,exec", "-D", str(log)]
    where = ["-E", f"LD_LIBRARY_PATH={folder}"]
    done = subprocess.run(
        [*arm64_linux.user_mode(), *options, *where, program, "once"],
        capture_output=True, text=True, check=True, timeout=SECONDS,
    )  # fmt: skip
    trace = [int(pc, 16) for pc in re.findall(r"^Trace .*?\[\w+/(\w+)/", log.read_text(), re.M)]
    found: Figures = {}
    for name, before, after in re.findall(r"labels (\w+) (\w+) (\w+)", done.stdout):
        # The last time: the first one was before the procedure linkage table was filled.
        first = len(trace) - 1 - trace[::-1].index(int(before, 16))
        executed = trace.index(int(after, 16), first) - first
        found[f"{program.name} count {name}"] = [executed]
    return found


def in_guest(folder: Path) -> Figures:
    """Measures in the guest."""
    programs, script = Path("/programs"), Path("/bench/in_python.py")
    job = ["export PYTHONPATH=/src LD_LIBRARY_PATH=/programs"]
    for command in commands(programs, script, "guest"):
        job += [f"echo '== {title(command)}'", f"{shlex.join(command)} || exit 1"]
    for kind in KINDS:
        job += [f"echo '== calls-{kind}'", f"{programs}/calls-{kind} count || exit 1"]
    files = {f"{programs}/{path.name}": path for path in folder.iterdir() if path.is_file()}
    files[str(script)] = HERE / "arm64" / "in_python.py"
    for path in (SOURCE / "static_call").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            files[f"/src/{path.relative_to(SOURCE)}"] = path
    with tempfile.TemporaryDirectory() as images:
        text = arm64_linux.in_guest(
            "\n".join(job), {**files}, Path(images), parallel=True, seconds=SECONDS
        )
    return figures(text)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Prints a table as the documentation has it."""
    columns = list(head)
    print(f"\n| {' | '.join(columns)} |\n|---|{'---:|' * (len(columns) - 1)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def report(measured: dict[str, Figures]) -> None:
    """Prints the tables: a column for each environment."""

    def cells(name: str, form: str = "{:.0f}", factor: float = 1) -> list[str]:
        # The first of several is a warm-up.
        values = (found[name][1:] or found[name] for found in measured.values())
        return [form.format(statistics.median(value) * factor) for value in values]

    for kind, design in KINDS.items():
        print(f"\nA call, by the design {design} (-{kind}): instructions, nanoseconds")
        head = [f"{what}, {where}" for what in ("instructions", "ns") for where in measured]
        names = [(text, f"calls-{kind} {{}} {name}") for name, text in WAYS.items()]
        table(
            ["call", *head],
            ([text, *cells(name.format("count")), *cells(name.format("time"), "{:.1f}")]
             for text, name in names),
        )  # fmt: skip

    for threads in (0, 1):
        print(f"\nAn update, while {threads} other threads call: microseconds, x by hand")
        base = [found[f"update/{threads} by_hand"][0] for found in measured.values()]
        ways = [(text, f"update/{threads} {name}") for name, text in UPDATES.items()]
        rows = [(text, [found[name][0] for found in measured.values()]) for text, name in ways]
        if not threads:
            rows += [
                (text, [found[name][0] for found in measured.values()])
                for name, text in PYTHON.items()
            ]
        table(
            ["update", *(f"{where}{what}" for where in measured for what in (", us", ", x"))],
            ([text, *(cell for value, by_hand in zip(values, base)
                      for cell in (f"{value:.1f}", f"{value / by_hand:.2f}"))]
             for text, values in rows),
        )  # fmt: skip

    print("\nMemory and start, and many static calls made in Python, then each updated once")
    sizes = [notation.load(design).size + KEY_SIZE for design in KINDS.values()]
    everywhere = len(measured)
    table(
        ["", *measured],
        [
            ["bytes of a static call in C: trampoline, key", *[str(sizes[0])] * everywhere],
            ["the same, -pie: with the literal", *[str(sizes[1] + LITERAL)] * everywhere],
            ["static calls made in Python", *cells("many")],
            ["making them, seconds", *cells("many_made_s", "{:.1f}")],
            ["updating each once, seconds", *cells("many_updated_s", "{:.1f}")],
            ["bytes of each, resident", *cells("many_bytes")],
            ["import of the package, ms", *cells("import_ms")],
            ["first static call made and called, ms from the start", *cells("first_ms")],
        ],
    )  # fmt: skip


ENVIRONMENTS: dict[str, Callable[[Path], Figures]] = {
    "user-mode": in_user_mode,
    "guest": in_guest,
}


def main() -> None:
    """Measures in both environments and prints the tables."""
    parser = argparse.ArgumentParser(description="Measure static calls in an arm64 process.")
    parser.add_argument("--only", choices=ENVIRONMENTS, help="one environment")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build(folder)
        chosen = [options.only] if options.only else list(ENVIRONMENTS)
        measured = {where: ENVIRONMENTS[where](folder) for where in chosen}
    report(measured)


if __name__ == "__main__":
    main()
