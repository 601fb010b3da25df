"""static-call call: calls a function in the emulated machine."""

from __future__ import annotations

import argparse
import os

from static_call.cli.arguments import Misuse, design_option, parse_changes, parse_target

SUMMARY = "call a function of an ELF file in the emulated machine"
DESCRIPTION = """\
The file is loaded into an emulated machine: one PE, no kernel, no other
files. Nothing is written to the file. The result is x0, as a number."""
EXAMPLE = """\
$ static-call call program work 3 --bits 32
$ static-call call program policy 3 --set policy=fast --count"""

_TEXT = "str:"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    parser.add_argument("file", metavar="FILE", help="an arm64 ELF file")
    parser.add_argument("name", metavar="NAME", help="a static call, or else a function")
    parser.add_argument(
        "argument", nargs="*", default=[], metavar="ARGUMENT",
        help="an integer, or str:TEXT for the address of a text",
    )  # fmt: skip
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=TARGET", dest="change",
        help="retarget a static call in the machine first (may be repeated)",
    )  # fmt: skip
    parser.add_argument(
        "--bits", type=int, choices=(8, 16, 32, 64), default=64,
        help="the bits of the result that count: 32 for an int (default 64)",
    )  # fmt: skip
    parser.add_argument(
        "--count", action="store_true", help="also print how many instructions were executed"
    )
    design_option(parser)


def run(options: argparse.Namespace) -> int:
    """Calls the function and prints its result."""
    from static_call.places.emulator import Emulator

    machine = Emulator()
    image = machine.load(options.file, options.design)
    image.set_calls(
        {name: parse_target(text) for name, text in parse_changes(options.change).items()}
    )
    arguments = [_argument(text) for text in options.argument]
    address = image.address(options.name)
    more = ""
    if options.count:
        result, executed = machine.trace(address, *arguments)
        more = f" ({len(executed)} instructions)"
    else:
        result = machine.call(address, *arguments)
    result &= (1 << options.bits) - 1
    print(f"{result} = {result:#x}{more}")
    return 0


def _argument(text: str) -> int | bytes:
    if text.startswith(_TEXT):
        return os.fsencode(text.removeprefix(_TEXT)) + b"\0"
    try:
        number = int(text, 0)
    except ValueError:
        raise Misuse(f"argument {text}: expected an integer or {_TEXT}TEXT") from None
    if not -(1 << 63) <= number < 1 << 64:
        raise Misuse(f"argument {text}: a register has 64 bits")
    return number
