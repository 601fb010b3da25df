"""The effects that instructions are made of: a thread's state, and its events, loads and stores.

semantics.py says which of them each instruction has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from static_call.isa import a64
from static_call.isa.a64_more import decode
from static_call.memory_model.events import Atom, Event, Executed
from static_call.memory_model.program import SP, Program, Thread, Unmodelled
from static_call.memory_model.values import Values

FLAGS = 33
"""The index of the flags among a thread's registers: N, Z, C, V as bits 3 to 0. Dependencies
through flags are then like those through registers."""

ELR = 34
"""The index of the exception link register: where an exception returns to."""

FULL = (1 << 64) - 1
"""All bits of a register."""

_ANY = 1 << 1023
"""In a mask of reads: the value comes from what a thread with `any` set found, so that nothing is
known of it. The bit is higher than that of any event."""
_EVENTS = _ANY - 1


class State:
    """A thread between two instructions.

    Attributes:
        pc: The address of the next instruction.
        x: The registers, SP and flags.
        dep: For each register the reads that its value comes from, as a mask.
        pick: The same with pick dependencies; it always includes `dep`.
        ctrl: The reads that decided a branch so far.
        pick_ctrl: The same with pick dependencies.
        events: The events so far.
        trace: The instructions so far.
        step: The number of the current instruction.
        groups: How many single-copy atomic accesses there have been.
        cse: How many of the CSEs that another PE sent have been taken.
        faults: The exceptions taken so far: the kind, as Path.faults names it, and the address.
        ended: The kind of the one that ended the path; "" for none.
        marked: Whether the current instruction already has an event.
        fetched: What the current instruction's word comes from, where its own thread stored it: a
            mask of reads. The instruction's effects have a pick dependency on them.
        exclusive: The exclusive monitor: address, size, and the index of the first read.
        stores: For each atom, the value of the last store, its dep and its pick.
        decided: How often what comes next was decided by what was read, fetched or left to chance.
        visits: How often each instruction has been executed, an iteration that nothing of the kind
            decided not counted, and `decided` when it last was.
    """

    __slots__ = (
        "cse", "ctrl", "decided", "dep", "ended", "events", "exclusive", "faults", "fetched",
        "groups", "marked", "pc", "pick", "pick_ctrl", "step", "stores", "trace", "visits", "x",
    )  # fmt: skip

    cse: int
    ctrl: int
    decided: int
    dep: list[int]
    ended: str
    faults: tuple[tuple[str, int], ...]
    fetched: int
    groups: int
    marked: bool
    pc: int
    pick: list[int]
    pick_ctrl: int
    step: int
    x: list[int]

    def __init__(self, thread: Thread) -> None:
        self.pc = thread.entry
        self.x = [0] * 35
        for number, value in thread.registers.items():
            self.x[number] = value & FULL
        self.dep = [_ANY if thread.any else 0] * 35
        self.dep[31] = 0
        self.pick = self.dep[:]
        self.ctrl = self.pick_ctrl = 0
        self.events: list[Event] = []
        self.trace: list[Executed] = []
        self.step = self.groups = self.cse = self.fetched = 0
        self.faults, self.ended = (), ""
        self.marked = False
        self.exclusive: tuple[int, int, int] | None = None
        self.stores: dict[Atom, tuple[int, int, int]] = {}
        self.decided = 0
        self.visits: dict[int, tuple[int, int]] = {}

    def copy(self) -> State:
        """A state that changes independently of this one."""
        new = object.__new__(State)
        new.pc, new.x, new.dep, new.pick = self.pc, self.x[:], self.dep[:], self.pick[:]
        new.ctrl, new.pick_ctrl = self.ctrl, self.pick_ctrl
        new.events, new.trace = self.events[:], self.trace[:]
        new.step, new.groups, new.cse, new.fetched = self.step, self.groups, self.cse, self.fetched
        new.faults, new.ended = self.faults, self.ended
        new.marked, new.exclusive = self.marked, self.exclusive
        new.stores, new.visits = self.stores.copy(), self.visits.copy()
        new.decided = self.decided
        return new

    def set(self, register: int, value: int, dep: int, pick: int) -> None:
        """Sets a register and what its value comes from."""
        if register != 31:
            self.x[register] = value
            self.dep[register] = dep
            self.pick[register] = pick | self.fetched

    def branch_on(self, register: int) -> None:
        """Notes that a branch depends on a register."""
        pick = (self.pick[register] | self.fetched) & _EVENTS
        self.decided += bool(pick & ~(self.ctrl | self.pick_ctrl))
        self.ctrl |= self.dep[register] & _EVENTS
        self.pick_ctrl |= pick


class Choices:
    """The choices within one instruction: first those given, then always the first option.

    Attributes:
        made: The choices so far, as indexes.
        open: The other sequences of choices that were possible.
    """

    __slots__ = ("_given", "made", "open")

    def __init__(self, given: tuple[int, ...]) -> None:
        self._given = given
        self.made: list[int] = []
        self.open: list[tuple[int, ...]] = []

    def pick(self, options: Sequence[int]) -> int:
        """One of the options."""
        at = len(self.made)
        if at < len(self._given):
            index = self._given[at]
        else:
            index = 0
            self.open += [(*self.made, other) for other in range(1, len(options))]
        self.made.append(index)
        return options[index]


class Loaded(NamedTuple):
    """What a load has read.

    Attributes:
        value: The value.
        dep: The reads that it comes from, as a mask.
        pick: The same with pick dependencies.
    """

    value: int
    dep: int
    pick: int


class PE:
    """A thread's processing element: what its instructions are executed on.

    Attributes:
        thread: The thread that it executes.
        reads: The atoms that were read or fetched.
        choices: The choices within the current instruction.
    """

    thread: Thread
    choices: Choices

    def __init__(self, program: Program, values: Values, index: int) -> None:
        """The PE of the thread of number `index`."""
        self.thread = program.threads[index]
        self.reads: set[Atom] = set()
        self.choices = Choices(())
        self._program, self._values, self._index = program, values, index
        self._owed = program.cse if index else ()

    # Events

    def event(
        self, state: State, kind: str, tag: str = "", address: int = 0, size: int = 0, *,
        addr: int = 31, index: int = 31, data: int = 31, data2: int = 31, chooser: int = 31,
        chooser2: int = 31, own: int = 0, rmw: int = -1,
        value: int = 0, via: int = 0,
    ) -> Event:  # fmt: skip
        """Adds an event. The fields that are not arguments follow from the state.

        Args:
            state: The thread.
            kind: As in Event, and so for tag, address, size, rmw, value and via.
            tag: See Event.
            address: See Event.
            size: In bytes.
            addr: The register that its address comes from.
            index: A second such register.
            data: The register that its value comes from.
            data2: A second such register.
            chooser: The register that was compared to choose its value.
            chooser2: A second such register.
            own: Reads of the same instruction that its value comes from, as a mask.
            rmw: See Event.
            value: See Event.
            via: See Event.
        """
        self.mark(state)
        dep, pick = state.dep, state.pick
        a, d = (dep[addr] | dep[index]) & _EVENTS, (dep[data] | dep[data2] | own) & _EVENTS
        fetched = state.fetched
        pick_a = pick[addr] | pick[index] | (fetched if addr != 31 else 0)
        pick_d = pick[data] | pick[data2] | pick[chooser] | pick[chooser2]
        pick_d |= fetched if data != 31 else 0
        event = Event(
            kind, tag, address, size, state.step, state.groups, a, d, state.ctrl,
            pick_a & _EVENTS & ~a, pick_d & _EVENTS & ~d, state.pick_ctrl & ~state.ctrl,
            via & _EVENTS, rmw, value,
        )  # fmt: skip
        state.events.append(event)
        return event

    def mark(self, state: State) -> None:
        """Takes some of the CSEs that thread 0 sends, before an instruction's first event.

        It makes no difference where between two events they are taken.
        """
        if state.marked:
            return
        state.marked = True
        owed = self._owed[state.cse :]
        for number in owed[: self.choices.pick(range(len(owed) + 1))]:
            self._take(state, number)

    def take_rest(self, state: State) -> None:
        """Takes the CSEs that thread 0 still sends after the path has ended."""
        for number in self._owed[state.cse :]:
            self._take(state, number)

    def _take(self, state: State, number: int) -> None:
        state.marked = True
        self.event(state, "CSE", "taken", number)
        state.cse += 1
        state.step += 1

    def sends(self, address: int) -> bool:
        """Whether a CSE on every PE replaces this thread's instruction at an address."""
        return self._index == 0 and address in self._program.cse

    def send(self, state: State) -> None:
        """A CSE on every PE: its request and its completion, as two steps."""
        self.event(state, "CSE", "sent", state.pc)
        state.step += 1
        self.event(state, "CSE", "done", state.pc)
        state.pc += a64.WORD

    def unknown(self, state: State, register: int) -> bool:
        """Whether nothing is known of a register's value."""
        return bool(state.pick[register] & _ANY)

    def exception(self, state: State, kind: str, at: int, back: int) -> None:
        """An exception from the instruction at `at`. It returns to `back`.

        Without a handler it ends the thread.
        """
        state.faults += ((kind, at),)
        if self.thread.handler is None:
            state.pc, state.ended = at, kind
            return
        self.event(state, "CSE", "entry")
        state.set(ELR, back, 0, 0)
        state.pc = self.thread.handler

    def either(self, state: State, register: int, condition: bool) -> bool:
        """Whether a register satisfies a condition; both answers where its value is unknown."""
        if not self.unknown(state, register):
            return condition
        state.decided += 1
        return bool(self.choices.pick((condition, not condition)))

    # Accesses

    def fetch(self, state: State) -> int:
        """The word at pc, and a fetch event where a thread writes it."""
        pc = state.pc
        state.fetched = 0
        atoms = self._values.split(pc, a64.WORD)
        self.reads.update(atoms)
        if not any(self._values.written(atom) for atom in atoms):
            return self._program.code[pc]
        self.mark(state)
        word = 0
        state.groups += 1
        state.decided += 1
        for atom in atoms:
            value = self.choices.pick(list(self._values.held(atom)))
            word |= value << 8 * (atom.address - pc)
            own = state.stores.get(atom)
            through = own[2] if own else 0
            self.event(state, "F", "", atom.address, atom.size, value=value, via=through)
            state.fetched |= through & _EVENTS
        return word

    def _parts(self, address: int, size: int, elements: int) -> Iterator[tuple[int, int]]:
        """The single-copy atomic parts of an access (Arm ARM B2.2.1), lowest address first."""
        whole = size * elements
        if self._program.lse2 and address // 16 == (address + whole - 1) // 16:
            yield address, whole
            return
        for at in range(address, address + whole, size):
            if at % size == 0:
                yield at, size
            else:
                yield from ((byte, 1) for byte in range(at, at + size))

    def load(
        self, state: State, address: int, size: int, *, base: int, index: int = 31,
        tag: str = "", elements: int = 1, single: bool = False,
    ) -> list[Loaded]:  # fmt: skip
        """Reads memory.

        Args:
            state: The thread.
            address: The address of the first byte.
            size: Bytes in an element.
            base: The register that the address comes from.
            index: A second such register.
            tag: See Event.
            elements: How many elements are read.
            single: Whether they are read as one single-copy atomic access.

        Returns:
            Each element.

        Raises:
            Unmodelled: a thread with `any` set reads where there need not be memory.
        """
        self.mark(state)
        whole = size * elements
        self._must_be_memory(state, address, whole, base)
        found = [Loaded(0, 0, 0)] * elements
        state.groups += 1
        for at, part in self._parts(address, size, elements):
            state.groups += not single
            for atom in self._values.split(at, part):
                got, dep, pick = self._read(state, atom, base, index, tag)
                first, last = atom.address - address, atom.address + atom.size - address - 1
                for i in range(first // size, last // size + 1):
                    shift = 8 * (first - i * size)
                    piece = (got << shift if shift >= 0 else got >> -shift) & (1 << 8 * size) - 1
                    known = found[i]
                    found[i] = Loaded(known.value | piece, known.dep | dep, known.pick | pick | dep)
        return found

    def _must_be_memory(self, state: State, address: int, size: int, base: int) -> None:
        top = self.thread.registers.get(SP, 0)
        stack = base == SP and address <= top + 16 - size
        if self.thread.any and not (stack or self._program.mentions(address, size)):
            raise Unmodelled(
                f"{state.pc - a64.WORD:#x}: {decode(state.trace[-1].word, state.pc)} reads from "
                "where there need not be memory: neither its stack nor what the trampoline has"
            )

    def _read(self, state: State, atom: Atom, base: int, index: int, tag: str) -> Loaded:
        """One read event."""
        self.reads.add(atom)
        own = state.stores.get(atom)
        dep, pick = state.dep, state.pick
        dep_address = (dep[base] | dep[index]) & _EVENTS
        pick_address = (pick[base] | pick[index] | state.fetched) & _EVENTS
        options = self._values.options(self._index, atom, None if own is None else own[0])
        value = self.choices.pick(options)
        through = own[2] if own else 0
        self.event(
            state, "R", tag, atom.address, atom.size,
            addr=base, index=index, value=value, via=through,
        )  # fmt: skip
        bit = 1 << len(state.events) - 1
        if own is None and self.thread.any and not self._values.known(self._index, atom):
            bit |= _ANY
        return Loaded(
            value, bit | dep_address | (own[1] if own else 0), bit | pick_address | through
        )

    def store(
        self, state: State, address: int, size: int, value: int, *, base: int, data: int,
        index: int = 31, tag: str = "", elements: int = 1, single: bool = False, data2: int = 31,
        chooser: int = 31, chooser2: int = 31, both: bool = False, rmw: int = -1,
        uses: tuple[int, int] = (0, 0), own: int = 0,
    ) -> None:  # fmt: skip
        """Writes memory.

        Args:
            state: The thread; its pc is already at the next instruction.
            address: The address of the first byte.
            size: Bytes in an element.
            value: What is written.
            base: The register that the address comes from.
            data: The register that the value comes from.
            index: A second register that the address comes from.
            tag: See Event.
            elements: How many elements are written.
            single: Whether they are written as one single-copy atomic access.
            data2: The register that the second element comes from.
            chooser: The register that was compared to choose the value.
            chooser2: A second such register.
            both: Whether each element depends on both registers.
            rmw: The index of the first read that this forms an atomic pair with; -1 for none.
            uses: Of the reads of the same instruction, those that the value comes from: the dep and
                the pick. They are no dependency of the write, but one of what is loaded from there.
            own: Those that are ordered before the write all the same, as a mask.

        Raises:
            Unmodelled: a thread with `any` set writes outside its stack frame.
        """
        self._must_be_stack(state, address, size * elements)
        number = 0
        parts = self._parts(address, size, elements)
        if state.pc - a64.WORD in self._program.torn:
            parts = ((at + half, part // 2) for at, part in parts for half in (0, part // 2))
        state.groups += 1
        for at, part in parts:
            state.groups += not single
            for atom in self._values.split(at, part):
                piece = value >> 8 * (atom.address - address) & ((1 << 8 * atom.size) - 1)
                first = atom.address - address
                last = first + atom.size - 1
                source = data if both or first < size else data2
                event = self.event(
                    state, "W", tag, atom.address, atom.size, addr=base, index=index, data=source,
                    data2=data2 if both or first < size <= last else 31, chooser=chooser,
                    chooser2=chooser2, own=own, value=piece, rmw=rmw + number if rmw >= 0 else -1,
                )  # fmt: skip
                number += 1
                dep = event.addr | event.data | (state.dep[source] & _ANY) | uses[0]
                pick = dep | event.pick_addr | event.pick_data | uses[1]
                state.stores[atom] = (piece, dep, pick)
                self._values.write(self._index, atom, piece)

    def _must_be_stack(self, state: State, address: int, size: int) -> None:
        top = self.thread.registers.get(SP, 0)
        if self.thread.any and not state.x[SP] <= address <= top - size:
            raise Unmodelled(
                f"{state.pc - a64.WORD:#x}: {decode(state.trace[-1].word, state.pc)} writes to "
                f"{address:#x}, which is not in its own stack frame"
            )


Semantics = Callable[[PE, State, a64.Instruction], None]
"""What an instruction does to a PE and the state of its thread."""
