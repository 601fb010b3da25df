"""Where everything is in a question's program, and what its caller's registers hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from static_call.check.changes import Unaskable
from static_call.design.design import Design
from static_call.design.target import RET0, Target, Unreachable

BASE = 0x10_0000_1000
"""About where the trampoline is: just above a multiple of 2^32, so that torn literals differ."""

_ORIGIN = BASE & -(1 << 32)
_MIB = 1 << 20
_PAST = 0x2A00  # from _ORIGIN, after the end of the largest trampoline, however it is aligned
_OUTSIDE = BASE + 0x1_0008  # aligned as a literal must be and no more

RETURN = 0x10_0040_0100
"""Where the caller's call returns to."""

UPDATER, CALLER, FLAG = 0x5A5A_0000_1000, BASE + 0x50_0000, 0x9000
"""The updater's code, the code before a "settled" caller's call, and the flag that it waits for."""

NO_CALL = CALLER + 0x100
"""Where a "settled" caller that does not see the flag ends."""

JUNK = 0xB000
"""What X16 holds when a call starts: any value."""

_STACK = 0xA000

KEPT = {
    **{i: (i + 1) * 0x9E3779B97F4A7C15 & (1 << 64) - 1 for i in range(30) if i not in (16, 17)},
    30: RETURN,
    32: _STACK,
}
"""What a call finds in the registers that a trampoline leaves alone, by number; SP is 32.

AAPCS64 reserves X16 and X17 for veneers, and lets anyone change the flags. All bits of these values
matter, so an instruction that changes a register changes its value. What depends on such a value
goes both ways: see program.Thread."""

CALLED = {i: value ^ 0xFFFF << 32 for i, value in KEPT.items() if i < 18} | {
    16: 0xC000,
    17: 0xD000,
}
"""What a function that was called may leave in the registers that it need not keep."""


class NotTaken(Unaskable):
    """The design cannot make the change: an update to such a target is refused."""


@dataclass(frozen=True)
class Layout:
    """Where a design's trampoline, its literals and its targets are.

    Attributes:
        design: The design.
        shift: How many bytes the trampoline and its literals are moved up.
        base: The address of the trampoline, aligned exactly as far as the design says.
        entry: The address that callers branch to.
        outside: The addresses of the literals in other sections, by label.
    """

    design: Design
    shift: int = 0

    @property
    def base(self) -> int:
        """See the class."""
        return (BASE & -2 * self.design.align | self.design.align) + self.shift

    @property
    def entry(self) -> int:
        """See the class."""
        return self.base + self.design.entry

    @property
    def outside(self) -> dict[str, int]:
        """See the class."""
        return {
            label: _OUTSIDE + self.shift + 0x40 * i for i, label in enumerate(self.design.outside)
        }

    def target(self, goal: str) -> Target:
        """What to retarget to for a goal.

        Where the design has no form for null or ret0, this is a function that does the same.

        Raises:
            NotTaken: the design refuses such a target.
        """
        design = self.design
        if goal in design.forms and goal in ("null", "ret0"):
            return None if goal == "null" else RET0
        target = targets(design)["return0" if goal in ("null", "ret0") else goal]
        try:
            form = design.form_for(self.entry, target, self.outside)
        except Unreachable as error:
            if "far" not in design.forms:
                raise NotTaken(f"{goal}: {error}") from None
            form = "near"
        both = {"near", "far"} <= {*design.forms}
        limited = both and design.reach("near", self.entry) is not None
        if goal.startswith("far") and form == "near" and limited:
            raise NotTaken(f"{goal}: no target is beyond the reach of near and within that of far")
        return target


def targets(design: Design) -> Mapping[str, int]:
    """The addresses of the functions that a design is asked about, by goal.

    The function return0 returns 0. It is called where the design has no form for null or ret0. The
    near functions are within the reach of every branch of the near form that names the target; the
    far ones are beyond it and within the reach of the far form. Their addresses differ in both
    halves, in the page and in the low 12 bits, so no mixture of two addresses is one of them.
    """
    entry = Layout(design).entry
    near = design.reach("near" if "near" in design.forms else "far", entry)
    far = design.reach("far", entry) if "far" in design.forms else None
    step = _MIB if near is None else min(_MIB, max(_PAST, _room(near) * 3 // 8 & -0x100))
    below, above = 0xA000_0000, 1 << 32
    if "near" in design.forms and near is not None:
        beyond = _ORIGIN - near[0], near[1] - _ORIGIN
        if max(beyond) >= min(below, above):
            below = above = 2 * max(beyond) & -0x1000
    else:
        beyond = 2 * step, 2 * step
    if far is not None and _ORIGIN - below < far[0]:
        below = (beyond[0] + _ORIGIN - far[0]) // 2 & -0x1000
    if far is not None and _ORIGIN + above + 0x280 > far[1]:
        above = (beyond[1] + far[1] - _ORIGIN) // 2 & -0x1000
    return {
        "near A": _ORIGIN - step + 0x40,
        "near B": _ORIGIN + step + 0x80,
        "far A": _ORIGIN - below + 0x140,
        "far B": _ORIGIN + above + 0x280,
        "return0": _ORIGIN + 2 * step + 0xC0,
    }


def _room(reach: tuple[int, int]) -> int:
    """The distance to the nearer end of what is in reach."""
    return min(_ORIGIN - reach[0], reach[1] - _ORIGIN)
