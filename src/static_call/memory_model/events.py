"""Memory events, and a thread's path as a sequence of them.

Events are the effects of the Arm ARM (DDI 0487, B2.3): explicit reads and writes, instruction
fetches, DC CVAU, IC IVAU, barriers and context synchronisation events (CSE).
"""

from __future__ import annotations

from typing import NamedTuple


class Event(NamedTuple):
    """One effect of an instruction.

    In a mask of events, bit i is the i-th event of the same path.

    Attributes:
        kind: R and W (explicit), F (instruction fetch), DC, IC, DMB, DSB or CSE.
        tag: One letter for each property of a read or write. R: A (acquire), Q (acquirePC), N
            (result unused); W: L (release), X (exclusive). For DMB and DSB: full, ld or st. For a
            CSE: isb, entry or return; sent, done or taken for a CSE on every PE.
        address: The address of the bytes accessed. For DC and IC, an address in the line; for a CSE
            on every PE, its number.
        size: How many bytes are accessed; EVERYWHERE for an IC of all lines.
        step: The number of the instruction in the path, from 0: program order.
        group: A number that the events of one single-copy atomic access share.
        addr: The reads that it depends on by address, as a mask.
        data: Those that it depends on by data.
        ctrl: Those that it depends on through a branch.
        pick_addr: The reads from which a CSEL or a CAS chose what it depends on by address (Arm's
            pick dependencies), without those in `addr`.
        pick_data: The same for `data`.
        pick_ctrl: The same for `ctrl`.
        via: For a read or fetch, the reads that its value depends on through an earlier store of
            the path.
        rmw: For the write of an atomic or a successful exclusive, the index of its read; else -1.
        value: What was read or written; 0 for the other kinds.
    """

    kind: str
    tag: str
    address: int
    size: int
    step: int
    group: int
    addr: int
    data: int
    ctrl: int
    pick_addr: int
    pick_data: int
    pick_ctrl: int
    via: int
    rmw: int
    value: int


EVERYWHERE = 1 << 64
"""The size of an IC of all lines, in bytes."""


class Executed(NamedTuple):
    """One executed instruction.

    Attributes:
        address: Where it is.
        word: The word that was executed.
        first: The index of its first event. A CSE that another PE sent comes before the events of
            the instruction that follows it.
    """

    address: int
    word: int
    first: int


class Path(NamedTuple):
    """One way through a thread.

    Attributes:
        events: In program order.
        registers: The final values; index 31 is 0, SP is 32.
        pc: The address where it ended.
        fault: Why it ended there: "UndefinedInstruction", "SupervisorCall", "Breakpoint" or "".
        trace: The instructions executed.
        faults: The exceptions taken, with or without a handler: the kind and the address. The kinds
            are those of `fault`.
    """

    events: tuple[Event, ...]
    registers: tuple[int, ...]
    pc: int
    fault: str
    trace: tuple[Executed, ...]
    faults: tuple[tuple[str, int], ...]


class Atom(NamedTuple):
    """A range of memory that no access divides: every access covers all of it or none of it.

    Attributes:
        address: The address of its first byte.
        size: Its size in bytes.
    """

    address: int
    size: int
