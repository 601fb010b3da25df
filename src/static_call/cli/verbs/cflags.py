"""static-call cflags: the compiler's flags for static_call.h."""

from __future__ import annotations

import argparse

from static_call.cli.arguments import installed

SUMMARY = "print the compiler's flags for static_call.h"


def arguments(_: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(_: argparse.Namespace) -> int:
    """Prints the flags."""
    print(f"-I{installed('include')}")
    return 0
