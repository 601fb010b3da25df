"""static-call kernel: makes a Linux tree support static calls on arm64."""

from __future__ import annotations

import argparse

from static_call.cli.arguments import Misuse
from static_call.cli.output import table
from static_call.errors import StaticCallError

SUMMARY = "make a Linux tree support static calls on arm64"
DESCRIPTION = """\
Adds HAVE_STATIC_CALL, with the trampoline of a design, to the sources of a
Linux tree. If it cannot, it says why and changes nothing. docs/kernel.md has
the details."""
EXAMPLE = """\
$ static-call kernel port linux --dry-run
$ static-call kernel port linux --design mainline
$ static-call kernel port linux --revert"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    parser.add_argument("what", choices=("port",), metavar="port", help="what to do: port")
    parser.add_argument("tree", metavar="TREE", help="a Linux source tree")
    parser.add_argument(
        "--design", metavar="DESIGN",
        help="the name of a design, or a file that has one (default inline-stub)",
    )  # fmt: skip
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "-n", "--dry-run", action="store_true", help="say what would be done, and do nothing"
    )
    instead.add_argument("--check", dest="dry_run", action="store_true", help=argparse.SUPPRESS)
    instead.add_argument("--patch", action="store_true", help="print patches for git am instead")
    instead.add_argument("--revert", action="store_true", help="take the port out of the tree")
    parser.add_argument("--force", action="store_true", help="port a design that is not sound")


def run(options: argparse.Namespace) -> int:
    """Ports a design, or takes the port out."""
    from static_call.design import notation
    from static_call.kernel import code, patches, port
    from static_call.kernel.tree import Tree

    if options.revert and (options.design is not None or options.force):
        raise Misuse("--revert takes out the port that is there: no --design or --force with it")
    tree = Tree(options.tree)
    port.known(tree)
    there = port.installed(tree)
    if options.revert:
        if there is None:
            raise StaticCallError(f"{tree.path}: no port to take out")
        without = port.reverted(tree)
        without.write()
        print(f"took the port of {there.name} out of {tree.path}")
        return 0
    wanted = options.design
    design = notation.load(wanted) if wanted is not None else there or notation.load("inline-stub")
    code.check(design)
    if there:
        if options.patch or code.text(design) != code.text(there):
            raise StaticCallError(
                f"{tree.path}: the port of {there.name} is there: --revert takes it out"
            )
        print(f"the port of {there.name} is in {tree.path}")
        return 0
    doubt = None if options.force else port.doubt(design)
    if doubt:
        raise StaticCallError(f"{design.name}: {doubt}. --force ports it anyway")
    if options.patch:
        print(patches.series(tree, port.parts(tree, design), patches.author(tree), design), end="")
        return 0
    changed = port.ported(tree, design)
    rows = patches.summary(tree, changed)
    if not options.dry_run:
        changed.write()
    table(rows, ["file", "", "lines"])
    print(
        f"\n{'would port' if options.dry_run else 'ported'} {design.name} to Linux {tree.version}"
    )
    return 0
