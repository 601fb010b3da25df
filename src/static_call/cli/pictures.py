"""The files that --svg, --dot and --html write: all of them whole, or none."""

from __future__ import annotations

import argparse
import os
import stat
from collections.abc import Sequence

from static_call.cli.arguments import Misuse
from static_call.cli.output import Named

TYPE_CHECKING = False  # as typing has it, whose import would take a tenth of the start-up
if TYPE_CHECKING:
    from contextlib import ExitStack
    from typing import Protocol

    from static_call.memory_model.drawing import Picture

    class Story(Protocol):
        """What can be drawn."""

        @property
        def picture(self) -> Picture:
            """What is drawn."""
            ...

        @property
        def about(self) -> str:
            """A sentence on what was asked, or on what holds."""
            ...

        @property
        def text(self) -> str:
            """All of it in words."""
            ...


_KINDS = {
    "svg": "draw {what} as SVG",
    "dot": "draw {what} as a graph for Graphviz",
    "html": "the same as a web page, with the text",
}


def picture_options(parser: argparse.ArgumentParser, what: str) -> None:
    """Adds an option for each kind of file."""
    for kind, text in _KINDS.items():
        parser.add_argument(f"--{kind}", metavar="FILE", help=text.format(what=what))


class Pictures:
    """The files that a command line asks for.

    Args:
        options: The command line.
        inputs: The files that are read, and must not be written over.

    Raises:
        Misuse: two names are of one file, or one is of an input.
        NotWritten: a file cannot be written. So does OSError.
    """

    def __init__(self, options: argparse.Namespace, inputs: Sequence[str] = ()) -> None:
        given = {kind: getattr(options, kind) for kind in _KINDS}
        self._paths: dict[str, str] = {k: path for k, path in given.items() if path is not None}
        known = {os.path.realpath(path): path for path in inputs}
        for kind, path in self._paths.items():
            real = os.path.realpath(path)
            if not path:
                raise Misuse(f"--{kind} needs the name of a file")
            if _is_device(path):
                continue
            if real in known:
                raise Misuse(f"--{kind} {path} would replace {known[real]}")
            known[real] = f"the file of --{kind}"
            _check(path, real)

    def __bool__(self) -> bool:
        return bool(self._paths)

    def write(self, story: Story) -> None:
        """Writes the files. Each appears whole; if one cannot be written, none changes.

        Raises OSError.
        """
        import sys
        from contextlib import ExitStack

        from static_call.memory_model import drawing

        drawn: list[tuple[str, bytes]] = []
        for kind, path in self._paths.items():
            if kind == "html":
                text = drawing.html(story.picture, story.about, story.text)
            else:
                text = (drawing.svg if kind == "svg" else drawing.dot)(story.picture)
            drawn.append((path, text.encode()))
        with ExitStack() as stack:
            ready = [_prepare(stack, *one) for one in drawn if not _is_device(one[0])]
            for made, real in ready:
                os.replace(made, real)
        sys.stdout.flush()  # which may be the device
        for path, data in drawn:
            if _is_device(path):
                with Named(path), open(path, "ab") as file:
                    file.write(data)


def _prepare(stack: ExitStack, path: str, data: bytes) -> tuple[str, str]:
    """A complete temporary file, which lives as long as `stack`, and the name that it will take."""
    from static_call.places import temporary

    real = os.path.realpath(path)
    try:
        fd, made = stack.enter_context(temporary.beside(real))
        with open(fd, "wb", closefd=False) as file:
            file.write(data)
        os.fchmod(fd, _mode(real))
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    return made, real


def _is_device(path: str) -> bool:
    """Whether a name is of something that is written to, not replaced: a pipe, a terminal."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return path.startswith("/dev/") or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _check(path: str, real: str) -> None:
    """Raises OSError or NotWritten where a file cannot be written, before any work is done."""
    import errno

    from static_call.places.whole_file import check_writable

    folder = os.path.dirname(real)
    reason = 0
    if os.path.isdir(real) or path.endswith("/"):
        reason = errno.EISDIR
    elif not os.path.isdir(folder):
        reason = errno.ENOTDIR if os.path.exists(folder) else errno.ENOENT
    elif not os.access(folder, os.W_OK):
        reason = errno.EACCES
    if reason:
        raise OSError(reason, os.strerror(reason), path)
    check_writable(real)


def _mode(path: str) -> int:
    """The permissions of the file that is replaced, or those that a new one gets."""
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask
