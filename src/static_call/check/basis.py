"""What an answer rests on: the edition of Arm's text and the CPU."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from static_call.isa.sets import A64
from static_call.memory_model.cpus import Cpu
from static_call.memory_model.model import CACHE_TYPES, PRESENT, Model


@dataclass(frozen=True)
class Basis:
    """What an answer rests on.

    Attributes:
        edition: The edition of B2.2.5 that cmodx is by: one of instruction.EDITIONS.
        cpu: The CPU; None for any that does what the architecture says.
    """

    edition: str = PRESENT
    cpu: Cpu | None = None

    @cached_property
    def models(self) -> tuple[Model, ...]:
        """The models to ask, the weakest first: what holds in that one holds in the others."""
        if self.cpu:
            return self.cpu.models(self.edition)
        return tuple(replace(model, edition=self.edition) for model in CACHE_TYPES)

    @property
    def weakest(self) -> Model:
        """The first of them."""
        return self.models[0]

    @property
    def words(self) -> str:
        """The edition in words."""
        return A64.cmodx.editions[self.edition]


def say_edition(name: str) -> str:
    """An edition in words, with its name."""
    return f"{A64.cmodx.editions[name]} (--edition {name})"


ARCHITECTURE = Basis()
"""Arm's present text, and any CPU that does what it says."""
