"""The result of a litmus test as plain data, what an axiom forbids, and the model's rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from static_call.isa.instruction import EDITIONS
from static_call.memory_model.litmus import Result, Tick, run
from static_call.memory_model.model import GLOBAL, INTERNAL, LOCAL, PICK, Model
from static_call.memory_model.program import DEFAULT, Limits

_OURS = "check's cse, not Arm's"
_WHEN = {"": "always", "neither": "IDC=0", "IDC": "IDC=1 DIC=0", "DIC": "DIC=1"}


class ModelRow(NamedTuple):
    """One row of the model.

    Attributes:
        axiom: Arm's name for it.
        orders: What it orders, as model.py writes it, or what it requires.
        when: The cache types that have it.
        where: Whether it orders events of one PE, or of several.
    """

    axiom: str
    orders: str
    when: str
    where: str


def model_rows(model: Model | None = None) -> Iterator[ModelRow]:
    """The rows of a model, or those of all models.

    The rows without a source in the Arm ARM say so: no litmus test has their events.
    """
    for where, rules in (("one PE", LOCAL), ("one PE", PICK), ("several PEs", GLOBAL)):
        for rule in rules:
            if model is None or model.has(rule):
                ours = "sync" in rule.walk.split()
                when = _OURS if ours else _WHEN[rule.when]
                yield ModelRow(rule.name, rule.walk, when, where)
    for name, text in INTERNAL.items():
        if model is None or name not in model.without:
            yield ModelRow(name, text, "always", "one location")


def run_without(
    result: Result, model: Model, axioms: frozenset[str], limits: Limits = DEFAULT,
    tick: Tick | None = None,
) -> Result:  # fmt: skip
    """The result of a test if some axioms did not hold. Raises what litmus.run does.

    Args:
        result: Its result with them.
        model: The model with them.
        axioms: Their names, or the walks of single rows.
        limits: Bounds on the work.
        tick: Called now and then.
    """
    return run(result.test, replace(model, without=model.without | axioms), limits, tick)


def more_states(result: Result, less: Result) -> list[str]:
    """The final states that can be reached only without the axioms."""
    return [state for state in less.states if state not in result.states]


def difference(result: Result, axioms: frozenset[str], less: Result) -> str:
    """What can be reached only without some axioms, in words, given both results."""
    names, more = " and ".join(sorted(axioms)), more_states(result, less)
    count = f"{len(more)} more {'state' if len(more) == 1 else 'states'}"
    seen = f"{less.observation} {less.positive} {less.negative}"
    return "\n".join(
        [
            f"Without {names}: {count if more else 'the same states'}",
            *more,
            f"Observation without {names}: {seen}",
        ]
    )


def as_data(
    file: str, result: Result, model: Model, axioms: frozenset[str] = frozenset(),
    less: Result | None = None,
) -> dict[str, object]:  # fmt: skip
    """A result as `litmus --json` prints it: docs/checker.md documents the shape.

    Args:
        file: The file that has the test.
        result: The result.
        model: The model.
        axioms: What `less` is without.
        less: The result without some axioms, if that was asked for.
    """
    test = result.test
    data: dict[str, object] = {
        "file": file,
        "name": test.name,
        "quantifier": test.quantifier,
        "condition": str(test.condition),
        "holds": result.holds if result.decided else None,
        **_reached(result, list(result.states)),
        "flags": list(result.flags),
        "cache_type": {"idc": model.idc, "dic": model.dic},
        "lse2": test.program.lse2,
        "edition": model.edition,
        "cmodx_by_edition": {name: name not in result.broken for name in EDITIONS},
        "axioms": list(dict.fromkeys(row.axiom for row in model_rows(model) if row.when != _OURS)),
    }
    if less:
        more = more_states(result, less)
        data["without"] = {"axioms": sorted(axioms), **_reached(less, more)}
    return data


def _reached(result: Result, states: list[str]) -> dict[str, object]:
    return {
        "observation": result.observation,
        "positive": result.positive,
        "negative": result.negative,
        "states": [dict(_values(state)) for state in states],
        "complete": not result.cut,
        "cut": list(result.cut),
    }


def _values(state: str) -> Iterator[tuple[str, object]]:
    """The locations of a state that herd7 would print, with their values, and its faults."""
    for part in filter(None, (part.strip() for part in state.split(";"))):
        location, equals, value = part.partition("=")
        if not equals:
            yield part.removeprefix("~"), not part.startswith("~")
        else:
            yield location, int(value) if re.fullmatch(r"-?\d+", value) else value
