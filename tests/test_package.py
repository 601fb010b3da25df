"""The package as installed: the contents of a wheel."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

from patience import patient
from toolchain import need, run

from static_call.cli.main import VERBS

ROOT = Path(__file__).parent.parent


def test_a_wheel_has_the_data_files(tmp_path: Path) -> None:
    """Designs, the C files, static-call.pc and the marker for type checkers come with a wheel."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(tmp_path)]
    subprocess.run([*command, str(ROOT)], check=True, timeout=patient(300))
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    source = ROOT / "src"
    kinds = ("*.s", "*.c", "*.h", "*.pc", "py.typed")
    data = [path for kind in kinds for path in source.rglob(kind)]
    assert len(data) > 10
    assert {str(path.relative_to(source)) for path in data} <= names
    assert any(name.endswith(".data/data/share/man/man1/static-call.1") for name in names)


def test_the_manual_page_is_that_of_the_help() -> None:
    """docs/static-call.1 is what scripts/man prints, and groff finds nothing wrong with it."""
    page = ROOT / "docs" / "static-call.1"
    command = [sys.executable, str(ROOT / "scripts" / "man")]
    made = subprocess.run(command, capture_output=True, text=True, check=True, timeout=patient(60))
    assert made.stdout == page.read_text(), "run scripts/man > docs/static-call.1"
    need("groff")
    done = run("groff", "-man", "-Tutf8", "-ww", page)
    assert not done.stderr
    for verb in VERBS:
        assert f"static-call {verb}" in re.sub("\x1b[^m]*m", "", done.stdout)
