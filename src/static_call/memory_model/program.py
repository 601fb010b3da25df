"""Small arm64 programs, and what each thread by itself can do.

A program is machine words at addresses, data at addresses, and threads that start somewhere with
some registers. `explore` runs every thread on its own: wherever it reads memory, or fetches an
instruction that some thread writes, it goes on once with each value that the place can ever hold.
What comes out are the thread's possible paths, each a sequence of memory events with their
dependencies. Which paths of different threads go together, executions.py says.

Events are those of the Arm ARM (DDI 0487, B2.3): explicit reads and writes, instruction fetches,
DC CVAU, IC IVAU, barriers and context synchronisation events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from static_call.errors import StaticCallError
from static_call.isa import a64
from static_call.memory_model.instructions import decode

SP = 32
"""The index of SP among a thread's registers; 31 is the zero register."""

_FULL = (1 << 64) - 1

_ANY = 1 << 1023
"""Among the reads that a value came from: it came from what a thread with `any` set found, so that
nothing is known of it. Higher than the bit of any event."""
_EVENTS = _ANY - 1


class ProgramError(StaticCallError):
    """The program cannot be explored."""


class TooBig(ProgramError):
    """A bound was met; the text names it."""


class Unmodelled(ProgramError):
    """An instruction was executed that the checker has no semantics for."""


@dataclass(frozen=True, slots=True)
class Thread:
    """One PE's part of a program.

    entry      the address of its first instruction
    registers  by number (SP is 32); the others start as 0
    stops      addresses at which it is done, besides any that hold no instruction
    handler    where an undefined instruction takes it; None to end there
    any        the values in its registers, in its flags and in memory that the program does not
               mention stand for any: what depends on one goes both ways. It has a stack, below the
               SP that it starts with, and writes nowhere else; it reads that, by SP, the 16 bytes
               above it, and what the program mentions
    """

    entry: int
    registers: Mapping[int, int] = field(default_factory=dict)
    stops: frozenset[int] = frozenset()
    handler: int | None = None
    any: bool = False


@dataclass(frozen=True)
class Program:
    """Code, data and threads.

    code     the instruction words by address
    data     initial contents by address; what lies nowhere is 0
    threads  the PEs
    cse      addresses in the code of thread 0, in the order it gets there, whose instruction stands
             for a context synchronisation event on every PE (see retarget.Cse): each other thread
             takes one somewhere in between
    lse2     whether FEAT_LSE2 is there: accesses within 16 aligned bytes are single-copy atomic
    line     bytes in a cache line, for DC and IC; 4 makes each word a line of its own, which is
             the fewest maintenance can reach
    torn     addresses of stores that are made in two halves, to see what depends on their being one
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
        pieces += [(at, word.to_bytes(4, "little")) for at, word in self.code.items()]
        return {at + i: byte for at, piece in pieces for i, byte in enumerate(piece)}

    def places(self, address: int, size: int) -> bool:
        """Whether the program says what `size` bytes at an address hold at the start."""
        return all(address + i in self._bytes for i in range(size))

    def initial(self, address: int, size: int) -> int:
        """What `size` bytes at an address hold at the start."""
        held = self._bytes
        return sum(held.get(address + i, 0) << 8 * i for i in range(size))


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on the work: a program that meets one raises TooBig, or is cut where it says so.

    The command line's options have the same names: --steps, --unroll, ...

    steps   instructions in one path; longer ones are cut
    unroll  executions of the same instruction in one path; longer paths are cut
    paths   paths of one thread
    combinations  of one path of each thread
    executions    allowed, of one program
    """

    steps: int = 400
    unroll: int = 4
    paths: int = 20000
    combinations: int = 1000000
    executions: int = 1000000


