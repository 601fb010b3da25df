"""Counts call sites in arm64 code: BL and B instructions that go to one of some addresses.

It searches hundreds of megabytes without decoding words that cannot be such a branch. Within a
chunk of code, the branches to a few entries have few different upper halves: six bits say B or BL,
the other ten give the distance in units of 256 KiB. Those two bytes are searched for, and only what
is found is decoded.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import compress, count

from static_call.elf.packed import u16s

_B, _BL = 0x1400, 0x9400  # upper halves with an offset of 0; Arm ARM C6.2, B and BL
_STEP = 18  # bits: 256 KiB, what the upper half counts in
_REACH = 1 << 27
_FEW = 16  # upper halves, up to which searching for each is faster than looking at every word


def count_sites(code: Iterable[tuple[int, bytes]], entries: Collection[int]) -> dict[int, int]:
    """How many BL and B in the code go to each of the entries.

    Args:
        code: the addresses of chunks, which are multiples of 4, and their bytes. Data between
            instructions is read as instructions: it counts if it has the bits of a branch to an
            entry.
        entries: addresses.
    """
    counts = dict.fromkeys(entries, 0)
    ranges = _ranges(sorted(counts))
    for address, data in code:
        for at in _candidates(data, _upper_halves(ranges, address, len(data))):
            word = int.from_bytes(data[at : at + 4], "little")
            target = address + at + 4 * ((word & 0x3FFFFFF ^ 0x2000000) - 0x2000000)
            if target in counts:
                counts[target] += 1
    return counts


def _ranges(entries: list[int]) -> list[tuple[int, int]]:
    """For each group of entries that are close together, the first and the last."""
    ranges: list[tuple[int, int]] = []
    for entry in entries:
        if ranges and entry - ranges[-1][1] < 1 << _STEP:
            ranges[-1] = (ranges[-1][0], entry)
        else:
            ranges.append((entry, entry))
    return ranges


def _upper_halves(ranges: list[tuple[int, int]], address: int, size: int) -> set[int]:
    """The upper halves that a branch from a chunk to one of the ranges can have."""
    halves = set()
    for low, high in ranges:
        first = max(low - address - size, -_REACH) >> _STEP
        last = min(high - address, _REACH - 1) >> _STEP
        for steps in range(first, last + 1):
            halves |= {_B | steps & 0x3FF, _BL | steps & 0x3FF}
    return halves


def _candidates(data: bytes, halves: set[int]) -> Iterator[int]:
    """The offsets of the words with one of these upper halves."""
    if len(halves) > _FEW:
        yield from compress(count(0, 4), map(halves.__contains__, u16s(data)[1::2]))
        return
    for half in halves:
        pattern = half.to_bytes(2, "little")
        at = data.find(pattern)
        while at >= 0:
            if at % 4 == 2:
                yield at - 2
            at = data.find(pattern, at + 1)
