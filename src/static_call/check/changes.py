"""The changes of a target that a design is asked about."""

from __future__ import annotations

from itertools import pairwise, product

from static_call.errors import StaticCallError

GOALS = ("near A", "near B", "far A", "far B", "null", "ret0")
"""What a change goes from and to. layout.py says where the functions are."""

Change = tuple[str, ...]
"""Two or more of GOALS: from, to, and on to."""


class Unaskable(StaticCallError):
    """There is nothing to ask: no such change exists, or no target has code that can be fresh."""


def parse_change(text: str) -> Change:
    """A change as a person writes it: "near-far", "near A -> far B", "farA-null-farB".

    Missing letters are filled in.

    Raises:
        Unaskable: it is not a change.
    """
    parts = [part.strip(" >").replace(" ", "") for part in text.replace(">", "->").split("-")]
    change: list[str] = []
    for part in filter(None, parts):
        goal = _goal(part.lower(), change)
        if goal not in GOALS:
            raise Unaskable(
                f"expected a change such as near-far or farA-null-farB, not {text!r}: "
                f"{part!r} is none of near, far, nearA, nearB, farA, farB, null, ret0"
            )
        change.append(goal)
    if len(change) < 2:
        raise Unaskable(f"expected a change such as near-far or farA-null-farB, not {text!r}")
    if any(a == b for a, b in pairwise(change)):
        raise Unaskable(f"{text}: this changes a target to itself")
    return tuple(change)


def _goal(name: str, before: list[str]) -> str:
    """The goal that a word means after others."""
    if name in ("near", "far"):
        used = [goal for goal in before if goal.split()[0] == name]
        letter = "A" if not before or all(goal in ("null", "ret0") for goal in before) else "B"
        name += "a" if f"{name} B" in used else letter.lower()
    return f"{name[:-1]} {name[-1].upper()}" if name[:-1] in ("near", "far") else name


def show_change(change: Change) -> str:
    """A change for a person."""
    return " → ".join(change)


def spell_change(change: Change) -> str:
    """A change as a word that `parse_change` takes: "nearA-farB"."""
    return "-".join(goal.replace(" ", "") for goal in change)


def changes(length: int = 2, *, alike: bool = True) -> list[Change]:
    """All changes of `length` goals.

    Args:
        length: How many goals, from 2.
        alike: Whether to give only one of the changes that differ in their letters alone. A and B
            mean any two functions, so it makes no difference which of them comes first.
    """
    every = [
        change
        for change in product(GOALS, repeat=length)
        if all(a != b for a, b in pairwise(change))
    ]
    return list(dict.fromkeys(map(canonical, every))) if alike else [*every]


def canonical(change: Change) -> Change:
    """The same change with the letters that `changes` gives it."""
    letters: dict[str, str] = {}
    named = []
    for goal in change:
        kind, _, letter = goal.partition(" ")
        if letter and goal not in letters:
            other = f"{kind} {'B' if letter == 'A' else 'A'}"
            if other in letters:
                letters[goal] = "B" if letters[other] == "A" else "A"
            else:
                letters[goal] = "B" if letters else "A"
        named.append(f"{kind} {letters[goal]}" if letter else goal)
    return tuple(named)
