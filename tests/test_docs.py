"""The documentation's examples: what they show is what happens."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import arm64_linux
import pytest
from patience import patient
from toolchain import missing, need

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
NOT_RUN = ("pip install", "git clone")  # what sets up; CI runs those for themselves


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_pages_examples(page: Path, tmp_path: Path) -> None:
    """Files that a page shows are written, its commands and Python run, in order; the output that
    it shows is the output that comes, but for lines with an ellipsis."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    if page.stem == "README":  # what one sees in a clone of the project
        (tmp_path / "src").symlink_to(ROOT / "src")
        shutil.copytree(ROOT / "examples", tmp_path / "examples")
    if page.stem == "field":  # in docs/, where its sequences lie
        (tmp_path / "field").symlink_to(ROOT / "docs" / "field")
    for language, text in BLOCK.findall(page.read_text()):
        if language == "c" and (name := re.match(r"/\* ([\w.]+) \*/", text)):
            (tmp_path / name[1]).write_text(text)
        elif language == "console":
            _run_commands(text, tmp_path, environment)
        elif language == "python" and page.stem == "process":  # of a process on arm64
            _run_on_arm64(text)
            if "import ctypes" not in text and "loaded()" not in text:  # what works anywhere
                subprocess.run([sys.executable, "-c", text], cwd=tmp_path, check=True, timeout=60)
        elif language == "python":
            subprocess.run(
                [sys.executable, "-c", text], cwd=tmp_path, check=True, timeout=patient(60)
            )


def _run_on_arm64(text: str) -> None:
    try:
        done = arm64_linux.python("-c", text, environment={"PYTHONPATH": str(ROOT / "src")})
    except arm64_linux.Unavailable as error:
        missing("an arm64 environment", str(error))
    assert (done.returncode, done.stderr) == (0, "")


def _run_commands(text: str, folder: Path, environment: dict[str, str]) -> None:
    for command, shown in re.findall(r"^\$ ((?:[^'\n]|'[^']*')*)\n((?:(?!\$ ).*\n)*)", text, re.M):
        if command.startswith(NOT_RUN):
            continue
        if (tool := command.split()[0]) in ("aarch64-linux-gnu-gcc", "qemu-aarch64", "make"):
            need(tool, "aarch64-linux-gnu-gcc")
        done = subprocess.run(
            command, shell=True, cwd=folder, env=environment, text=True, timeout=patient(120),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        if not shown and done.returncode:
            pytest.fail(f"{command}: {done.stdout}")
        expected = [line.rstrip() for line in shown.splitlines()]
        got = [line.rstrip() for line in done.stdout.splitlines()]
        if expected and expected[-1] == "...":
            got = got[: len(expected)]
        if expected:
            assert len(got) == len(expected), (command, done.stdout)
        for want, line in zip(expected, got):
            pattern = re.escape(want).replace(r"\.\.\.", ".*")
            assert re.fullmatch(pattern, line), (command, want, line)
