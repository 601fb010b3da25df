"""Runs the checker and Arm's own herd7 on the same litmus tests and compares what they say.

    python tests/herd7.py HERD7 [FILE...]

HERD7 is the command that runs herd7, quoted if it has arguments. FILE is a litmus test, such as
`static-call check --litmus DIR` writes; without any, the tests of tests/litmus_tests.py are run,
those of instruction fetch in each of the three cache types. What is compared is the set of final
states, whether the condition is reached never, sometimes or always, and herd7's flag
violates-CMODX-requirements. Prints each test on which the two differ, or that only one of them
runs, and then how many were compared. The exit status is 0 if all agree but those that are known to
differ (docs/checker.md says why), and 1 otherwise.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from litmus_tests import APPLICATION, IFETCH, Case

from static_call.errors import StaticCallError
from static_call.memory_model.litmus import run
from static_call.memory_model.litmus_reader import read

FLAG = "violates-CMODX-requirements"
CACHE_TYPES = ("", "IDC", "IDC DIC")
KNOWN = re.compile(r"(?!)")
"""The tests on which herd7 7.58 and the checker differ: none."""


class Answer(NamedTuple):
    """What one of the two says about a test.

    Attributes:
        states: the final states, a line each.
        observation: Never, Sometimes or Always.
        flagged: whether the test modifies code in a way that B2.2.5 does not allow.
    """

    states: frozenset[str]
    observation: str
    flagged: bool


class Refused(Exception):
    """The test was not run; the text is why."""


def tests() -> Iterator[tuple[str, str]]:
    """The tests of tests/litmus_tests.py: a title and the file's text."""

    def text(case: Case, cache_type: str) -> str:
        head, init, *code, condition = case.text.rstrip().split("\n")
        threads = len(re.findall(r"P\d+(?!\.F)\b(?!\.)", code[0]))
        # A family of tests shares its registers. herd7 refuses those of threads that are not there,
        # a label that two threads have, and addresses of code in a condition without label:"...".
        init = re.sub(r"\b(\d):\w+=[^;{}]*;", lambda m: m[0] if int(m[1]) < threads else "", init)
        rows = [line.removesuffix(";").split("|") for line in code]
        for row in rows[1:]:
            row[:] = [re.sub(r"\bL\b", f"L{i}", column) for i, column in enumerate(row)]
        condition = re.sub(r"=(P\d:\w+)", r'=label:"\1"', condition)
        lines = [head, f"CacheType={cache_type}" if cache_type else "", init]
        lines += [" | ".join(map(str.strip, row)) + " ;" for row in rows]
        return "\n".join(filter(None, [*lines, condition])) + "\n"

    for case in APPLICATION:
        yield case.name, text(case, "")
    for case in IFETCH:
        for cache_type in CACHE_TYPES:
            yield f"{case.name} ({cache_type or 'no IDC, no DIC'})", text(case, cache_type)


def checker(text: str, name: str) -> Answer:
    """What the checker says. Raises Refused."""
    try:
        result = run(read(text, name))
    except StaticCallError as error:
        raise Refused(f"checker: {error}") from None
    return Answer(frozenset(result.states), result.observation, FLAG in result.flags)


def herd7(command: list[str], text: str, seconds: float) -> Answer:
    """What herd7 says. Raises Refused."""
    # 64-bit variables that are accessed in halves need herd7's mixed-size mode.
    # It takes no type for a variable that starts with the address of code.
    text = re.sub(r"\buint64_t (\w+=label:)", r"\1", text)
    variant = "mixed" if "uint64_t" in text and "label:" not in text else "ifetch"
    with tempfile.NamedTemporaryFile("w", suffix=".litmus") as file:
        file.write(text)
        file.flush()
        try:
            done = subprocess.run(
                [*command, "-variant", variant, file.name],
                capture_output=True, text=True, timeout=seconds,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise Refused(f"herd7: more than {seconds:g} s") from None
    found = re.search(r"^States \d+\n(.*?)^(?:Ok|No)$", done.stdout, re.M | re.S)
    observation = re.search(r"^Observation .* (Never|Sometimes|Always) \d+ \d+$", done.stdout, re.M)
    if not found or not observation:
        raise Refused(f"herd7: {(done.stderr or done.stdout).strip()[:200]}")
    states = frozenset(line.strip() for line in found[1].splitlines())
    return Answer(states, observation[1], f"Flag {FLAG}" in done.stdout)


def main() -> int:
    """Runs both and prints the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("herd7", help="the command that runs herd7")
    parser.add_argument("file", nargs="*", type=Path)
    parser.add_argument("--seconds", type=float, default=60, help="for one test in herd7 (60)")
    parser.add_argument("--jobs", type=int, default=2, help="herd7 processes at a time (2)")
    options = parser.parse_args()
    command = shlex.split(options.herd7)
    rows = [(f.stem, f.read_text()) for f in options.file] if options.file else list(tests())
    count: Counter[str] = Counter()
    with ThreadPoolExecutor(options.jobs) as pool:
        theirs = [pool.submit(herd7, command, text, options.seconds) for _, text in rows]
        for (name, text), answer in zip(rows, theirs):
            try:
                ours, arms = checker(text, name), answer.result()
            except Refused as error:
                count["not compared"] += 1
                print(f"{name}: not compared: {error}")
                continue
            different = [
                f"{field}: checker {mine!r}, herd7 {other!r}"
                for field, mine, other in zip(Answer._fields, ours, arms)
                if mine != other
            ]
            known = " (known)" if KNOWN.match(name) else ""
            count[f"differ{known}" if different else "agree"] += 1
            for line in different:
                print(f"{name}{known}: {line}")
    print(", ".join(f"{number} {what}" for what, number in sorted(count.items())))
    return 0 if set(count) <= {"agree", "differ (known)"} else 1


if __name__ == "__main__":
    sys.exit(main())
