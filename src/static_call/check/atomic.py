"""Which stores of a retarget must be single-copy atomic."""

from __future__ import annotations

from collections.abc import Iterator

from static_call.check.checker import Checker, Failure, NoWayOut, Says
from static_call.check.questions import Question, stores
from static_call.design.design import LITERAL
from static_call.isa import a64
from static_call.memory_model.model import Model
from static_call.memory_model.program import TooBig, Unmodelled


def atomic(checker: Checker, question: Question, model: Model) -> Failure | str:
    """A store that must be single and is not; if there is none, which must be and are."""
    said = []
    for torn, store, part in _divided(checker, question):
        address = store.start
        text = f"{part} bytes at {checker.scene(question).name(address)} must be one store"
        single = part <= 8 and address % part == 0
        try:
            new = _new(checker, torn, question, store, model)
        except (Unmodelled, TooBig, NoWayOut):
            if not single:
                raise
            said.append(f"{text}, and are")  # torn, it is code that nobody meant
            continue
        if new is None:
            continue
        if single:
            said.append(f"{text}, and are")
            continue
        # FEAT_LSE2 (B2.2.1.1): accesses that lie within 16 aligned bytes are single.
        lse2 = address % 16 + part <= 16
        more = ", and are with LSE2 only" if lse2 else ", and are not"
        return Failure(torn, f"{text}{more}: {new[0]}", new[1])
    return "; ".join(dict.fromkeys(said))


def _divided(checker: Checker, question: Question) -> Iterator[tuple[Question, range, int]]:
    """The ways in which stores can be divided.

    A pair of registers is two elements, each of which can be divided too.

    Yields:
        A question in which a store is divided, the bytes that the store writes, and the size in
        bytes of the access that is divided.
    """
    for number, insn in stores(question.design.retarget):
        store = _written(checker, question, number)
        if insn.name == "stp":
            yield question, store, len(store)
            yield question.but(torn=number), store, len(store) // 2
        else:
            yield question.but(torn=number), store, len(store)


def _new(
    checker: Checker, torn: Question, question: Question, store: range, model: Model
) -> Says | None:
    """A wrong call that is in `torn`, and not in `question` if its store is single."""
    known: set[str] | None = None if checker.wrong_call(question, model) else set()
    for found in checker.wrong_calls(torn, model):
        if known is None:
            known = _if_single(checker, question, store, model)
        if found[0] not in known:
            return found
    return None


def _if_single(checker: Checker, question: Question, store: range, model: Model) -> set[str]:
    """The wrong calls where a store is single.

    With FEAT_LSE2 a store is single if it lies within 16 aligned bytes; so everything is moved to
    an address where it does.
    """
    fits = store.start % 16 + len(store) <= 16
    one = question.but(lse2=True, shift=0 if fits else LITERAL)
    try:
        return {says for says, _ in checker.wrong_calls(one, model)}
    except a64.Misaligned:
        return set()  # it never lies there


def _written(checker: Checker, question: Question, number: int) -> range:
    """The bytes that a store of the last retarget writes."""
    scene = checker.scene(question)
    at = scene.retargets[-1][0] + number * a64.WORD
    path = checker.explored(question).paths[0][0]
    index = next(i for i, done in enumerate(path.trace) if done.address == at)
    first = path.trace[index].first
    last = path.trace[index + 1].first if index + 1 < len(path.trace) else len(path.events)
    events = [e for e in path.events[first:last] if e.kind == "W"]
    start = min(e.address for e in events)
    return range(start, start + sum(e.size for e in events))
