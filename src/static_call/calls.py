"""StaticCall: a named function pointer that costs a direct branch; what a user holds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from types import BuiltinMethodType, MethodType, MethodWrapperType
from typing import Any, NamedTuple, Protocol

from static_call.design import notation
from static_call.design.design import (
    RET0,
    Design,
    Recognised,
    Ret0,
    Target,
    Unreachable,
    Unsupported,
)
from static_call.design.retarget import Retarget
from static_call.design.trampoline import BadRetarget, NotATrampoline, Trampoline
from static_call.errors import StaticCallError
from static_call.isa import a64
from static_call.locks import alone

RETURN0 = "__static_call_return0"
"""Linux's function that returns 0: the key of a RET0 static call, and the target of a NULL or RET0
one whose design has no form for that."""

KEY_SIZE = 24
"""Bytes of a key as in static_call.h: the function, the trampoline, the lock and padding."""

_LOCK = 16
_UPDATING = "in an update of"
_PLANS = 1024  # that are remembered
_plans: dict[tuple[object, ...], Retarget] = {}

PADS = a64.PADS["br x16"]
"""Where BR X16 may land in a guarded page."""


class BadTarget(StaticCallError):
    """The target is not code that the static call could call."""


class NameTaken(StaticCallError):
    """The place has a static call or a function of this name already."""


class Closed(StaticCallError):
    """The static call was closed: its trampoline may be another one's by now."""


class KeyStore(NamedTuple):
    """What is stored into a key: its address, and that of the function that it then holds.

    lock  the address of the 4 bytes that serialise the static call's updates, or None
    """

    key: int
    function: int
    lock: int | None = None


class Piece(Protocol):
    """Memory that a place gave for a static call."""

    def give(self) -> None:
        """Gives it back, if it was taken. A second time does nothing."""


class Place(Protocol):
    """Somewhere that trampolines live.

    live    whether threads may be running in it while it is changed
    shared  what the StaticCalls in its memory share: a Sharing of its own
    """

    live: bool
    shared: Sharing

    def read(self, address: int, size: int) -> bytes:
        """Memory; fewer bytes where it ends."""

    def perform(self, retarget: Retarget, key: KeyStore | None = None) -> None:
        """Stores into the key, then runs a retarget's code or takes its steps in their order."""

    def resolve(self, name: str) -> int:
        """The address of a symbol. Raises a StaticCallError for one that isn't there."""

    def executable(self, address: int, *, held: bool = False) -> bool:
        """Whether there is code at an address; `held`: an object keeps it where it is."""

    def guarded(self, address: int) -> bool:
        """Whether an indirect branch to an address must land on a pad."""

    def pointer(self, target: object, prototype: type | None) -> tuple[int, object]:
        """The address of a function that is foreign to Python, and what keeps it alive.

        Raises BadTarget for what is none, or does not have the prototype, or where the place calls
        no such functions.
        """

    def parameter(self, address: int, prototype: type | None) -> object:
        """What ctypes passes to a C function for a function at an address.

        Raises a StaticCallError in a place that is not this process.
        """

    def call(self, address: int, *args: int | bytes | bytearray) -> int:
        """Calls a function. Raises a StaticCallError in a place that cannot."""


class RunningPlace(Place, Protocol):
    """A place that runs code, and can have new static calls.

    names  the static calls that were made in it and are not closed
    """

    names: dict[str, StaticCall]

    def reserve(
        self,
        design: Design,
        pieces: list[Piece],
        *,
        near: int | None = None,
        at: int | None = None,
    ) -> tuple[Trampoline, int]:
        """Memory for a trampoline and its key: with an address in reach, or at one.

        pieces  gets each piece before it is taken, so that whoever is interrupted at any moment
                can give back what was taken
        """

    def create(self, trampoline: Trampoline, key: int, target: Target, function: int) -> None:
        """Puts a trampoline that calls `target` into memory, and `function` into its key.

        Whoever then gets its address from data runs it, and the code of its target.
        """

    def callable(self, address: int, prototype: type) -> Callable[..., Any]:
        """What calls a function at an address with arguments of a ctypes prototype."""


