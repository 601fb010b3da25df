"""Reads a command line, runs its verb, and says in one line what went wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module

from static_call.cli.arguments import Parser, Version
from static_call.cli.output import refuse
from static_call.errors import StaticCallError

VERBS = (
    "designs", "list", "show", "set", "call", "check", "litmus", "kernel", "cflags", "libs",
    "pkgconfig",
)  # fmt: skip
"""The verbs, each a module of cli.verbs, in the order of the help."""

EPILOG = """\
exit status: 0 done, 1 the answer is no, 2 misuse
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line; returns the exit status. Every refusal is one line on stderr."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = parser(words[:1] if words and words[0] in VERBS else VERBS).parse_args(words)
    for name in ("stdout", "stderr"):
        if (stream := getattr(sys, name)) is None:  # closed: so no file of ours gets its number
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
        elif reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")  # a symbol may have any character in its name
    try:
        status: int = options.run(options)
        sys.stdout.flush()
        return status
    except StaticCallError as error:
        return refuse(str(error), error.status)
    except BrokenPipeError:
        # The reader of our output has seen enough; keep the interpreter from flushing again.
        sys.stdout = None
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return refuse(f"{where}{error.strerror or error}")
    except KeyboardInterrupt:
        return refuse("interrupted", 130)


def parser(names: Iterable[str] = VERBS) -> Parser:
    """The parser of a command line with one of these verbs."""
    top = Parser(
        prog="static-call",
        description="Static calls for arm64: list them, look at them, retarget them.",
        epilog=EPILOG,
    )
    top.add_argument("--version", action=Version, nargs=0, help="print the version and exit")
    verbs = top.add_subparsers(metavar="VERB", required=True, prog="static-call")
    for name in names:
        verb = import_module(f"static_call.cli.verbs.{name}")
        text = verb.SUMMARY
        one = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        verb.arguments(one)
        one.set_defaults(run=verb.run)
    return top
