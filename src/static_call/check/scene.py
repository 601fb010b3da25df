"""What is asked of a design, as programs for the memory model.

A question is a design and a change of its target. Its program has two threads. The updater, thread
0, executes the words that the design's retarget assembles to, with the registers that
Trampoline.plan gives them. The caller, thread 1, executes the words of the assembled trampoline
from its entry, until control leaves it; where that is, is the outcome.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import count, pairwise, product

from static_call.design.design import LITERAL, RET0, Design, Target, Unreachable
from static_call.design.retarget import Code, Cse, Retarget
from static_call.design.trampoline import NotATrampoline, Trampoline
from static_call.errors import StaticCallError
from static_call.isa import a64
from static_call.memory_model.events import Path
from static_call.memory_model.explore import explore
from static_call.memory_model.instructions import assemble, decode
from static_call.memory_model.program import Program, Thread

BASE = 0x10_0000_1000
"""Where the trampoline is, but for its alignment (see Scene.base): just above a multiple of 2^32,
so that torn literals differ."""

GOALS = ("near A", "near B", "far A", "far B", "null", "ret0")
"""What a change goes from and to. Where the functions are, `targets` says."""

_ORIGIN = BASE & -(1 << 32)
_MIB = 1 << 20
_PAST = 0x2A00  # from _ORIGIN, the end of the largest trampoline wherever its alignment puts it

_RETURN = 0x10_0040_0100
_UPDATER, _CALLER, _FLAG = 0x5A5A_0000_1000, BASE + 0x50_0000, 0x9000
_OUTSIDE = BASE + 0x1_0008  # a literal's alignment and no more
_STACK, _JUNK = 0xA000, 0xB000
_KEPT = {
    **{i: (i + 1) * 0x9E3779B97F4A7C15 & (1 << 64) - 1 for i in range(30) if i not in (16, 17)},
    30: _RETURN,
    32: _STACK,
}
"""What a call finds in the registers that a trampoline leaves alone (AAPCS64: X16 and X17 are for
veneers, the flags are nobody's). All bits of these values matter, so that what changes a register
changes its value; what depends on one goes both ways: see program.Thread."""

_CALLED = {i: value ^ 0xFFFF << 32 for i, value in _KEPT.items() if i < 18} | {
    16: 0xC000,
    17: 0xD000,
}
"""What a function that was called may leave in the registers that are not kept for its caller."""

_STALE, _FRESH = a64.assemble("udf #0"), a64.assemble("bti c")
_NOP = a64.assemble("nop")
_assembled = lru_cache(maxsize=4096)(assemble)

Change = tuple[str, ...]
"""Two or more of GOALS: from, to, and on to."""


class Unaskable(StaticCallError):
    """There is nothing to ask: there is no such change, or no code of a target to be fresh."""


class NotTaken(Unaskable):
    """The design does not take the change: an update to such a target is refused."""


class Unsupported(StaticCallError):
    """Designs of a kind that the checker does not know yet."""


def parse_change(text: str) -> Change:
    """A change as a person writes it: "near-far", "near A -> far B", "farA-null-farB".

    Where no letter stands, A and B are filled in. Raises Unaskable.
    """
    parts = [part.strip(" >").replace(" ", "") for part in text.replace(">", "->").split("-")]
    change: list[str] = []
    for part in filter(None, parts):
        name = part.lower()
        if name in ("near", "far"):
            used = [goal for goal in change if goal.split()[0] == name]
            letter = "A" if not change or all(g in ("null", "ret0") for g in change) else "B"
            name += "a" if f"{name} B" in used else letter.lower()
        goal = f"{name[:-1]} {name[-1].upper()}" if name[:-1] in ("near", "far") else name
        if goal not in GOALS:
            raise Unaskable(
                f"expected a change such as near-far or farA-null-farB, not {text!r}: "
                f"{part!r} is none of near, far, nearA, nearB, farA, farB, null, ret0"
            )
        change.append(goal)
    if len(change) < 2:
        raise Unaskable(f"expected a change such as near-far or farA-null-farB, not {text!r}")
    if any(a == b for a, b in pairwise(change)):
        raise Unaskable(f"{text}: this changes a target to itself")
    return tuple(change)


def show_change(change: Change) -> str:
    """A change for a person."""
    return " → ".join(change)


def changes(length: int = 2, *, alike: bool = True) -> list[Change]:
    """All changes of `length` goals; where A and B are `alike`, one of those that differ in them.

    A and B stand for any two functions: which of them comes first makes no difference.
    """
    every = [
        change for change in product(GOALS, repeat=length)
        if all(a != b for a, b in pairwise(change))
    ]  # fmt: skip
    return list(dict.fromkeys(map(canonical, every))) if alike else every


def canonical(change: Change) -> Change:
    """The change with the letters given anew: see `changes`."""
    letters: dict[str, str] = {}
    named = []
    for goal in change:
        kind, _, letter = goal.partition(" ")
        if letter and goal not in letters:
            other = f"{kind} {'B' if letter == 'A' else 'A'}"
            if other in letters:
                letters[goal] = "B" if letters[other] == "A" else "A"
            else:
                letters[goal] = "B" if letters else "A"
        named.append(f"{kind} {letters[goal]}" if letter else goal)
    return tuple(named)


@dataclass(frozen=True)
class Question:
    """A question to the model.

    kind    "call": a call at any time; "fresh": the same, where the last target's code was written
            just before the last retarget; "settled": a call that starts after the last retarget
            has returned, as the caller knows by a store-release and a load-acquire
    stop    so many instructions of the last retarget are executed; None for all
    torn    the instruction of the last retarget whose store is made in two halves, or None
    insert  instructions put into the last retarget, each before the one of that number
    swap    two instructions of the last retarget that change places
    isb     whether the caller of "settled" executes an ISB before it calls
    lse2    whether FEAT_LSE2 is there
    shift   bytes that the trampoline and its literals are further up, to be aligned otherwise
    """

    design: Design
    change: Change
    kind: str = "call"
    stop: int | None = None
    torn: int | None = None
    insert: tuple[tuple[int, str], ...] = ()
    swap: tuple[int, int] | None = None
    isb: bool = False
    lse2: bool = False
    shift: int = 0

    def scene(self) -> Scene:
        """The program and what belongs to it. Raises Unaskable, and what Trampoline.plan does."""
        return _scene(self)

    def but(self, **changes: object) -> Question:
        """The same question with something changed."""
        return replace(self, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Scene:
    """A question's program, with what is needed to say what happens in it.

    targets   the names of the functions, by address
    labels    the names of the trampoline's words and literals, by address
    meant     the outcome that each goal of the change means
    current   for each CSE on every PE, in order: the first goal that is still current after it
    retargets  where each retarget's code begins, and behind its end
    plan      the last retarget, as it is without the question's insertions
    base      where the trampoline is: aligned as the design says and no more
    """

    question: Question
    program: Program
    targets: Mapping[int, str]
    labels: Mapping[int, str]
    meant: tuple[str, ...]
    current: tuple[int, ...]
    retargets: tuple[tuple[int, int], ...]
    plan: Retarget
    base: int

    @cached_property
    def trampoline(self) -> range:
        """The addresses of the trampoline."""
        return range(self.base, self.base + self.question.design.size)

    def outcome(self, path: Path) -> str:
        """Where a caller's path ends, as a few words."""
        pc = path.pc
        if pc == _CALLER + 0x100:
            return "no call"
        if path.fault:
            if pc in self.targets:
                return f"stale code of {self.targets[pc]}"
            return f"an undefined instruction at {self.name(pc)}"
        if pc - a64.WORD in self.targets and self.question.kind == "fresh":
            pc -= a64.WORD
        changed = [i for i, value in _KEPT.items() if path.registers[i] != value]
        if pc == _RETURN:
            kept = 0 not in changed
            text = "returns" if kept else "returns 0" if not path.registers[0] else "returns junk"
            changed = [i for i in changed if i not in (0, 30)]
        elif pc not in self.targets:
            return f"a branch to {self.name(pc)}"
        else:
            text = self.targets[pc]
            if 30 in changed and self.comes_back(path):
                changed = [i for i in changed if i not in (30, 32)]
        special = {30: "the return address", 32: "the stack pointer"}
        names = [special.get(i, f"x{i}") for i in changed]
        return f"{text} with {', '.join(names)} changed" if names else text

    def comes_back(self, path: Path) -> bool:
        """Whether a target that was called, as a sequence in the middle of a function does it (and
        not branched to), returns to code that returns to the caller with its registers."""
        data = dict(self.program.data)
        for event in path.events:
            if event.kind == "W":
                data[event.address] = event.value.to_bytes(event.size, "little")
        registers = {i: value for i, value in enumerate(path.registers) if i != 31} | _CALLED
        thread = Thread(path.registers[30], registers | {30: _JUNK}, any=True)
        code = {at: word for at, word in self.program.code.items() if at in self.trampoline}
        found = explore(Program(code, data, (thread,)))
        for end in found.paths[0]:
            self._follows(end)
        return not found.cut and all(
            end.pc == _RETURN
            and all(end.registers[i] in (_KEPT[i], _CALLED[i]) for i in (0, 1))  # the result
            and all(end.registers[i] == value for i, value in _KEPT.items() if i > 18 and i != 30)
            for end in found.paths[0]
        )

    def _follows(self, path: Path) -> None:
        """Refuses what stands behind a call and is more than can be judged alone, by one path."""
        cells = {
            at + i
            for item in self.question.design.cells if item.offset is not None
            for at in [self.base + item.offset] for i in range(item.size)
        }  # fmt: skip
        used = {done.address for done in path.trace}
        used |= {event.address for event in path.events if event.kind == "R"}
        if used & cells or any(decode(d.word, d.address).name in ("br", "blr") for d in path.trace):
            raise Unsupported(
                f"{self.question.design.name}: behind its call stands a branch to a register or "
                "what retargeting changes: the checker does not know such designs yet"
            )

    def returns(self, pc: int) -> bool:
        """Whether an address is the one that the caller wants to be returned to."""
        return pc == _RETURN

    def right(self, path: Path) -> frozenset[str]:
        """The outcomes that are right for a caller's path: targets that were current at some moment
        since the caller last synchronised before the call."""
        taken = 0
        for event in path.events:
            if event.kind == "CSE" and event.tag == "taken":
                taken += 1
            elif event.kind in "RWF" and event.address != _FLAG:
                break
        since = self.current[taken - 1] if taken else 0
        if self.question.kind == "settled":
            return frozenset({self.meant[-1], "no call"})
        return frozenset(self.meant[since:])

    def name(self, address: int) -> str:
        """An address for a person."""
        if address in self.targets:
            return self.targets[address]
        if address in self.labels:
            return self.labels[address]
        inside = address - self.base
        if 0 <= inside < self.question.design.size:
            return f"byte {inside} of the trampoline"
        if address == _FLAG:
            return "flag"
        return str(address) if address < 10 else f"{address:#x}"

    def value(self, value: int, size: int, at: int) -> str:
        """A value at an address for a person: an instruction, a target, a number."""
        if size == a64.WORD and (at in self.program.code):
            return decode(value, at).format(self.name)
        if size == LITERAL or value in self.targets or value in self.labels:
            return self.name(value)
        return str(value) if value < 10 else f"{value:#x}"


@lru_cache(maxsize=64)
def _scene(question: Question) -> Scene:
    design, change = question.design, question.change
    base = _base(design) + question.shift
    entry = base + design.entry
    outside = {
        label: _OUTSIDE + question.shift + 0x40 * i for i, label in enumerate(design.outside)
    }
    trampoline = Trampoline(design, entry, outside)
    goals = [_goal(design, goal, entry, outside) for goal in change]
    memory: dict[int, int] = {}

    def store(at: int, contents: bytes) -> None:
        memory.update(enumerate(contents, at))

    def read(at: int, size: int) -> bytes:
        return bytes(memory[i] for i in range(at, at + size) if i in memory)

    form = design.form_for(entry, goals[0], outside)
    address = goals[0] if isinstance(goals[0], int) else None
    for at, contents in design.assemble(entry, form, address, outside):
        store(at, contents)
    updater = _Updater()
    initial = dict(memory)
    code: dict[int, int] = {}
    for number, goal in enumerate(goals[1:], 1):
        try:
            plan = trampoline.plan(goal, read)
        except NotATrampoline:
            raise Unsupported(
                f"{design.name}: its words do not say which function it calls, as those of a site "
                "that goes one of two ways: the checker does not know such designs yet"
            ) from None
        last = number == len(goals) - 1
        if last and question.kind == "fresh":
            if not isinstance(goal, int) or change[-1] in ("null", "ret0"):
                raise Unaskable(f"{change[-1]} has no code of its own to be fresh")
            if change[-1] in change[:-1]:
                raise Unaskable(f"{change[-1]} is called already when its code is written")
            code[goal] = _STALE
            updater.write_code(goal)
        updater.retarget(plan, number, question if last else None)
        for step in plan.steps:
            if step.op == "store":
                store(step.address, step.value.to_bytes(step.size, "little"))
    if question.kind == "settled":
        updater.constants({0: _FLAG, 1: 1})
        updater.add("stlr x1, [x0]")
    data: dict[int, bytes] = {}
    labels = {}
    for item in design.items:
        at = outside[item.label] if item.offset is None else base + item.offset
        held = bytes(initial[i] for i in range(at, at + item.size))
        if item.size == a64.WORD:
            code[at] = int.from_bytes(held, "little")
        else:
            data[at] = held
        if item.label:
            labels[at] = _named(item.label, item.size)
    labels = {base + o: _named(label) for label, o in design.labels.items()} | labels
    labels.setdefault(entry, "entry")
    labels |= {value: f"what x{i} held before" for i, value in _KEPT.items() if i < 30}
    labels |= {_JUNK: "what x16 held before", _CALLER + 0x100: "past the call"}
    start = entry
    if question.kind == "settled":
        start = _CALLER
        data[_FLAG] = bytes(8)
        lines = ["ldar x16, [x17]", f"cbz x16, {_CALLER + 0x100:#x}"]
        lines += ["isb"] * question.isb + ["mov x16, x18", f"b {entry:#x}"]  # x16 may hold anything
        code |= {at: _assembled(line, at) for at, line in zip(count(start, 4), lines)}
    registers = {**_KEPT, 16: _JUNK, 17: _FLAG}
    names = {value: goal for goal, value in targets(design).items()}
    return Scene(
        question,
        Program(
            code | updater.code, data, (Thread(_UPDATER), Thread(start, registers, any=True)),
            cse=tuple(updater.cse), lse2=question.lse2, torn=frozenset(updater.torn),
        ),
        names,
        labels,
        tuple(
            goal if goal not in ("null", "ret0")
            else "return0" if isinstance(value, int)
            else "returns" if goal == "null" else "returns 0"
            for goal, value in zip(change, goals)
        ),
        tuple(updater.current),
        tuple(updater.ranges),
        plan,
        base,
    )  # fmt: skip


def _named(label: str, size: int = a64.WORD) -> str:
    """A label for a person: one that is a number says what it stands at."""
    name, local, _ = label.partition("@")
    return name if not local else f"{'literal' if size == LITERAL else 'label'} {name}"


@lru_cache(maxsize=64)
def targets(design: Design) -> Mapping[str, int]:
    """Where the functions are that a design is asked about, by goal; return0, which returns 0, is
    called where it has no form for null or ret0.

    The near ones are within the reach of every branch of the near form that names the target, the
    far ones beyond it and within the reach of the far form. They differ in both halves of an
    address, in its page and in its low 12 bits, so that no address made of two is one of them.
    """
    entry = _base(design) + design.entry
    near = design.reach("near" if "near" in design.forms else "far", entry)
    far = design.reach("far", entry) if "far" in design.forms else None
    step = _MIB if near is None else min(_MIB, max(_PAST, _room(near) * 3 // 8 & -0x100))
    below, above = 0xA000_0000, 1 << 32
    if "near" in design.forms and near is not None:
        beyond = _ORIGIN - near[0], near[1] - _ORIGIN
        if max(beyond) >= min(below, above):
            below = above = 2 * max(beyond) & -0x1000
    else:
        beyond = 2 * step, 2 * step
    if far is not None and _ORIGIN - below < far[0]:
        below = (beyond[0] + _ORIGIN - far[0]) // 2 & -0x1000
    if far is not None and _ORIGIN + above + 0x280 > far[1]:
        above = (beyond[1] + far[1] - _ORIGIN) // 2 & -0x1000
    return {
        "near A": _ORIGIN - step + 0x40,
        "near B": _ORIGIN + step + 0x80,
        "far A": _ORIGIN - below + 0x140,
        "far B": _ORIGIN + above + 0x280,
        "return0": _ORIGIN + 2 * step + 0xC0,
    }


def _room(reach: tuple[int, int]) -> int:
    """How far the nearer end of what is in reach is."""
    return min(_ORIGIN - reach[0], reach[1] - _ORIGIN)


def _base(design: Design) -> int:
    """Where the trampoline is."""
    return BASE & -2 * design.align | design.align


def _goal(design: Design, goal: str, entry: int, outside: Mapping[str, int]) -> Target:
    """What to retarget to: where the design has no form for null or ret0, a function does it.

    Raises NotTaken where it refuses a target like this.
    """
    if goal in design.forms and goal in ("null", "ret0"):
        return None if goal == "null" else RET0
    target = targets(design)["return0" if goal in ("null", "ret0") else goal]
    try:
        form = design.form_for(entry, target, outside)
    except Unreachable as error:
        if "far" not in design.forms:
            raise NotTaken(f"{goal}: {error}") from None
        form = "near"
    limited = {"near", "far"} <= {*design.forms} and design.reach("near", entry) is not None
    if goal.startswith("far") and form == "near" and limited:
        raise NotTaken(f"{goal}: no target is beyond the reach of near and within that of far")
    return target


class _Updater:
    """Puts thread 0's code together.

    current  for each CSE on every PE, the first goal that is still current after it
    """

    def __init__(self) -> None:
        self.code: dict[int, int] = {}
        self.cse: list[int] = []
        self.current: list[int] = []
        self.torn: list[int] = []
        self.ranges: list[tuple[int, int]] = []
        self.at = _UPDATER
        self.known: dict[int, int] = {}

    def add(self, insn: str | a64.Instruction | Cse, current: int = 0) -> None:
        if isinstance(insn, Cse) or insn == "cse":
            self.cse.append(self.at)
            self.current.append(current)
            self.code[self.at] = _NOP  # stands for what the place does
        else:
            word = _assembled(insn) if isinstance(insn, str) else insn.encode(self.at)
            self.code[self.at] = word
            insn = decode(word, self.at)
            self.known.pop(insn["d"] if "d" in insn else insn.get("t"), None)
        self.at += a64.WORD

    def constants(self, registers: Mapping[int, int]) -> None:
        """Sets registers."""
        for number, value in registers.items():
            if self.known.get(number) == value:
                continue
            self.add(f"movz x{number}, #{value & 0xFFFF:#x}")
            for shift in (16, 32, 48):
                if value >> shift & 0xFFFF:
                    self.add(f"movk x{number}, #{value >> shift & 0xFFFF:#x}, lsl #{shift}")
            self.known[number] = value

    def write_code(self, address: int) -> None:
        """Writes a function's first instruction, and makes it fetchable."""
        self.constants({0: address, 1: _FRESH})
        for line in ("str w1, [x0]", *maintenance(0)):
            self.add(line)

    def retarget(self, plan: Retarget, number: int, question: Question | None) -> None:
        """The retarget to goal `number`; as the question changes it, where it is the last."""
        self.constants(dict(enumerate(plan.registers)))
        first = self.at
        current = number - 1
        stop = len(plan.code)
        if question is not None and question.stop is not None:
            stop = question.stop
        code = list(plan.code)
        if question is not None and question.swap:
            i, j = question.swap
            code[i], code[j] = code[j], code[i]
        stores = [i for i, insn in enumerate(code) if is_store(insn)]
        for i, insn in enumerate([*code, None]):
            if i > stop:
                break
            for where, text in question.insert if question else ():
                if where == i:
                    self.add(text, current)
            if insn is None or i == stop:
                break
            if question is not None and question.torn == i:
                self.torn.append(self.at)
            self.add(insn, current)
            if stores and i == stores[-1]:
                current = number
        self.ranges.append((first, self.at))


def maintenance(register: int) -> tuple[str, ...]:
    """What makes a stored instruction fetchable (Arm ARM B2.7.4.2), as lines of assembly."""
    return f"dc cvau, x{register}", "dsb ish", f"ic ivau, x{register}", "dsb ish"


def is_store(insn: a64.Instruction | Cse) -> bool:
    """Whether a retarget's instruction writes memory."""
    return not isinstance(insn, Cse) and insn.name in ("str", "stp", "stlr")


def stores(code: Code) -> Iterator[tuple[int, a64.Instruction]]:
    """A retarget's stores, with their numbers."""
    for i, insn in enumerate(code):
        if not isinstance(insn, Cse) and is_store(insn):
            yield i, insn
