"""Tests that run on arm64: tests/arm64, under user-mode emulation and in a guest.

Each environment is one test here, which fails with what failed there. What runs there is listed
at the end of the run.
"""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import arm64_linux
import guest
import pytest
import toolchain
from patience import SLOWDOWN, patient

TESTS = Path(__file__).parent
SOURCE = TESTS.parent / "src"
INCLUDE = SOURCE / "static_call" / "include"

OPTIONS = (
    *("-p", "on_arm64", "-c", "/dev/null", "-p", "no:cacheprovider", "--strict-markers"),
    *("--timeout", str(patient(120)), "--durations", "5", "-q"),
)
"""pytest's, on arm64: this project's own need plugins that Debian's pytest does not have."""

PYTHON = Path(arm64_linux.PYTHON).name

SECONDS = 300
"""That a run may take."""


@dataclass
class Result:
    """The result of one test: `passed`, `skipped` or `failed`, and its text."""

    name: str
    outcome: str
    text: str = ""


def results(junit: str) -> Iterator[Result]:
    """The tests in a JUnit report, as pytest writes it."""
    for case in ET.fromstring(junit).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        outcome, text = "passed", ""
        for child in case:
            if child.tag in ("failure", "error"):
                outcome, text = "failed", child.text or ""
            elif child.tag == "skipped":
                outcome, text = "skipped", child.get("message") or ""
        yield Result(name, outcome, text)


