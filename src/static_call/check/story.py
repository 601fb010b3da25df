"""One verdict told: the execution that breaks a property, or what forbids every such one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import wrap

from static_call.check.questions import Change, Question, Scene, Unaskable, show_change
from static_call.check.remedies import remedies
from static_call.check.report import show_models
from static_call.check.verdicts import Verdict, check, explored, stops
from static_call.design.design import PROPERTIES, Design
from static_call.memory_model.cycles import Edge, Refused, forbidden, order_edges
from static_call.memory_model.events import Event, Path
from static_call.memory_model.executions import INITIAL, Execution
from static_call.memory_model.instructions import decode
from static_call.memory_model.model import WEAKEST
from static_call.memory_model.program import DEFAULT, Limits

_WIDTH = 54

MEANING = {
    "live": "every call goes to a target that was current since the caller last synchronised",
    "cmodx": "no instruction off the list of every edition of Arm ARM B2.2.5 is modified while it "
    "may execute",
    "fresh": "no call runs stale code where the target's was written just before",
    "settled": "a call that starts after the retarget goes to the new target",
    "prefix": "live, with the retarget stopped for ever after any step",
    "atomic": "every store that must be single-copy atomic is",
    "landing": "every indirect branch lands on a pad",
}
"""What the properties say, one line each."""


@dataclass(frozen=True)
class Story:
    """A verdict and what stands behind it.

    execution  the one that breaks the property; else the one that comes closest and is forbidden;
               None where no values lead to a wrong call
    cycle      what forbids it: the edges of its shortest cycles, two at most
    text       all of it told
    """

    verdict: Verdict
    scene: Scene
    execution: Execution | None
    cycle: tuple[Edge, ...]
    text: str


def tell(
    design: Design, change: Change, name: str | None = None, limits: Limits = DEFAULT
) -> Story:
    """The story of one property: the one given, else the first that does not hold, else live."""
    verdicts = check(design, change, [name] if name else PROPERTIES, limits)
    verdict = next((v for v in verdicts if v.holds is False), verdicts[0])
    head = f"{design.name}: {show_change(change)}\n{verdict.name}: {MEANING[verdict.name]}"
    if verdict.holds is None:
        raise Unaskable(f"{design.name}, {show_change(change)}: {verdict.says}")
    if verdict.failure:
        scene = verdict.failure.question.scene()
        execution = verdict.failure.execution
        parts = [
            head,
            f"does not hold in {show_models(verdict.models)}: {verdict.says}",
            "\n".join(columns(scene, execution)),
            _ending(scene, execution),
            *_advice(verdict, limits),
        ]
        return Story(verdict, scene, execution, (), "\n\n".join(parts))
    scene, refused = _closest(Question(design, change), verdict.name, limits)
    if refused is None:
        parts = [head, "holds: " + (verdict.says or _trivially(verdict.name))]
        return Story(verdict, scene, None, (), "\n\n".join(parts))
    execution = refused.execution
    cycle = tuple(dict.fromkeys(edge for one in refused.cycles[:2] for edge in one))
    outcome = scene.outcome(execution.paths[1])
    parts = [
        head,
        "holds in every cache type" + (f": {verdict.says}" if verdict.says else ""),
        f"The model forbids what would break it: a call that ends in {outcome!r}. It would take",
        "\n".join(columns(scene, execution, cycle)),
        "and that goes round in a circle, each before the next:",
    ]
    for number, one in enumerate(refused.cycles[:2]):
        if number:
            parts.append("or else, where a DC or an IC came first that came later there,")
        parts.append("\n".join(_cycle(scene, execution, one)))
    more = len(refused.cycles) - 2
    if more > 0:
        parts.append(f"and {more} more such {'circle' if more == 1 else 'circles'}.")
    return Story(verdict, scene, execution, cycle, "\n\n".join(parts))


def _trivially(name: str) -> str:
    return {
        "cmodx": "every word that is modified under a caller is on the list before and after",
        "landing": "each ends on a landing pad, or at a function outside, where bti c is assumed",
    }.get(name, "no values that a caller can read or fetch lead to a wrong call")


def _advice(verdict: Verdict, limits: Limits) -> Iterator[str]:
    found = remedies(verdict, limits)
    if not found:
        yield "No one or two barriers, context synchronisation events or cleanings mend it."
        return
    lines = [f"  * {one}" for one in found]
    yield (
        "What would make it hold"
        + (", any one of" if len(found) > 1 else "")
        + ":\n"
        + "\n".join(lines)
    )


def _closest(question: Question, name: str, limits: Limits) -> tuple[Scene, Refused | None]:
    """The forbidden execution that would break the property, with the shortest reason."""
    questions = [question]
    if name in ("fresh", "settled"):
        questions = [question.but(kind=name)]
    elif name == "prefix":
        questions = [question.but(stop=stop) for stop in stops(question)]
    if name in ("cmodx", "landing", "atomic"):
        return question.scene(), None
    best: tuple[Scene, Refused] | None = None
    for asked in questions:
        scene = asked.scene()

        def wrong(paths: tuple[Path, ...], scene: Scene = scene) -> bool:
            outcome = scene.outcome(paths[1])
            if scene.question.kind == "fresh":
                return outcome.startswith("stale")
            return outcome not in scene.right(paths[1])

        for refused in forbidden(explored(asked, limits), WEAKEST, where=wrong):
            if best is None or len(refused.cycles[0]) < len(best[1].cycles[0]):
                best = scene, refused
    return best or (questions[-1].scene(), None)


def in_order(execution: Execution, cycle: tuple[Edge, ...] = ()) -> list[int]:
    """The events in an order to be told in.

    It agrees with what is ordered before what; beyond that each thread keeps its program order, and
    what sees an old value stands before the write that it doesn't see, as far as that goes. Where a
    `cycle` forbids the execution, program order and the values read count alone.
    """
    n, events, thread = len(execution.events), execution.events, execution.thread
    after = [0 if cycle else row for row in execution.ob]  # transitive
    pairs = [(i, i + 1) for i in range(n - 1) if not thread[i] and not thread[i + 1]]
    if cycle:
        pairs += [(i, i + 1) for i in range(n - 1) if thread[i] == thread[i + 1] == 1]
        pairs += [(edge.source, edge.target) for edge in order_edges(execution)
                  if edge.axiom == "shootdown" and not edge.through]  # fmt: skip
    pairs += [(w, r) for r, w in execution.rf.items() if w != INITIAL]
    for r, w in execution.rf.items():
        place = events[r].address, events[r].size
        order = next((o for atom, o in execution.co.items() if tuple(atom) == place), ())
        later = order[order.index(w) + 1 :] if w != INITIAL else order
        pairs += [(r, o) for o in later]
    pairs += [(i, i + 1) for i in range(n - 1) if thread[i] == thread[i + 1]]
    for a, b in pairs:
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


def is_early(execution: Execution, order: list[int], at: int) -> bool:
    """Whether an event stands before one of its own thread that precedes it in program order."""
    i = order[at]
    return any(j < i and execution.thread[j] == execution.thread[i] for j in order[at + 1 :])


def columns(scene: Scene, execution: Execution, cycle: tuple[Edge, ...] = ()) -> list[str]:
    """The events as two columns, the updater's and the caller's: see in_order."""
    lines = [
        f"{'updater':<{_WIDTH}}caller",
        f"{'-' * (_WIDTH - 2):<{_WIDTH}}{'-' * (_WIDTH - 2)}",
    ]
    order = in_order(execution, cycle)
    for at, i in enumerate(order):
        thread = execution.thread[i]
        early = " (early)" if is_early(execution, order, at) else ""
        text = describe(scene, execution, i) + early
        for part in wrap(text, _WIDTH - 3, subsequent_indent="    "):
            lines.append(" " * _WIDTH * thread + part)
    return lines


def instruction(scene: Scene, execution: Execution, index: int) -> str:
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
    return decode(done.word, done.address).format(scene.name)


def describe(scene: Scene, execution: Execution, index: int) -> str:
    """An event in words: the instruction, the value and where it comes from."""
    event = execution.events[index]
    insn = instruction(scene, execution, index)
    match event.kind:
        case "CSE":
            return {
                "sent": "cse: asked for on every PE",
                "done": "cse: every PE has had it",
                "taken": "(context synchronisation event, taken)",
            }.get(event.tag, insn)
        case "DMB" | "DSB":
            return insn
        case "DC" | "IC":
            return f"{insn.split(',')[0]}, {scene.name(event.address)}"
        case "W":
            value = scene.value(event.value, event.size, event.address)
            return f"{insn}: {_place(scene, event)} = {value}"
    value = scene.value(event.value, event.size, event.address)
    source = execution.rf.get(index, INITIAL)
    old = ", as before" if source == INITIAL else _stored(execution, index, source)
    if event.kind == "F":
        return f"fetches {_place(scene, event)}: {value}{old}"
    return f"{insn}: {_place(scene, event)} is {value}{old}"


def _stored(execution: Execution, index: int, source: int) -> str:
    """Which store a value comes from, where there are several."""
    if execution.thread[source] == execution.thread[index]:
        return ", its own"
    order = execution.co[execution.shape.atoms[index]]
    if len(order) == 1:
        return ", as stored"
    return f", as stored {('first', 'second', 'third', 'fourth')[min(order.index(source), 3)]}"


def _place(scene: Scene, event: Event) -> str:
    name = scene.name(event.address)
    return name if event.size in (4, 8) else f"{name} ({event.size} bytes)"


def _ending(scene: Scene, execution: Execution) -> str:
    path = execution.paths[1]
    shown = [
        decode(done.word, done.address).format(scene.name) for done in path.trace
    ]  # fmt: skip
    outcome = scene.outcome(path)
    right = " or ".join(sorted(scene.right(path)))
    if scene.question.kind == "fresh":
        right = f"{right}, as written"
    text = f"The caller executes {'; '.join(shown)}: {outcome}."
    return text if outcome in scene.right(path) else f"{text}\nRight would be: {right}."


def _cycle(scene: Scene, execution: Execution, cycle: tuple[Edge, ...]) -> Iterator[str]:
    whose = ("updater", "caller")
    for edge in cycle:
        yield f"  {whose[execution.thread[edge.source]]}: {describe(scene, execution, edge.source)}"
        through = [describe(scene, execution, i) for i in edge.through]
        yield f"      {edge.axiom}" + (f" (through {'; '.join(through)})" if through else "")
        for number, step in enumerate(why(execution, edge)):
            words = "and that before" if number else "which it comes before, since before"
            yield f"        {words} {describe(scene, execution, step.target)} ({step.axiom})"
    yield f"  and so before itself: {describe(scene, execution, cycle[0].source)}"


def why(execution: Execution, edge: Edge) -> tuple[Edge, ...]:
    """Why the IC of an IC-ca comes before the fetch, where other orders make it so."""
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
