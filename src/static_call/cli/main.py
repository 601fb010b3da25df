"""Reads a command line, runs its verb, and says in one line what went wrong."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from static_call.cli.arguments import Misuse, Parser, Version
from static_call.cli.output import TROUBLE, bug, refuse, show_traceback
from static_call.errors import StaticCallError

TYPE_CHECKING = False  # as typing has it, whose import would take a tenth of the start-up
if TYPE_CHECKING:
    from types import ModuleType
    from typing import NoReturn

VERBS = (
    "designs", "list", "show", "set", "call", "check", "litmus", "board", "kernel", "cflags",
    "libs", "pkgconfig", "completion",
)  # fmt: skip
"""The verbs, each a module of cli.verbs, in the order of the help."""

INTERRUPTED, PIPE_CLOSED = 130, 141
"""Exit statuses as shells have them for SIGINT and SIGPIPE: 128 and the signal's number."""

EPILOG = """\
exit status:
  0         done, or the answer is yes
  1         the answer is no: list finds no static call, check a claim that
            does not hold, litmus a test whose condition does not hold,
            board an outcome that the model forbids
  2         trouble: misuse, a file that cannot be read, what is refused, an
            error of static-call itself
  130, 141  interrupted; the reader of the output has gone

environment:
  NO_COLOR               no colour on a terminal
  COLUMNS                the width of help and progress
  STATIC_CALL_TRACEBACK  if set, an error also prints Python's traceback
"""


def command() -> NoReturn:
    """The installed program: `main` for a process that does nothing else.

    Python's normal exit, which tears down every module, would take a seventh of the time of `list`
    on a small file, so it is skipped. `python -m static_call` exits normally, for profilers and the
    like.
    """
    # argparse looks for translations of its texts, of which there are none: that takes longer than
    # reading the command line.
    argparse.__dict__["_"] = str
    gc.set_threshold(100_000)  # new objects, not 700: imports make many objects, and no garbage
    os._exit(main())  # main has flushed standard output; standard error is flushed line by line


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line; returns the exit status. Every refusal is one line on stderr."""
    for name in ("stdout", "stderr"):
        if (stream := getattr(sys, name)) is None:  # closed: so no file of ours gets its number
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
        elif reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")  # a symbol may have any character in its name
    try:
        try:
            status = _run(list(sys.argv[1:] if arguments is None else arguments))
        except SystemExit as end:  # argparse's, after --help and --version
            status = TROUBLE if end.code else 0
        sys.stdout.flush()
        return status
    except (Exception, KeyboardInterrupt) as error:
        return _trouble(error)


def _run(words: list[str]) -> int:
    if "_ARGCOMPLETE" in os.environ:  # a shell asks for completions: see completion
        from static_call.cli.completion import answer

        answer(parser())
    if not words:
        print(parser().format_help(), end="", file=sys.stderr)
        return TROUBLE
    verb, *rest = words
    if verb == "help":
        verb, words = (rest[0], [rest[0], "--help"]) if rest else ("--help", ["--help"])
    if verb not in VERBS and not verb.startswith("-"):
        raise Misuse(f"there is no verb {verb}{_nearest(verb)}: see static-call --help")
    if verb in VERBS:
        options = verb_parser(verb).parse_mixed(words[1:])
    else:
        options = parser().parse_args(words)
    status: int = options.run(options)
    return status


def _nearest(word: str) -> str:
    """A hint at the verb that may be meant, if one is similar."""
    from difflib import get_close_matches

    like = get_close_matches(word, VERBS, n=1)
    return f", did you mean {like[0]}?" if like else ""


def _trouble(error: Exception | KeyboardInterrupt) -> int:
    """Says in one line what went wrong; returns the exit status."""
    written = _flushes()
    if isinstance(error, BrokenPipeError):
        return PIPE_CLOSED  # the reader has seen enough: end as a program that SIGPIPE kills
    show_traceback()
    if isinstance(error, KeyboardInterrupt):
        return refuse("interrupted", INTERRUPTED)
    if isinstance(error, StaticCallError):
        return refuse(str(error))
    if isinstance(error, ModuleNotFoundError) and not f"{error.name}.".startswith("static_call."):
        return refuse(f"this needs {error.name}, which is not installed: pip install {error.name}")
    if isinstance(error, MemoryError):
        return refuse("out of memory")
    if isinstance(error, OSError):
        where = _where(error, written)
        return refuse(f"{where}: " * bool(where) + (error.strerror or str(error)))
    return refuse(bug(error))


def _where(error: OSError, written: bool) -> str:
    """What an OSError is about; "" if that is not known.

    Everything that writes a file names it, so what is full and has no name is standard output. If
    that has no buffer, it has already forgotten what it could not write: `written` is True.
    """
    from errno import EDQUOT, EFBIG, ENOSPC

    if error.filename is not None:
        return str(error.filename) or "''"
    return "" if written and error.errno not in (ENOSPC, EDQUOT, EFBIG) else "standard output"


def _flushes() -> bool:
    """Whether standard output takes what was printed; if not, it is not tried again."""
    try:
        sys.stdout.flush()
    except OSError:
        sys.stdout = None  # else the interpreter would flush again at its end, and complain
        return False
    return True


def verb_parser(name: str) -> Parser:
    """The parser of what comes after a verb."""
    verb = _module(name)
    before, after = _texts(verb)
    return _filled(Parser(prog=f"static-call {name}", description=before, epilog=after), verb)


def parser() -> Parser:
    """The parser of a whole command line: for the help, what has no verb, and completion."""
    top = Parser(
        prog="static-call",
        description="Static calls for arm64: list them, look at them, retarget them.\n\n"
        "static-call VERB --help says what a verb takes, with an example.",
        epilog=EPILOG,
    )
    top.add_argument("--version", action=Version, nargs=0, help="print the version and exit")
    verbs = top.add_subparsers(title="verbs", metavar="VERB", required=True, prog="static-call")
    for name in VERBS:
        verb = _module(name)
        before, after = _texts(verb)
        one = verbs.add_parser(name, help=verb.SUMMARY, description=before, epilog=after)
        top.verbs[name] = _filled(one, verb)
    return top


def _module(verb: str) -> ModuleType:
    return import_module(f"static_call.cli.verbs.{verb}")


def _texts(verb: ModuleType) -> tuple[str, str]:
    """What a verb's help says before its arguments and after them."""
    before = f"{verb.SUMMARY[0].upper()}{verb.SUMMARY[1:]}.\n\n{verb.DESCRIPTION}"
    return before, "example:\n  " + verb.EXAMPLE.replace("\n", "\n  ")


def _filled(parser: Parser, verb: ModuleType) -> Parser:
    """The parser with the verb's arguments, and what runs it."""
    verb.arguments(parser)
    parser.set_defaults(run=verb.run)
    return parser
