"""How long the checker takes, and how that grows: prints tables, draws a plot.

    python bench/check.py [--two] [--plot FILE] [--herd7 COMMAND] [--seconds N] [FOLDER...]

Times are seconds of one core; the time of its start is separate, and printed first. If there is a
herd7, both run litmus tests side by side: some that grow with threads and accesses, those of
tests/litmus_tests.py, and those in each FOLDER, which `static-call check --litmus` or diy7 wrote.
"""

from __future__ import annotations

import argparse
import gc
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import against_herd7

from static_call.check import report, verdicts
from static_call.check.build import build
from static_call.check.changes import changes
from static_call.check.questions import Question
from static_call.design import notation
from static_call.memory_model.executions import allowed
from static_call.memory_model.explore import explore
from static_call.memory_model.model import WEAKEST
from static_call.memory_model.program import Program

LIMIT = 20.0
"""Seconds after which a series is not continued."""


def seconds(run: Callable[[], object]) -> float:
    """How long it takes."""
    gc.collect()  # what earlier work left behind
    start = time.process_time()
    run()
    return time.process_time() - start


def start_up() -> float:
    """How long Python takes to start with the checker, at least."""
    command = [sys.executable, "-c", "import static_call.check.report"]
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run(command, check=True)
        times.append(time.perf_counter() - start)
    return min(times)


def callers(count: int) -> Program:
    """inline-stub from near A to far B under `count` callers."""
    scene = build(Question(notation.load("inline-stub"), ("near A", "far B")))
    updater, caller = scene.program.threads
    return replace(scene.program, threads=(updater, *[caller] * count))


def in_a_row(count: int) -> Program:
    """local-stub under one caller, with `count` retargets."""
    goals = ("near A", "far B", "near B", "far A")
    change = tuple(goals[i % 4] for i in range(count + 1))
    return build(Question(notation.load("local-stub"), change)).program


def growth(make: Callable[[int], Program]) -> Iterator[tuple[int, int, int, float]]:
    """For 1, 2, ...: events of an execution, executions, seconds."""
    for count in range(1, 9):
        gc.collect()
        start = time.process_time()
        found = list(allowed(explore(make(count)), WEAKEST))
        taken = time.process_time() - start
        yield count, max(len(one.events) for one in found), len(found), taken
        if taken > LIMIT / 20:  # the next takes some fifteen times as long
            return


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--two", action="store_true", help="two changes in a row as well")
    parser.add_argument("--plot", metavar="FILE", help="draw the growth as SVG")
    parser.add_argument("--herd7", default="herd7", help="the command, with its arguments (herd7)")
    parser.add_argument("--seconds", type=float, default=20, help="for one test in herd7 (20)")
    parser.add_argument("--repeat", type=int, default=3, help="how often tests are run (3)")
    parser.add_argument("folder", nargs="*", type=Path)
    options = parser.parse_args()
    print(f"start of Python with the checker {start_up():8.3f} s")
    designs = [notation.load(name) for name in notation.shipped()]
    print(f"all designs, single changes      {seconds(lambda: report.judge(designs)):8.3f} s")
    if options.two:

        def two() -> None:
            for design in designs:
                for change in changes(3):
                    verdicts.check(design, change)

        print(f"all designs, two in a row        {seconds(two):8.3f} s")
    for name in ("inline-stub", "local-stub", "mainline"):
        times = []
        for change in changes():
            times.append(seconds(partial(verdicts.check, notation.load(name), change)))
        print(
            f"one change of {name:<19}{sorted(times)[len(times) // 2]:8.4f} s "
            f"(median of {len(times)}; most {max(times):.4f})"
        )
    series = {"callers": list(growth(callers)), "retargets in a row": list(growth(in_a_row))}
    for what, rows in series.items():
        print(f"\n{what:>20}  events  executions   seconds")
        for count, events, executions, taken in rows:
            print(f"{count:>20}  {events:>6}  {executions:>10}  {taken:8.4f}")
    herd7 = shlex.split(options.herd7)
    if shutil.which(herd7[0]):
        print()
        against_herd7.tables(herd7, options.seconds, options.folder, options.repeat)
    if options.plot:
        with open(options.plot, "w", encoding="utf-8") as file:
            file.write(plot(series))


def plot(series: dict[str, list[tuple[int, int, int, float]]]) -> str:
    """Seconds, on a logarithmic scale, over events of an execution."""
    from math import log10

    width, height, left, top = 640, 380, 80, 40
    right, bottom = width - 30, height - 60
    points = [(events, taken) for rows in series.values() for _, events, _, taken in rows]
    last = max(events for events, _ in points) + 2
    low = min(log10(taken) for _, taken in points) // 1
    high = -(-max(log10(taken) for _, taken in points) // 1)

    def x(events: float) -> float:
        return left + (right - left) * events / last

    def y(taken: float) -> float:
        return bottom - (bottom - top) * (log10(taken) - low) / (high - low)

    parts = []
    for power in range(int(low), int(high) + 1):
        at = y(10.0**power)
        parts.append(f'<line x1="{left}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}" class="grid"/>')
        parts.append(
            f'<text x="{left - 8}" y="{at + 4:.1f}" text-anchor="end">{10.0**power:g} s</text>'
        )
    for events in range(0, last, 10):
        parts.append(
            f'<text x="{x(events):.1f}" y="{bottom + 18}" text-anchor="middle">{events}</text>'
        )
    for (what, rows), colour in zip(series.items(), ("#c2410c", "#0369a1")):
        line = " ".join(f"{x(events):.1f},{y(taken):.1f}" for _, events, _, taken in rows)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for count, events, _, taken in rows:
            parts.append(
                f'<circle cx="{x(events):.1f}" cy="{y(taken):.1f}" r="4" fill="{colour}"/>'
                f'<text x="{x(events) + 7:.1f}" y="{y(taken) + 14:.1f}">{count}</text>'
            )
        row = list(series).index(what)
        parts.append(
            f'<text x="{left + 14}" y="{top + 16 + 18 * row}" style="fill:{colour}">{what}</text>'
        )
    parts.append(
        f'<text x="{(left + right) / 2}" y="{height - 14}" text-anchor="middle">'
        "events in an execution</text>"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}">\n'
        "<style>text { font: 13px system-ui, sans-serif; fill: #374151; } "
        ".grid { stroke: #e5e7eb; }</style>\n"
        f'<rect width="{width}" height="{height}" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


if __name__ == "__main__":
    main()
