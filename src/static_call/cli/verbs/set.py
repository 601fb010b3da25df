"""static-call set: retargets static calls of an ELF file."""

from __future__ import annotations

import argparse
import sys

from static_call.cli.arguments import (
    debug_option,
    design_option,
    load_designs,
    open_image,
    parse_changes,
    parse_target,
)
from static_call.cli.output import say
from static_call.cli.static_calls import key, says
from static_call.errors import StaticCallError

SUMMARY = "retarget static calls of an ELF file"
DESCRIPTION = """\
All changes are checked before the first is written, and the file is replaced
whole or left as it was. TARGET is a function's symbol, an address 0xADDR,
null (the call returns at once) or ret0 (it returns 0). NAME may be the
address of a trampoline."""
EXAMPLE = """\
$ static-call set program policy=fast hook=null
$ static-call set program policy=slow -o changed"""

_WORDS = {"-": "null", "0": "ret0"}  # the words for the short forms in a table


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    parser.add_argument("file", metavar="FILE", help="an arm64 ELF file")
    parser.add_argument(
        "change", nargs="+", metavar="NAME=TARGET",
        help="TARGET is a symbol, 0xADDR, null or ret0; NAME may be a trampoline's 0xADDR",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--output", metavar="OUT", help="write a changed copy, leave FILE unchanged"
    )
    design_option(parser)
    debug_option(parser)


def run(options: argparse.Namespace) -> int:
    """Retargets all of them or none, and prints what the new file says."""
    from static_call.key import RETURN0
    from static_call.places.set_calls import set_calls

    changes = parse_changes(options.change)
    designs = load_designs(options.design)
    with open_image(options) as image:
        targets = {name: parse_target(text) for name, text in changes.items()}
        written = set_calls(image, designs, targets, options.output)
    if keyless := [one.name for one in written if one.key is None]:
        say(f"{', '.join(keyless)}: no key is known, so the trampoline alone is set")
    try:
        for name, one in zip(changes, written):
            _, form, target = says(one)
            target = key(one) if one.goal and one.goal.name == RETURN0 and one.key else target
            print(f"{name} = {_WORDS.get(target, target)} ({form})")
        sys.stdout.flush()
    except OSError as error:
        path = options.output or options.file
        raise StaticCallError(
            f"{path}: it is set, but standard output cannot be written: {error.strerror}"
        ) from None
    return 0
