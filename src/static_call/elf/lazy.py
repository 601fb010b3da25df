"""Records of a file that are made on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

TYPE_CHECKING = False  # as typing has it, without its import
if TYPE_CHECKING:
    from typing import TypeVar

    Record = TypeVar("Record")


class Records(Iterable["Record"]):
    """Numbered records, each made on demand: a file may have half a million sections."""

    def __init__(self, count: int, make: Callable[[int], Record]) -> None:
        """Takes how many there are, and what makes the record of an index."""
        self._numbers, self._make = range(count), make

    def __len__(self) -> int:
        """How many there are."""
        return len(self._numbers)

    def __iter__(self) -> Iterator[Record]:
        """Each of them, in order."""
        return map(self._make, self._numbers)

    def __getitem__(self, index: int) -> Record:
        """The record of an index, which may be negative as in a list."""
        return self._make(self._numbers[index])
