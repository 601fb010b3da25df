"""Where trampolines may be in code, by their shape: one pass for all designs.

What every trampoline of a design has, whatever its form and wherever it is, are some bits of its
words: a mask and a value. One word that is whole, the landmark, is searched for as bytes; the other
bits are looked at only where it is found. Designs that share a landmark share the search: all the
shipped ones have `br x16`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from static_call.design.design import Design
from static_call.errors import StaticCallError
from static_call.isa import a64

_COMMON = frozenset({"bti c", "ret", "nop"})
"""What begins, ends and fills functions everywhere; `br x16` ends little but trampolines."""

Chunk = tuple[int, bytes, int]
"""Code: its address, a multiple of 4; its bytes; the address that alignments count from."""


class _Shape(NamedTuple):
    """What the trampolines of a design have in common.

    mask, value  bits of the trampoline as one little-endian number
    landmark     the offset of the word that is searched for
    """

    design: Design
    mask: int
    value: int
    landmark: int


def candidates(code: Iterable[Chunk], designs: Sequence[Design]) -> Iterator[tuple[int, Design]]:
    """Where a trampoline of a design may start, as its alignment has it; the rest is not looked at.

    code  in chunks, each with the start of the next one: at least `overlap(designs)` bytes, which
          are searched twice, so that what is found in them may come twice
    Raises StaticCallError where a design has no word that never changes.
    """
    shapes = _by_landmark(designs)
    for address, data, origin in code:
        for word, group in shapes.items():
            at = data.find(word)
            while at >= 0:
                if at % a64.WORD:
                    at = data.find(word, (at | a64.WORD - 1) + 1)
                    continue
                for design, mask, value, landmark in group:
                    start = at - landmark
                    if start < 0 or (address - origin + start) % design.align:
                        continue
                    found = data[start : start + design.size]
                    same = int.from_bytes(found, "little") & mask == value
                    if same and len(found) == design.size:
                        yield address + start, design
                at = data.find(word, at + a64.WORD)


def overlap(designs: Iterable[Design]) -> int:
    """The bytes of the longest trampoline."""
    return max((design.size for design in designs), default=0)


def _by_landmark(designs: Sequence[Design]) -> dict[bytes, list[_Shape]]:
    """The designs' shapes by the words to be searched for, as few as there can be."""
    whole = [_whole_words(design) for design in designs]
    shared = [word for words in whole for word in set(words.values())]
    shapes: dict[bytes, list[_Shape]] = {}
    for design, words in zip(designs, whole):
        if not words:
            raise StaticCallError(
                f"{design.name} has no word that never changes: it cannot be scanned for"
            )
        landmark = min(
            words,
            key=lambda at: (a64.decode(words[at]).name in _COMMON, -shared.count(words[at]), at),
        )
        word = words[landmark].to_bytes(a64.WORD, "little")
        shapes.setdefault(word, []).append(_Shape(design, *_bits(design), landmark))
    return shapes


def _bits(design: Design) -> tuple[int, int]:
    """The mask and the value of a design's trampolines."""
    mask = value = 0
    for item in design.items:
        if item.offset is None or item.size != a64.WORD:
            continue
        held = [design.pattern(one, item.offset, {})[:2] for one in item.contents.values()]
        if any(item.holds(form) is None for form in design.forms):
            held.append((0xFFFFFFFF, 0))  # what a form leaves as it is may never have been written
        bits, word = held[0]
        for other_bits, other in held:
            bits &= other_bits & ~(word ^ other)
        mask |= bits << 8 * item.offset
        value |= (word & bits) << 8 * item.offset
    return mask, value


def _whole_words(design: Design) -> dict[int, int]:
    """The words that never change, nor depend on where anything is, by their offsets."""
    mask, value = _bits(design)
    offsets = range(0, design.size, a64.WORD)
    full = 0xFFFFFFFF
    return {at: value >> 8 * at & full for at in offsets if mask >> 8 * at & full == full}
