"""What would have to be changed in a retarget for a property to hold, found by trying."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from static_call.check.checker import Checker, Failure
from static_call.check.questions import Question, maintenance, stores

Insert = tuple[tuple[int, str], ...]
"""Lines of assembly, each with the number of the instruction that it comes before."""

VALID = (
    "a literal that always holds an address that can be branched to, for instance of a stub that "
    "returns where the target is null; or a cbz behind the load of it"
)
"""The remedy for a call that branches to 0."""

ISB = "an ISB on the caller, between its seeing that the update is done and its call"
"""A remedy for a call that starts after a retarget."""


def for_a_call(checker: Checker, failure: Failure) -> list[str]:
    """What would make a wrong call impossible; empty if nothing that was tried does.

    The smallest change that does is given: an additional instruction, else the exchange of two
    stores, else a CSE, else the cleaning and invalidation of a slot, else two of these.
    """
    return _for_a_call(checker, failure, [])


def for_a_later_call(checker: Checker, failure: Failure) -> list[str]:
    """The same for a call that starts after the retarget: its caller can do something, too."""
    question = failure.question.but(isb=True)
    wrong = checker.wrong_call(question, checker.basis.weakest)
    return _for_a_call(checker, failure, [] if wrong else [ISB])


def _for_a_call(checker: Checker, failure: Failure, more: list[str]) -> list[str]:
    if failure.says.endswith(" changed"):
        return ["a trampoline that changes X16 and X17 alone, and branches where it calls"]
    to_zero = failure.says == "a call branches to 0"
    trial = _Trial(checker, failure.question)
    found = trial.one() or ([] if to_zero else trial.two())
    return found + more + [VALID] * to_zero


class _Trial:
    """Changes to a question's retarget, and whether they make its wrong calls impossible."""

    def __init__(self, checker: Checker, question: Question) -> None:
        self._checker, self._question = checker, question
        self._code = code = question.design.retarget
        # Between two stores it makes no difference where, or later is better.
        between = sorted({0, len(code), *(i for i, _ in stores(code))})
        slots = [2 * k for k, cell in enumerate(question.design.cells) if cell.is_slot]
        self._lines = [
            "dmb ishst", "dsb ish", *(f"dc cvau, x{slot}" for slot in slots),
            *(f"ic ivau, x{slot}" for slot in slots), "isb",
        ]  # fmt: skip
        self._fences: list[Insert] = [((i, "dmb ishst"),) for i in between]
        self._cses: list[Insert] = [((i, "cse"),) for i in between]
        self._blocks: list[Insert] = [
            tuple((i, line) for line in maintenance(slot)) for slot in slots for i in between
        ]

    def one(self) -> list[str]:
        """Of the first kind of change that helps at all, those that help."""
        return (
            self._one_line()
            or self._exchanged()
            or self._helping(self._cses)
            or self._helping(self._blocks)
        )

    def two(self) -> list[str]:
        """The shortest two additions that help together."""
        single = [*self._fences, *self._cses, *self._blocks]
        both = [(*a, *b) for n, a in enumerate(single) for b in single[:n] if a[0] != b[0]]
        found = next((pair for pair in sorted(both, key=len) if self._helps(insert=pair)), None)
        return [self._describe(found)] if found else []

    def _helps(self, **changed: Any) -> bool:
        question = self._question.but(**changed)
        return self._checker.wrong_call(question, self._checker.basis.weakest) is None

    def _helping(self, inserts: list[Insert]) -> list[str]:
        return [self._describe(insert) for insert in inserts if self._helps(insert=insert)]

    def _one_line(self) -> list[str]:
        for line in self._lines:
            good = [i for i in range(len(self._code) + 1) if self._helps(insert=((i, line),))]
            if good:
                last = [i for i in good if i + 1 not in good]
                return [self._describe(((i, line),)) for i in last]
        return []

    def _exchanged(self) -> list[str]:
        for (i, first), (j, second) in combinations(stores(self._code), 2):
            if self._helps(swap=(i, j)):
                return [f"{second} first, then {first}: each in the place of the other"]
        return []

    def _describe(self, insert: Insert) -> str:
        code = self._code
        by_number: dict[int, list[str]] = {}
        for number, line in insert:
            by_number.setdefault(number, []).append(line)
        parts = []
        for number, lines in sorted(by_number.items()):
            where = (
                "at the start" if not number else "at the end" if number == len(code)
                else f"between {code[number - 1]} and {code[number]}"
            )  # fmt: skip
            parts.append(f"{'; '.join(lines)} {where}")
        return ", and ".join(parts)
