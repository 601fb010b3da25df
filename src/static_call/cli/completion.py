"""Completion in shells, by argcomplete: an optional dependency, which knows the shells."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from static_call.cli.arguments import Parser, load_designs, open_image
from static_call.errors import StaticCallError

SHELLS = ("bash", "zsh", "fish")
MISSING = "completion needs argcomplete: pip install 'static-call[completion]'"


def answer(parser: Parser) -> None:
    """Answers the shell's question, which is in the environment, and ends the process."""
    try:
        import argcomplete
        from argcomplete.completers import FilesCompleter
    except ImportError:
        raise StaticCallError(MISSING) from None
    files = FilesCompleter()

    def designs(prefix: str, **_: object) -> Iterable[str]:
        from static_call.design import notation

        return [*notation.shipped(), *files(prefix)]

    completers = {"design": designs, "name": static_calls, "change": changes}
    for verb in parser.verbs.values():
        for action in verb.arguments:
            if action.dest in completers and action.metavar != "FILE":
                vars(action)["completer"] = completers[action.dest]  # where argcomplete looks
    argcomplete.autocomplete(parser)


def script(shell: str) -> str:
    """The code that a shell must read once so that it asks us. Raises StaticCallError."""
    try:
        from argcomplete.shell_integration import shellcode
    except ImportError:
        raise StaticCallError(MISSING) from None
    text: str = shellcode(["static-call"], shell=shell)
    return text


def static_calls(parsed_args: argparse.Namespace, **_: object) -> list[str]:
    """The names of the static calls of the file that is on the command line."""
    from static_call import image_calls

    options = argparse.Namespace(file=parsed_args.file, debug_file=None)
    try:
        with open_image(options) as image:
            return [call.name for call in image_calls.find(image, load_designs([]))]
    except (StaticCallError, OSError):
        return []


def changes(parsed_args: argparse.Namespace, **_: object) -> list[str]:
    """The same, each followed by the = that comes before a target."""
    return [f"{name}=" for name in static_calls(parsed_args)]
