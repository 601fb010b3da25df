"""Whether words are modified while they may execute, against the rule of Arm ARM B2.2.5."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from static_call.check.basis import say_edition
from static_call.check.checker import Checker, Failure, Says
from static_call.check.questions import Question
from static_call.isa import a64
from static_call.isa.a64_more import decode
from static_call.isa.instruction import EDITIONS
from static_call.isa.sets import A64
from static_call.memory_model.model import PRESENT, Model


def conflicts(checker: Checker, question: Question, model: Model) -> Iterator[Says]:
    """The words that are modified against the rule, with their old and new contents."""
    scene = checker.scene(question)
    if _all_listed(checker, question, model.edition):
        return  # nothing to look for
    said = set()
    for execution in checker.executions(question, replace(model, edition=PRESENT)):
        for conflict in execution.conflicts_by(model.edition):
            fetch, write = execution.events[conflict.fetch], execution.events[conflict.write]
            old, new = (decode(e.value, e.address).format(scene.name) for e in (fetch, write))
            says = f"{scene.name(fetch.address)} is modified from {old} to {new}"
            if old == new:
                says = f"{scene.name(fetch.address)} is rewritten: {new}"
            if says not in said:
                said.add(says)
                yield says, execution.by(model.edition)


def advice(checker: Checker, failure: Failure) -> list[str]:
    """What would make a design keep to the rule, by the edition that is asked about."""
    edition = checker.basis.edition
    listed = A64.cmodx.listed(edition)
    names = dict.fromkeys("B.cond" if "." in name else name.upper() for name in listed)
    found = [
        f"no barrier helps, by {say_edition(edition)}: patch only {', '.join(names)} to one of "
        "these, for instance a B to a RET that is never modified; or stop all other PEs first"
    ]
    for newer in EDITIONS[EDITIONS.index(edition) + 1 :]:
        model = replace(checker.basis.weakest, edition=newer)
        if next(conflicts(checker, failure.question, model), None) is None:
            found.append(f"it holds as it is by {say_edition(newer)}")
            break
    return found


def _all_listed(checker: Checker, question: Question, edition: str) -> bool:
    """Whether everything that the modified words ever hold is on the edition's list."""
    program = checker.scene(question).program
    updater, caller = checker.explored(question).paths
    words = {e.address for path in caller for e in path.events if e.kind == "F"}
    values = {(at, program.initial(at, a64.WORD)) for at in words}
    values |= {
        (e.address, e.value)
        for path in updater for e in path.events if e.kind == "W" and e.address in words
    }  # fmt: skip
    return all(decode(word, at).modifiable(edition) for at, word in values)