class Event(NamedTuple):
    """One effect of an instruction. Masks have bit i for the i-th event of the same path.

    kind     R and W (explicit), F (instruction fetch), DC, IC, DMB, DSB, CSE
    tag      R: A (acquire), Q (acquirePC), N (result unused); W: L (release), X (exclusive), a
             letter each; DMB, DSB: full, ld or st; CSE: isb, entry, return, or sent, done, taken
             for one on every PE
    address  and `size`: the bytes accessed; for DC and IC an address in the line; for a CSE on
             every PE its number
    step     the instruction's place in the path, from 0: program order
    group    events of one single-copy atomic access share it
    addr data ctrl  the reads that it depends on, by address, by data or through a branch
    pick_*   the same where a CSEL or a CAS chose between values (Arm's pick dependencies), those
             in addr, data and ctrl left out
    via      for a read: those that the value depends on through an earlier store of the same path
    rmw      for the write of an atomic or a successful exclusive: the read's index; else -1
    value    what was read or written; 0 for the others
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


class Executed(NamedTuple):
    """One executed instruction: where, which word, and where its events begin.

    A CSE that another PE sent stands before the events of the instruction that it came before.
    """

    address: int
    word: int
    first: int


class Path(NamedTuple):
    """One way through a thread.

    events     in program order
    registers  the final values; index 31 is 0, SP is 32
    pc         where it ended
    fault      why it ended there: "UndefinedInstruction", "Breakpoint" or ""
    trace      the instructions executed
    """

    events: tuple[Event, ...]
    registers: tuple[int, ...]
    pc: int
    fault: str
    trace: tuple[Executed, ...]


class Atom(NamedTuple):
    """A place in memory that every access takes whole or leaves alone."""

    address: int
    size: int


DEFAULT = Limits()


@dataclass(frozen=True, slots=True)
class Explored:
    """What the threads can do.

    paths   by thread
    cut     the bounds that paths were left out for, as the command line names them: --steps,
            --unroll
    limits  the bounds on what is done with them
    """

    program: Program
    paths: tuple[tuple[Path, ...], ...]
    cut: tuple[str, ...]
    limits: Limits = DEFAULT


def explore(program: Program, limits: Limits = DEFAULT) -> Explored:
    """Every thread's paths.

    The values that a place can hold are found by repetition: paths write values, and values make
    paths. A value needs a chain of at most as many writes as an execution has, so as many rounds
    are enough, where values go on growing.

    Raises TooBig, and Unmodelled for an instruction without semantics here.
    """
    memory = _Memory(program)
    count = len(program.threads)
    runs = [_Run(program, memory, i, limits) for i in range(count)]
    rounds = 0
    while True:
        memory.changed = memory.split_changed = False
        for run in runs:
            if run.stale():
                run.go()
        memory.end_round()
        rounds += 1
        writes = sum(run.most_writes for run in runs)
        if not memory.changed or (rounds > writes + 1 and not memory.split_changed):
            break
    paths = tuple(tuple(run.paths) for run in runs)
    cut = tuple(sorted({bound for run in runs for bound in run.cut}))
    return Explored(program, paths, cut, limits)


class _Memory:
    """The values that each atom can hold, and how accesses divide memory into atoms."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.accesses: set[tuple[int, int]] = set()
        self.values: dict[Atom, dict[int, int]] = {}  # value -> the threads that write it
        self.written_now: set[tuple[int, Atom, int]] = set()
        self.split_of: dict[tuple[int, int], tuple[Atom, ...]] = {}
        self.changed = self.split_changed = False
        self.version = 0

    def split(self, address: int, size: int) -> tuple[Atom, ...]:
        """The atoms that an access is made of."""
        known = self.split_of.get((address, size))
        if known is None:
            known = self._note((address, size))
        return known

    def _note(self, access: tuple[int, int]) -> tuple[Atom, ...]:
        address, size = access
        self.accesses.add(access)
        if not any(a < address + size and address < a + s for a, s in self.split_of):
            self.split_of[access] = (Atom(*access),)  # most are of words that nothing else touches
            return self.split_of[access]
        cuts = {at for a, s in self.accesses for at in (a, a + s)}
        old, self.split_of = self.split_of, {}
        for a, s in self.accesses:
            points = [a, *sorted(at for at in cuts if a < at < a + s), a + s]
            self.split_of[a, s] = tuple(Atom(p, q - p) for p, q in pairwise(points))
        if any(self.split_of[key] != atoms for key, atoms in old.items()):
            # Atoms have become smaller: values of the old ones mean nothing now.
            self.values.clear()
            self.written_now.clear()
            self.changed = self.split_changed = True
            self.version += 1
        return self.split_of[access]

    def known(self, thread: int, atom: Atom) -> bool:
        """Whether the program says what the atom holds, or another thread writes it."""
        return self.program.places(*atom) or bool(self.written(atom) & ~(1 << thread))

    def held(self, atom: Atom) -> dict[int, int]:
        values = self.values.get(atom)
        if values is None:
            values = self.values[atom] = {self.program.initial(*atom): 0}
        return values

    def write(self, thread: int, atom: Atom, value: int) -> None:
        """Notes a write; other paths can read it from the next round on."""
        if not self.held(atom).get(value, 0) >> thread & 1:
            self.written_now.add((thread, atom, value))

    def end_round(self) -> None:
        for thread, atom, value in sorted(self.written_now):
            values = self.held(atom)
            values[value] = values.get(value, 0) | 1 << thread
            self.changed = True
        self.written_now.clear()

    def written(self, atom: Atom) -> int:
        """The threads that write it, as a mask."""
        mask = 0
        for writers in self.held(atom).values():
            mask |= writers
        return mask

    def state_of(self, atom: Atom) -> tuple[int, int]:
        """What a reader's paths depend on: this changes when they may."""
        return len(self.held(atom)), self.written(atom)

    def options(self, thread: int, atom: Atom, own: int | None) -> list[int]:
        """What a read can see, where `own` is the thread's last write to the atom before it.

        A place that no other thread writes holds what the thread last wrote.
        """
        values = self.held(atom)
        if self.written(atom) & ~(1 << thread):
            return list(values)
        return [next(iter(values))] if own is None else [own]


