"""What the StaticCall objects of one trampoline share: its lock, its targets, its last plans."""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

from static_call.design.retarget import Retarget
from static_call.design.target import Target
from static_call.design.trampoline import Trampoline
from static_call.isa.isa import Read
from static_call.locks import Lock

_PLANS = 16  # plans of a trampoline: from each of 4 targets to each other one takes 12


class Held(NamedTuple):
    """What keeps a target's code alive.

    Attributes:
        address: Where the code is.
        what: An object: the target, or the callback that was made for it.
    """

    address: int
    what: object


class Shared:
    """What all StaticCall objects of one trampoline share.

    Attributes:
        entry: The trampoline's address.
        lock: The lock of its updates, for Python's threads.
        held: The objects that have been its targets, by prototype and identity.
    """

    def __init__(self, entry: int) -> None:
        """Starts without any targets."""
        self.entry: int = entry
        self.lock: Lock = Lock()
        self.held: dict[Hashable, Held] = {}
        self._plans: dict[Hashable, Retarget] = {}

    def plan(self, trampoline: Trampoline, target: Target, read: Read, *, fresh: bool) -> Retarget:
        """The trampoline's plan: see Trampoline.plan. A plan for the same bytes is reused.

        The caller holds the lock.
        """
        key = trampoline.design, target, fresh, trampoline.contents(read)
        plan = self._plans.get(key)
        if plan is None:
            plan = trampoline.plan(target, read, fresh=fresh)
            if len(self._plans) >= _PLANS:
                del self._plans[next(iter(self._plans))]  # the oldest
            self._plans[key] = plan
        return plan


class Sharing:
    """What the StaticCall objects of each trampoline in a memory share.

    There is one for each memory: two places with the same memory share it.
    """

    def __init__(self) -> None:
        """Starts without static calls."""
        self._shared: dict[int, Shared] = {}

    def of(self, entry: int) -> Shared:
        """What those of the trampoline at an address share; always the same object."""
        return self._shared.get(entry) or self._shared.setdefault(entry, Shared(entry))

    def drop(self, shared: Shared) -> None:
        """Forgets a trampoline that is gone."""
        if self._shared.get(shared.entry) is shared:
            del self._shared[shared.entry]

    def forked(self) -> None:
        """In the child of a fork: the threads that held locks are not there."""
        for shared in self._shared.values():
            shared.lock = Lock()
