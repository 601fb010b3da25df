"""Runs tests with newer Pythons, from Debian's newer releases: nothing is installed.

    python tests/newer_pythons.py [VERSION...]

On this computer each runs with the C library of its release, from a folder of the cache that
arm64_linux.py describes; then tests/arm64 runs with it in QEMU, where Debian has what that needs.
Exit status 1 if a test fails, 2 if a Python cannot be had.
"""

from __future__ import annotations

import importlib.metadata
import os
import shlex
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path

import arm64_linux
from debian import Packages, Unavailable, say
from patience import patient

PYTHONS = {"3.13": "trixie", "3.14": "forky", "3.15": "forky"}
"""By version the release that it is from."""

NEEDED = ("pytest", "hypothesis", "pyelftools", "capstone")
"""Debian's Python packages that tests need. Any version runs them: Python and ctypes."""

OURS = ("unicorn", "argcomplete")
"""Packages of the Python that runs this. Any version runs them, too, and trixie's unicorn is too
old: places/emulator/processor.py says why."""

TESTS = Path(__file__).parent
SOURCE = TESTS.parent / "src"
ELSEWHERE = (
    "arm64",
    "package",
    "docs",
    "kernel",
    "synchronize",
    "torture",
    "c_builds",
    "debian",
    "test_herd7",
)
"""Tests that need an installed package, or whose Python is another one."""

SITE = """\
import sys
sys.executable = {command!r}
"""
"""What a started Python finds as sitecustomize: the command that starts another one like it."""


def packages(version: str) -> Packages:
    """A Python and what tests need."""
    names = (f"python{version}", "python3", *(f"python3-{name}" for name in NEEDED))
    return Packages(names, (PYTHONS[version],), omit=arm64_linux.UNUSED)


def command(version: str, folder: Path) -> Path:
    """A script that runs a Python of the cache, in `folder`, with static-call installed."""
    root = arm64_linux.unpacked(f"python-{version}", packages(version))
    script = folder / f"python{version}"
    site = folder / f"site-{version}"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SITE.format(command=str(script)))
    for name in OURS:
        (site / name).symlink_to(Path(str(import_module(name).__file__)).parent)
    metadata = site / "static_call.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(
        f"Name: static-call\nVersion: {importlib.metadata.version('static-call')}\n"
    )
    words = arm64_linux.with_its_libraries(root, f"python{version}", root / "usr/lib")
    script.write_text(
        "#!/bin/sh\n"
        f"export PYTHONHOME={shlex.quote(str(root / 'usr'))}\n"
        f"export PYTHONPATH={shlex.quote(f'{site}:{SOURCE}')}\n"
        f'exec {shlex.join(words)} "$@"\n'
    )
    program = folder / "static-call"
    main = "from static_call.cli.main import command; command()"
    program.write_text(f"#!/bin/sh\nexec {shlex.quote(str(script))} -c '{main}' \"$@\"\n")
    for one in (script, program):
        one.chmod(0o755)
    return script


def passes(what: str, python: str | Path, *options: str | Path, **environment: str) -> bool:
    """Runs pytest with a Python; says whether its tests passed."""
    say(f"{what}: pytest {shlex.join(map(str, options))}")
    command = [python, "-m", "pytest", "-q", *options]
    limit = patient(1800)
    return not subprocess.run(command, env=os.environ | environment, timeout=limit).returncode


def main(versions: list[str]) -> int:
    """Runs all of it; returns the exit status."""
    passed = True
    alone = ("-p", "no:cacheprovider", "-o", "addopts=", "-k", f"not ({' or '.join(ELSEWHERE)})")
    arm64 = ("-k", "new_user_mode or in_guest", TESTS / "test_arm64.py")
    for version in versions or PYTHONS:
        with tempfile.TemporaryDirectory() as folder:
            python = command(version, Path(folder))
            passed &= passes(f"Python {version}", python, *alone, TESTS)
        if version in arm64_linux.PYTHONS:
            named = {"STATIC_CALL_TEST_PYTHON": version}
            passed &= passes(f"Python {version} on arm64", sys.executable, *arm64, **named)
    return 0 if passed else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Unavailable as error:
        say(f"no newer Python: {error}")
        sys.exit(2)
