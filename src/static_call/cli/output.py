"""How the verbs print: tables, JSON, colour, one line on stderr, progress."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence


def width() -> int:
    """The columns of the terminal, as COLUMNS or the terminal says; 80 where neither does."""
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given):
        return int(given)
    for number in (1, 2):
        try:
            return os.get_terminal_size(number).columns or 80
        except OSError:
            pass
    return 80


def colour() -> bool:
    """Whether standard output is a terminal that takes more than plain text."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def table(
    rows: Sequence[Sequence[object]], head: Sequence[str], colours: Mapping[str, str] | None = None
) -> None:
    """Prints aligned columns, numbers to the right; on a terminal with bold heads.

    Args:
        rows: The cells; each row has as many as `head`.
        head: The columns' heads.
        colours: For a terminal: ANSI colour numbers by the first word of a cell.
    """
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *texts)]
    right = [bool(rows) and all(isinstance(cell, int) for cell in column) for column in zip(*rows)]
    colours = colours or {}

    def line(cells: Sequence[str]) -> Iterator[str]:
        for index, (cell, size) in enumerate(zip(cells, widths)):
            yield cell.rjust(size) if index < len(right) and right[index] else cell.ljust(size)

    def paint(padded: str) -> str:
        word, *_ = padded.split() or [""]
        return f"\033[{colours[word]}m{padded}\033[0m" if word in colours else padded

    if not colour():
        for row in (head, *texts):
            print("  ".join(line(row)).rstrip())
        return
    print(f"\033[1m{'  '.join(line(head))}\033[0m")
    for row in texts:
        print("  ".join(map(paint, line(row))))


def print_json(value: object) -> None:
    """Prints a value as JSON."""
    import json

    print(json.dumps(value, indent=2))


NO, TROUBLE = 1, 2
"""The exit statuses other than 0: the answer is no; there is no answer, or nothing was done."""


def say(message: str) -> None:
    """Prints one line on stderr."""
    line = message.replace("\n", "\\n")
    try:
        print(f"static-call: {line}", file=sys.stderr)
    except OSError:
        sys.stderr = None  # it is full: the exit status must suffice


def refuse(message: str, status: int = TROUBLE) -> int:
    """Prints the reason in one line on stderr; returns the exit status."""
    say(message)
    return status


def bug(error: Exception) -> str:
    """The text for an exception that is a bug of the program itself."""
    return (
        f"an error of static-call itself: {type(error).__name__}: {error}: please report it, with "
        "what STATIC_CALL_TRACEBACK=1 adds"
    )


def show_traceback() -> None:
    """Prints the traceback of the current exception, if the environment asks for it."""
    if os.environ.get("STATIC_CALL_TRACEBACK"):
        from traceback import print_exc

        print_exc()


class Named:
    """A `with` in which a file is written: an OSError without a file's name gets this one.

    open() names the file; a write that fails, such as on a full disk, does not.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, OSError) and error.errno and error.filename is None:
            error.filename = self._path


class Progress:
    """A line on stderr that says how far long work is: on a terminal, after a second.

    Use it in a `with`, which takes the line away at the end. Call `clear` before anything else is
    printed on the terminal.
    """

    def __init__(self) -> None:
        from time import monotonic

        self._clock = monotonic
        self._next = monotonic() + 1
        self._shown = False
        self._terminal = sys.stderr.isatty()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def __call__(self, done: int, total: int, what: str) -> None:
        """Shows how many are done, how many there are, and what is next; ten times a second."""
        if self._terminal and self._clock() >= self._next:
            self._next = self._clock() + 0.1
            line = f"{done}/{total} {what}"[: width() - 1]
            print(f"\r{line}\033[K", end="", file=sys.stderr, flush=True)
            self._shown = True

    def clear(self) -> None:
        """Takes the line away, until the next call."""
        if self._shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
            self._shown = False
