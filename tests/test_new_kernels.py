"""What the newest kernel allows: an update is right there, or refused with the reason, and no call
ever goes elsewhere. In the guest, with two CPUs; C and Python."""

from __future__ import annotations

import errno
from pathlib import Path

import arm64_linux
import guest
import pytest
import toolchain

SOURCE = Path(__file__).parent.parent / "src"
INCLUDE = SOURCE / "static_call" / "include"

PROGRAM = """
#include <stdio.h>
#include "static_call.h"
static int one(int x) { return x + 1; }
static int two(int x) { return x + 2; }
DEFINE_STATIC_CALL(call, one);
int main(void)
{
	int error = static_call_update(call, two);

	printf("C: %d %d %d\\n", error, static_call(call)(0), static_call_query(call) == two);
	return 0;
}
"""

SCRIPT = """
import static_call
try:
    place = static_call.host()
    one = place.function("bti c\\nadd x0, x0, #1\\nret")
    call = static_call.StaticCall("call", one)
    call.update(place.function("bti c\\nadd x0, x0, #2\\nret"))
    print("Python:", call(0))
except static_call.StaticCallError as error:
    print("Python:", type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("append", "expected", "said"),
    [
        ("", errno.ENOTSUP, "FEAT_MOPS"),
        ("arm64.nomops", errno.EIO, "proc_mem.force_override=always"),
        (arm64_linux.MAY_WRITE, errno.ENOTSUP, "FEAT_MOPS"),
        (f"{arm64_linux.MAY_WRITE} arm64.nomops", 0, "Python: 2"),
    ],
    ids=["as-configured", "without-mops", "may-write", "may-write-without-mops"],
)
def test_an_update_is_right_or_refused(
    append: str, expected: int, said: str, tmp_path: Path
) -> None:
    """Linux 7.3 lets no process write its own text unless it is told to; and where it copies by
    FEAT_MOPS, a write is not known to be one store. With both out of the way updates work."""
    toolchain.need("aarch64-linux-gnu-gcc")
    source, program = tmp_path / "call.c", tmp_path / "call"
    source.write_text(PROGRAM)
    toolchain.GCC(
        "-O2", "-static", f"-I{INCLUDE}", source, INCLUDE / "static_call.c", "-o", program
    )
    files: dict[str, bytes | Path] = {"/call": program, "/try.py": SCRIPT.encode()}
    files |= {
        f"/src/{path.relative_to(SOURCE)}": path
        for path in sorted(SOURCE.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    try:
        shown = arm64_linux.in_guest(
            f"/call\nPYTHONPATH=/src {Path(arm64_linux.PYTHON).name} /try.py",
            files, tmp_path, kernel=arm64_linux.kernel_new, append=append,
        )  # fmt: skip
    except arm64_linux.Unavailable as error:
        toolchain.missing("the guest", str(error))
    except guest.GuestError as error:
        pytest.fail(str(error))
    updated = int(expected == 0)
    assert f"C: {expected} {1 + updated} {updated}" in shown.replace("\r", "")
    assert said in shown