class HasAddress(Protocol):
    """Something callable that lies at an address: a function of a place."""

    @property
    def address(self) -> int:
        """Where it is."""


class Held(NamedTuple):
    """What keeps a target's code alive.

    address  where the code is
    what     an object: the target, or the callback that was made for it
    """

    address: int
    what: object


class Shared:
    """What all StaticCall objects of one trampoline share.

    entry  the trampoline's address
    lock   of its updates, for Python's threads
    held   the objects that have been its targets, by prototype and identity
    """

    def __init__(self, entry: int) -> None:
        self.entry = entry
        self.lock = threading.RLock()
        self.held: dict[Hashable, Held] = {}


class Sharing:
    """What the StaticCall objects of each trampoline in a memory share. Its owner is the place."""

    def __init__(self) -> None:
        self._shared: dict[int, Shared] = {}

    def of(self, entry: int) -> Shared:
        """What those of the trampoline at an address share: the same object each time."""
        return self._shared.get(entry) or self._shared.setdefault(entry, Shared(entry))

    def drop(self, shared: Shared) -> None:
        """Forgets a trampoline that is no more."""
        if self._shared.get(shared.entry) is shared:
            del self._shared[shared.entry]

    def forked(self) -> None:
        """In the child of a fork: the threads that held locks are not there."""
        for shared in self._shared.values():
            shared.lock = threading.RLock()


class _Target(NamedTuple):
    """A target that is an object: how it is known, and what keeps its code alive."""

    key: Hashable
    held: Held

    def same(self, other: Held | None) -> bool:
        """Whether the other is this object at this address; its == is not asked."""
        return (
            other is not None
            and other.what is self.held.what
            and other.address == self.held.address
        )


