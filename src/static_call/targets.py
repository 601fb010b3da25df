"""What a static call may be made to call: finds a target's address, and refuses what is not code.

Nothing is changed here. A target must be code, in reach of the design, with a landing pad if one is
needed, and not the static call's own trampoline.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from types import BuiltinMethodType, MethodType, MethodWrapperType
from typing import Any, NamedTuple

from static_call.design.target import RET0, Ret0, Target, Unreachable, Unsupported
from static_call.design.trampoline import Trampoline
from static_call.errors import BadTarget, MissingPart, StaticCallError
from static_call.isa import a64
from static_call.key import RETURN0
from static_call.places.protocol import Code, Memory, Native
from static_call.sharing import Held, Sharing


class Wanted(NamedTuple):
    """A target that was asked for, found.

    Attributes:
        target: Its address, None or RET0.
        identity: Its key in Shared.held, if it is an object.
        held: What keeps its code alive, if it is an object.
    """

    target: Target
    identity: Hashable = None
    held: Held | None = None

    def same(self, other: Held | None) -> bool:
        """Whether other is the same object at the same address. The objects' == is not used."""
        return (
            self.held is not None
            and other is not None
            and other.what is self.held.what
            and other.address == self.held.address
        )


class Targets:
    """What one static call may be made to call."""

    def __init__(
        self,
        name: str,
        place: Memory,
        code: Code | None,
        resolve: Callable[[str], int] | None,
        prototype: type | None,
    ) -> None:
        """Looks at nothing yet.

        Args:
            name: The static call's name, for messages.
            place: Where it is.
            code: Says what is code there; None if nothing can.
            resolve: Finds symbols' addresses; None if nothing can.
            prototype: The ctypes function type of its targets, or None.

        Raises:
            BadTarget: The prototype was not made by ctypes.CFUNCTYPE.
        """
        if prototype is not None and not (
            isinstance(prototype, type) and hasattr(prototype, "_argtypes_")
        ):
            raise BadTarget(f"{name}: {prototype!r} is not a prototype made by ctypes.CFUNCTYPE")
        self._name, self._place, self._code, self._prototype = name, place, code, prototype
        self._resolve = resolve
        self._native = place if isinstance(place, Native) else None

    def resolve(self, name: str) -> int:
        """The address of a symbol. Raises MissingPart if symbols are not known."""
        if self._resolve is None:
            raise MissingPart(
                f"{self._name}: its place knows no symbols, so not {name} either: "
                "give the address, or find the static call with resolve= or code="
            )
        return self._resolve(name)

    def return0(self) -> int | None:
        """The address of the function that returns 0, or None."""
        try:
            return self.resolve(RETURN0)
        except StaticCallError:
            return None

    def find(self, target: object, known: Mapping[Hashable, Held]) -> Wanted:
        """A target's address, None or RET0, and the object that keeps its code alive.

        Args:
            target: What StaticCall.update takes.
            known: The objects that have been targets.
        """
        if isinstance(target, str):
            return Wanted(self.resolve(target))
        if target is None or isinstance(target, Ret0):
            return Wanted(target)
        if isinstance(target, int):
            if isinstance(target, bool) or not 0 < target < 1 << 64:
                raise BadTarget(
                    f"{self._name}: {target!r} is not an address; to call nothing, pass None"
                )
            return Wanted(target)
        memory = getattr(getattr(target, "place", None), "shared", None)
        if isinstance(memory, Sharing) and memory is not self._place.shared:
            raise BadTarget(f"{self._name}: {target!r} is in another place")
        key = self._prototype, _identity(target)
        before = known.get(key)
        if before is not None and before.what is not target:
            return Wanted(before.address, key, before)  # the callback that was made for it
        if isinstance(address := getattr(target, "address", None), int):
            return Wanted(address, key, Held(address, target))
        if self._native is None:
            raise BadTarget(
                f"{self._name}: {target!r} is not an address, a function of its place, a symbol's "
                "name, None or RET0"
            )
        try:
            held = Held(*self._native.pointer(target, self._prototype))
        except BadTarget as error:
            raise BadTarget(f"{self._name}: {error}") from None
        return Wanted(held.address, key, held)

    def accept(self, wanted: Wanted, trampoline: Trampoline, known: dict[Hashable, Held]) -> Target:
        """Checks a target, and keeps it alive; returns what the trampoline will call.

        For None and RET0 that is a function, if the design has no form for them.

        Args:
            wanted: What find returned.
            trampoline: The trampoline.
            known: The objects that have been targets; this one is added.
        """
        target, design = wanted.target, trampoline.design
        if target is RET0 and self._prototype is not None and not _in_x0(self._prototype):
            raise BadTarget(f"{self._name}: RET0 returns 0 in x0, where its result is not")
        form = {None: "null", RET0: "ret0"}.get(target) if not isinstance(target, int) else None
        goal = self.resolve(RETURN0) if form and form not in design.forms else target
        if isinstance(goal, int) and not wanted.same(known.get(wanted.identity)):
            try:
                form = design.form_for(trampoline.entry, goal, trampoline.outside)
            except (a64.A64Error, Unreachable, Unsupported) as error:
                raise type(error)(f"{self._name}: {error}") from None
            self._check(goal, form, trampoline, held=wanted.held is not None)
        if wanted.held is not None:
            known[wanted.identity] = wanted.held
        return goal

    def _check(self, address: int, form: str, trampoline: Trampoline, *, held: bool) -> None:
        """Refuses an address that is not code, or that lacks a landing pad that it needs."""
        if address in trampoline.extent:
            raise BadTarget(f"{self._name}: the target {address:#x} is in its own trampoline")
        code, design = self._code, trampoline.design
        if code is None:
            raise MissingPart(
                f"{self._name}: nobody can say whether there is code at {address:#x}: its place "
                "has memory alone; find the static call with code=, such as the file's ElfFile"
            )
        if not code.executable(address, held=held):
            raise BadTarget(f"{self._name}: the target {address:#x} is not in executable memory")
        insn = a64.decode(int.from_bytes(self._place.read(address, a64.WORD), "little"))
        if insn.name in design.pads:
            return
        # A thread that has passed the slot goes on through the literal, whatever the new form.
        forms = design.forms if self._place.live else (form,)
        if design.indirect.intersection(forms) and code.guarded(address):
            raise BadTarget(
                f"{self._name}: the target {address:#x} starts with {insn.name}, not with a "
                f"landing pad ({', '.join(sorted(design.pads))}), and its page is guarded: build "
                "it with -mbranch-protection=bti, or take its address somewhere"
            )


def _identity(target: object) -> Hashable:
    """What distinguishes a target from others. Its == is not used, since it may do anything.

    Python makes a new object each time a method is looked up: two of them are the same target if
    they have the same function and the same object.
    """
    if type(target) is MethodType:
        return MethodType, id(target.__self__), id(target.__func__)
    if type(target) in (BuiltinMethodType, MethodWrapperType):
        return target  # their == compares the identity of their parts
    return id(target)


def _in_x0(prototype: Any) -> bool:
    """Whether a result of a ctypes prototype is in x0: not a floating-point number or structure."""
    kind = getattr(prototype._restype_, "_type_", "")
    return prototype._restype_ is None or (bool(kind) and kind not in ("f", "d", "g"))
