"""Which properties a design has: see docs/checker.md for what they mean.

What holds with IDC=0 and DIC=0 holds in the stronger cache types, so these are asked only where it
does not.

A retarget that has stopped does nothing that it could not do if it went on: take an execution of
the shorter program, and let the steps that follow happen behind everything in it, seen by nobody
(a store last in coherence order and unread, a DC or IC after every fetch, a CSE taken where the
call has ended). Nothing that is ordered before it can come from it, so the model allows that as
well. So what live, cmodx or fresh forbids, no stop makes possible: prefix looks for a stop only
where live does not hold, to say which step is the first that goes wrong, and cmodx and fresh need
not be asked again. A barrier more never adds an execution, so it is enough to stop behind the
steps that do more: stores, and CSEs, behind which fewer targets are right.
tests/test_check_designs.py holds all this.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from static_call.check.questions import (
    Change,
    NotTaken,
    Question,
    Scene,
    Unaskable,
    is_store,
    show_change,
    stores,
)
from static_call.design.design import LITERAL, PROPERTIES, Design
from static_call.design.retarget import Cse
from static_call.errors import StaticCallError
from static_call.isa import a64
from static_call.memory_model.executions import Execution, allowed
from static_call.memory_model.instructions import decode
from static_call.memory_model.model import CACHE_TYPES, WEAKEST, Model
from static_call.memory_model.program import (
    DEFAULT,
    Explored,
    Limits,
    Path,
    TooBig,
    Unmodelled,
    explore,
)

Says = tuple[str, Execution]
"""What is wrong, and an execution in which it is."""


class NoWayOut(StaticCallError):
    """A call need not leave the trampoline, or not within the bounds."""


class Failure(NamedTuple):
    """An execution that breaks a property.

    question   what was asked
    says       what happens, in a few words
    execution  in which it does
    """

    question: Question
    says: str
    execution: Execution


@dataclass(frozen=True)
class Verdict:
    """Whether a design has a property, for one change.

    name     the property's
    holds    None where it was not asked: there is no such change, no code of a target to be fresh,
             or the design refuses such a target. Not asked is no yes.
    says     why, in a few words; "" where nothing is to be said
    failure  for the weakest cache type
    models   the cache types in which it fails
    taken    whether the design takes the change at all
    """

    design: Design
    change: Change
    name: str
    holds: bool | None
    says: str = ""
    failure: Failure | None = None
    models: tuple[Model, ...] = ()
    taken: bool = True

    @property
    def claimed(self) -> bool:
        """Whether the design claims the property."""
        return self.name in self.design.claims


def check(
    design: Design,
    change: Change,
    properties: Sequence[str] = PROPERTIES,
    limits: Limits = DEFAULT,
) -> list[Verdict]:
    """The verdicts on one change of a design, in the order of `properties`.

    Raises NoWayOut, TooBig, and Unmodelled for an instruction that the checker doesn't know.
    """
    try:
        return [_verdict(design, change, name, limits) for name in properties]
    except (TooBig, Unmodelled) as error:
        raise type(error)(f"{design.name}, {show_change(change)}: {error}") from None


def _verdict(design: Design, change: Change, name: str, limits: Limits) -> Verdict:
    question = Question(design, change)
    try:
        question.scene()
        failure, says = _fails(question, name, WEAKEST, limits)
    except Unaskable as error:
        taken = not isinstance(error, NotTaken)
        return Verdict(design, change, name, None, str(error), taken=taken)
    if failure is None:
        return Verdict(design, change, name, True, says)
    others = [model for model in CACHE_TYPES[1:] if _fails(question, name, model, limits)[0]]
    return Verdict(design, change, name, False, failure.says, failure, (WEAKEST, *others))


def _fails(
    question: Question, name: str, model: Model, limits: Limits
) -> tuple[Failure | None, str]:
    """What breaks the property, or None; and what is to be said where nothing does."""
    scene = question.scene()
    if len(set(scene.meant)) == 1:
        raise Unaskable("both are the same function here")
    match name:
        case "live":
            found = wrong_call(question, model, limits)
        case "cmodx":
            found = next(conflicts(question, model, limits), None)
        case "landing":
            found = next(landings(question, model, limits), None)
        case "fresh" | "settled":
            question = question.but(kind=name)
            found = wrong_call(question, model, limits)
        case "prefix":
            for stop in stops(question) if wrong_call(question, model, limits) else ():
                stopped = question.but(stop=stop)
                if wrong := wrong_call(stopped, model, limits):
                    return Failure(stopped, *wrong), ""
            return None, ""
        case "atomic":
            return _atomic(question, model, limits)
        case _:
            raise ValueError(name)
    return (Failure(question, *found), "") if found else (None, "")


@lru_cache(maxsize=64)
def explored(question: Question, limits: Limits = DEFAULT) -> Explored:
    """What the threads can do. Raises NoWayOut, Unmodelled and TooBig."""
    scene = question.scene()
    what = f"{question.design.name}, {show_change(question.change)}"
    result = explore(scene.program, limits)
    if not result.paths[0]:
        raise TooBig(f"the retarget takes more than {limits.steps} instructions: raise --steps")
    if result.cut or not all(result.paths):
        raise NoWayOut(
            f"{what}: a call stays in the trampoline for more than {limits.unroll} rounds of a "
            f"loop or {limits.steps} instructions: if it ends, raise --unroll or --steps"
        )
    return result


@lru_cache(maxsize=8)
def executions(question: Question, model: Model, limits: Limits = DEFAULT) -> tuple[Execution, ...]:
    """All executions that the model allows."""
    return tuple(allowed(explored(question, limits), model))


@lru_cache(maxsize=64)
def wrong_call(question: Question, model: Model, limits: Limits = DEFAULT) -> Says | None:
    """A call that ends where it must not, if the model allows one."""
    return next(wrong_calls(question, model, limits), None)


def wrong_calls(question: Question, model: Model, limits: Limits = DEFAULT) -> Iterator[Says]:
    """The calls that end where they must not, one for each place."""
    scene = question.scene()
    found = explored(question, limits)
    outcomes: dict[str, int] = {}
    wrong: dict[int, str] = {}
    for path in found.paths[1]:
        outcome = scene.outcome(path)
        if outcome.startswith("stale") or (
            question.kind != "fresh" and outcome not in scene.right(path)
        ):
            wrong[id(path)] = outcome
            outcomes[outcome] = 1
    if not wrong:
        return
    for outcome in outcomes:

        def ends_so(paths: tuple[Path, ...], outcome: str = outcome) -> bool:
            return wrong.get(id(paths[1])) == outcome

        execution = next(allowed(found, model, where=ends_so, every=False), None)
        if execution:
            yield _says_outcome(scene, outcome), execution


def _says_outcome(scene: Scene, outcome: str) -> str:
    if outcome.startswith("stale"):
        return f"a call runs {outcome}"
    if outcome in scene.meant and scene.question.kind == "settled":
        return f"a call that starts afterwards {_goes(outcome)}"
    if outcome in scene.meant:
        return f"a call that starts after a context synchronisation event {_goes(outcome)}"
    return f"a call {_goes(outcome)}"


def _goes(outcome: str) -> str:
    if outcome.startswith("a branch to "):
        return f"branches to {outcome.removeprefix('a branch to ')}"
    if outcome.startswith("an undefined"):
        return f"executes {outcome}"
    return outcome if outcome.startswith("returns") else f"goes to {outcome}"


def conflicts(question: Question, model: Model, limits: Limits = DEFAULT) -> Iterator[Says]:
    """The words that are modified against the rule of B2.2.5, each from what to what."""
    scene = question.scene()
    words = {e.address for path in explored(question, limits).paths[1] for e in path.events
             if e.kind == "F"}  # fmt: skip
    writes = [e for path in explored(question, limits).paths[0] for e in path.events
              if e.kind == "W" and e.address in words]  # fmt: skip
    values = {(at, scene.program.initial(at, a64.WORD)) for at in words}
    values |= {(e.address, e.value) for e in writes}
    if all(decode(word, at).cmodx == model.edition for at, word in values):
        return  # all of them listed: nothing to look for
    said = set()
    for execution in executions(question, model, limits):
        for conflict in execution.conflicts:
            fetch, write = execution.events[conflict.fetch], execution.events[conflict.write]
            old, new = (decode(e.value, e.address).format(scene.name) for e in (fetch, write))
            says = f"{scene.name(fetch.address)} is modified from {old} to {new}"
            if old == new:
                says = f"{scene.name(fetch.address)} is rewritten: {new}"
            if says not in said:
                said.add(says)
                yield says, execution


_ENTRY = a64.PADS["blr"] & a64.PADS["br x16"]
_FUNCTION = {"bti c", "paciasp"}


def landings(question: Question, model: Model, limits: Limits = DEFAULT) -> Iterator[Says]:
    """The indirect branches that land on no pad, with the word that was fetched there.

    A caller's own is one: it may come through a pointer (BLR) or a veneer (BR X16). A function
    outside is assumed to begin with what compilers put there, `bti c` or `paciasp`, which takes
    BLR and BR by X16 and X17; and no pad to stand behind the caller's call, where RET goes back to.
    """
    scene = question.scene()
    found = explored(question, limits)
    said: dict[str, set[int]] = {}
    for path in found.paths[1]:
        for says in _unpadded(scene, path):
            said.setdefault(says, set()).add(id(path))
    for says, wrong in said.items():

        def lands_so(paths: tuple[Path, ...], wrong: set[int] = wrong) -> bool:
            return id(paths[1]) in wrong

        execution = next(allowed(found, model, where=lands_so, every=False), None)
        if execution:
            yield says, execution


def _unpadded(scene: Scene, path: Path) -> Iterator[str]:
    """Where a caller's path lands on no pad."""
    words = [decode(done.word, done.address) for done in path.trace]
    if words and words[0].name not in _ENTRY:
        first = words[0].format(scene.name)
        yield f"a call lands on {first} at {scene.name(path.trace[0].address)}"
    for number, insn in enumerate(words):
        if insn.name not in ("br", "blr"):
            continue
        pads = a64.PADS["br x16" if insn.name == "br" and insn["n"] in (16, 17) else insn.name]
        last = number == len(words) - 1
        to = path.pc if last else path.trace[number + 1].address
        if to in scene.trampoline:
            pad = decode(scene.program.code.get(to, 0), to) if last else words[number + 1]
            if pad.name not in pads:
                yield f"{insn} lands on {pad.format(scene.name)} at {scene.name(to)}"
        elif scene.returns(to):
            yield f"{insn} lands behind the caller's call, where no pad is assumed"
        elif _FUNCTION - pads:
            yield f"{insn} lands on {scene.name(to)}: a bti c takes BR by X16 and X17 only"