class _State:
    """A thread between two instructions. `dep` and `pick` are the reads a register came from."""

    __slots__ = (
        "cse", "ctrl", "dep", "elr", "events", "exclusive", "groups", "marked", "pc", "pick",
        "pick_ctrl", "step", "stores", "trace", "visits", "x",
    )  # fmt: skip

    def __init__(self, thread: Thread) -> None:
        self.pc = thread.entry
        self.x = [0] * 34
        for number, value in thread.registers.items():
            self.x[number] = value & _FULL
        self.dep = [_ANY if thread.any else 0] * 34
        self.dep[31] = 0
        self.pick = self.dep[:]  # always contains dep
        self.ctrl = self.pick_ctrl = 0
        self.events: list[Event] = []
        self.trace: list[Executed] = []
        self.step = self.groups = self.cse = self.elr = 0
        self.marked = False  # whether this instruction has an event already
        self.exclusive: tuple[int, int, int] | None = None  # address, size, first read's index
        self.stores: dict[Atom, tuple[int, int, int]] = {}  # value, dep and pick of the last
        self.visits: dict[int, int] = {}

    def copy(self) -> _State:
        new = object.__new__(_State)
        new.pc, new.x, new.dep, new.pick = self.pc, self.x[:], self.dep[:], self.pick[:]
        new.ctrl, new.pick_ctrl = self.ctrl, self.pick_ctrl
        new.events, new.trace = self.events[:], self.trace[:]
        new.step, new.groups, new.cse, new.elr = self.step, self.groups, self.cse, self.elr
        new.marked, new.exclusive = self.marked, self.exclusive
        new.stores, new.visits = self.stores.copy(), self.visits.copy()
        return new

    def set(self, register: int, value: int, dep: int, pick: int) -> None:
        if register != 31:
            self.x[register] = value
            self.dep[register] = dep
            self.pick[register] = pick


class _Choices:
    """The choices made within one instruction: given ones first, then the first option."""

    __slots__ = ("given", "made", "open")

    def __init__(self, given: tuple[int, ...]) -> None:
        self.given = given
        self.made: list[int] = []
        self.open: list[tuple[int, ...]] = []

    def pick(self, options: Sequence[int]) -> int:
        at = len(self.made)
        if at < len(self.given):
            index = self.given[at]
        else:
            index = 0
            self.open += [(*self.made, other) for other in range(1, len(options))]
        self.made.append(index)
        return options[index]


