"""static-call pkgconfig: the folder of static-call.pc."""

from __future__ import annotations

import argparse

from static_call.cli.arguments import installed

SUMMARY = "print the folder of static-call.pc, for PKG_CONFIG_PATH"
DESCRIPTION = """\
With it, pkg-config knows the package static-call: the flags and the C file."""
EXAMPLE = """\
$ PKG_CONFIG_PATH=$(static-call pkgconfig) pkg-config --cflags static-call"""


def arguments(_: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(_: argparse.Namespace) -> int:
    """Prints the folder."""
    print(installed("pkgconfig"))
    return 0
