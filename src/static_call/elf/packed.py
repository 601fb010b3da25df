"""Packed tables of little-endian numbers: like struct, but for many records at once."""

from __future__ import annotations

import sys
from array import array


def _numbers(typecode: str, data: bytes) -> array[int]:
    numbers = array(typecode)
    numbers.frombytes(data[: len(data) // numbers.itemsize * numbers.itemsize])
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def u16s(data: bytes) -> array[int]:
    """The 16-bit numbers in data; a rest of fewer bytes is left out."""
    return _numbers("H", data)


def u32s(data: bytes) -> array[int]:
    """The 32-bit numbers in data; a rest of fewer bytes is left out."""
    return _numbers("I", data)


def u64s(data: bytes) -> array[int]:
    """The 64-bit numbers in data; a rest of fewer bytes is left out."""
    return _numbers("Q", data)


def from_u64s(numbers: array[int]) -> bytes:
    """64-bit numbers as data: what u64s reads."""
    if sys.byteorder == "big":
        numbers = numbers[:]
        numbers.byteswap()
    return numbers.tobytes()
