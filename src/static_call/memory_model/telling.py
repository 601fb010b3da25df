"""An execution in words: its events in some order, and the reasons that forbid it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import Protocol

from static_call.isa.a64_more import decode
from static_call.memory_model.cycles import Edge, Refused, order_edges
from static_call.memory_model.events import EVERYWHERE, Event
from static_call.memory_model.executions import INITIAL, Execution

_WIDTH, _LEAST = 108, 28
"""Letters for the columns of all threads together, and for each of them at least."""

_CIRCLES = 2
"""How many cycles are described."""


class Words(Protocol):
    """What a program's threads, addresses and values are called."""

    @property
    def threads(self) -> Sequence[str]:
        """The names of the threads."""
        ...

    def name(self, address: int, /) -> str:
        """An address for a person."""
        ...

    def value(self, value: int, size: int, at: int, /) -> str:
        """A value of `size` bytes for a person, given its address."""
        ...


def in_order(execution: Execution, cycle: tuple[Edge, ...] = ()) -> list[int]:
    """The events in the order in which they are told.

    The order respects ordered-before. Apart from that, each thread keeps its program order, and an
    event that sees an old value comes before the write that it doesn't see, as far as possible.
    If a `cycle` forbids the execution, only program order and the values read count.
    """
    n, thread = len(execution.events), execution.thread
    after = [0 if cycle else row for row in execution.ob]  # transitive
    for a, b in _preferences(execution, cycle):
        if a != b and not after[b] >> a & 1 and not after[a] >> b & 1:
            reached = after[b] | 1 << b
            for i, row in enumerate(after):
                if i == a or row >> a & 1:
                    after[i] = row | reached
    done: list[int] = []
    left = list(range(n))
    while left:
        ready = [i for i in left if not any(after[j] >> i & 1 for j in left)]
        same = [i for i in ready if done and thread[i] == thread[done[-1]]]
        done.append(min(same or ready))
        left.remove(done[-1])
    return done


def _preferences(execution: Execution, cycle: tuple[Edge, ...]) -> Iterator[tuple[int, int]]:
    """Pairs of events: the first goes first, unless an earlier pair forbids it."""
    thread = execution.thread
    following = [(i, i + 1) for i in range(len(thread) - 1) if thread[i] == thread[i + 1]]
    yield from ((a, b) for a, b in following if thread[a] == 0)
    if cycle:
        yield from ((a, b) for a, b in following if thread[a] > 0)
        for edge in order_edges(execution):
            if edge.axiom == "shootdown" and not edge.through:
                yield edge.source, edge.target
    yield from ((w, r) for r, w in execution.rf.items() if w != INITIAL)
    yield from ((r, w) for r in execution.rf for w in execution.from_reads(r))
    yield from following


def is_early(execution: Execution, order: list[int], at: int) -> bool:
    """Whether the event order[at] comes before one that precedes it in program order."""
    i = order[at]
    return any(j < i and execution.thread[j] == execution.thread[i] for j in order[at + 1 :])


def columns(words: Words, execution: Execution, cycle: tuple[Edge, ...] = ()) -> list[str]:
    """The events as columns, one for each thread: see in_order."""
    width = max(_WIDTH // len(words.threads), _LEAST)
    lines = [
        "".join(f"{name:<{width}}" for name in words.threads).rstrip(),
        "".join(f"{'-' * (width - 2):<{width}}" for _ in words.threads).rstrip(),
    ]
    for i, text in told(words, execution, cycle):
        for part in wrap(text, width - 3, subsequent_indent="    "):
            lines.append(" " * width * execution.thread[i] + part)
    return lines


def told(
    words: Words, execution: Execution, cycle: tuple[Edge, ...] = ()
) -> Iterator[tuple[int, str]]:
    """The events in the order in which they are told, each with its text."""
    order = in_order(execution, cycle)
    for at, i in enumerate(order):
        yield i, describe(words, execution, i) + (" (early)" * is_early(execution, order, at))


def instruction(words: Words, execution: Execution, index: int) -> str:
    """The instruction that an event belongs to, as assembly."""
    thread = execution.thread[index]
    path = execution.paths[thread]
    own = index - sum(len(p.events) for p in execution.paths[:thread])
    done = None
    for executed in path.trace:
        if executed.first > own:
            break
        done = executed
    if done is None:
        return ""
    return decode(done.word, done.address).format(words.name)


def describe(words: Words, execution: Execution, index: int) -> str:
    """An event in words: the instruction, the value and where it comes from."""
    event = execution.events[index]
    insn = instruction(words, execution, index)
    match event.kind:
        case "CSE":
            return {
                "sent": "cse: asked for on every PE",
                "done": "cse: every PE has had it",
                "taken": "(context synchronisation event, taken)",
            }.get(event.tag, insn)
        case "DMB" | "DSB":
            return insn
        case "IC" if event.size == EVERYWHERE:
            return insn
        case "DC" | "IC":
            return f"{insn.split(',')[0]}, {words.name(event.address)}"
        case "W":
            value = words.value(event.value, event.size, event.address)
            return f"{insn}: {_location(words, event)} = {value}"
    value = words.value(event.value, event.size, event.address)
    source = execution.rf.get(index, INITIAL)
    old = ", as before" if source == INITIAL else _stored(execution, index, source)
    if event.kind == "F":
        return f"fetches {_location(words, event)}: {value}{old}"
    return f"{insn}: {_location(words, event)} is {value}{old}"


def _stored(execution: Execution, index: int, source: int) -> str:
    """Which store a value comes from, where there are several."""
    if execution.thread[source] == execution.thread[index]:
        return ", its own"
    order = execution.co[execution.shape.atoms[index]]
    if len(order) == 1:
        return ", as stored"
    number = order.index(source)
    names = ("first", "second", "third", "fourth")
    return f", as stored {names[number] if number < len(names) else f'as number {number + 1}'}"


def _location(words: Words, event: Event) -> str:
    name = words.name(event.address)
    return name if event.size in (4, 8) else f"{name} ({event.size} bytes)"


def shown(refused: Refused) -> tuple[Edge, ...]:
    """The edges of the cycles that are described: the shortest, at most two."""
    return tuple(dict.fromkeys(edge for one in refused.cycles[:_CIRCLES] for edge in one))


def circles(words: Words, refused: Refused, said: str = "and that goes round") -> Iterator[str]:
    """What forbids an execution, in paragraphs; the first starts with `said`."""
    yield f"{said} in a circle, each before the next:"
    for number, one in enumerate(refused.cycles[:_CIRCLES]):
        if number:
            yield "or else, where a DC or an IC came first that came later there,"
        yield "\n".join(circle(words, refused.execution, one))
    more = len(refused.cycles) - _CIRCLES
    if more > 0:
        yield f"and {more} more such {'circle' if more == 1 else 'circles'}."


def circle(words: Words, execution: Execution, cycle: tuple[Edge, ...]) -> Iterator[str]:
    """A cycle: events, with a reason between each and the next."""
    for edge in cycle:
        whose = words.threads[execution.thread[edge.source]]
        yield f"  {whose}: {describe(words, execution, edge.source)}"
        through = [describe(words, execution, i) for i in edge.through]
        yield f"      {named(execution, edge)}" + (
            f" (through {'; '.join(through)})" if through else ""
        )
        for number, step in enumerate(why(execution, edge)):
            before = "and that before" if number else "which it comes before, since before"
            what = describe(words, execution, step.target)
            yield f"        {before} {what} ({named(execution, step)})"
    yield f"  and so before itself: {describe(words, execution, cycle[0].source)}"


def named(execution: Execution, edge: Edge) -> str:
    """An edge's axiom, and for Exp-obs the relation as well."""
    if edge.axiom != "Exp-obs" or edge.through:
        return edge.axiom
    kinds = execution.events[edge.source].kind + execution.events[edge.target].kind
    relations = {"WR": "rf", "RW": "fr", "WW": "co"}
    return f"{edge.axiom}: {relations[kinds]}"


def why(execution: Execution, edge: Edge) -> tuple[Edge, ...]:
    """Why the IC of an IC-ca comes before the fetch, where that follows from other orders."""
    if edge.axiom != "IC-ca":
        return ()
    goal = edge.through[0] if edge.through else edge.target
    follow: dict[int, list[Edge]] = {}
    for other in order_edges(execution):
        direct = (other.source, other.target) == (edge.source, goal)
        if other.axiom not in ("IC-ca", "IC-ob") and not direct:
            follow.setdefault(other.source, []).append(other)
    reached: dict[int, tuple[Edge, ...]] = {edge.source: ()}
    queue = [edge.source]
    while queue:
        node = queue.pop(0)
        if node == goal:
            return reached[node]
        for other in follow.get(node, ()):
            if other.target not in reached:
                reached[other.target] = (*reached[node], other)
                queue.append(other.target)
    return ()
