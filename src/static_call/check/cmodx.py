"""Whether words are modified while they may execute, against the rule of Arm ARM B2.2.5."""

from __future__ import annotations

from collections.abc import Iterator

from static_call.check.checker import Checker, Says
from static_call.check.questions import Question
from static_call.isa import a64
from static_call.isa.a64_more import decode
from static_call.memory_model.model import Model


def conflicts(checker: Checker, question: Question, model: Model) -> Iterator[Says]:
    """The words that are modified against the rule, with their old and new contents."""
    scene = checker.scene(question)
    if _all_listed(checker, question, model):
        return  # nothing to look for
    said = set()
    for execution in list(checker.allowed(question, model)):
        for conflict in execution.conflicts:
            fetch, write = execution.events[conflict.fetch], execution.events[conflict.write]
            old, new = (decode(e.value, e.address).format(scene.name) for e in (fetch, write))
            says = f"{scene.name(fetch.address)} is modified from {old} to {new}"
            if old == new:
                says = f"{scene.name(fetch.address)} is rewritten: {new}"
            if says not in said:
                said.add(says)
                yield says, execution


def _all_listed(checker: Checker, question: Question, model: Model) -> bool:
    """Whether everything that the modified words ever hold is on the model's list."""
    program = checker.scene(question).program
    updater, caller = checker.explored(question).paths
    words = {e.address for path in caller for e in path.events if e.kind == "F"}
    values = {(at, program.initial(at, a64.WORD)) for at in words}
    values |= {
        (e.address, e.value)
        for path in updater for e in path.events if e.kind == "W" and e.address in words
    }  # fmt: skip
    return all(decode(word, at).cmodx == model.edition for at, word in values)
