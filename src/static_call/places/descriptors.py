"""File descriptors that are never one of the standard three.

A program may run with stdin, stdout or stderr closed. The next file that is opened then gets that
number, and the program, or one of its libraries, uses it as its stdin, stdout or stderr.
"""

from __future__ import annotations

import fcntl
import os
from typing import NamedTuple

from static_call.locks import Lock

LOWEST = 3
"""The lowest number that is not a standard one."""


def above_standard(fd: int) -> int:
    """The same open file at LOWEST or above; a lower descriptor is closed. Raises OSError."""
    if fd >= LOWEST:
        return fd
    higher = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, LOWEST)
    os.close(fd)
    return higher


class Held:
    """A file that this process keeps open for reading and writing.

    Other code may close descriptors that it did not open (os.closerange, a daemon that cleans up),
    or open another file with the same number. So the file is recognised by its inode, and opened
    again if it is not there. In the child of a fork, /proc/thread-self is another file, so it is
    opened again there too.

    Attributes:
        path: The file's path.
    """

    def __init__(self, path: str) -> None:
        """Opens nothing yet."""
        self.path: str = path
        self._lock = Lock()
        self._known: _Known | None = None

    def fileno(self) -> int:
        """The descriptor. Raises OSError if the file cannot be opened."""
        if (known := self._known) is not None and known.holds():
            return known.fd
        with self._lock:
            known = self._known
            if known is None or not known.holds():
                self.close()
                known = self._known = self._open()
            return known.fd

    def close(self) -> None:
        """Closes it, if it is still the file that was opened."""
        known, self._known = self._known, None
        if known is not None and known.inode == _inode(known.fd):
            os.close(known.fd)

    def forked(self) -> None:
        """In the child of a fork: closes the parent's file, and makes a new lock."""
        self._lock = Lock()
        self.close()

    def _open(self) -> _Known:
        found: list[int] = []
        known = None
        try:
            # One C call opens and notes: no exception of a signal handler can come between.
            found.extend(map(os.open, [self.path], [os.O_RDWR | os.O_CLOEXEC]))
            if found[0] < LOWEST:
                found.extend(map(fcntl.fcntl, found[:], [fcntl.F_DUPFD_CLOEXEC], [LOWEST]))
            inode = _inode(found[-1])
            assert inode is not None
            known = _Known(os.getpid(), inode, found[-1])
            return known
        finally:
            for fd in found[:-1] if known else found:
                os.close(fd)


class _Known(NamedTuple):
    """A descriptor and what it was when it was opened."""

    process: int
    inode: tuple[int, int]
    fd: int

    def holds(self) -> bool:
        """Whether it is still that file, and belongs to this process."""
        return self.process == os.getpid() and self.inode == _inode(self.fd)


def _inode(fd: int) -> tuple[int, int] | None:
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino
