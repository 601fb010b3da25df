"""Why the model forbids an execution: the cycles in what it orders."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby, islice
from typing import NamedTuple

from static_call.memory_model.combine import combinations
from static_call.memory_model.events import Atom, Path
from static_call.memory_model.executions import (
    INITIAL,
    Candidates,
    Execution,
    Where,
    after,
    allowed,
    between,
    breaks_pair,
)
from static_call.memory_model.explore import Explored, explore
from static_call.memory_model.model import GLOBAL, LOCAL, PICK, WEAKEST, Model
from static_call.memory_model.program import Program, TooBig
from static_call.memory_model.relations import Rows, bits
from static_call.memory_model.shapes import Shape, Shapes


class Edge(NamedTuple):
    """One step of a cycle.

    Attributes:
        source: An event, by index.
        target: The event that it is ordered before.
        axiom: What orders them.
        through: The events that the axiom's walk goes through in between.
    """

    source: int
    target: int
    axiom: str
    through: tuple[int, ...] = ()


class Refused(NamedTuple):
    """A candidate execution that the model forbids.

    Attributes:
        execution: The execution, without its ob.
        cycles: What forbids it: one cycle for each order of its DCs and ICs relative to writes and
            fetches. Without duplicates, the shortest first.
    """

    execution: Execution
    cycles: tuple[tuple[Edge, ...], ...]


def forbidden(
    what: Program | Explored,
    model: Model = WEAKEST,
    *,
    where: Where | None = None,
    shapes: Shapes | None = None,
    which: Callable[[Execution], bool] = lambda execution: True,
    coherent: bool = False,
) -> Iterator[Refused]:
    """The candidate executions that the model forbids, and why.

    Args:
        what: A program, or what its threads can do.
        model: The model.
        where: Says which combinations of paths to look at; all if None.
        shapes: Remembers what executions share, from one call to the next.
        which: Says which executions to look at, given their reads and their orders of writes.
        coherent: Whether to look only at those that satisfy the axioms of INTERNAL. They are far
            fewer: of n writes to a location most orders contradict program order.

    Raises:
        TooBig: there are more combinations or candidates than the limits allow.
        Unmodelled: an instruction has no semantics here.
    """
    explored = explore(what) if isinstance(what, Program) else what
    shapes = shapes or Shapes()
    count, most = 0, explored.limits.executions
    for paths in combinations(explored, coherent=False):
        if where is not None and not where(paths):
            continue
        shape = shapes.shape(explored.program, model, paths)
        found = Candidates(shape, paths, every=True, check=False).run()
        if coherent:
            found = _coherent(shape, shapes, paths)
        for _, same in groupby(found, _choices):
            executions = list(islice(same, most - count + 1))
            count += len(executions)
            if count > most:
                raise TooBig(f"more than {most} candidate executions: raise --executions")
            if not which(executions[0]):
                continue
            if refused := _refused(executions):
                yield refused


def forbidden_by(
    explored: Explored,
    model: Model,
    axioms: frozenset[str],
    which: Callable[[Execution], bool] = lambda execution: True,
) -> Iterator[Refused]:
    """The executions that only some axioms forbid, and how.

    Args:
        explored: What the threads of a program can do.
        model: The model.
        axioms: The axioms, by name or as the walks of single rows.
        which: Says which executions to look at.

    Raises:
        TooBig: there are more executions or combinations than the limits allow.
    """
    shapes = Shapes()
    less = replace(model, without=model.without | axioms)
    for _, same in groupby(allowed(explored, less), _choices):
        executions = list(same)
        if which(executions[0]):
            shape = shapes.shape(explored.program, model, executions[0].paths)
            if refused := _refused([_under(shape, one) for one in executions]):
                yield refused


def _choices(execution: Execution) -> tuple[list[int], dict[int, int], dict[Atom, tuple[int, ...]]]:
    """What DCs and ICs do not decide. The search chooses it first, so it goes by these."""
    return [*map(id, execution.paths)], execution.rf, execution.co


def _refused(executions: Sequence[Execution]) -> Refused | None:
    """What forbids executions that have all but the orders of DCs and ICs in common, if all are."""
    cycles = [shortest_cycle(execution) for execution in executions]
    if not all(cycles):
        return None
    unique = dict.fromkeys(cycle for cycle in cycles if cycle is not None)
    return Refused(executions[0], tuple(sorted(unique, key=len)))


def _under(shape: Shape, one: Execution) -> Execution:
    """An execution of one model as a candidate of another."""
    rf = [one.rf[r] for r in shape.reads]
    return Execution(shape, one.paths, rf, one.co, one.dc, one.ic, one.ob)


def _coherent(shape: Shape, shapes: Shapes, paths: tuple[Path, ...]) -> Iterator[Execution]:
    """The candidates that satisfy the axioms of INTERNAL: those allowed without all of GLOBAL."""
    bare = replace(shape.model, without=shape.model.without | {rule.name for rule in GLOBAL})
    less = shapes.shape(shape.program, bare, paths)
    for one in Candidates(less, paths, every=True).run():
        yield _under(shape, one)


def shortest_cycle(execution: Execution) -> tuple[Edge, ...] | None:
    """The shortest cycle of orders in an execution, or None where the model allows it."""
    broken = _internal(execution)
    if broken:
        return broken
    follow: dict[int, list[Edge]] = {}
    for edge in order_edges(execution):
        follow.setdefault(edge.source, []).append(edge)
    best: tuple[Edge, ...] | None = None
    for start in follow:
        reached: dict[int, tuple[Edge, ...]] = {start: ()}
        queue = [start]
        while queue and (best is None or len(reached[queue[0]]) + 1 < len(best)):
            node = queue.pop(0)
            for edge in follow.get(node, ()):
                path = (*reached[node], edge)
                if edge.target == start:
                    if best is None or len(path) < len(best):
                        best = path
                elif edge.target not in reached:
                    reached[edge.target] = path
                    queue.append(edge.target)
    return best


def order_edges(execution: Execution) -> Iterator[Edge]:
    """What is ordered before what in an execution, by which axiom and through which events.

    It is not transitive. Of several axioms for the same two events it has the one with the fewest
    events in between.
    """
    shape, dynamic = execution.shape, _dynamic(execution)
    edges: dict[tuple[int, int], Edge] = {}
    for rule in (*LOCAL, *PICK, *GLOBAL):
        if shape.model.has(rule):
            first, *steps = rule.steps
            for source in bits(shape.set(first)):
                for target, through in _ways(shape, source, steps, dynamic):
                    known = edges.get((source, target))
                    if known is None or len(through) < len(known.through):
                        edges[source, target] = Edge(source, target, rule.name, through)
    if "shootdown" not in shape.model.without:
        for a, b in shape.shootdowns():
            edges.setdefault((a, b), Edge(a, b, "shootdown"))
    yield from edges.values()


def _dynamic(execution: Execution) -> dict[str, Rows]:
    """The relations that are this execution's own, by their names in the model's tables."""
    n, external = execution.shape.n, execution.shape.external
    rf, ca, dc, ic = ([0] * n for _ in range(4))
    for r, w in execution.rf.items():
        if w != INITIAL:
            rf[w] |= 1 << r
    for a, b in _coherence_after(execution):
        ca[a] |= 1 << b
    for pairs, rows in ((execution.dc, dc), (execution.ic, ic)):
        for a, b in pairs:
            rows[a] |= 1 << b
    dynamic = {"rf": rf, "ca": ca, "DC-after": dc, "IC-after": ic}
    for name in ("rf", "ca"):
        dynamic[f"{name}&ext"] = [row & external[i] for i, row in enumerate(dynamic[name])]
    return dynamic


def _ways(
    shape: Shape, source: int, steps: Sequence[str], dynamic: Mapping[str, Rows]
) -> Iterator[tuple[int, tuple[int, ...]]]:
    """The ends of a walk, each with the events on the first way found to it."""
    reached: dict[int, tuple[int, ...]] = {source: ()}
    for number, (relation, into) in enumerate(zip(steps[::2], steps[1::2], strict=True)):
        following: dict[int, tuple[int, ...]] = {}
        allowed_in = shape.set(into)
        for event, through in reached.items():
            passed = (*through, event) if number else ()
            for target in bits(shape.image(1 << event, relation, dynamic) & allowed_in):
                following.setdefault(target, passed)
        reached = following
    for target, through in reached.items():
        yield target, tuple(dict.fromkeys(e for e in through if e not in (source, target)))


def _coherence_after(execution: Execution) -> Iterator[tuple[int, int]]:
    """Pairs of a write, read or fetch and a write that is coherence-after it."""
    for order in execution.co.values():
        for write in order:
            for later in after(order, write):
                yield write, later
    for read in execution.rf:
        for later in execution.from_reads(read):
            yield read, later


def _internal(execution: Execution) -> tuple[Edge, ...]:
    """The orders that contradict each other and so break an internal axiom; () if none do."""
    shape, without = execution.shape, execution.shape.model.without
    events, thread = shape.events, shape.thread
    for r, w in execution.rf.items():
        if w == INITIAL or events[r].kind != "R" or thread[w] != thread[r]:
            continue
        if events[w].step >= events[r].step and "coRW1" not in without:
            return Edge(w, r, "rf"), Edge(r, w, "coRW1")
    for a, b in _coherence_after(execution):
        axiom = {"W": "coWW", "R": "coWR", "F": ""}[events[a].kind]
        backwards = thread[a] == thread[b] and events[b].step < events[a].step
        if axiom and backwards and axiom not in without:
            return Edge(a, b, "ca"), Edge(b, a, axiom)
    if "atomic" not in without:
        for r, w in shape.rmw:
            inside = between(execution.co[shape.atoms[r]], execution.rf[r], w)
            if breaks_pair(shape, r, inside):
                return Edge(r, inside[0], "ca"), Edge(inside[0], w, "ca"), Edge(w, r, "atomic")
    return ()
