"""What the verbs print with: tables, JSON, colour, one line on stderr, progress."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence

TYPE_CHECKING = False  # as typing has it, whose import would take a tenth of the start-up
if TYPE_CHECKING:
    from rich.progress import Progress as Bar


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
    """Whether standard output is a terminal that wants more than plain text."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def table(
    rows: Sequence[Sequence[object]], head: Sequence[str], colours: Mapping[str, str] | None = None
) -> None:
    """Prints aligned columns, numbers to the right; on a terminal with bold heads.

    Args:
        rows: The cells, as many in each row as in `head`.
        head: The columns' heads.
        colours: By the first word of a cell, for a terminal: ANSI's numbers.
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


def refuse(message: str, status: int = 1) -> int:
    """Says why not, in one line on stderr; returns the exit status."""
    line = message.replace("\n", "\\n")
    print(f"static-call: {line}", file=sys.stderr)
    return status


class Progress:
    """A bar on stderr, where that is a terminal and it takes longer than a second."""

    def __init__(self) -> None:
        from time import monotonic

        self._clock = monotonic
        self._start = monotonic()
        self._bar: Bar | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def __call__(self, done: int, total: int, what: str) -> None:
        """Shows how many are done, of how many, and what is being done."""
        if self._bar is None:
            if not sys.stderr.isatty() or self._clock() - self._start < 1:
                return
            from rich.console import Console
            from rich.progress import Progress as Bar

            # What is printed meanwhile goes above the bar if it is shown on the same terminal.
            on_terminal = sys.stdout.isatty()
            self._bar = Bar(
                console=Console(stderr=True), transient=True, redirect_stdout=on_terminal
            )
            self._bar.add_task(what, total=total)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=done, description=what)
