"""Small arm64 programs: machine words at addresses, data at addresses, and threads.

explore.py says what each thread by itself can do, and executions.py which of these paths go
together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from static_call.errors import StaticCallError
from static_call.isa import a64

SP = 32
"""The index of SP among a thread's registers; 31 is the zero register."""


class ProgramError(StaticCallError):
    """The program cannot be explored."""


class TooBig(ProgramError):
    """The work would exceed a bound, which the text names."""


class Unmodelled(ProgramError):
    """An instruction was executed that the checker has no semantics for."""


@dataclass(frozen=True, slots=True)
class Thread:
    """One PE's part of a program.

    Attributes:
        entry: The address of its first instruction.
        registers: Initial values by register number (SP is 32). The others start as 0.
        stops: Addresses at which it ends. It also ends at every address without an instruction.
        handler: The address that an undefined instruction takes it to; None to end there.
        any: Whether its initial registers, its flags and the memory that the program does not
            mention may hold any value. What depends on such a value goes both ways. The thread has
            a stack below its initial SP, and writes nowhere else. It reads only that stack, the 16
            bytes above it through SP, and what the program mentions.
    """

    entry: int
    registers: Mapping[int, int] = field(default_factory=dict)
    stops: frozenset[int] = frozenset()
    handler: int | None = None
    any: bool = False


@dataclass(frozen=True)
class Program:
    """Code, data and threads.

    Attributes:
        code: The instruction words by address.
        data: Initial contents by address. All other memory holds 0.
        threads: The PEs.
        cse: Addresses in the code of thread 0, in the order that it reaches them. The instruction
            there is replaced by a context synchronisation event (CSE) on every PE: each other
            thread takes one between the request and its completion.
        lse2: Whether FEAT_LSE2 is there: accesses within 16 aligned bytes are single-copy atomic.
        line: Bytes in a cache line, for DC and IC. With 4 each word has its own line, and
            maintenance affects as little as possible.
        torn: Addresses of stores that are made in two halves, to see whether anything depends on
            their being single.
    """

    code: Mapping[int, int]
    data: Mapping[int, bytes]
    threads: tuple[Thread, ...]
    cse: tuple[int, ...] = ()
    lse2: bool = False
    line: int = 4
    torn: frozenset[int] = frozenset()

    @cached_property
    def _bytes(self) -> dict[int, int]:
        pieces = [*self.data.items()]
        pieces += [(at, word.to_bytes(a64.WORD, "little")) for at, word in self.code.items()]
        return {at + i: byte for at, piece in pieces for i, byte in enumerate(piece)}

    def mentions(self, address: int, size: int) -> bool:
        """Whether the program says what `size` bytes at an address hold at the start."""
        return all(address + i in self._bytes for i in range(size))

    def initial(self, address: int, size: int) -> int:
        """The little-endian number that `size` bytes at an address hold at the start."""
        held = self._bytes
        return sum(held.get(address + i, 0) << 8 * i for i in range(size))


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on the work.

    The command line's options have the same names: --steps, --unroll, ...

    Attributes:
        steps: Instructions in one path. Longer paths are left out, and Explored.cut says so.
        unroll: Executions of the same instruction in one path, an iteration not counted that does
            not depend on what was read. Longer paths are left out too.
        paths: Paths of one thread. More raise TooBig, and so do the next two.
        combinations: Steps of the search among the combinations of one path of each thread.
        executions: Allowed executions of one program.
    """

    steps: int = 400
    unroll: int = 4
    paths: int = 20000
    combinations: int = 1000000
    executions: int = 1000000


DEFAULT = Limits()
"""The bounds where none are given."""
