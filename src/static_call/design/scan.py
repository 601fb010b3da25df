"""Where trampolines may be in code, by their shape: one pass for all designs.

Some bits are the same in every trampoline of a design, whatever its form and address: a mask and a
value. One word of which all bits are, the landmark, is searched for as bytes; the other bits are
looked at only where it is found. Designs with the same landmark share the search: that of all
shipped designs is `br x16`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from static_call.design.design import Design
from static_call.errors import StaticCallError
from static_call.records import NamedTuple

Chunk = tuple[int, bytes, int]
"""Code: its address, a multiple of 4; its bytes; the address that alignments count from."""


class _Search(NamedTuple):
    """A design, and what to look for.

    Attributes:
        design: the design.
        mask: the bits of the trampoline that all its trampolines share.
        value: the value of these bits.
        landmark: the offset of the word that is searched for, in bytes.
    """

    design: Design
    mask: int
    value: int
    landmark: int


def candidates(code: Iterable[Chunk], designs: Sequence[Design]) -> Iterator[tuple[int, Design]]:
    """Where trampolines of a design may start, by its alignment; the rest is not looked at.

    Args:
        code: in chunks, each with the start of the next one: at least `overlap(designs)` bytes,
            which are searched twice, so an address in them may be given twice.
        designs: the designs.

    Raises:
        StaticCallError: a design has no word that never changes.
    """
    searches = _by_landmark(designs)
    for address, data, origin in code:
        for word, group in searches.items():
            at = data.find(word)
            while at >= 0:
                if at % len(word):
                    at = data.find(word, at - at % len(word) + len(word))
                    continue
                for design, mask, value, landmark in group:
                    start = at - landmark
                    if start < 0 or (address - origin + start) % design.align:
                        continue
                    found = data[start : start + design.size]
                    same = design.isa.number(found) & mask == value
                    if same and len(found) == design.size:
                        yield address + start, design
                at = data.find(word, at + len(word))


def overlap(designs: Iterable[Design]) -> int:
    """The bytes of the longest trampoline."""
    return max((design.size for design in designs), default=0)


def _by_landmark(designs: Sequence[Design]) -> dict[bytes, list[_Search]]:
    """The searches, as few as possible, by the words to look for."""
    whole = [_whole_words(design) for design in designs]
    shared = [word for words in whole for word in set(words.values())]
    searches: dict[bytes, list[_Search]] = {}
    for design, words in zip(designs, whole):
        if not words:
            raise StaticCallError(
                f"{design.name} has no word that never changes: it cannot be scanned for"
            )
        isa = design.isa

        def rank(
            at: int, words: dict[int, int] = words, design: Design = design
        ) -> tuple[bool, int, int]:
            common = design.isa.decode(words[at], 0).name in design.isa.common
            return common, -shared.count(words[at]), at

        landmark = min(words, key=rank)
        word = isa.data(words[landmark], isa.word)
        searches.setdefault(word, []).append(_Search(design, *design.shape.common, landmark))
    return searches


def _whole_words(design: Design) -> dict[int, int]:
    """The words that never change and depend on no address, by their offsets."""
    shape, isa = design.shape, design.isa
    mask, value = shape.common
    full = (1 << 8 * isa.word) - 1
    shifts = {at: shape.shift(at, isa.word) for at in range(0, design.size, isa.word)}
    return {at: value >> by & full for at, by in shifts.items() if mask >> by & full == full}
