"""Which paths of the threads go together: the combinations of one path of each thread.

Each thread was explored on its own, with every value that memory can ever hold. So most
combinations are impossible: a path reads what no other path writes, or writes come too late.
They are left out in two steps, and no execution is lost.

First, for each atom, the threads' accesses to it are followed through all orders in which each
thread's accesses are in program order and each read sees the last value written. In every execution
that the model allows, the accesses to an atom have such an order: that is what coRW1, coWW and
coWR say, with lmws, aob, Exp-haz-ob and Exp-obs where another PE is involved. By the axiom atomic
the write of an atomic pair comes directly after its read, so a pair is followed as one access.
Fetches are left out, as they are not coherent. This step is only for a model that has all axioms.

Of the threads that only read the atom, each is followed with all writers, but without the other
readers, which change nothing for it.

Then a path of each thread is chosen, thread after thread: one whose accesses to each atom have an
order with those of the paths chosen before. All values that it reads or fetches must be there at
the start, or be written by a path that was chosen or that still can be.

What is left need not be allowed: that is for executions.py to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from static_call.memory_model.events import Atom, Path
from static_call.memory_model.explore import Explored
from static_call.memory_model.program import Program, TooBig
from static_call.memory_model.relations import bits

_Access = tuple[int | None, int | None]
"""What an access to an atom reads and what it writes; None where it does not."""

_Trace = tuple[_Access, ...]
"""One path's accesses to an atom."""


def combinations(explored: Explored, coherent: bool = True) -> Iterator[tuple[Path, ...]]:
    """The combinations of one path of each thread that may have executions.

    They come in the order of itertools.product.

    Args:
        explored: What the threads can do.
        coherent: Whether the model has all axioms. If not, only the second step is made.

    Raises:
        TooBig: the search takes more steps than the limit for combinations.
    """
    return _Search(explored, coherent).choose((), 0, 0)


class _Search:
    """The search among the combinations."""

    def __init__(self, explored: Explored, coherent: bool) -> None:
        self._explored, self._paths = explored, explored.paths
        self._steps = 0
        groups = list(self._groups()) if coherent and len(self._paths) > 1 else []
        self._groups_of = [
            [group for group in groups if thread in group.threads]
            for thread in range(len(self._paths))
        ]
        number: dict[tuple[Atom, int], int] = {}  # of each value, its bit in the masks
        self._values = [
            [_values(explored.program, path, number) for path in paths] for paths in self._paths
        ]
        self._later = [0]  # for each thread, the values that it and the next ones can write
        for values in reversed(self._values):
            self._later.insert(0, _union(writes for _, writes in values) | self._later[0])

    def step(self) -> None:
        """Counts a step.

        Raises:
            TooBig: there were too many.
        """
        self._steps += 1
        if self._steps > self._explored.limits.combinations:
            raise TooBig(
                f"{' x '.join(str(len(paths)) for paths in self._paths)} paths of the threads to "
                f"combine, in more than {self._explored.limits.combinations} steps: raise "
                "--combinations"
            )

    def choose(
        self, chosen: tuple[int, ...], reads: int, writes: int
    ) -> Iterator[tuple[Path, ...]]:
        """Chooses the paths of the threads that are left.

        Args:
            chosen: The indexes of the paths chosen so far.
            reads: The values that they read, as a mask.
            writes: Those that they write.
        """
        thread = len(chosen)
        if thread == len(self._paths):
            yield tuple(paths[index] for paths, index in zip(self._paths, chosen))
            return
        possible = (1 << len(self._paths[thread])) - 1
        for group in self._groups_of[thread]:
            possible &= group.possible(chosen)
        for index in bits(possible):
            self.step()
            more_reads, more_writes = self._values[thread][index]
            more_reads |= reads
            more_writes |= writes
            if not more_reads & ~(more_writes | self._later[thread + 1]):
                yield from self.choose((*chosen, index), more_reads, more_writes)

    def _groups(self) -> Iterator[_Group]:
        """For each atom its writers, with each of its other readers."""
        traces = [[_traces(path) for path in paths] for paths in self._paths]
        for atom in sorted({atom for paths in traces for path in paths for atom in path}):
            of = [[path.get(atom, ()) for path in paths] for paths in traces]
            used = [thread for thread, paths in enumerate(of) if any(paths)]
            writers = [
                thread for thread in used
                if any(written is not None for trace in of[thread] for _, written in trace)
            ]  # fmt: skip
            others = [thread for thread in used if thread not in writers]
            for threads in [sorted((*writers, other)) for other in others] or [writers]:
                if writers and any(len(set(of[thread])) > 1 for thread in threads):
                    initial = self._explored.program.initial(*atom)
                    yield _Group(threads, [of[thread] for thread in threads], initial, self.step)


