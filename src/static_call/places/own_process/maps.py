"""What is mapped into this process: /proc/self/maps, and room for more."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple

from static_call.errors import StaticCallError

_LOWEST = 1 << 16  # vm.mmap_min_addr is at most this


class NoProc(StaticCallError):
    """/proc/self cannot be read."""


class Mapping(NamedTuple):
    """One line of /proc/self/maps.

    start, end   addresses
    permissions  "r-xp"
    offset       in the file, bytes
    path         the file's, "[heap]" and the like, or ""; a line feed in it is written \\012
    device       the file system's, as "08:01"; inode is the file's, and 0 for no file
    """

    start: int
    end: int
    permissions: str
    offset: int
    path: str
    device: str = ""
    inode: int = 0

    @property
    def file(self) -> tuple[str, int, str]:
        """What tells its file from others."""
        return self.device, self.inode, self.path

    def __contains__(self, address: object) -> bool:
        """Whether an address is in it."""
        return isinstance(address, int) and self.start <= address < self.end


def mappings() -> list[Mapping]:
    """The mappings of this process in order of address. Raises NoProc."""
    found = []
    for line in _lines("maps"):
        fields = line.split(None, 5)
        start, end = fields[0].split("-")
        path = fields[5].rstrip("\n") if len(fields) > 5 else ""
        found.append(
            Mapping(
                int(start, 16), int(end, 16), fields[1], int(fields[2], 16), path, fields[3],
                int(fields[4]),
            )
        )  # fmt: skip
    return found


def executable(known: Sequence[Mapping], address: int) -> bool:
    """Whether there is code at an address; `known` are all mappings, in order."""
    number = bisect_right(known, address, key=attrgetter("start")) - 1
    return number >= 0 and address < known[number].end and "x" in known[number].permissions


def guarded(address: int) -> bool:
    """Whether the page is guarded, so that an indirect branch needs a landing pad: `bt` in smaps.

    Raises NoProc.
    """
    inside = False
    for line in _lines("smaps"):
        head, _, rest = line.rstrip().partition(" ")  # qemu-user may give no flags, and no space
        if head == "VmFlags:":
            if inside:
                return "bt" in rest.split()
        elif not head.endswith(":"):
            start, end = head.split("-")
            inside = int(start, 16) <= address < int(end, 16)
    return False


def room(taken: Sequence[Mapping], size: int, near: int, reach: int) -> int | None:
    """Where `size` unmapped bytes begin, all within `reach` bytes of `near`, and the closest.

    `size` is a multiple of the alignment. None where there is no such room.
    """
    best: int | None = None
    low = _LOWEST
    for high, end in [*((one.start, one.end) for one in taken), (1 << 47, 0)]:
        # The gap from low to high: its place that is closest to `near`.
        start = -(-max(low, min(near, high - size)) // size) * size
        if start + size > high:
            start -= size
        if start >= low and start + size <= high:
            farthest = max(abs(start - near), abs(start + size - near))
            if farthest <= reach and (best is None or abs(start - near) < abs(best - near)):
                best = start
        low = end
    return best


def _lines(name: str) -> list[str]:
    try:
        # A carriage return in a path ends no line.
        with open(
            f"/proc/self/{name}", encoding="utf-8", errors="surrogateescape", newline="\n"
        ) as file:
            return file.readlines()
    except OSError as error:
        raise NoProc(f"cannot read /proc/self/{name}: {error.strerror}") from None
