"""A file that is read at offsets, and closed as soon as nothing refers to it."""

from __future__ import annotations

import os

from static_call.elf.errors import Damaged


class Reader:
    """An open file.

    It is in no reference cycle, so it is closed without the garbage collector's help. The file is
    read by pread and never mapped: if another process truncated a mapped file, a signal would kill
    this process.

    Attributes:
        path: the name of the file in messages; at first the path that it was opened by.
        stat: the file's status when it was opened.
    """

    _fd = -1

    def __init__(self, path: str) -> None:
        """Opens the file. Raises OSError."""
        self.path: str = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        self.stat: os.stat_result = os.fstat(self._fd)

    def close(self) -> None:
        """Closes the file; nothing can be read afterwards."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    __del__ = close

    def fileno(self) -> int:
        """The descriptor, which is read-only."""
        return self._fd

    def __call__(self, offset: int, size: int) -> bytes:
        """`size` bytes at an offset; fewer where the file ends."""
        return os.pread(self._fd, size, offset) if 0 <= offset < self.stat.st_size else b""

    def whole(self, offset: int, size: int) -> bytes:
        """Bytes that were there when the file was opened. Raises Damaged if they are gone."""
        data = self(offset, size)
        if len(data) < size:
            raise Damaged(f"{self.path}: the file became shorter while it was read")
        return data

    def check(self, offset: int, size: int, what: str) -> None:
        """Raises Damaged if the file ends before `what`, a part of it, does."""
        if offset + size > self.stat.st_size:
            raise Damaged(
                f"{self.path}: its {what} ends at byte {offset + size:#x}, "
                f"the file at {self.stat.st_size:#x}: is it truncated?"
            )

    def part(self, offset: int, size: int, what: str) -> bytes:
        """All bytes of `what`, a part of the file. Raises Damaged if they are not there."""
        self.check(offset, size, what)
        return self.whole(offset, size)
