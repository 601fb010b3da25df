"""Arm's own tools for litmus tests, herdtools7, from Debian: herd7, which judges, and diy7.

Nothing is installed, and no root is needed: the package is unpacked into the folder of the cache
that arm64_linux.py describes, and its programs run with the C library of their own release. The
version and its digest are in debian.USED; where Debian has another one by now, that is used and
named.

    python tests/herdtools.py           fetches it if it is not in the cache, and says where it is
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import arm64_linux
from debian import Packages, Unavailable, say
from patience import patient

RELEASE = "forky"
PACKAGES = Packages(("herdtools7",), (RELEASE,), omit=arm64_linux.UNUSED)

FLAG = "violates-CMODX-requirements"
"""herd7's own flag on modified code."""
PRESENT_FLAG = "violates-present-CMODX-requirements"
"""The flag of tests/present.cat, by Arm's present text."""

PRESENT = ("-I", str(Path(__file__).parent), "-model", "present.cat")
"""The options of herd7 for it."""

JOBS = 2
"""Processes at a time."""

MEMORY = 3 << 20
"""KiB of address space for a process. Branches to loaded addresses can need more than there is."""

BATCH = 40
"""Tests that one herd7 process runs: it reads its cat files once."""


class Answer(NamedTuple):
    """What herd7 or the checker says about a test.

    Attributes:
        states: The final states, a line each.
        observation: Never, Sometimes or Always.
        flagged: Whether the test modifies code in a way that B2.2.5 does not allow.
    """

    states: frozenset[str]
    observation: str
    flagged: bool


class Refused(NamedTuple):
    """A test was not run.

    Attributes:
        why: Why, in words that start with the tool's name.
    """

    why: str


def command(program: str) -> list[str]:
    """The command that runs one of the package's programs. Raises Unavailable."""
    root = arm64_linux.unpacked("herdtools", PACKAGES)
    library = root / "usr/share/herdtools7/herd"
    return [*arm64_linux.with_its_libraries(root, program), "-set-libdir", str(library)]


def herd7(
    texts: Sequence[str],
    seconds: float = 60,
    jobs: int = JOBS,
    program: Sequence[str] = (),
    options: Sequence[str] = (),
    flag: str = FLAG,
) -> list[Answer | Refused]:
    """What herd7 says about litmus tests, in their order.

    Args:
        texts: The tests' texts.
        seconds: Of CPU time for one test, after which it is given up.
        jobs: How many processes run at a time.
        program: The command that runs herd7; by default the one of the cache.
        options: More options for it.
        flag: The flag that says that a test is not allowed to modify what it modifies.

    Raises:
        Unavailable: herd7 cannot be had here.
    """
    run = [*(program or command("herd7")), *options]
    by_variant: dict[str, list[int]] = {}
    for i, text in enumerate(texts):
        by_variant.setdefault(_variant(text), []).append(i)
    batches = [
        (variant, numbers[at : at + BATCH])
        for variant, numbers in by_variant.items() for at in range(0, len(numbers), BATCH)
    ]  # fmt: skip
    found: dict[int, Answer | Refused] = {}
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(jobs) as pool:
        folder = Path(name)
        for i, text in enumerate(texts):
            # By a name that no other has: herd7 runs a second test of the same name only once.
            named = re.sub(r"\AAArch64[^\n]*", f"AArch64 t{i}", text)
            (folder / f"t{i}.litmus").write_text(named)

        def batch(job: tuple[str, list[int]]) -> Mapping[int, Answer | Refused]:
            variant, numbers = job
            return _batch([*run, "-variant", variant], folder, numbers, seconds, flag)

        for answers in pool.map(batch, batches):
            found |= answers
    return [found[i] for i in range(len(texts))]


def _variant(text: str) -> str:
    """Variables of 64 bits that are accessed in halves need herd7's mixed-size mode."""
    return "mixed" if "uint64_t" in text and not re.search(r"label:|instr:", text) else "ifetch"


def _batch(
    run: Sequence[str], folder: Path, numbers: list[int], seconds: float, flag: str
) -> dict[int, Answer | Refused]:
    """Runs tests in one process; where it ends early, the rest one by one."""
    files = [f"t{i}.litmus" for i in numbers]
    output, errors = "", ""
    try:
        done = subprocess.run(
            ["sh", "-c", f'ulimit -v {MEMORY}; exec "$@"', "sh",
             *run, "-timeout", str(seconds), *files],
            cwd=folder, capture_output=True, text=True,
            timeout=patient(20 + 2 * seconds + 2 * len(files)),
        )  # fmt: skip
        output, errors = done.stdout, done.stderr
    except subprocess.TimeoutExpired as error:
        output = error.stdout.decode() if isinstance(error.stdout, bytes) else ""
    found: dict[int, Answer | Refused] = dict(_answers(output, flag))
    for line in errors.splitlines():
        if match := re.search(r'File "t(\d+)\.litmus"(.*)', line):
            found.setdefault(int(match[1]), Refused(f"herd7: {match[2].strip(' :,')}"))
    for i in numbers:
        if i not in found and len(numbers) > 1:
            found |= _batch(run, folder, [i], seconds, flag)
        elif i not in found:
            why = f"no answer in {seconds:g} s, {MEMORY >> 20} GiB: {errors[-300:]}"
            found[i] = Refused(f"herd7: {why}")
    return found


def _answers(output: str, flag: str) -> Iterator[tuple[int, Answer]]:
    for part in re.split(r"^(?=Test )", output, flags=re.M):
        states = re.search(r"^States \d+\n(.*?)^(?:Ok|No)$", part, re.M | re.S)
        seen = re.search(r"^Observation t(\d+) (Never|Sometimes|Always) \d+ \d+$", part, re.M)
        if states and seen:
            lines = frozenset(line.strip() for line in states[1].splitlines())
            yield int(seen[1]), Answer(lines, seen[2], f"Flag {flag}\n" in part)


def diy7(*options: str) -> dict[str, str]:
    """The tests that diy7 makes with these options, by name. Raises Unavailable."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [*command("diy7"), "-arch", "AArch64", *options], cwd=folder, capture_output=True,
            text=True, timeout=patient(120),
        )  # fmt: skip
        if done.returncode:
            raise Unavailable(f"diy7: {done.stderr[-500:]}")
        return {file.stem: file.read_text() for file in sorted(Path(folder).glob("*.litmus"))}


def main() -> None:
    """Fetches it. If it cannot be had, that is reported and is not an error: its tests skip."""
    start = time.monotonic()
    try:
        program = command("herd7")[3]
    except Unavailable as error:
        say(f"no herdtools7, so what needs it is skipped: {error}")
        return
    if (seconds := time.monotonic() - start) > 1:
        say(f"unpacked herdtools7 in {seconds:.0f} s: {program}")


if __name__ == "__main__":
    main()
