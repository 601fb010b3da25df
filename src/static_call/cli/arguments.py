"""What the command lines of the verbs share: the parser, options, numbers and targets."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from static_call.cli.output import width
from static_call.errors import StaticCallError

TYPE_CHECKING = False  # as typing has it, whose import would take a tenth of the start-up
if TYPE_CHECKING:
    from typing import NoReturn

    from _typeshed import SupportsWrite

    from static_call.design.design import Design
    from static_call.design.target import Target
    from static_call.elf.image import Image
    from static_call.memory_model.program import Limits

BOUNDS = {
    "unroll": "follow a loop for at most N rounds (default 4)",
    "steps": "follow a thread for at most N instructions (default 400)",
    "paths": "at most N paths through a thread (default 20000)",
    "combinations": "at most N steps to combine the threads' paths (default 1000000)",
    "executions": "at most N executions (default 1000000)",
}
"""The options that bound the checker's work, and their help."""


EDITIONS = {
    "every": "what every edition lists",
    "newer": "also B.cond, CBZ, TBZ and their like, as newer editions before issue M.a do",
    "present": "also UDF, and rewriting a word as it was, as issue M.a with its known issues does",
}
"""The editions of Arm's text, and what each allows to be modified while it may execute."""


class Misuse(StaticCallError):
    """The command line makes no sense."""


class Help(argparse.RawDescriptionHelpFormatter):
    """Help that keeps the lines of descriptions and epilogs.

    argparse makes one for each argument that is added. Unless it is given a width, it imports
    shutil each time to find the terminal's: a third of a verb's start-up.
    """

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=width() - 2)


class Parser(argparse.ArgumentParser):
    """A parser with our help; its verbs' parsers are Parsers too.

    Attributes:
        verbs: The parsers of the verbs by name, if this is the main parser.
    """

    def __init__(
        self,
        *,
        prog: str | None = None,
        description: str | None = None,
        epilog: str | None = None,
        color: bool = False,
    ) -> None:
        super().__init__(prog=prog, description=description, epilog=epilog, formatter_class=Help)
        self.color = color  # for Python 3.14 and newer: their default is coloured help
        self.verbs: dict[str, Parser] = {}

    @property
    def arguments(self) -> list[argparse.Action]:
        """Its arguments, in order: argparse keeps them, but has no public name for them."""
        return self._actions

    def parse_mixed(self, words: Sequence[str]) -> argparse.Namespace:
        """Parses options and operands in any order, as GNU tools do. Raises Misuse."""
        return self.parse_args(self._options_first(words))

    def _options_first(self, words: Sequence[str]) -> Sequence[str]:
        """The words as argparse wants them: options, `--` if need be, all operands together.

        If an option lacks a value, they stay as they are: argparse refuses them then.
        """
        options: list[str] = []
        operands: list[str] = []
        rest = iter(words)
        for word in rest:
            if word == "--":
                operands += rest
            elif not _like_option(word):
                operands.append(word)
            else:
                options.append(word)
                for _ in range(self._values(word)):
                    value = next(rest, "--")
                    if _like_option(value):
                        return words
                    options.append(value)
        end = ["--"] if any(word.startswith("-") for word in operands) else []
        return [*options, *end, *operands]

    def _values(self, option: str) -> int:
        """How many words after an option are its values."""
        known = {name: one for one in self._actions for name in one.option_strings}
        meant = [one for name, one in known.items() if name.startswith(option) and name[1] == "-"]
        action = known.get(option) or (meant[0] if meant else None)
        if action is None:  # it is wrong, or its value is in the same word
            return 0
        return 1 if action.nargs is None else int(action.nargs)

    def print_help(self, file: SupportsWrite[str] | None = None) -> None:
        """Prints the help; raises OSError, which argparse would ignore."""
        print(self.format_help(), end="", file=file)

    def error(self, message: str) -> NoReturn:
        """Raises Misuse: one line, as for everything that is refused."""
        program, _, verb = self.prog.partition(" ")
        raise Misuse(
            f"{verb}: " * bool(verb) + f"{message}: see {program} {verb}".rstrip() + " --help"
        )


def _like_option(word: str) -> bool:
    """Whether argparse would take a word for an option: it begins with -, and is not a number."""
    return word.startswith("-") and not word[1:2].isdigit() and word != "-"


class Version(argparse.Action):
    """--version: reads the version only if it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Prints it and exits."""
        from importlib.metadata import version

        print(f"static-call {version('static-call')}")
        parser.exit()


def design_option(parser: argparse.ArgumentParser) -> None:
    """Adds -d, and its name in 0.1, which in `kernel` means something else."""
    parser.add_argument(
        "-d", "--add-design", action="append", default=[], metavar="FILE", dest="design",
        help="also recognise the design in FILE (may be repeated)",
    )  # fmt: skip
    parser.add_argument("--design", action="append", help=argparse.SUPPRESS)


def debug_option(parser: argparse.ArgumentParser) -> None:
    """Adds --debug-file."""
    parser.add_argument(
        "--debug-file", metavar="FILE", help="take the symbols of a stripped file from FILE"
    )


def bounds(parser: argparse.ArgumentParser) -> None:
    """Adds an option for each of BOUNDS."""
    for name, text in BOUNDS.items():
        parser.add_argument(f"--{name}", type=_count, metavar="N", help=text)


def edition_option(parser: argparse.ArgumentParser) -> None:
    """Adds --edition."""
    parser.add_argument(
        "--edition", choices=tuple(EDITIONS), default=[*EDITIONS][-1],
        help="what Arm's text allows to be modified while it may execute: "
        + "; ".join(f"{name}: {says}" for name, says in EDITIONS.items())
        + " (default: present)",
    )  # fmt: skip


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"expected a number from 1, not {text}")
    return int(text)


def given_limits(options: argparse.Namespace) -> Limits:
    """The bounds that a command line gives; the checker's defaults for the others."""
    from static_call.memory_model.program import Limits

    given = {name: getattr(options, name) for name in BOUNDS}
    return Limits(**{name: value for name, value in given.items() if value})


def load_designs(extra: Sequence[str]) -> list[Design]:
    """The user's own designs and the shipped ones, in the order in which they are tried."""
    from static_call.design import notation
    from static_call.image_calls import longest_first

    return longest_first(notation.load(name) for name in (*extra, *notation.shipped()))


def open_image(options: argparse.Namespace) -> Image:
    """The file, with the symbols of --debug-file or of the file's own debug file."""
    from static_call.elf import debug_file
    from static_call.elf.image import Image

    image = Image.open(options.file)
    try:
        debug_file.attach(image, options.debug_file)
    except BaseException:
        image.close()
        raise
    return image


def parse_changes(texts: Sequence[str]) -> dict[str, str]:
    """The texts of targets by name, from NAME=TARGET each. Raises Misuse."""
    found: dict[str, str] = {}
    for text in texts:
        name, _, target = text.partition("=")
        if not (name and target):
            raise Misuse(f"{text}: expected NAME=TARGET")
        if name in found:
            raise Misuse(f"{name} is set twice")
        found[name] = target
    return found


def parse_target(text: str) -> Target | str:
    """The target that TARGET means; a symbol's name means itself. Raises Misuse."""
    from static_call.design.target import RET0

    if text in ("null", "ret0"):
        return None if text == "null" else RET0
    if not text.startswith("0x"):
        return text
    try:
        return int(text, 16)
    except ValueError:
        raise Misuse(f"{text} is not an address") from None


def installed(*names: str) -> str:
    """The path of a file or folder of the package."""
    return os.path.join(os.path.dirname(os.path.dirname(__file__)), *names)
