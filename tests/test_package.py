"""The package as it is installed: what a wheel has in it."""

import subprocess
import sys
import zipfile
from pathlib import Path

from patience import patient

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
