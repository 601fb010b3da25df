"""What a static call can be made to call, and the forms that do it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from static_call.errors import StaticCallError

FORMS = ("near", "far", "null", "ret0")
"""What a trampoline can be made to do: branch, go through its literal, return, return 0."""


class Ret0(Enum):
    """The type of RET0."""

    RET0 = "RET0"

    def __repr__(self) -> str:
        return self.value

    __str__ = __repr__


RET0 = Ret0.RET0
"""The target that returns 0."""

Target = int | None | Ret0
"""An address, None (return at once) or RET0 (return 0)."""

MEANINGS: Mapping[str, Target] = {"null": None, "ret0": RET0}
"""The targets of the forms that have only one target."""


class Unreachable(StaticCallError):
    """No form of the design reaches the target from where the trampoline is."""


class Unsupported(StaticCallError):
    """The design has no form for what was asked."""
