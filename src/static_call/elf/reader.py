"""A file that is read at offsets, and closed when nothing refers to it any more."""

from __future__ import annotations

import os

from static_call.elf.errors import Damaged


class Reader:
    """An open file. It refers to nothing that refers to it, so that it goes when its users go.

    path  as it was opened
    stat  of the file, when it was opened
    """

    _fd = -1

    def __init__(self, path: str) -> None:
        """Opens it. Raises OSError."""
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        self.stat = os.fstat(self._fd)

    def close(self) -> None:
        """Closes the file; nothing can be read afterwards."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    __del__ = close

    def fileno(self) -> int:
        """The descriptor, read-only."""
        return self._fd

    def __call__(self, offset: int, size: int) -> bytes:
        """Bytes of the file; fewer where it ends."""
        return os.pread(self._fd, size, offset) if 0 <= offset < self.stat.st_size else b""

    def whole(self, offset: int, size: int) -> bytes:
        """Bytes that were there when the file was opened; elf.Damaged where they no longer are."""
        data = self(offset, size)
        if len(data) < size:
            raise Damaged(f"{self.path}: the file became shorter while it was read")
        return data
