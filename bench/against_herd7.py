"""How long the checker and Arm's herd7 take for the same litmus tests: tables for check.py.

Times are seconds of one core, without the start of either program, and with reading the test. A
test that one of the two refuses, or for which herd7 takes too long, is left out of both totals.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from static_call.errors import StaticCallError
from static_call.memory_model.litmus import run
from static_call.memory_model.litmus_reader import read

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from herd7 import own

Row = tuple[int, int]
"""Threads, and accesses in each."""


class Answer(NamedTuple):
    """How long a test took, and its final states."""

    seconds: float
    states: frozenset[str]


def litmus(columns: Sequence[Sequence[str]], condition: str) -> str:
    """A test in which X1 holds x, X3 holds y, and W0 holds 1 in all threads."""
    threads = range(len(columns))
    init = " ".join(f"{t}:X0=1; {t}:X1=x; {t}:X3=y;" for t in threads)
    lines = ["AArch64 test", f"{{ {init} }}", " | ".join(f"P{t}" for t in threads) + " ;"]
    for i in range(max(map(len, columns))):
        lines.append(" | ".join(c[i] if i < len(c) else "" for c in columns) + " ;")
    return "\n".join([*lines, f"exists ({condition})", ""])


def atomics(threads: int, each: int) -> str:
    """Every thread adds 1 to x, and keeps what it was."""
    column = [f"LDADD W0,W{5 + i},[X1]" for i in range(each)]
    return litmus([column] * threads, " /\\ ".join(f"{t}:X5=0" for t in range(threads)))


def stores(threads: int, each: int) -> str:
    """Every thread stores numbers of its own to x."""

    def column(thread: int) -> list[str]:
        numbers = range(thread * each + 1, thread * each + each + 1)
        return [line for n in numbers for line in (f"MOV W4,#{n}", "STR W4,[X1]")]

    return litmus([column(t) for t in range(threads)], f"x={each}")


def loads(threads: int, each: int) -> str:
    """One thread stores to x twice, the others load it."""
    column = [f"LDR W{5 + i},[X1]" for i in range(each)]
    writer = ["STR W0,[X1]", "MOV W4,#2", "STR W4,[X1]"]
    return litmus([writer, *[column] * (threads - 1)], "1:X5=2")


def message(threads: int, each: int) -> str:
    """Every thread, in turn, stores to x and y, and loads y and x."""
    both = (["STR W0,[X1]", "STR W0,[X3]"] * each, ["LDR W5,[X3]", "LDR W6,[X1]"] * each)
    return litmus([both[t % 2] for t in range(threads)], "1:X5=1 /\\ 1:X6=0")


GROWTH: Mapping[str, tuple[Callable[[int, int], str], Sequence[Row]]] = {
    "LDADD": (atomics, ((2, 1), (3, 1), (4, 1), (5, 1), (2, 2), (3, 2), (4, 2), (2, 3), (3, 3))),
    "stores": (stores, ((2, 2), (2, 3), (2, 4), (2, 5), (3, 2), (3, 3), (4, 2))),
    "loads": (loads, ((2, 1), (2, 2), (2, 3), (2, 4), (3, 1), (3, 2), (3, 3), (4, 2))),
    "pairs": (message, ((2, 1), (3, 1), (4, 1), (5, 1), (2, 2), (3, 2))),
}


def checker(text: str) -> Answer:
    """Runs a test in the checker. Raises StaticCallError."""
    start = time.process_time()
    result = run(read(text))
    return Answer(time.process_time() - start, frozenset(result.states))


def herd7(command: Sequence[str], texts: Sequence[str], seconds: float) -> dict[int, Answer]:
    """Runs tests in one herd7. The times are its own; what it refuses is left out."""
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for i, text in enumerate(texts):
            files.append(Path(folder, f"{i}.litmus"))
            files[-1].write_text(re.sub(r"^AArch64 .*", f"AArch64 T{i}", text, count=1))
        variant = ["-variant", "ifetch"] if any(map(fetches, texts)) else []
        done = subprocess.run(
            [*command, *variant, "-timeout", str(seconds), *map(str, files)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    found = re.finditer(
        r"^Test T(\d+) .*\nStates \d+\n((?:.*\n)*?)(?:Ok|No)\n(?:.*\n)*?Time T\1 (\S+)$",
        done.stdout, re.M,
    )  # fmt: skip
    return {
        int(one[1]): Answer(float(one[3]), frozenset(map(str.strip, one[2].splitlines())))
        for one in found
    }


def fetches(text: str) -> bool:
    """Whether a test is of instruction fetch, so that herd7 needs its variant."""
    return "label:" in text or "instr:" in text


def growth(command: Sequence[str], seconds: float) -> None:
    """Prints how the times grow with threads and accesses."""
    print(f"{'':8} threads  each  states   checker     herd7     ratio")
    for name, (make, rows) in GROWTH.items():
        slow: list[Row] = []
        for threads, each in rows:
            text = make(threads, each)
            ours = checker(text)
            theirs = None
            if not any(t <= threads and e <= each for t, e in slow):
                theirs = herd7(command, [text], seconds).get(0)
                if theirs is None:
                    slow.append((threads, each))
            shown = f"> {seconds:>7g}" + " " * 10
            if theirs:
                shown = f"{theirs.seconds:9.2f} {theirs.seconds / ours.seconds:9.1f}"
                if theirs.states != ours.states:
                    shown += " other states"
            print(f"{name:8} {threads:7} {each:5} {len(ours.states):7} {ours.seconds:9.4f} {shown}")


def compare(
    name: str, command: Sequence[str], texts: Sequence[str], seconds: float, repeat: int
) -> None:
    """Prints how long a set of tests takes."""
    totals, count = [], 0
    for _ in range(repeat):
        theirs = herd7(command, texts, seconds)
        ours = {i: answer for i in theirs if (answer := asked(texts[i])) is not None}
        count = len(ours)
        totals.append([sum(of[i].seconds for i in ours) for of in (ours, theirs)])
    mine, other = (statistics.median(column) for column in zip(*totals))
    print(f"{name:20} {count:5} of {len(texts):5} {mine:9.2f} {other:9.2f} {other / mine:9.1f}")


def asked(text: str) -> Answer | None:
    """What the checker says; None if it refuses the test."""
    try:
        return checker(text)
    except StaticCallError:
        return None


def sets(folders: Iterable[Path]) -> Iterator[tuple[str, list[str]]]:
    """The tests of tests/litmus_tests.py, and those in each folder."""
    ours = [row.text for row in own()]
    yield "data", [text for text in ours if not fetches(text) and "uint64_t" not in text]
    yield "instruction fetch", [text for text in ours if fetches(text)]
    for folder in folders:
        yield folder.name, [file.read_text() for file in sorted(folder.glob("*.litmus"))]


def tables(command: Sequence[str], seconds: float, folders: Iterable[Path], repeat: int) -> None:
    """Prints the tables.

    Args:
        command: It runs herd7.
        seconds: How long herd7 may take for one test.
        folders: Each has more tests.
        repeat: How often each set of tests is run. The median of the totals counts.
    """
    growth(command, seconds)
    print(f"\n{'':20} {'tests':>14}   checker     herd7     ratio")
    for name, texts in sets(folders):
        compare(name, command, texts, seconds, repeat)