class StaticCall:
    """A static call in a place.

    name       its name, without a prefix
    key        the address of its key, which holds the current function, or None
    prototype  the ctypes function type of its targets, or None
    """

    key: int | None
    _trampoline: Trampoline | None
    _ours: bool | None
    _call: Callable[..., Any] | None
    _home: RunningPlace | None
    _pieces: list[Piece]
    _dropped: Shared | None

    def __init__(
        self,
        name: str,
        target: Target | HasAddress | str | object = None,
        prototype: type | None = None,
        *,
        design: Design | str = "inline-stub",
        place: RunningPlace | None = None,
        near: int | None = None,
        at: int | None = None,
    ) -> None:
        """Makes a static call: a trampoline and a key, in fresh memory.

        target     what update() takes
        prototype  of the targets: a type made by ctypes.CFUNCTYPE
        design     a Design, a shipped design's name or the path of a file with a user's own
        place      where: the place of host() if None
        near       an address that the trampoline should have in reach; the target's, if None
        at         the trampoline's address, in a place where it can be chosen

        Raises NameTaken, what update() raises and what the place raises for want of memory.
        """
        if place is None:
            from static_call.places.host import host

            place = host()
        if isinstance(design, str):
            design = notation.load(design)
        if prototype is not None and not (
            isinstance(prototype, type) and hasattr(prototype, "_argtypes_")
        ):
            raise BadTarget(f"{name}: {prototype!r} is no prototype made by ctypes.CFUNCTYPE")
        self._set(name, place, place.resolve, prototype)
        self._home = place
        try:
            if place.names.setdefault(name, self) is not self:
                raise NameTaken(f"there is a static call {name} already")
            self._make(place, target, design, near, at)
        except BaseException:  # a KeyboardInterrupt can come after any call
            self._discard(place)
            raise

    def _make(
        self,
        place: RunningPlace,
        target: object,
        design: Design,
        near: int | None,
        at: int | None,
    ) -> None:
        wanted, held = self._pointer(target, {})
        if near is None and isinstance(wanted, int):
            near = wanted
        self._trampoline, self.key = place.reserve(design, self._pieces, near=near, at=at)
        self._ours = True
        goal = self._accepted(wanted, held, self._shared.held)
        place.create(self._trampoline, self.key, goal, self._key_for(self.key, wanted))

    def _discard(self, place: RunningPlace) -> None:
        """Gives back all that it has of its place; an interrupt comes after that."""
        try:
            self._give(place)
        except BaseException:
            self._give(place)
            raise

    def _give(self, place: RunningPlace) -> None:
        """Gives back what it still has: a second time does nothing."""
        if self._trampoline is not None:
            self._dropped, self._trampoline = place.shared.of(self._trampoline.entry), None
        self._call = None
        if place.names.get(self.name) is self:
            del place.names[self.name]
        if self._dropped is not None:  # before another one can be at its address
            place.shared.drop(self._dropped)
        for piece in self._pieces:
            piece.give()

    @classmethod
    def found(
        cls,
        name: str,
        trampoline: Trampoline,
        place: Place,
        key: int | None,
        resolve: Callable[[str], int] | None = None,
    ) -> StaticCall:
        """A static call that is in a place already.

        resolve  finds symbols' addresses; the place's own if None
        """
        self = cls.__new__(cls)
        self._set(name, place, resolve or place.resolve, None)
        self._trampoline, self.key = trampoline, key
        return self

    def _set(
        self,
        name: str,
        place: Place,
        resolve: Callable[[str], int],
        prototype: type | None,
    ) -> None:
        self.name = name
        self.place = place
        self.prototype = prototype
        self.key = None
        self._trampoline = None
        self._resolve = resolve
        self._ours = None
        self._call = self._home = self._dropped = None
        self._pieces = []

    def __repr__(self) -> str:
        if self._trampoline is None:
            return f"<static call {self.name}: closed>"
        return f"<static call {self.name} at {self.address:#x}: {self.form} {_show(self.target)}>"

    @property
    def trampoline(self) -> Trampoline:
        """Its trampoline. Raises Closed."""
        if self._trampoline is None:
            raise Closed(f"{self.name} is closed")
        return self._trampoline

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
            held = self._word(self.key)
            return None if held == 0 or self._leads_here(held) else RET0
        return target

    @property
    def key_value(self) -> int | None:
        """What its key holds; None where no key is known."""
        return None if self.key is None else self._word(self.key)

    @property
    def _shared(self) -> Shared:
        return self.place.shared.of(self.address)

    def update(self, target: Target | HasAddress | str | object, *, fresh: bool = True) -> None:
        """Retargets it: the key, then the trampoline in its design's order.

        target  an address, a function of the place, a symbol's name, None or RET0; in this process
                also a ctypes or cffi function, and a Python function where there is a prototype
        fresh   False says that the target's code is older than every thread's last context
                synchronisation event, and saves one

        The objects that have been targets are kept alive, as a thread may be calling one: see
        release. Raises BadTarget, a64.Misaligned, Unreachable, locks.Deadlock or what the place
        raises: then nothing has been changed.
        """
        shared = self._shared
        with alone(shared.lock, _UPDATING, self.name):
            self._retarget(target, shared, fresh)

    def _retarget(self, target: object, shared: Shared, fresh: bool = True) -> None:
        wanted, held = self._pointer(target, shared.held)
        goal = self._accepted(wanted, held, shared.held)
        try:
            retarget = self._plan(goal, fresh)
        except (a64.A64Error, NotATrampoline, BadRetarget) as error:
            raise type(error)(f"{self.name}: {error}") from None
        key = None if self.key is None else self._key_for(self.key, wanted)
        store = None
        if self.key is not None and key is not None:
            lock = self.key + _LOCK if self._is_ours(self.key) else None
            store = KeyStore(self.key, key, lock)
        self.place.perform(retarget, store)

    def __call__(self, *args: Any) -> Any:
        """Calls through the trampoline, in a place that can run code.

        With a prototype as ctypes converts; else integers and bytes, and the result is x0.
        """
        if self.prototype is None:
            return self.place.call(self.address, *args)
        if self._call is None:
            assert self._home is not None  # only those that are made have a prototype
            self._call = self._home.callable(self.address, self.prototype)
        return self._call(*args)

    @property
    def _as_parameter_(self) -> object:
        """What ctypes passes where it is given as an argument: a pointer to its trampoline.

        It has its prototype's type, where it has one. Raises StaticCallError in a place that is
        not this process.
        """
        return self.place.parameter(self.address, self.prototype)

    def release(self) -> None:
        """Lets go of the objects that were targets before the present one.

        Whoever calls this knows that no call that began before the last update still runs.
        """
        shared = self._shared
        with alone(shared.lock, _UPDATING, self.name):
            now = self.target
            shared.held = {key: one for key, one in shared.held.items() if one.address == now}

    def close(self) -> None:
        """Gives its trampoline, key and name back to the place, which may use them again.

        Whoever calls this knows that nobody calls it any more, nor has its address. Only for a
        static call that was made as StaticCall(...): one of a file stays. One that is not closed
        stays too, with its name, when nobody in Python has it any more: C code may call it. It is
        then in `place.names`.
        """
        place, shared = self._home, self._shared
        if place is None:
            raise StaticCallError(f"{self.name} was not made here: it cannot be closed")
        with alone(shared.lock, _UPDATING, self.name):
            self._retarget(None, shared)
            self._discard(place)

    def _pointer(
        self, target: object, known: dict[Hashable, Held]
    ) -> tuple[Target, _Target | None]:
        """A target's address, None or RET0, and what has to be kept alive for it."""
        if isinstance(target, str):
            return self._resolve(target), None
        if target is None or isinstance(target, Ret0):
            return target, None
        if isinstance(target, int):
            if isinstance(target, bool) or not 0 < target < 1 << 64:
                raise BadTarget(f"{self.name}: {target!r} is no address; for none, say None")
            return target, None
        machine = getattr(target, "machine", None)
        if isinstance(target, StaticCall):
            machine = target.place
        if machine is not None and machine is not self.place:
            raise BadTarget(f"{self.name}: {target!r} is in another machine")
        key = self.prototype, _identity(target)
        before = known.get(key)
        if before is not None and before.what is not target:
            return before.address, _Target(key, before)  # the callback that was made for it
        if isinstance(address := getattr(target, "address", None), int):
            return address, _Target(key, Held(address, target))
        try:
            held = Held(*self.place.pointer(target, self.prototype))
        except BadTarget as error:
            raise BadTarget(f"{self.name}: {error}") from None
        return held.address, _Target(key, held)

    def _plan(self, goal: Target, fresh: bool) -> Retarget:
        """The trampoline's plan; one that was made for the same bytes is used again."""
        contents = self.trampoline.contents(self.place.read)
        key = self.design, self.address, goal, fresh, contents
        plan = _plans.get(key)
        if plan is None:
            plan = self.trampoline.plan(goal, self.place.read, fresh=fresh)
            if len(_plans) >= _PLANS:
                _plans.clear()
            _plans[key] = plan
        return plan

    def _accepted(
        self, target: Target, held: _Target | None, known: dict[Hashable, Held]
    ) -> Target:
        """What the trampoline is made to call for a target, which is checked, and kept alive.

        In a design without a form for None or RET0 that is a function.
        """
        if target is RET0 and self.prototype is not None and not _in_x0(self.prototype):
            raise BadTarget(f"{self.name}: RET0 returns 0 in x0, and its result is elsewhere")
        form = {None: "null", RET0: "ret0"}.get(target) if not isinstance(target, int) else None
        goal = self._resolve(RETURN0) if form and form not in self.design.forms else target
        if isinstance(goal, int) and (held is None or not held.same(known.get(held.key))):
            try:
                form = self.design.form_for(self.address, goal, self.trampoline.outside)
            except (a64.A64Error, Unreachable, Unsupported) as error:
                raise type(error)(f"{self.name}: {error}") from None
            self._check(goal, form, held=held is not None)
        if held is not None:
            known[held.key] = held.held
        return goal

    def _key_for(self, key: int, target: Target) -> int:
        """What the key holds for a target.

        A key of static_call.h has its trampoline behind the function, and for the function where
        there is none: so a loader relocates it. Linux's key then holds 0.
        """
        if isinstance(target, int):
            return target
        if target is RET0:
            try:
                return self._resolve(RETURN0)
            except StaticCallError as error:
                raise BadTarget(f"{self.name}: its key would point to {RETURN0}: {error}") from None
        if not self._is_ours(key):
            return 0
        pointer = self._word(key + 8)
        return pointer if self._leads_here(pointer) else self.address

    @property
    def has_own_key(self) -> bool:
        """Whether what is at its key's address is one of static_call.h that is this one's."""
        return self.key is not None and self._is_ours(self.key)

    def _is_ours(self, key: int) -> bool:
        """Whether a key is one of static_call.h, and not Linux's: it has its trampoline's address.

        Under clang's CFI that is the address of a branch to it.
        """
        if self._ours is None:
            self._ours = self._leads_here(self._word(key + 8))
        return self._ours

    def _leads_here(self, address: int) -> bool:
        if address == self.address:
            return True
        if address % a64.WORD or not self.place.executable(address):
            return False
        data = self.place.read(address, a64.WORD)
        insn = a64.decode(int.from_bytes(data, "little"), address)
        return insn.name == "b" and insn["i"] == self.address

    def _word(self, address: int) -> int:
        return int.from_bytes(self.place.read(address, 8), "little")

    def _return0(self) -> int | None:
        try:
            return self._resolve(RETURN0)
        except StaticCallError:
            return None

    def _check(self, address: int, form: str, *, held: bool) -> None:
        """Refuses what is not code, or has no landing pad where one is needed in a form."""
        start = self.address - self.design.entry
        if start <= address < start + self.design.size:
            raise BadTarget(f"{self.name}: the target {address:#x} is in its own trampoline")
        if not self.place.executable(address, held=held):
            raise BadTarget(f"{self.name}: the target {address:#x} is not in executable memory")
        insn = a64.decode(int.from_bytes(self.place.read(address, a64.WORD), "little"))
        if insn.name in PADS:
            return
        # A thread that has passed the slot goes on through the literal, whatever the new form.
        forms = self.design.forms if self.place.live else (form,)
        if self.design.indirect.intersection(forms) and self.place.guarded(address):
            raise BadTarget(
                f"{self.name}: the target {address:#x} starts with {insn.name}, not with a "
                "landing pad such as bti c, and its page is guarded: build it with "
                "-mbranch-protection=bti, or take its address somewhere"
            )


def _identity(target: object) -> Hashable:
    """What tells a target from others: not its ==, which may be anything.

    Each look at an object's method makes another one, which is the same by what it is made of.
    """
    if type(target) is MethodType:
        return MethodType, id(target.__self__), id(target.__func__)
    if type(target) in (BuiltinMethodType, MethodWrapperType):
        return target  # their == is by identity of what they are made of
    return id(target)


def _in_x0(prototype: Any) -> bool:
    """Whether a result of a ctypes prototype is in x0: no floating-point number, no structure."""
    kind = getattr(prototype._restype_, "_type_", "")
    return prototype._restype_ is None or (bool(kind) and kind not in ("f", "d", "g"))


def _show(target: Target) -> str:
    return hex(target) if isinstance(target, int) else repr(target)