class _Group:
    """Some threads' accesses to one atom.

    Attributes:
        threads: The threads, in ascending order.
    """

    def __init__(
        self, threads: Sequence[int], traces: Sequence[Sequence[_Trace]], initial: int,
        step: Callable[[], None],
    ) -> None:  # fmt: skip
        self.threads = threads
        tries = [_Trie(paths) for paths in traces]
        self._ends = [trie.ends for trie in tries]
        self._possible: dict[tuple[int, ...], int] = {}
        for ends in _orders(tries, initial, step):
            for i, end in enumerate(ends):
                self._possible[ends[:i]] = self._possible.get(ends[:i], 0) | tries[i].paths[end]

    def possible(self, chosen: Sequence[int]) -> int:
        """The paths that the next of its threads can take, as a mask.

        Args:
            chosen: The indexes of the paths of all threads before that.
        """
        ends = [of[chosen[t]] for t, of in zip(self.threads, self._ends) if t < len(chosen)]
        return self._possible.get(tuple(ends), 0)


class _Trie:
    """The traces of one thread as a tree: its nodes are the points that it can have reached.

    Attributes:
        next: For each node, the accesses that can follow, each with the node after it.
        ends: For each path, the node where it ends.
        paths: For each node, the paths that end there, as a mask.
    """

    def __init__(self, traces: Sequence[_Trace]) -> None:
        self.next: list[dict[_Access, int]] = [{}]
        self.ends: list[int] = []
        for trace in traces:
            node = 0
            for access in trace:
                if access not in self.next[node]:
                    self.next[node][access] = len(self.next)
                    self.next.append({})
                node = self.next[node][access]
            self.ends.append(node)
        self.paths = [0] * len(self.next)
        for index, end in enumerate(self.ends):
            self.paths[end] |= 1 << index


def _orders(
    tries: Sequence[_Trie], initial: int, step: Callable[[], None]
) -> Iterator[tuple[int, ...]]:
    """Where the threads can end, as nodes, if each read sees the last value written."""
    start = initial, (0,) * len(tries)
    seen, stack = {start}, [start]
    while stack:
        value, nodes = stack.pop()
        step()
        if all(trie.paths[node] for trie, node in zip(tries, nodes)):
            yield nodes
        for i, trie in enumerate(tries):
            for (read, written), node in trie.next[nodes[i]].items():
                if read in (None, value):
                    state = (
                        value if written is None else written,
                        (*nodes[:i], node, *nodes[i + 1 :]),
                    )
                    if state not in seen:
                        seen.add(state)
                        stack.append(state)


def _union(masks: Iterable[int]) -> int:
    union = 0
    for mask in masks:
        union |= mask
    return union


def _traces(path: Path) -> dict[Atom, _Trace]:
    """The accesses of a path by atom."""
    found: dict[Atom, list[_Access]] = {}
    last: dict[Atom, int] = {}
    for i, event in enumerate(path.events):
        if event.kind not in "RW":
            continue
        atom = Atom(event.address, event.size)
        accesses = found.setdefault(atom, [])
        if event.kind == "R":
            accesses.append((event.value, None))
        elif event.rmw >= 0 and last.get(atom) == event.rmw:
            accesses[-1] = accesses[-1][0], event.value
        else:
            accesses.append((None, event.value))
        last[atom] = i
    return {atom: tuple(accesses) for atom, accesses in found.items()}


def _values(program: Program, path: Path, number: dict[tuple[Atom, int], int]) -> tuple[int, int]:
    """The values that a path reads and memory does not hold at the start, and those it writes."""
    reads = writes = 0
    for event in path.events:
        if event.kind in "RFW":
            atom = Atom(event.address, event.size)
            bit = 1 << number.setdefault((atom, event.value), len(number))
            if event.kind == "W":
                writes |= bit
            elif event.value != program.initial(*atom):
                reads |= bit
    return reads, writes
