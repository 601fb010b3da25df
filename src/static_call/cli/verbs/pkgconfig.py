"""static-call pkgconfig: the folder of static-call.pc."""

from __future__ import annotations

import argparse

from static_call.cli.arguments import installed

SUMMARY = "print the folder of static-call.pc, for PKG_CONFIG_PATH"


def arguments(_: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(_: argparse.Namespace) -> int:
    """Prints the folder."""
    print(installed("pkgconfig"))
    return 0
