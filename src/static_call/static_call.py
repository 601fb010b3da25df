"""StaticCall: a named function pointer that costs a direct branch; what a user holds."""

from __future__ import annotations

from typing import Protocol

from static_call import a64
from static_call.design import RET0, Design, Recognised, Target, Unreachable, Unsupported
from static_call.errors import StaticCallError
from static_call.retarget import Retarget
from static_call.trampoline import BadRetarget, NotATrampoline, Trampoline

RETURN0 = "__static_call_return0"
"""Linux's function that returns 0: the key of a RET0 static call, and the target of a NULL or RET0
one whose design has no form for that."""

PADS = frozenset({"bti c", "bti j", "bti jc", "paciasp", "pacibsp"})
"""Where BR X16 may land in a guarded page (Arm ARM, pseudocode of BTypeCompatible)."""


class BadTarget(StaticCallError):
    """The target is not code that the static call could call."""


class Place(Protocol):
    """Somewhere that trampolines live.

    live  whether threads may be running in it while it is changed
    """

    live: bool

    def read(self, address: int, size: int) -> bytes:
        """Memory; fewer bytes where it ends."""

    def write(self, address: int, data: bytes) -> None:
        """Writes data, in one store where it is 4 or 8 aligned bytes."""

    def perform(self, retarget: Retarget) -> None:
        """Runs a retarget's code, or takes its steps in their order."""

    def resolve(self, name: str) -> int:
        """The address of a symbol. Raises a StaticCallError for one that isn't there."""

    def executable(self, address: int) -> bool:
        """Whether there is code at an address."""

    def guarded(self, address: int) -> bool:
        """Whether an indirect branch to an address must land on a pad."""

    def call(self, address: int, *args: int | bytes | bytearray) -> int:
        """Calls a function. Raises a StaticCallError in a place that cannot."""


class HasAddress(Protocol):
    """Something callable that lies at an address: a function of a place."""

    @property
    def address(self) -> int:
        """Where it is."""


class StaticCall:
    """A static call in a place.

    name     its name, without a prefix
    key      the address of its key, which holds the current function, or None
    """

    def __init__(self, name: str, trampoline: Trampoline, place: Place, key: int | None) -> None:
        self.name = name
        self.trampoline = trampoline
        self.place = place
        self.key = key

    def __repr__(self) -> str:
        return f"<static call {self.name} at {self.address:#x}: {self.form} {_show(self.target)}>"

    @property
    def address(self) -> int:
        """The address that callers branch to."""
        return self.trampoline.entry

    @property
    def design(self) -> Design:
        """The design of its trampoline."""
        return self.trampoline.design

    @property
    def state(self) -> Recognised:
        """What its trampoline's bytes say. Raises NotATrampoline for foreign bytes."""
        return self.trampoline.state(self.place.read)

    @property
    def form(self) -> str:
        """The form that its trampoline is in."""
        return self.state.form

    @property
    def target(self) -> Target:
        """The function that it calls now: an address, None or RET0."""
        target = self.state.target
        if self.key is None or not isinstance(target, int):
            return target
        if target == self._return0():
            # The design has no form for None or RET0; which of the two, the key tells.
            return None if self._word(self.key) in (0, self.address) else RET0
        return target

    def update(self, target: Target | HasAddress | str, *, fresh: bool = True) -> None:
        """Retargets it: the key, then the trampoline in its design's order.

        target  an address, a function of the place, a symbol's name, None or RET0
        fresh   False says that the target's code is older than every thread's last context
                synchronisation event, and saves one
        Raises BadTarget, a64.Misaligned, Unreachable or what the place raises: then nothing has
        been changed.
        """
        wanted = self._address(target)
        try:
            goal = self._goal(wanted)
            retarget = self.trampoline.plan(goal, self.place.read, fresh=fresh)
            key = None if self.key is None else self._key_for(self.key, wanted)
        except (a64.A64Error, Unreachable, Unsupported, NotATrampoline, BadRetarget) as error:
            raise type(error)(f"{self.name}: {error}") from None
        if isinstance(goal, int):
            self._check(goal)
        if self.key is not None and key is not None:
            self.place.write(self.key, key.to_bytes(8, "little"))
        self.place.perform(retarget)

    def __call__(self, *args: int | bytes | bytearray) -> int:
        """Calls through the trampoline, in a place that can run code."""
        return self.place.call(self.address, *args)

    def _address(self, target: Target | HasAddress | str) -> Target:
        if isinstance(target, str):
            return self.place.resolve(target)
        if target is None or target is RET0 or isinstance(target, int):
            return target
        if getattr(target, "machine", self.place) is not self.place:
            raise BadTarget(f"{self.name}: {target!r} is in another machine")
        if not isinstance(address := getattr(target, "address", None), int):
            raise BadTarget(f"{self.name}: {target!r} is no address, function, name, None or RET0")
        return address

    def _goal(self, target: Target) -> Target:
        """What the trampoline is retargeted to, in a design without a form for None or RET0."""
        form = {None: "null", RET0: "ret0"}.get(target) if not isinstance(target, int) else None
        return self.place.resolve(RETURN0) if form and form not in self.design.forms else target

    def _key_for(self, key: int, target: Target) -> int:
        """What the key holds for a target.

        A key of static_call.h has its trampoline behind the function, and for the function where
        there is none: so a loader relocates it. Linux's key then holds 0.
        """
        if isinstance(target, int):
            return target
        if target is RET0:
            try:
                return self.place.resolve(RETURN0)
            except StaticCallError as error:
                raise BadTarget(f"{self.name}: its key would point to {RETURN0}: {error}") from None
        return self.address if self._word(key + 8) == self.address else 0

    def _word(self, address: int) -> int:
        return int.from_bytes(self.place.read(address, 8), "little")

    def _return0(self) -> int | None:
        try:
            return self.place.resolve(RETURN0)
        except StaticCallError:
            return None

    def _indirect(self, form: str) -> bool:
        """Whether a call in this form ends in an indirect branch, for all that is known of it."""
        try:
            return self.design.cost(form).indirect > 0
        except Unsupported:
            return True

    def _check(self, address: int) -> None:
        """Refuses what is not code, or has no landing pad where one is needed."""
        start = self.address - self.design.entry
        if start <= address < start + self.design.size:
            raise BadTarget(f"{self.name}: the target {address:#x} is in its own trampoline")
        if not self.place.executable(address):
            raise BadTarget(f"{self.name}: the target {address:#x} is not in executable memory")
        if not self.place.guarded(address):
            return
        # A thread that has passed the slot goes on through the literal, whatever the new form.
        form = self.design.form_for(self.address, address, self.trampoline.outside)
        if any(map(self._indirect, self.design.forms if self.place.live else (form,))):
            insn = a64.decode(int.from_bytes(self.place.read(address, a64.WORD), "little"))
            if insn.name not in PADS:
                raise BadTarget(
                    f"{self.name}: the target {address:#x} starts with {insn.name}, not with a "
                    "landing pad such as bti c, and its page is guarded: build it with "
                    "-mbranch-protection=bti, or take its address somewhere"
                )


def _show(target: Target) -> str:
    return hex(target) if isinstance(target, int) else repr(target)
