"""static-call list: the static calls of an ELF file."""

from __future__ import annotations

import argparse

from static_call.cli.arguments import debug_option, design_option, load_designs, open_image
from static_call.cli.output import NO, print_json, say, table
from static_call.cli.static_calls import as_json, key, says
from static_call.errors import StaticCallError

SUMMARY = "list the static calls of an ELF file"
DESCRIPTION = """\
FILE is an arm64 executable, shared object, relocatable object or kernel
image. For each static call the table has its trampoline's address, design and
form, its current target, and what its key holds. The exit status is 1 if the
file has no static call. The symbols of a stripped file are looked for where
gdb looks for them; if they are not there, nothing is known (exit status 2),
and --scan helps."""
EXAMPLE = """\
$ static-call list program
$ static-call list --json --sites program"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    parser.add_argument("file", metavar="FILE", help="an arm64 ELF file")
    parser.add_argument(
        "--sites", action="store_true", help="count the call sites of each (slower)"
    )
    parser.add_argument("--scan", action="store_true", help="find trampolines by shape, not symbol")
    parser.add_argument("--json", action="store_true", help="print JSON")
    design_option(parser)
    debug_option(parser)


def run(options: argparse.Namespace) -> int:
    """Prints the file's static calls."""
    from static_call import image_calls

    designs = load_designs(options.design)
    with open_image(options) as image:
        calls = (image_calls.scan if options.scan else image_calls.find)(image, designs)
        sites = image.code.sites([call.entry for call in calls]) if options.sites else {}
        shown = [as_json(call, image, sites.get(call.entry)) for call in calls if options.json]
        nameless = image.names.stripped and not options.scan
        rows = [
            [call.name, image.where(call.entry), *says(call), key(call)]
            + ([sites[call.entry]] if options.sites else [])
            for call in calls if not options.json
        ]  # fmt: skip
    if nameless and not calls:
        raise StaticCallError(
            f"{options.file}: its symbols are stripped, so it is not known whether it has static "
            "calls: give the file that has them with --debug-file, or try --scan, which looks for "
            "trampolines by shape"
        )
    if nameless:
        say(f"{options.file}: its symbols are stripped: only exported static calls are listed")
    if options.json:
        print_json({"file": options.file, "static_calls": shown})
    elif calls:
        head = ["name", "trampoline", "design", "form", "target", "key"]
        table(rows, head + (["sites"] if options.sites else []))
    else:
        more = "" if options.scan else ": try --scan, which looks for trampolines by shape"
        say(f"{options.file}: no static calls{more}")
    return 0 if calls else NO