class _Run:
    """All paths of one thread."""

    def __init__(self, program: Program, memory: _Memory, index: int, limits: Limits) -> None:
        self.program, self.memory, self.index, self.limits = program, memory, index, limits
        self.thread = program.threads[index]
        self.paths: list[Path] = []
        self.cut: set[str] = set()
        self.most_writes = 0
        self.reads: set[Atom] = set()
        self.seen: tuple[int, dict[Atom, tuple[int, int]]] | None = None
        self.owed = program.cse if index else ()
        self.choices = _Choices(())

    def stale(self) -> bool:
        """Whether memory has changed in what this thread reads."""
        if self.seen is None:
            return True
        version, known = self.seen
        return version != self.memory.version or any(
            self.memory.state_of(atom) != state for atom, state in known.items()
        )

    def go(self) -> None:
        """Runs the thread, again where the atoms changed under way."""
        version = -1
        while version != self.memory.version:
            version = self.memory.version
            self.reads.clear()
            self.all_paths()
        self.seen = version, {atom: self.memory.state_of(atom) for atom in self.reads}

    def all_paths(self) -> None:
        """One pass. It ends early where the atoms change, as the choices that wait in the stack are
        among the values of the old ones."""
        self.paths = []
        self.cut.clear()
        version = self.memory.version
        stack: list[tuple[_State, tuple[int, ...]]] = [(_State(self.thread), ())]
        while stack:
            state, given = stack.pop()
            done = False
            while not done:
                before = state.copy()
                self.choices = _Choices(given)
                done = self.step(state)
                if self.memory.version != version:
                    return
                stack += [(before.copy(), other) for other in reversed(self.choices.open)]
                given = ()

    def finish(self, state: _State, fault: str = "") -> bool:
        for number in self.owed[state.cse :]:
            self.take(state, number)
        self.paths.append(
            Path(tuple(state.events), tuple(state.x[:33]), state.pc, fault, tuple(state.trace))
        )
        if len(self.paths) > self.limits.paths:
            raise TooBig(
                f"thread {self.index} has more than {self.limits.paths} paths: raise --paths"
            )
        self.most_writes = max(self.most_writes, sum(e.kind == "W" for e in state.events))
        return True

    def step(self, state: _State) -> bool:
        """Executes one instruction; True where the path ends."""
        program, pc = self.program, state.pc
        if pc in self.thread.stops or pc not in program.code:
            return self.finish(state)
        visits = state.visits.get(pc, 0) + 1
        state.visits[pc] = visits
        if visits > self.limits.unroll or len(state.trace) >= self.limits.steps:
            self.cut.add("--unroll" if visits > self.limits.unroll else "--steps")
            return True
        state.marked = False
        state.step += 1
        first = len(state.events)
        word = self.fetch(state)
        state.trace.append(Executed(pc, word, first))
        if self.index == 0 and pc in program.cse:
            self.event(state, "CSE", "sent", pc)
            state.step += 1
            self.event(state, "CSE", "done", pc)
            state.pc = pc + 4
            return False
        insn = decode(word, pc)
        name = insn.name
        if name in ("unknown", "udf"):
            if self.thread.handler is None:
                return self.finish(state, "UndefinedInstruction")
            self.event(state, "CSE", "entry")
            state.elr, state.pc = pc, self.thread.handler
            return False
        if name == "brk":
            return self.finish(state, "Breakpoint")
        semantics = _SEMANTICS.get(name)
        if semantics is None:
            raise Unmodelled(f"{pc:#x}: the checker has no semantics for {insn}")
        state.pc = pc + a64.WORD
        semantics(self, state, insn)
        return False

    def fetch(self, state: _State) -> int:
        """The word at pc; a fetch event where some thread writes it."""
        pc = state.pc
        atoms = self.memory.split(pc, a64.WORD)
        self.reads.update(atoms)
        if not any(self.memory.written(atom) for atom in atoms):
            return self.program.code[pc]
        self.mark(state)
        word = 0
        state.groups += 1
        for atom in atoms:
            value = self.choices.pick(list(self.memory.held(atom)))
            word |= value << 8 * (atom.address - pc)
            self.event(state, "F", "", atom.address, atom.size, value=value)
        return word

    def mark(self, state: _State) -> None:
        """Before an instruction's first event: takes some of the CSEs that thread 0 sends.

        Elsewhere between two events it makes no difference where they are taken.
        """
        if state.marked:
            return
        state.marked = True
        owed = self.owed[state.cse :]
        for number in owed[: self.choices.pick(range(len(owed) + 1))]:
            self.take(state, number)

    def either(self, state: _State, register: int, condition: bool) -> bool:
        """A condition on a register; both ways where nothing is known of what that holds."""
        if not state.pick[register] & _ANY:
            return condition
        return bool(self.choices.pick((condition, not condition)))

    def take(self, state: _State, number: int) -> None:
        state.marked = True
        self.event(state, "CSE", "taken", number)
        state.cse += 1
        state.step += 1

    def event(
        self, state: _State, kind: str, tag: str = "", address: int = 0, size: int = 0, *,
        addr: int = 31, index: int = 31, data: int = 31, chooser: int = 31, rmw: int = -1,
        value: int = 0, via: int = 0,
    ) -> Event:  # fmt: skip
        """Adds an event.

        addr index  the registers that its address comes from
        data        the one that its value comes from; `chooser`, the one that was compared
        """
        self.mark(state)
        dep, pick = state.dep, state.pick
        a, d = (dep[addr] | dep[index]) & _EVENTS, dep[data] & _EVENTS
        event = Event(
            kind, tag, address, size, state.step, state.groups, a, d, state.ctrl,
            (pick[addr] | pick[index]) & _EVENTS & ~a, (pick[data] | pick[chooser]) & _EVENTS & ~d,
            state.pick_ctrl & ~state.ctrl, via & _EVENTS, rmw, value,
        )  # fmt: skip
        state.events.append(event)
        return event

    # Accesses

    def accesses(self, address: int, size: int, elements: int) -> Iterator[tuple[int, int]]:
        """The single-copy atomic parts of an access (Arm ARM B2.2.1), lowest address first."""
        whole = size * elements
        if self.program.lse2 and address // 16 == (address + whole - 1) // 16:
            yield address, whole
            return
        for at in range(address, address + whole, size):
            if at % size == 0:
                yield at, size
            else:
                yield from ((byte, 1) for byte in range(at, at + size))

    def load(
        self, state: _State, address: int, size: int, *, base: int, index: int = 31,
        tag: str = "", elements: int = 1,
    ) -> tuple[int, int, int]:  # fmt: skip
        """Reads; returns the value and the reads that it comes from (dep and pick)."""
        self.mark(state)
        whole = size * elements
        top = self.thread.registers.get(SP, 0)
        stack = base == SP and address <= top + 16 - whole
        if self.thread.any and not (stack or self.program.places(address, whole)):
            raise Unmodelled(
                f"{state.pc - a64.WORD:#x}: {decode(state.trace[-1].word, state.pc)} reads from "
                "where there need not be memory: neither its stack nor what the trampoline has"
            )
        value = dep = pick = 0
        for at, part in self.accesses(address, size, elements):
            state.groups += 1
            for atom in self.memory.split(at, part):
                self.reads.add(atom)
                own = state.stores.get(atom)
                options = self.memory.options(self.index, atom, None if own is None else own[0])
                got = self.choices.pick(options)
                through = own[2] if own else 0
                self.event(
                    state, "R", tag, atom.address, atom.size,
                    addr=base, index=index, value=got, via=through,
                )  # fmt: skip
                bit = 1 << len(state.events) - 1
                if own is None and self.thread.any and not self.memory.known(self.index, atom):
                    bit |= _ANY
                dep |= bit | (own[1] if own else 0)
                pick |= bit | through
                value |= got << 8 * (atom.address - address)
        return value, dep, pick | dep

    def store(
        self, state: _State, address: int, size: int, value: int, *, base: int, data: int,
        index: int = 31, tag: str = "", elements: int = 1, data2: int = 31, chooser: int = 31,
        rmw: int = -1,
    ) -> None:  # fmt: skip
        """Writes.

        data2  the register of a pair's second element
        rmw    the index of the first read that it forms an atomic pair with
        """
        number = 0
        if self.thread.any:
            top = self.thread.registers.get(SP, 0)
            if not state.x[SP] <= address <= top - size * elements:
                raise Unmodelled(
                    f"{state.pc - a64.WORD:#x}: {decode(state.trace[-1].word, state.pc)} writes to "
                    f"{address:#x}, which is not in a stack frame of its own"
                )
        parts = self.accesses(address, size, elements)
        if state.pc - a64.WORD in self.program.torn:
            parts = (
                (at + half, part // 2) for at, part in parts for half in (0, part // 2)
            )  # state.pc is behind the store already
        for at, part in parts:
            state.groups += 1
            for atom in self.memory.split(at, part):
                piece = value >> 8 * (atom.address - address) & ((1 << 8 * atom.size) - 1)
                source = data if atom.address - address < size else data2
                event = self.event(
                    state, "W", tag, atom.address, atom.size, addr=base, index=index, data=source,
                    chooser=chooser, value=piece, rmw=rmw + number if rmw >= 0 else -1,
                )  # fmt: skip
                number += 1
                dep = event.addr | event.data | (state.dep[source] & _ANY)
                state.stores[atom] = (piece, dep, dep | event.pick_addr | event.pick_data)
                self.memory.write(self.index, atom, piece)


# What each instruction does. Registers 0 to 30 are themselves; 33 holds the flags N, Z, C, V as
# bits 3 to 0, so that dependencies through flags are like those through registers.

_FLAGS = 33
_Semantics = Callable[[_Run, _State, a64.Instruction], None]


def _nothing(run: _Run, state: _State, insn: a64.Instruction) -> None:
    pass


def _barrier(run: _Run, state: _State, insn: a64.Instruction) -> None:
    """DMB, DSB. ISH, OSH and SY are alike among PEs of one inner shareable domain."""
    option = insn["o"]
    if option >> 2 != 1:  # NSH orders for the own PE alone
        run.event(state, insn.name.upper(), ("", "ld", "st", "full")[option & 3])


def _isb(run: _Run, state: _State, insn: a64.Instruction) -> None:
    run.event(state, "CSE", "isb")


def _exception(run: _Run, state: _State, insn: a64.Instruction) -> None:
    """SVC, HVC, SMC: taken and returned from."""
    if run.thread.any:
        raise Unmodelled(f"{state.pc - a64.WORD:#x}: what {insn} does to registers is not known")
    run.event(state, "CSE", "entry")
    run.event(state, "CSE", "return")


def _eret(run: _Run, state: _State, insn: a64.Instruction) -> None:
    run.event(state, "CSE", "return")
    state.pc = state.elr


def _msr_elr(run: _Run, state: _State, insn: a64.Instruction) -> None:
    state.elr = state.x[insn["t"]]


_PAC = {"paciasp": 1, "autiasp": 1, "pacibsp": 2, "autibsp": 2}


def _pac(run: _Run, state: _State, insn: a64.Instruction) -> None:
    """PACIASP, AUTIASP, and those with key B: X30 gets a code above its address that only the same
    key and the same SP take off again. Without FEAT_PAuth they are NOPs, which forgives more."""
    if not run.thread.any:
        return
    code = (state.x[SP] << 2 | _PAC[insn.name]) << 48 & _FULL
    value = state.x[30]
    plain = value & (1 << 48) - 1
    if insn.name.startswith("aut"):
        value = plain if value == plain | code else value ^ 1 << 62  # it faults, or what uses it
    elif value == plain:
        value |= code
    else:
        raise Unmodelled(f"{state.pc - a64.WORD:#x}: {insn} of what is no plain address in x30")
    state.set(30, value, state.dep[30], state.pick[30])


def _maintain(run: _Run, state: _State, insn: a64.Instruction) -> None:
    """DC CVAU, IC IVAU."""
    kind = insn.name[:2].upper()
    run.event(state, kind, "", state.x[insn["t"]], 0, addr=insn["t"])


def _b(run: _Run, state: _State, insn: a64.Instruction) -> None:
    if insn.name == "bl":
        state.set(30, state.pc, 0, 0)
    state.pc = insn["i"]


def _br(run: _Run, state: _State, insn: a64.Instruction) -> None:
    """BR, BLR, RET. Not a source of control dependencies: the model has conditional ones only."""
    target = state.x[_field(insn, "n", 30)]
    if insn.name == "blr":
        state.set(30, state.pc, 0, 0)
    state.pc = target


def _branch_on(run: _Run, state: _State, register: int, taken: bool, target: int) -> None:
    state.ctrl |= state.dep[register] & _EVENTS
    state.pick_ctrl |= state.pick[register] & _EVENTS
    if run.either(state, register, taken):
        state.pc = target


def _b_cond(run: _Run, state: _State, insn: a64.Instruction) -> None:
    if insn.name in ("b.al", "b.nv"):
        state.pc = insn["i"]
    else:
        taken = _holds(insn.name[2:], state.x[_FLAGS])
        _branch_on(run, state, _FLAGS, taken, insn["i"])


def _cbz(run: _Run, state: _State, insn: a64.Instruction) -> None:
    value = state.x[insn["t"]] & _mask(register_size(insn))
    _branch_on(run, state, insn["t"], (value == 0) == (insn.name == "cbz"), insn["i"])


def _tbz(run: _Run, state: _State, insn: a64.Instruction) -> None:
    bit = insn["hb"] if "hb" in insn else insn["b"]  # as the row joins the fields
    zero = not state.x[insn["t"]] >> bit & 1
    _branch_on(run, state, insn["t"], zero == (insn.name == "tbz"), insn["i"])


def _adr(run: _Run, state: _State, insn: a64.Instruction) -> None:
    state.set(insn["d"], insn["il"], 0, 0)


def _wide(run: _Run, state: _State, insn: a64.Instruction) -> None:
    """MOVN, MOVZ, MOVK."""
    shift = _field(insn, "s", 0)
    mask = _mask(register_size(insn, "d"))
    d, value = insn["d"], insn["i"] << shift
    if insn.name == "movk":
        value |= state.x[d] & ~(0xFFFF << shift)
        state.set(d, value & mask, state.dep[d], state.pick[d])
    else:
        state.set(d, (~value if insn.name == "movn" else value) & mask, 0, 0)


def _arithmetic(run: _Run, state: _State, insn: a64.Instruction) -> None:
    """ADD, SUB, AND, ORR, EOR and those that set flags, of immediates and registers."""
    n, d = _register(insn, "n"), _register(insn, "d")
    m = _field(insn, "m", 31)
    bits = 8 * register_size(insn, "d")
    words = _words(insn)
    left = state.x[n] & (1 << bits) - 1
    if "m" not in insn and "i" not in insn:
        right = int(words[-1].lstrip("#"), 0)  # a logical immediate is part of its row
    elif "m" not in insn:
        right = insn["i"] << _field(insn, "s", 0)
    elif "sxtw" in words:
        right = _sign(state.x[m], 32)
    else:
        right = state.x[m] & _mask(4 if "uxtw" in words else 8)
        right <<= _field(insn, "s", 0)
    right &= (1 << bits) - 1
    dep, pick = state.dep[n] | state.dep[m], state.pick[n] | state.pick[m]
    name = insn.name.removesuffix("s")
    if name in ("bic", "orn"):
        right = ~right & (1 << bits) - 1
        name = "and" if name == "bic" else "orr"
    if name in ("and", "orr", "eor"):
        value = {"and": left & right, "orr": left | right, "eor": left ^ right}[name]
        if insn.name == "ands":
            state.set(_FLAGS, (value >> bits - 1) << 3 | (value == 0) << 2, dep, pick)
    else:
        if name == "sub":
            right = ~right & (1 << bits) - 1
        total = left + right + (name == "sub")
        value = total & (1 << bits) - 1
        if insn.name.endswith("s"):
            top = 1 << bits - 1
            overflow = bool(~(left ^ right) & (left ^ value) & top)
            flags = bool(value & top) << 3 | (value == 0) << 2 | total >> bits << 1 | overflow
            state.set(_FLAGS, flags, dep, pick)
    state.set(d, value, dep, pick)


def _ubfm(run: _Run, state: _State, insn: a64.Instruction) -> None:
    """UBFM, which LSL and LSR are."""
    n, bits = insn["n"], 8 * register_size(insn, "d")
    low, high, value = insn["i"], insn["j"], state.x[n] & (1 << bits) - 1
    if high >= low:
        value = value >> low & (1 << high - low + 1) - 1
    else:
        value = (value & (1 << high + 1) - 1) << bits - low
    state.set(insn["d"], value, state.dep[n], state.pick[n])


def _select(run: _Run, state: _State, insn: a64.Instruction) -> None:
    """CSEL, CSINC: the result depends on the register chosen, and by pick on the flags."""
    holds = run.either(state, _FLAGS, _holds(_words(insn)[-1], state.x[_FLAGS]))
    chosen = insn["n" if holds else "m"]
    value = state.x[chosen] + (insn.name == "csinc" and not holds)
    pick = state.pick[chosen] | state.pick[_FLAGS]
    state.set(insn["d"], value & _mask(register_size(insn, "d")), state.dep[chosen], pick)


def _address(state: _State, insn: a64.Instruction) -> tuple[int, int, int]:
    """A load's or store's address and the registers that it comes from; writes the base back."""
    if "n" not in insn:
        return insn["i"], 31, 31
    n, words = _register(insn, "n"), _words(insn)
    base = state.x[n]
    if n == SP and base % 16:
        raise Unmodelled(f"{insn} with an SP of {base:#x}: it must be a multiple of 16")
    if "m" in insn:
        m = insn["m"]
        offset = state.x[m]
        if "sxtw" in words or "uxtw" in words:
            offset = _sign(offset, 32) if "sxtw" in words else offset & _mask(4)
        offset <<= next((int(word[1:]) for word in words if word[0] == "#"), 0)
        return base + offset & _FULL, n, m
    offset = _field(insn, "i", 0)
    address = base + offset & _FULL
    if "]!" in words:
        state.x[n] = address
    elif "i" in insn and insn.row is not None and insn.row.tokens[-1] != "]":
        state.x[n], address = address, base
    return address, n, 31


def _ldr(run: _Run, state: _State, insn: a64.Instruction) -> None:
    """LDR, LDUR, LDAR, LDAPR, LDXR, LDAXR, and those of bytes and halfwords."""
    size = _access_size(insn)
    name = insn.name.rstrip("bh")
    address, base, index = _address(state, insn)
    tag = {"ldar": "A", "ldaxr": "A", "ldapr": "Q"}.get(name, "")
    run.mark(state)
    if name in ("ldxr", "ldaxr"):
        state.exclusive = address, size, len(state.events)
    value, dep, pick = run.load(state, address, size, base=base, index=index, tag=tag)
    state.set(insn["t"], value, dep, pick)


def _str(run: _Run, state: _State, insn: a64.Instruction) -> None:
    """STR, STUR, STLR, and those of bytes and halfwords."""
    size = _access_size(insn)
    value = state.x[insn["t"]] & _mask(size)
    data = insn["t"]
    address, base, index = _address(state, insn)
    tag = "L" if insn.name.startswith("stlr") else ""
    run.store(state, address, size, value, base=base, index=index, data=data, tag=tag)


def _stxr(run: _Run, state: _State, insn: a64.Instruction) -> None:
    """STXR, STLXR, STXP, STLXP: succeeds or fails with a monitor set, fails without one."""
    size = _access_size(insn)
    t, n = insn["t"], _register(insn, "n")
    u = _field(insn, "u", 31)
    elements = 2 if "u" in insn else 1
    monitor, state.exclusive = state.exclusive, None
    address = state.x[n]
    possible = monitor is not None and monitor[:2] == (address, size * elements)
    run.mark(state)
    failed = run.choices.pick([0, 1] if possible else [1])
    if not failed and monitor is not None:
        tag = "LX" if insn.name.startswith("stl") else "X"
        value = state.x[t] & _mask(size) | (state.x[u] & _mask(size)) << 8 * size
        run.store(
            state, address, size, value, base=n, data=t, data2=u, elements=elements, tag=tag,
            rmw=monitor[2],
        )  # fmt: skip
    state.set(insn["s"], failed, 0, 0)


def _clrex(run: _Run, state: _State, insn: a64.Instruction) -> None:
    state.exclusive = None


def _ldp(run: _Run, state: _State, insn: a64.Instruction) -> None:
    """LDP, LDXP, LDAXP."""
    size = register_size(insn)
    address, base, _ = _address(state, insn)
    run.mark(state)
    if insn.name != "ldp":
        state.exclusive = address, 2 * size, len(state.events)
    tag = "A" if insn.name == "ldaxp" else ""
    value, dep, pick = run.load(state, address, size, base=base, elements=2, tag=tag)
    state.set(insn["t"], value & _mask(size), dep, pick)
    state.set(insn["u"], value >> 8 * size, dep, pick)


def _stp(run: _Run, state: _State, insn: a64.Instruction) -> None:
    size = register_size(insn)
    t, u = insn["t"], insn["u"]
    value = state.x[t] & _mask(size) | (state.x[u] & _mask(size)) << 8 * size
    address, base, _ = _address(state, insn)
    run.store(state, address, size, value, base=base, data=t, data2=u, elements=2)


def _atomic(run: _Run, state: _State, insn: a64.Instruction) -> None:
    """CAS, SWP, LDADD, LDCLR, LDEOR, LDSET."""
    size = register_size(insn)
    s, t, n = insn["s"], insn["t"], _register(insn, "n")
    cas = insn.name.startswith("cas")
    operation = insn.name[: 3 if cas or insn.name.startswith("swp") else 5]
    order = insn.name[len(operation) :]
    unused = not cas and t == 31
    tag = ("A" if "a" in order and not unused else "") + ("N" if unused else "")
    run.mark(state)
    first = len(state.events)
    old, dep, pick = run.load(state, state.x[n], size, base=n, tag=tag)
    operand = state.x[s] & _mask(size)
    new = {
        "cas": state.x[t], "swp": operand, "ldadd": old + operand, "ldclr": old & ~operand,
        "ldeor": old ^ operand, "ldset": old | operand,
    }[operation] & _mask(size)  # fmt: skip
    if not cas or old == operand:
        run.store(
            state, state.x[n], size, new, base=n, data=t if cas else s,
            chooser=s if cas else 31, tag="L" if "l" in order else "", rmw=first,
        )  # fmt: skip
    state.set(s if cas else t, old, dep, pick)


def _holds(condition: str, flags: int) -> bool:
    """Whether a condition holds (Arm ARM C1.2.4)."""
    n, z, c, v = (bool(flags >> bit & 1) for bit in (3, 2, 1, 0))
    return {
        "eq": z, "ne": not z, "cs": c, "cc": not c, "mi": n, "pl": not n, "vs": v, "vc": not v,
        "hi": c and not z, "ls": not c or z, "ge": n == v, "lt": n != v,
        "gt": n == v and not z, "le": n != v or z, "al": True, "nv": True,
    }[condition]  # fmt: skip


def _words(insn: a64.Instruction) -> tuple[str, ...]:
    """The words and brackets in the instruction's assembly."""
    assert insn.row is not None
    return tuple(token for token in insn.row.tokens if isinstance(token, str))


def _field(insn: a64.Instruction, name: str, absent: int) -> int:
    return insn[name] if name in insn else absent  # noqa: SIM401


def _mask(size: int) -> int:
    return (1 << 8 * size) - 1


def _sign(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> bits - 1 else value


def register_size(insn: a64.Instruction, name: str = "t") -> int:
    """The bytes of an operand's register: 4 or 8."""
    assert insn.row is not None
    return next(4 if o.kind == "w:" else 8 for o in insn.row.operands if o.name == name)


def _access_size(insn: a64.Instruction) -> int:
    """The bytes that a load or store of one register accesses."""
    return {"b": 1, "h": 2}.get(insn.name[-1]) or register_size(insn)


def _register(insn: a64.Instruction, name: str) -> int:
    """An operand's register, SP told from the zero register."""
    number = insn[name]
    if number == 31 and insn.row is not None:
        for operand in insn.row.operands:
            if operand.name == name and operand.kind == "s:":
                return SP
    return number


_WIDTHS = ("", "b", "h")
_ORDERS = ("", "a", "l", "al")
_SEMANTICS: dict[str, _Semantics] = {
    **dict.fromkeys(("nop", "yield", "bti", "bti c", "bti j", "bti jc", "csdb", "esb"), _nothing),
    **dict.fromkeys(_PAC, _pac),
    **dict.fromkeys(("dmb", "dsb"), _barrier),
    "isb": _isb, "eret": _eret, "msr": _msr_elr, "b": _b, "bl": _b,
    **dict.fromkeys(("svc", "hvc", "smc"), _exception),
    **dict.fromkeys(("dc cvau", "ic ivau"), _maintain),
    **dict.fromkeys(("br", "blr", "ret"), _br),
    **{row.name: _b_cond for row in a64.TABLE if row.name.startswith("b.")},
    **dict.fromkeys(("cbz", "cbnz"), _cbz),
    **dict.fromkeys(("tbz", "tbnz"), _tbz),
    **dict.fromkeys(("adr", "adrp"), _adr),
    **dict.fromkeys(("movz", "movn", "movk"), _wide),
    **dict.fromkeys(("add", "sub", "adds", "subs"), _arithmetic),
    **dict.fromkeys(("and", "ands", "bic", "orr", "orn", "eor"), _arithmetic),
    **dict.fromkeys(("csel", "csinc"), _select),
    "ldur": _ldr, "stur": _str,
    **{name + of: _ldr for name in ("ldr", "ldar", "ldapr", "ldxr", "ldaxr") for of in _WIDTHS},
    **{name + of: _str for name in ("str", "stlr") for of in _WIDTHS},
    **{name + of: _stxr for name in ("stxr", "stlxr") for of in _WIDTHS},
    **dict.fromkeys(("stxp", "stlxp"), _stxr), "clrex": _clrex, "ubfm": _ubfm,
    **dict.fromkeys(("ldp", "ldxp", "ldaxp"), _ldp), "stp": _stp,
    **{
        operation + order: _atomic
        for operation in ("cas", "swp", "ldadd", "ldclr", "ldeor", "ldset")
        for order in _ORDERS
    },
}  # fmt: skip
