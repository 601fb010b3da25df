"""static-call libs: the C file that programs which update at run time compile in."""

from __future__ import annotations

import argparse

from static_call.cli.arguments import installed

SUMMARY = "print the path of static_call.c, for programs that update at run time"
DESCRIPTION = """\
Programs that only define and call static calls need the header alone."""
EXAMPLE = """\
$ aarch64-linux-gnu-gcc $(static-call cflags) program.c $(static-call libs)"""


def arguments(_: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(_: argparse.Namespace) -> int:
    """Prints the path."""
    print(installed("include", "static_call.c"))
    return 0