def stops(question: Question) -> list[int]:
    """Where a retarget may stop for ever: before the first step, and behind each store and CSE."""
    code = question.design.retarget
    return [0, *(i + 1 for i, insn in enumerate(code) if isinstance(insn, Cse) or is_store(insn))]


def _atomic(question: Question, model: Model, limits: Limits) -> tuple[Failure | None, str]:
    """Which stores must be single-copy atomic; a failure where one must be and is not."""
    scene = question.scene()
    said = []
    for i, insn in stores(question.design.retarget):
        address, size = _where(scene, i)
        pair = insn.name == "stp"
        for what in [question] * pair + [question.but(torn=i)]:
            bytes_ = size // 2 if pair and what.torn is not None else size
            text = f"{bytes_} bytes at {scene.name(address)} must be one store"
            single = bytes_ <= 8 and address % bytes_ == 0
            try:
                new = _new(what, question, address, size, model, limits)
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
            lse2 = address % 16 + bytes_ <= 16
            more = ", and are with LSE2 only" if lse2 else ", and are not"
            return Failure(what, f"{text}{more}: {new[0]}", new[1]), ""
    return None, "; ".join(dict.fromkeys(said))


def _new(
    what: Question, question: Question, address: int, size: int, model: Model, limits: Limits
) -> Says | None:
    """A wrong call that `what` has and `question` not, if the store at `address` is one."""
    known: set[str] | None = None if wrong_call(question, model, limits) else set()
    for found in wrong_calls(what, model, limits):
        if known is None:
            # With FEAT_LSE2 it is one within 16 aligned bytes; so look where it lies there.
            one = question.but(lse2=True, shift=0 if address % 16 + size <= 16 else LITERAL)
            try:
                known = {says for says, _ in wrong_calls(one, model, limits)}
            except a64.Misaligned:
                known = set()  # it never lies there
        if found[0] not in known:
            return found
    return None


def _where(scene: Scene, number: int) -> tuple[int, int]:
    """The address and size of a store of the last retarget, in bytes."""
    at = scene.retargets[-1][0] + number * a64.WORD
    path = explored(scene.question).paths[0][0]
    index = next(i for i, done in enumerate(path.trace) if done.address == at)
    first = path.trace[index].first
    last = path.trace[index + 1].first if index + 1 < len(path.trace) else len(path.events)
    events = [e for e in path.events[first:last] if e.kind == "W"]
    return min(e.address for e in events), sum(e.size for e in events)
