"""What would have to be changed in a retarget for a property to hold, found by trying."""

from __future__ import annotations

from itertools import combinations

from static_call.check.questions import Question, maintenance, stores
from static_call.check.verdicts import Verdict, wrong_call
from static_call.isa import a64
from static_call.memory_model.model import WEAKEST
from static_call.memory_model.program import DEFAULT, Limits

Insert = tuple[tuple[int, str], ...]
"""Lines of assembly, each with the number of the instruction that it comes before."""


VALID = (
    "a literal that always holds an address that can be branched to, for instance of a stub that "
    "returns where the target is null; or a cbz behind the load of it"
)


def remedies(verdict: Verdict, limits: Limits = DEFAULT) -> list[str]:
    """What would make the property hold for this change; none where nothing is known.

    The least that does: one instruction more, else two stores the other way round, else a CSE, else
    the cleaning and invalidation of a slot, else two of these.
    """
    failure = verdict.failure
    if failure is None:
        return []
    question, name = failure.question, verdict.name
    if name == "cmodx":
        return [
            "no barrier helps, by the list of every edition: patch only B, BL, BRK, HVC, ISB, NOP, "
            "SMC or SVC to one of these, for instance a B to a RET that is never modified; or stop "
            "all other PEs meanwhile"
        ]
    if name == "landing":
        return ["a bti c where it lands"]
    if name == "atomic":
        return ["a single store of at most 8 aligned bytes, or FEAT_LSE2 and 16 aligned bytes"]
    if failure.says.endswith(" changed"):
        return ["a trampoline that changes X16 and X17 alone, and branches where it calls"]
    to_zero = failure.says == "a call branches to 0"
    found = _least(question, limits, pairs=not to_zero)
    if name == "settled" and helps_isb(question, limits):
        found.append(
            "an ISB on the caller, between its seeing that the update is done and its call"
        )
    return found + [VALID] * to_zero


def _least(question: Question, limits: Limits, pairs: bool) -> list[str]:
    """The changes to the retarget of the first kind of which any helps."""
    code = question.design.retarget
    slots = [2 * k for k, cell in enumerate(question.design.cells) if cell.size == a64.WORD]
    # Between two stores it makes no difference where, or the later place is the better one.
    between = sorted({0, len(code), *(i for i, _ in stores(code))})

    def helps(**changed: object) -> bool:
        return wrong_call(question.but(**changed), WEAKEST, limits) is None

    def helping(places: list[Insert]) -> list[str]:
        return [_describe(question, insert) for insert in places if helps(insert=insert)]

    for line in (
        "dmb ishst", "dsb ish", *(f"dc cvau, x{slot}" for slot in slots),
        *(f"ic ivau, x{slot}" for slot in slots), "isb",
    ):  # fmt: skip
        good = [i for i in range(len(code) + 1) if helps(insert=((i, line),))]
        if good:
            last = [i for i in good if i + 1 not in good]
            return [_describe(question, ((i, line),)) for i in last]
    for (i, first), (j, second) in combinations(stores(code), 2):
        if helps(swap=(i, j)):
            return [f"{second} first, then {first}: each in the place of the other"]
    cses: list[Insert] = [((i, "cse"),) for i in between]
    blocks: list[Insert] = [
        tuple((i, line) for line in maintenance(slot)) for slot in slots for i in between
    ]
    if found := helping(cses) or helping(blocks):
        return found
    if not pairs:
        return []
    places = [*(((i, "dmb ishst"),) for i in between), *cses, *blocks]
    both = [(*a, *b) for n, a in enumerate(places) for b in places[:n] if a[0] != b[0]]
    two = next((pair for pair in sorted(both, key=len) if helps(insert=pair)), None)
    return [_describe(question, two)] if two else []


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
