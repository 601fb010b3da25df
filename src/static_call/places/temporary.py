"""A temporary file that will take another file's name, and those left by killed processes.

The process that writes a temporary file keeps it locked (flock) as long as it runs. So a file that
is not locked is left over, and the next process that writes in this folder deletes it.
"""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from static_call.places.descriptors import above_standard

_MARK = ".static-call-"
_NAME = 200  # bytes of the other file's name that are used: a name has 255 at most


@contextmanager
def beside(target: str) -> Iterator[tuple[int, str]]:
    """A new file in the folder of `target`: its descriptor and path. At the end it is deleted, if
    it is still there.

    Raises OSError.
    """
    folder, name = os.path.split(target)
    prefix = "." + os.fsdecode(os.fsencode(name)[:_NAME]) + _MARK
    _clear(folder, prefix)
    fd, path = _make(folder, prefix)
    try:
        yield fd, path
    finally:
        with suppress(OSError):
            if os.path.samestat(os.stat(path), os.fstat(fd)):
                os.unlink(path)
        os.close(fd)


def _make(folder: str, prefix: str) -> tuple[int, str]:
    """A new, locked file that no other process has taken for one that was left over."""
    while True:
        fd, path = tempfile.mkstemp(prefix=prefix, dir=folder)
        try:
            fd = above_standard(fd)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.stat(path), os.fstat(fd)):
                return fd, path
        except (BlockingIOError, FileNotFoundError):
            pass  # another process looked at it before it was locked, and deletes it
        except BaseException:
            os.unlink(path)
            os.close(fd)
            raise
        os.close(fd)


def _clear(folder: str, prefix: str) -> None:
    """Deletes what killed processes left, as far as it can."""
    left = re.compile(re.escape(prefix) + "[a-z0-9_]{8}")  # as tempfile ends names
    with suppress(OSError):
        for name in os.listdir(folder):
            if left.fullmatch(name):
                with suppress(OSError):
                    _delete(os.path.join(folder, name))


def _delete(path: str) -> None:
    """Deletes a file unless a process has it locked."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
    finally:
        os.close(fd)