def tree(folder: Path, at: str) -> dict[str, Path]:
    """The files of a directory for the guest, where it is to be found as `at`."""
    return {
        f"{at}/{path.relative_to(folder)}": path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def here() -> tuple[str, str]:
    """Options that keep pytest from using what is above tests/arm64."""
    return f"--rootdir={TESTS / 'arm64'}", f"--confcutdir={TESTS / 'arm64'}"


def in_user_mode(programs: Path, folder: Path, *, new: bool = False) -> str:
    """Runs the tests under user-mode emulation, by a `new` QEMU or by the installed one;
    returns the JUnit report."""
    report = folder / "report.xml"
    tests = TESTS / "arm64"
    done = arm64_linux.python(
        *("-m", "pytest", *OPTIONS, *here(), f"--junitxml={report}", tests),
        environment=environment("user-mode", SOURCE, tests, programs),
        seconds=SECONDS,
        new=new,
        cpu=arm64_linux.CPU_WITHOUT_MOPS if new else arm64_linux.CPU,
    )
    if not report.exists():
        pytest.fail(f"pytest: exit status {done.returncode}\n{done.stdout}\n{done.stderr}")
    return report.read_text()


def in_new_user_mode(programs: Path, folder: Path) -> str:
    """The same by QEMU 10, which sees that the kernel writes code. Its CPU has no FEAT_MOPS, with
    which a write need not be one store."""
    return in_user_mode(programs, folder, new=True)


def in_guest(programs: Path, folder: Path) -> str:
    """Runs the tests in the guest; returns the JUnit report."""
    variables = environment("guest", Path("/src"), Path("/tests"), Path("/programs"))
    job = [
        *(f"export {name}={shlex.quote(value)}" for name, value in variables.items()),
        shlex.join([PYTHON, "-m", "pytest", *OPTIONS, "--junitxml=/tmp/report", "/tests"]),
        f"echo {MARK}; cat /tmp/report; echo; echo {MARK}",
    ]
    files = tree(SOURCE, "/src") | tree(TESTS / "arm64", "/tests") | tree(programs, "/programs")
    files["/tests/patience.py"] = TESTS / "patience.py"
    console = arm64_linux.in_guest("\n".join(job), files, folder, seconds=SECONDS)
    return console.split(MARK)[1].strip()


MARK = "==== report ===="


def environment(name: str, source: Path, tests: Path, programs: Path) -> dict[str, str]:
    """The environment variables that tests/arm64/on_arm64.py describes."""
    return {
        "ARM64_ENVIRONMENT": name,
        "ARM64_PROGRAMS": str(programs),
        "PYTHONPATH": f"{source}:{tests}:{TESTS}",  # TESTS: for patience.py, where there is TESTS
        "STATIC_CALL_TEST_SLOWDOWN": str(SLOWDOWN),
        "PYTHONFAULTHANDLER": "1",
    }


STATIC, PIE, SHARED = ("-static", "-no-pie", "-fno-pie"), ("-pie", "-fPIE"), ("-shared", "-fPIC")
RUNTIME, LOADS, LIBRARY, UPDATE = (
    TESTS / "guest_c" / f"{name}.c" for name in ("runtime", "loads", "library", "update")
)
PROGRAMS: dict[str, tuple[str | Path, ...]] = {
    "callers.so": (*SHARED, TESTS / "arm64" / "c" / "callers.c"),
    "library.so": (*SHARED, TESTS / "arm64" / "c" / "library.c", INCLUDE / "static_call.c"),
    "runtime-static": (*STATIC, RUNTIME, INCLUDE / "static_call.c"),
    "runtime-pie": (*PIE, RUNTIME, INCLUDE / "static_call.c"),
    "update": (*PIE, UPDATE),  # it includes static_call.c
    "loads": (*PIE, "-rdynamic", LOADS, INCLUDE / "static_call.c"),
    "first.so": (*SHARED, "-DNAME=first", LIBRARY, INCLUDE / "static_call.c"),
    "second.so": (
        *(*SHARED, "-DNAME=second", "-DNO_CALL_OF_ITS_OWN", LIBRARY),
        INCLUDE / "static_call.c",
    ),
}
"""What is built for the tests on arm64: names, and what the compiler is given."""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the C programs and shared objects, built for arm64."""
    folder = tmp_path_factory.mktemp("programs")
    for name, arguments in PROGRAMS.items():
        toolchain.GCC(
            *("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", f"-I{INCLUDE}"),
            *(*arguments, "-o", folder / name),
        )
    return folder


@pytest.mark.parametrize("run", [in_user_mode, in_new_user_mode, in_guest])
def test_arm64(
    run: Callable[[Path, Path], str],
    programs: Path,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """All tests in tests/arm64 pass on arm64; in the guest none is skipped."""
    try:
        found = list(results(run(programs, tmp_path)))
    except arm64_linux.Unavailable as error:
        toolchain.missing("an arm64 environment", str(error))
    except guest.GuestError as error:
        pytest.fail(str(error))
    counts = {
        outcome: sum(result.outcome == outcome for result in found)
        for outcome in ("passed", "failed", "skipped")
    }
    where = run.__name__.replace("_", " ")
    lines = [f"tests/arm64 {where}: " + ", ".join(f"{n} {what}" for what, n in counts.items())]
    reasons = Counter(each.text for each in found if each.outcome == "skipped")
    lines += [f"  {number} skipped, {text}" for text, number in reasons.items()]
    record_property("report", "\n".join(lines))
    failed = [f"{each.name}\n{each.text}" for each in found if each.outcome == "failed"]
    if failed:
        pytest.fail("\n\n".join([*lines, *failed]), pytrace=False)
    assert counts["passed"]
    files = {each.name.split("::")[0].split(".")[-1] for each in found}
    assert files == {path.stem for path in (TESTS / "arm64").glob("test_*.py")}
    assert run is not in_guest or not counts["skipped"]


@pytest.mark.parametrize("name", ["guest", ""])
def test_the_wrong_environment_ends_the_run(name: str, tmp_path: Path) -> None:
    """Tests in tests/arm64 run only in the environment that they were started for."""
    try:
        done = arm64_linux.python(
            *("-m", "pytest", *OPTIONS, *here(), TESTS / "arm64" / "test_environment.py"),
            environment=environment(name, SOURCE, TESTS / "arm64", tmp_path),
        )
    except arm64_linux.Unavailable as error:
        toolchain.missing("an arm64 environment", str(error))
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"not in the environment {name!r}" in done.stderr


def test_another_architecture_ends_the_run(tmp_path: Path) -> None:
    """This host's own Python does not run what is in tests/arm64, unless it is an arm64 one."""
    if platform.machine() == "aarch64":
        pytest.skip("this host is an arm64 machine")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "on_arm64",
            "-c",
            "/dev/null",
            *here(),
            TESTS / "arm64",
        ],
        env=os.environ | environment("user-mode", SOURCE, TESTS / "arm64", tmp_path),
        capture_output=True,
        text=True,
        timeout=patient(60),
    )
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "not in the environment 'user-mode'" in done.stderr
