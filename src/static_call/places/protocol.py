"""What a place can offer, in parts: each place implements the parts that it has.

- Memory: trampolines in it can be read and retargeted. A machine at the other end of a debug stub
  has this part alone.
- Code: it knows the addresses of symbols, and what is code. An ELF file also has this part, and can
  answer for memory that the file was loaded into.
- Runs: code in it can be called, and new static calls can be made.
- Native: its code runs in this process, so C functions of this process can be called there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from static_call.design.design import Design
from static_call.design.retarget import Retarget
from static_call.design.target import Target
from static_call.design.trampoline import Trampoline
from static_call.key import KeyStore
from static_call.sharing import Sharing

Argument = int | bytes | bytearray
"""What a function in a place can be called with: see places/function.py."""


class Piece(Protocol):
    """Memory that a place gave for a static call."""

    def give(self) -> None:
        """Gives it back, if it was taken. Doing so again has no effect."""
        ...


class HasAddress(Protocol):
    """Something callable that is at an address: a function of a place."""

    @property
    def address(self) -> int:
        """Its address."""
        ...


@runtime_checkable
class Memory(Protocol):
    """Somewhere that trampolines live.

    Attributes:
        live: Whether threads may be running in it while it is changed.
        shared: What the StaticCall objects of this memory share.
    """

    live: bool
    shared: Sharing

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes at an address; fewer where memory ends."""
        ...

    def perform(self, retarget: Retarget, key: KeyStore | None = None) -> None:
        """Stores into the key, then runs a retarget's code or performs its steps in order."""
        ...


@runtime_checkable
class Code(Protocol):
    """Knows the symbols and the code of a memory."""

    def resolve(self, name: str) -> int:
        """The address of a symbol. Raises a StaticCallError for one that is not there."""
        ...

    def executable(self, address: int, *, held: bool = False) -> bool:
        """Whether there is code at an address.

        Args:
            address: The address.
            held: Whether an object keeps the code where it is, so that an earlier answer may be
                given again.
        """
        ...

    def guarded(self, address: int) -> bool:
        """Whether an indirect branch to an address must land on a landing pad (FEAT_BTI)."""
        ...


@runtime_checkable
class Runs(Protocol):
    """A place that runs code, and where new static calls can be made.

    Attributes:
        names: The StaticCall objects that were made in it and are not closed, by name.
    """

    names: dict[str, Any]

    def call(self, address: int, /, *args: Argument) -> int:
        """Calls a function with integers and bytes; returns x0, unsigned."""
        ...

    def callable(self, address: int, prototype: type) -> Callable[..., Any]:
        """A callable that calls the function at an address, by a ctypes prototype."""
        ...

    def reserve(
        self,
        design: Design,
        pieces: list[Piece],
        *,
        near: int | None = None,
        at: int | None = None,
    ) -> tuple[Trampoline, int]:
        """Takes memory for a trampoline and its key; returns the trampoline and the key's address.

        Args:
            design: The trampoline's design.
            pieces: Gets each piece of memory before it is taken, so that a caller who is
                interrupted at any moment can give back what was taken.
            near: An address that the trampoline should reach.
            at: The trampoline's address, where it can be chosen.
        """
        ...

    def create(self, trampoline: Trampoline, key: int, target: Target, function: int) -> None:
        """Puts a trampoline that calls `target` into memory, and `function` into its key.

        Any thread that then reads the trampoline's address from memory can execute it and its
        target's code.
        """
        ...


@runtime_checkable
class Native(Protocol):
    """A place whose code runs in this process."""

    def pointer(self, target: object, prototype: type | None) -> tuple[int, object]:
        """The address of a function that is not Python's, and the object that keeps it alive.

        Raises BadTarget for anything else, and for a function with another prototype.
        """
        ...

    def parameter(self, address: int, prototype: type | None) -> object:
        """What ctypes passes to a C function for the function at an address."""
        ...


class ChoosesPlace(Protocol):
    """Chooses the place of a static call that is made without one."""

    def __call__(self) -> RunningPlace:
        """The place. Raises a StaticCallError if there is none."""
        ...


class RunningPlace(Memory, Code, Runs, Protocol):
    """A place in which static calls can be made, as StaticCall(place=...) takes it."""
