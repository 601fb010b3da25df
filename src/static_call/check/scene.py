"""A question's program, and words for what happens in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from static_call.check.layout import CALLED, FLAG, JUNK, KEPT, NO_CALL, RETURN
from static_call.check.questions import Question
from static_call.design.design import LITERAL
from static_call.design.retarget import Retarget
from static_call.errors import StaticCallError
from static_call.isa import a64
from static_call.isa.a64_more import decode
from static_call.memory_model.events import Path
from static_call.memory_model.explore import explore
from static_call.memory_model.program import Program, Thread


class Unsupported(StaticCallError):
    """The design is of a kind that the checker does not know yet."""


@dataclass(frozen=True)
class Scene:
    """A question's program, with what is needed to say what happens in it.

    Attributes:
        question: The question.
        program: Its program: thread 0 is the updater, thread 1 the caller.
        targets: The names of the functions, by address.
        labels: The names of the trampoline's words and literals, by address.
        meant: The outcome that each goal of the change means.
        current: For each CSE on every PE, in order, the first goal that is still current after it.
        retargets: The addresses where each retarget's code begins and ends.
        plan: The last retarget, without what the question inserts.
        base: The address of the trampoline.
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
        """The addresses of the trampoline's bytes."""
        return range(self.base, self.base + self.question.design.size)

    # Where a call ends

    def outcome(self, path: Path) -> str:
        """Where a caller's path ends, in a few words.

        Raises:
            Unsupported: this cannot be judged.
        """
        pc = path.pc
        if pc == NO_CALL:
            return "no call"
        if path.fault:
            if pc in self.targets:
                return f"stale code of {self.targets[pc]}"
            return f"an undefined instruction at {self.name(pc)}"
        if pc - a64.WORD in self.targets and self.question.kind == "fresh":
            pc -= a64.WORD
        changed = [i for i, value in KEPT.items() if path.registers[i] != value]
        if pc == RETURN:
            kept = 0 not in changed
            text = "returns" if kept else "returns 0" if not path.registers[0] else "returns junk"
            changed = [i for i in changed if i not in (0, 30)]
        elif pc not in self.targets:
            return f"a branch to {self.name(pc)}"
        else:
            text = self.targets[pc]
            if 30 in changed and self._comes_back(path):
                changed = [i for i in changed if i not in (30, 32)]
        special = {30: "the return address", 32: "the stack pointer"}
        names = [special.get(i, f"x{i}") for i in changed]
        return f"{text} with {', '.join(names)} changed" if names else text

    def _comes_back(self, path: Path) -> bool:
        """Whether a call in the middle of the trampoline returns to code that works.

        The target was called, not branched to. It returns to code that must return to the caller
        and preserve the registers that the caller relies on.
        """
        data = dict(self.program.data)
        for event in path.events:
            if event.kind == "W":
                data[event.address] = event.value.to_bytes(event.size, "little")
        registers = {i: value for i, value in enumerate(path.registers) if i != 31} | CALLED
        thread = Thread(path.registers[30], registers | {30: JUNK}, any=True)
        code = {at: word for at, word in self.program.code.items() if at in self.trampoline}
        found = explore(Program(code, data, (thread,)))
        for end in found.paths[0]:
            self._follows(end)
        return not found.cut and all(
            end.pc == RETURN
            and all(end.registers[i] in (KEPT[i], CALLED[i]) for i in (0, 1))  # the result
            and all(end.registers[i] == value for i, value in KEPT.items() if i > 18 and i != 30)
            for end in found.paths[0]
        )

    def _follows(self, path: Path) -> None:
        """Raises Unsupported where what follows a call cannot be judged by one path alone."""
        cells = {
            at + i
            for item in self.question.design.cells if item.offset is not None
            for at in [self.base + item.offset] for i in range(item.size)
        }  # fmt: skip
        used = {done.address for done in path.trace}
        used |= {event.address for event in path.events if event.kind == "R"}
        if used & cells or any(decode(d.word, d.address).name in ("br", "blr") for d in path.trace):
            raise Unsupported(
                f"{self.question.design.name}: its call is followed by a branch to a register "
                "or by what retargeting changes: the checker does not know such designs yet"
            )

    def right(self, path: Path) -> frozenset[str]:
        """The outcomes that are right for a caller's path.

        These are the targets that were current at some time between the caller's last
        synchronisation before the call, and the call.
        """
        if self.question.kind == "settled":
            return frozenset({self.meant[-1], "no call"})
        taken = 0
        for event in path.events:
            if event.kind == "CSE" and event.tag == "taken":
                taken += 1
            elif event.kind in "RWF" and event.address != FLAG:
                break
        return frozenset(self.meant[self.current[taken - 1] if taken else 0 :])

    def is_wrong(self, path: Path) -> bool:
        """Whether a caller's path ends where it must not.

        With fresh code, the only question is whether stale code runs.
        """
        outcome = self.outcome(path)
        if self.question.kind == "fresh":
            return outcome.startswith("stale")
        return outcome not in self.right(path)

    def says(self, outcome: str) -> str:
        """A wrong outcome as a sentence."""
        if outcome.startswith("stale"):
            return f"a call runs {outcome}"
        if outcome in self.meant and self.question.kind == "settled":
            return f"a call that starts afterwards {_goes(outcome)}"
        if outcome in self.meant:
            return f"a call that starts after a context synchronisation event {_goes(outcome)}"
        return f"a call {_goes(outcome)}"

    # Names for people (telling.Words)

    @property
    def threads(self) -> tuple[str, str]:
        """The updater and the caller."""
        return "updater", "caller"

    def name(self, address: int) -> str:
        """An address for a person."""
        if address in self.targets:
            return self.targets[address]
        if address in self.labels:
            return self.labels[address]
        if address in self.trampoline:
            return f"byte {address - self.base} of the trampoline"
        if address == FLAG:
            return "flag"
        return str(address) if address < 10 else f"{address:#x}"

    def value(self, value: int, size: int, at: int) -> str:
        """A value of `size` bytes for a person, given its address.

        It may be an instruction, a target or a number.
        """
        if size == a64.WORD and (at in self.program.code):
            return decode(value, at).format(self.name)
        if size == LITERAL or value in self.targets or value in self.labels:
            return self.name(value)
        return str(value) if value < 10 else f"{value:#x}"


def _goes(outcome: str) -> str:
    if outcome.startswith("a branch to "):
        return f"branches to {outcome.removeprefix('a branch to ')}"
    if outcome.startswith("an undefined"):
        return f"executes {outcome}"
    return outcome if outcome.startswith("returns") else f"goes to {outcome}"
