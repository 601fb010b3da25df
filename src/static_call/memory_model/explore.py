"""What each thread of a program can do by itself.

`explore` runs every thread on its own. Where the thread reads memory, or fetches an instruction
that some thread writes, it goes on once with each value that this memory can ever hold. The result
is the thread's possible paths, each a sequence of memory events with their dependencies.
"""

from __future__ import annotations

from dataclasses import dataclass

from static_call.isa import a64
from static_call.isa.a64_more import decode
from static_call.memory_model.effects import PE, Choices, State
from static_call.memory_model.events import Atom, Executed, Path
from static_call.memory_model.program import DEFAULT, Limits, Program, TooBig, Unmodelled
from static_call.memory_model.semantics import SEMANTICS
from static_call.memory_model.values import Values


@dataclass(frozen=True, slots=True)
class Explored:
    """What the threads can do.

    Attributes:
        program: The program.
        paths: The paths of each thread.
        cut: The bounds for which paths were left out, as the command line names them: --steps,
            --unroll.
        limits: The bounds on the work that remains.
    """

    program: Program
    paths: tuple[tuple[Path, ...], ...]
    cut: tuple[str, ...]
    limits: Limits = DEFAULT


def explore(program: Program, limits: Limits = DEFAULT) -> Explored:
    """The paths of every thread.

    The values that memory can hold are found in rounds: paths write values, and new values make new
    paths. A value is the result of a chain of writes, at most as many as one execution has. So
    where the values never stop growing, that many rounds are enough.

    Raises:
        TooBig: a thread has more paths than `limits` allows.
        Unmodelled: an instruction has no semantics here.
    """
    values = Values(program)
    runs = [_Run(program, values, i, limits) for i in range(len(program.threads))]
    rounds = 0
    while True:
        values.changed = values.split_changed = False
        for run in runs:
            if run.stale():
                run.go()
        values.end_round()
        rounds += 1
        writes = sum(run.most_writes for run in runs)
        if not values.changed or (rounds > writes + 1 and not values.split_changed):
            break
    paths = tuple(tuple(run.paths) for run in runs)
    cut = tuple(sorted({bound for run in runs for bound in run.cut}))
    return Explored(program, paths, cut, limits)


class _Run:
    """All paths of one thread.

    Attributes:
        paths: Those found in the last pass.
        cut: The bounds that paths were left out for.
        most_writes: The most writes in one path of any pass.
    """

    def __init__(self, program: Program, values: Values, index: int, limits: Limits) -> None:
        self.paths: list[Path] = []
        self.cut: set[str] = set()
        self.most_writes = 0
        self._program, self._values, self._index, self._limits = program, values, index, limits
        self._pe = PE(program, values, index)
        self._seen: tuple[int, dict[Atom, tuple[int, int]]] | None = None

    def stale(self) -> bool:
        """Whether memory that this thread reads can hold more than when it last ran."""
        if self._seen is None:
            return True
        version, known = self._seen
        return version != self._values.version or any(
            self._values.state_of(atom) != state for atom, state in known.items()
        )

    def go(self) -> None:
        """Runs the thread, and again as long as the atoms change under it."""
        version = -1
        while version != self._values.version:
            version = self._values.version
            self._pe.reads.clear()
            self._all_paths()
        self._seen = version, {atom: self._values.state_of(atom) for atom in self._pe.reads}

    def _all_paths(self) -> None:
        """One pass.

        It ends early if the atoms change: the choices that are still on the stack then refer to
        values that no longer mean anything.
        """
        self.paths = []
        self.cut.clear()
        version = self._values.version
        stack: list[tuple[State, tuple[int, ...]]] = [(State(self._pe.thread), ())]
        while stack:
            state, given = stack.pop()
            done = False
            while not done:
                before = state.copy()
                self._pe.choices = Choices(given)
                done = self._step(state)
                if self._values.version != version:
                    return
                open_ = self._pe.choices.open
                stack += [(before.copy(), other) for other in reversed(open_)]
                given = ()

    def _finish(self, state: State) -> bool:
        self._pe.take_rest(state)
        events, registers = tuple(state.events), tuple(state.x[:33])
        path = Path(events, registers, state.pc, state.ended, tuple(state.trace), state.faults)
        self.paths.append(path)
        if len(self.paths) > self._limits.paths:
            raise TooBig(
                f"thread {self._index} has more than {self._limits.paths} paths: raise --paths"
            )
        self.most_writes = max(self.most_writes, sum(e.kind == "W" for e in state.events))
        return True

    def _step(self, state: State) -> bool:
        """Executes one instruction. Returns True where the path ends."""
        pe, pc = self._pe, state.pc
        if pc in pe.thread.stops or pc not in self._program.code:
            return self._finish(state)
        visits, decided = state.visits.get(pc, (0, -1))
        visits += decided != state.decided
        state.visits[pc] = visits, state.decided
        if visits > self._limits.unroll or len(state.trace) >= self._limits.steps:
            self.cut.add("--unroll" if visits > self._limits.unroll else "--steps")
            return True
        state.marked = False
        state.step += 1
        first = len(state.events)
        word = pe.fetch(state)
        state.trace.append(Executed(pc, word, first))
        if pe.sends(pc):
            pe.send(state)
            return False
        return self._execute(state, decode(word, pc))

    def _execute(self, state: State, insn: a64.Instruction) -> bool:
        pe, pc = self._pe, state.pc
        semantics = SEMANTICS.get(insn.name)
        if semantics is None:
            raise Unmodelled(f"{pc:#x}: the checker has no semantics for {insn}")
        state.pc = pc + a64.WORD
        semantics(pe, state, insn)
        return bool(state.ended) and self._finish(state)
