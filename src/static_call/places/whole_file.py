"""Replaces a file whole by a changed copy, or leaves it as it was.

The new file is written in full beside the old one, with the same mode, owner and extended
attributes, and then takes its name. At the path, others find the old file or the new one, never
anything in between. Other hard links keep the old file; a symbolic link stays a symbolic link.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from static_call.elf.errors import ElfError
from static_call.elf.image import Image
from static_call.places import temporary

_COPY = 1 << 20
"""Bytes that are copied at once if the file system cannot share blocks: 1 MiB."""


class ReadOnly(ElfError):
    """Nobody may write to the file."""


class Changed(ElfError):
    """The file is no longer the one that was read, or somebody else is changing it."""


class NotWritten(ElfError):
    """The new file could not be written: the disk is full, or permission is missing. The old
    file stays."""


def check_writable(path: str) -> None:
    """Refuses to replace what may not be written, even if replacing it would be allowed.

    Raises:
        NotWritten: it is not a regular file.
        ReadOnly: nobody, or not this user, may write to it.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(status.st_mode):
        raise NotWritten(f"{path}: not a regular file")
    if not status.st_mode & 0o222 or not os.access(path, os.W_OK):
        raise ReadOnly(f"{path}: it is read-only")


@contextmanager
def locked(image: Image, path: str) -> Iterator[None]:
    """Keeps other static-call processes away, and checks that the file was not replaced.

    The lock is on the file that was opened: a process that waited for it finds another file at the
    path. Raises Changed.
    """
    try:
        fcntl.flock(image.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Changed(f"{path}: another process is changing it") from None
    try:
        _check_unchanged(image, os.stat(path))
        yield
    finally:
        fcntl.flock(image.fileno(), fcntl.LOCK_UN)


def replace(
    image: Image,
    target: str,
    patches: Iterable[tuple[int, bytes]],
    check: Callable[[str], None],
    *,
    keep: bool,
) -> None:
    """Makes a patched copy of an image's file, which takes a name.

    Args:
        image: the image of the file.
        target: the name.
        patches: offsets in the file, and the new bytes there.
        check: looks at the new file, at this path, before it takes the name. May raise.
        keep: whether to keep the old file's owner, attributes and all bits of its mode; if not,
            the permission bits alone.

    Raises:
        Changed: the image's file changed.
        NotWritten: the new file cannot have the same owner.
        OSError: the new file cannot be written.
    """
    with temporary.beside(target) as (fd, path):
        _copy(image, fd)
        for offset, data in patches:
            _write_at(fd, offset, data)
        _check_unchanged(image, os.fstat(image.fileno()))
        check(path)
        if keep:
            _keep_owner(image, fd, target)
        os.fchmod(fd, stat.S_IMODE(image.stat.st_mode) & (0o7777 if keep else 0o777))
        os.fsync(fd)
        os.replace(path, target)
    _sync(os.path.dirname(target))


def _check_unchanged(image: Image, now: os.stat_result) -> None:
    if _identity(now) != _identity(image.stat):
        raise Changed(f"{image.path}: it has changed since it was read: try again")


def _identity(status: os.stat_result) -> tuple[int, ...]:
    """What distinguishes one state of a file from another."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _copy(image: Image, fd: int) -> None:
    """Copies the image's file; if the file system can share blocks, without writing them."""
    source, size, at = image.fileno(), image.stat.st_size, 0
    with suppress(OSError, AttributeError):  # not on this system, or not on this file system
        while at < size and (count := os.copy_file_range(source, fd, size - at, at, at)):
            at += count
    while at < size:
        data = os.pread(source, min(_COPY, size - at), at)
        if not data:
            raise Changed(f"{image.path}: it became shorter while it was copied")
        _write_at(fd, at, data)
        at += len(data)


def _write_at(fd: int, offset: int, data: bytes) -> None:
    while data:
        count = os.pwrite(fd, data, offset)
        offset, data = offset + count, data[count:]


def _keep_owner(image: Image, fd: int, path: str) -> None:
    """Copies owner and extended attributes: the owner must be kept, the others if allowed."""
    owner = (image.stat.st_uid, image.stat.st_gid)
    made = os.fstat(fd)
    if owner != (made.st_uid, made.st_gid):
        try:
            os.fchown(fd, *owner)
        except PermissionError:
            raise NotWritten(
                f"{path}: only its owner or root can replace it, as the new file is to have "
                "the same owner and group: write a copy instead"
            ) from None
    with suppress(OSError, AttributeError):
        for name in os.listxattr(image.fileno()):
            with suppress(OSError):
                os.setxattr(fd, name, os.getxattr(image.fileno(), name))


def _sync(folder: str) -> None:
    """Makes a rename durable, if the file system can sync folders."""
    with suppress(OSError):
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
