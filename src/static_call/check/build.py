"""Makes a question's program.

It has two threads. The updater, thread 0, executes the words that the design's retarget assembles
to, with the registers that Trampoline.plan gives them. The caller, thread 1, executes the words of
the assembled trampoline from its entry, until control leaves it. Where it then goes is the outcome.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from static_call.check.changes import Unaskable
from static_call.check.layout import CALLER, FLAG, JUNK, KEPT, NO_CALL, UPDATER, Layout, targets
from static_call.check.questions import Question
from static_call.check.scene import Scene, Unsupported
from static_call.check.updater import Updater, assembled
from static_call.design.retarget import Retarget
from static_call.design.target import Target
from static_call.design.text import Item
from static_call.design.trampoline import NotATrampoline, Trampoline
from static_call.isa import a64
from static_call.memory_model.program import Program, Thread

_STALE = a64.assemble("udf #0")


def build(question: Question) -> Scene:
    """The program of a question, and what belongs to it.

    Raises:
        Unaskable: there is nothing to ask.
        Unsupported: the checker does not know such designs.
        StaticCallError: what else Trampoline.plan raises.
    """
    design, change = question.design, question.change
    layout = Layout(design, question.shift)
    goals = [layout.target(goal) for goal in change]
    memory = _Memory(layout, goals[0])
    updater = Updater()
    plan = _retargets(question, layout, goals, memory, updater)
    code, data, labels = memory.initial(layout)
    if question.kind == "fresh" and isinstance(goals[-1], int):
        code[goals[-1]] = _STALE
    start = layout.entry
    if question.kind == "settled":
        updater.constants({0: FLAG, 1: 1})
        updater.add("stlr x1, [x0]")
        start = CALLER
        data[FLAG] = bytes(8)
        code |= _waits(layout.entry, question.isb)
    labels.setdefault(layout.entry, "entry")
    labels |= {value: f"what x{i} held before" for i, value in KEPT.items() if i < 30}
    labels |= {JUNK: "what x16 held before", NO_CALL: "past the call"}
    meant = tuple(_meant(goal, target) for goal, target in zip(change, goals))
    if len(set(meant)) == 1:
        raise Unaskable("both are the same function here")
    threads = Thread(UPDATER), Thread(start, {**KEPT, 16: JUNK, 17: FLAG}, any=True)
    return Scene(
        question,
        Program(
            code | updater.code, data, threads, cse=tuple(updater.cse), lse2=question.lse2,
            torn=frozenset(updater.torn),
        ),
        {value: goal for goal, value in targets(design).items()},
        labels,
        meant,
        tuple(updater.current),
        tuple(updater.ranges),
        plan,
        layout.base,
    )  # fmt: skip


@dataclass
class _Memory:
    """What the trampoline and its literals hold, while the retargets are planned in turn."""

    layout: Layout
    target: Target
    held: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        layout, target = self.layout, self.target
        form = layout.design.form_for(layout.entry, target, layout.outside)
        address = target if isinstance(target, int) else None
        for at, contents in layout.design.assemble(layout.entry, form, address, layout.outside):
            self.store(at, contents)
        self._first = dict(self.held)

    def store(self, at: int, contents: bytes) -> None:
        self.held.update(enumerate(contents, at))

    def read(self, at: int, size: int) -> bytes:
        return bytes(self.held[i] for i in range(at, at + size) if i in self.held)

    def initial(self, layout: Layout) -> tuple[dict[int, int], dict[int, bytes], dict[int, str]]:
        """What a new trampoline holds, as code and data, and the names of its addresses."""
        code: dict[int, int] = {}
        data: dict[int, bytes] = {}
        labels: dict[int, str] = {}
        for item in layout.design.items:
            at = layout.outside[item.label] if item.offset is None else layout.base + item.offset
            held = bytes(self._first[i] for i in range(at, at + item.size))
            if item.is_literal:
                data[at] = held
            else:
                code[at] = int.from_bytes(held, "little")
            if item.label:
                labels[at] = _named(item.label, item)
        others = {layout.base + at: _named(name) for name, at in layout.design.labels.items()}
        return code, data, others | labels


def _retargets(
    question: Question, layout: Layout, goals: Sequence[Target], memory: _Memory, updater: Updater
) -> Retarget:
    """Adds the retargets to the updater. Returns the last one."""
    trampoline = Trampoline(layout.design, layout.entry, layout.outside)
    plan = None
    for number, goal in enumerate(goals[1:], 1):
        try:
            plan = trampoline.plan(goal, memory.read)
        except NotATrampoline:
            raise Unsupported(
                f"{layout.design.name}: its words do not say which function it calls, as those of "
                "a site that goes one of two ways: the checker does not know such designs yet"
            ) from None
        last = number == len(goals) - 1
        if last and question.kind == "fresh":
            updater.write_code(_fresh(question, goal))
        updater.retarget(plan, number, question if last else None)
        for step in plan.steps:
            if step.op == "store":
                memory.store(step.address, step.value.to_bytes(step.size, "little"))
    assert plan is not None, "a change has two goals or more"
    return plan


def _fresh(question: Question, target: Target) -> int:
    """The address of the last target's code. Raises Unaskable where it can't be written before."""
    *before, last = question.change
    if not isinstance(target, int) or last in ("null", "ret0"):
        raise Unaskable(f"{last} has no code of its own to be fresh")
    if last in before:
        raise Unaskable(f"{last} is called already when its code is written")
    return target


def _waits(entry: int, isb: bool) -> dict[int, int]:
    """The code of a caller that calls if it sees the flag."""
    lines = ["ldar x16, [x17]", f"cbz x16, {NO_CALL:#x}"]
    lines += ["isb"] * isb + ["mov x16, x18", f"b {entry:#x}"]  # x16 may hold anything
    return {at: assembled(line, at) for at, line in zip(count(CALLER, a64.WORD), lines)}


def _meant(goal: str, target: Target) -> str:
    """The outcome that a goal means, where its target is known."""
    if goal not in ("null", "ret0"):
        return goal
    if isinstance(target, int):
        return "return0"
    return "returns" if goal == "null" else "returns 0"


def _named(label: str, item: Item | None = None) -> str:
    """A label for a person. If it is a number, it also says what it labels."""
    name, local, _ = label.partition("@")
    what = "literal" if item is not None and item.is_literal else "label"
    return name if not local else f"{what} {name}"
