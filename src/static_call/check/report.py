"""The verdicts on designs as tables for people and as plain data for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from static_call.check.model import Model
from static_call.check.program import DEFAULT, Limits
from static_call.check.questions import Change, changes, show_change
from static_call.check.verdicts import Verdict, check
from static_call.design import PROPERTIES, Design

Verdicts = dict[Change, list[Verdict]]
"""By change, in the order of PROPERTIES."""


def judge(
    designs: Sequence[Design], *, two: bool = False, limits: Limits = DEFAULT,
    progress: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> dict[Design, Verdicts]:  # fmt: skip
    """All verdicts on designs.

    two       two changes in a row as well
    progress  is told how many changes are done, of how many, and which design is next
    Raises what verdicts.check does.
    """
    asked = changes(2) + (changes(3) if two else [])
    total = len(asked) * len(designs)
    result: dict[Design, Verdicts] = {}
    for number, design in enumerate(designs):
        found = result[design] = {}
        for at, change in enumerate(asked):
            progress(number * len(asked) + at, total, design.name)
            found[change] = check(design, change, limits=limits)
    progress(total, total, "")
    return result


def broken_claims(result: dict[Design, Verdicts]) -> Iterator[Verdict]:
    """The verdicts that a claimed property does not hold."""
    for verdicts in result.values():
        for row in verdicts.values():
            yield from (v for v in row if v.holds is False and v.claimed)


def matrix(result: dict[Design, Verdicts]) -> list[list[str]]:
    """Designs down, PROPERTIES across."""
    rows = []
    for design, verdicts in result.items():
        row = [design.name]
        for column in zip(*verdicts.values()):
            asked = [v for v in column if v.holds is not None]
            fails = sum(not v.holds for v in asked)
            claimed = asked and asked[0].claimed
            if not asked:
                row.append("-")
            elif fails:
                row.append(f"{'NO' if claimed else 'no'} {fails}/{len(asked)}")
            else:
                row.append("YES" if claimed else "yes")
        rows.append(row)
    return rows


def by_change(verdicts: Verdicts) -> list[list[str]]:
    """Changes down, PROPERTIES across."""
    words = {True: "yes", False: "no", None: "-"}
    return [
        [show_change(change), *(words[v.holds] for v in row)] for change, row in verdicts.items()
    ]


def reasons(verdicts: Verdicts) -> Iterator[tuple[str, str, Change, int]]:
    """What is wrong: the property, what happens, the first change with it and how many have it."""
    for name, column in zip(PROPERTIES, zip(*verdicts.values())):
        found: dict[str, list[Change]] = {}
        for verdict in column:
            if verdict.holds is False:
                found.setdefault(verdict.says, []).append(verdict.change)
        for says, those in found.items():
            yield name, says, those[0], len(those)


def as_data(result: dict[Design, Verdicts]) -> dict[str, object]:
    """The documented shape: docs/checker.md."""
    return {
        "claims_hold": not any(broken_claims(result)),
        "designs": [
            {
                "name": design.name,
                "claims": list(design.claims),
                "changes": [
                    {
                        "change": list(change),
                        "properties": {
                            v.name: {
                                "holds": v.holds,
                                "says": v.says,
                                "fails_with": [show_model(model) for model in v.models],
                            }
                            for v in row
                        },
                    }
                    for change, row in verdicts.items()
                ],
            }
            for design, verdicts in result.items()
        ],
    }


def show_model(model: Model) -> str:
    """A cache type for a person."""
    return f"IDC={int(model.idc)} DIC={int(model.dic)}"


def show_models(models: Iterable[Model]) -> str:
    """Cache types for a person."""
    found = list(models)
    return "every cache type" if len(found) == 3 else " and ".join(map(show_model, found))
