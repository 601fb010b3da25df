"""static-call libs: the C file that programs which update at run time compile in."""

from __future__ import annotations

import argparse

from static_call.cli.arguments import installed

SUMMARY = "print the C file that programs which update at run time compile in"


def arguments(_: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(_: argparse.Namespace) -> int:
    """Prints the path."""
    print(installed("include", "static_call.c"))
    return 0
