"""What would have to be added to a retarget for a property to hold."""

from __future__ import annotations

from static_call import a64
from static_call.check.model import WEAKEST
from static_call.check.program import DEFAULT, Limits
from static_call.check.questions import Question, maintenance, stores
from static_call.check.verdicts import Verdict, wrong_call

Insert = tuple[tuple[int, str], ...]
"""Lines of assembly, each with the number of the instruction that it comes before."""


def remedies(verdict: Verdict, limits: Limits = DEFAULT) -> list[str]:
    """What would make the property hold: single insertions, else pairs; none where none does."""
    failure = verdict.failure
    if failure is None:
        return []
    question, name = failure.question, verdict.name
    if name == "cmodx":
        return [
            "no barrier helps: patch only B, BL, BRK, HVC, ISB, NOP, SMC or SVC to one of these, "
            "for instance a B to a RET that is never modified; or stop all other PEs meanwhile"
        ]
    if name == "landing":
        return ["a bti c where it lands"]
    if name == "atomic":
        return ["a single store of at most 8 aligned bytes, or FEAT_LSE2 and 16 aligned bytes"]
    code = question.design.retarget
    cells = question.design.cells
    slots = [k for k, cell in enumerate(cells) if cell.size == a64.WORD]
    additions = [("dmb ishst",), ("cse",), *(maintenance(2 * k) for k in slots)]
    # Between two stores it makes no difference where, or the later place is the better one.
    between = sorted({0, len(code), *(i for i, _ in stores(code))})
    places = [tuple((i, line) for line in lines) for lines in additions for i in between]

    def helps(insert: tuple[tuple[int, str], ...]) -> bool:
        return wrong_call(question.but(insert=insert), WEAKEST, limits) is None

    found = [_describe(question, insert) for insert in places if helps(insert)]
    if name == "settled" and helps_isb(question, limits):
        found.append(
            "an ISB on the caller, between its seeing that the update is done and its call"
        )
    if not found:
        pairs = [(*a, *b) for n, a in enumerate(places) for b in places[:n] if a[0] != b[0]]
        first = next(filter(helps, sorted(pairs, key=len)), None)
        found = [_describe(question, first)] if first else []
    return found


def helps_isb(question: Question, limits: Limits = DEFAULT) -> bool:
    """Whether an ISB on the caller makes "settled" hold."""
    return wrong_call(question.but(isb=True), WEAKEST, limits) is None


def _describe(question: Question, insert: tuple[tuple[int, str], ...]) -> str:
    code = question.design.retarget
    by_place: dict[int, list[str]] = {}
    for at, line in insert:
        by_place.setdefault(at, []).append(line)
    parts = []
    for at, lines in sorted(by_place.items()):
        where = (
            "at the start" if not at else "at the end" if at == len(code)
            else f"between {code[at - 1]} and {code[at]}"
        )  # fmt: skip
        what = "; ".join(lines)
        parts.append(f"{what} {where}")
    return ", and ".join(parts)
