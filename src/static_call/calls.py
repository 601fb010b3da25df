"""StaticCall: a named function pointer that costs a direct branch; what a user holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from static_call.design import notation
from static_call.design.design import Design, Recognised
from static_call.design.target import RET0, Target
from static_call.design.trampoline import BadRetarget, NotATrampoline, Trampoline
from static_call.errors import BadTarget, Closed, MissingPart, NameTaken, StaticCallError
from static_call.isa import a64
from static_call.key import Key
from static_call.locks import alone
from static_call.places.protocol import (
    ChoosesPlace,
    Code,
    HasAddress,
    Memory,
    Native,
    Piece,
    RunningPlace,
    Runs,
)
from static_call.sharing import Shared
from static_call.targets import Targets, Wanted

_UPDATING = "in an update of"


class StaticCall:
    """A static call in a place.

    Attributes:
        name: Its name, without a prefix.
        key: The address of its key, which holds the current function, or None.
        place: The place that it is in.
        prototype: The ctypes function type of its targets, or None.
    """

    default_place: ClassVar[ChoosesPlace | None] = None
    """Chooses the place of a static call that is made without place=. places/host.py sets it, which
    `from static_call import StaticCall` imports: this module knows no place."""

    name: str
    key: int | None
    place: Memory
    prototype: type | None
    _trampoline: Trampoline | None
    _targets: Targets
    _code: Code | None
    _key: Key | None
    _call: Callable[..., Any] | None
    _home: RunningPlace | None
    _runs: Runs | None
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

        Args:
            name: Its name, which no other static call of the place may have.
            target: What update() takes.
            prototype: The type of its targets, made by ctypes.CFUNCTYPE, or None.
            design: A Design, a shipped design's name, or the path of a file with your own.
            place: Where to make it; if None, in the place that host() returns.
            near: An address that the trampoline should reach; the target's, if None.
            at: The trampoline's address, in a place where it can be chosen.

        Raises:
            NameTaken: The place has a static call of this name.
            StaticCallError: What update() raises, and what the place raises when it has no memory.
        """
        if place is None:
            default = type(self).default_place
            if default is None:
                raise MissingPart(
                    f"{name}: no place was given, and none is the default: pass place=, or import "
                    "StaticCall from static_call"
                )
            place = default()
        if isinstance(design, str):
            design = notation.load(design)
        self._set(name, place, place, place.resolve, prototype)
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
        wanted = self._targets.find(target, {})
        if near is None and isinstance(wanted.target, int):
            near = wanted.target
        self._trampoline, self.key = place.reserve(design, self._pieces, near=near, at=at)
        self._key = self._key_at(self.key, ours=True)
        goal = self._targets.accept(wanted, self._trampoline, self._shared.held)
        place.create(self._trampoline, self.key, goal, self._key_for(self._key, wanted))

    def _discard(self, place: RunningPlace) -> None:
        """Gives back everything that it has from its place, even if it is interrupted."""
        try:
            self._give(place)
        except BaseException:
            self._give(place)
            raise

    def _give(self, place: RunningPlace) -> None:
        """Gives back what it still has; doing so a second time has no effect."""
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
        place: Memory,
        key: int | None,
        resolve: Callable[[str], int] | None = None,
        code: Code | None = None,
    ) -> StaticCall:
        """A static call that is in a place already.

        Args:
            name: Its name.
            trampoline: Its trampoline, with the addresses of this place.
            place: Where it is; memory alone is enough.
            key: The address of its key, or None.
            resolve: Finds symbols' addresses; if None, `code` does.
            code: Says what is code there: the place itself if None, where it can. For a place of
                memory alone, an ElfFile of the image that is there.
        """
        if code is None and isinstance(place, Code):
            code = place
        if resolve is None and code is not None:
            resolve = code.resolve
        self = cls.__new__(cls)
        self._set(name, place, code, resolve, None)
        self._trampoline, self.key = trampoline, key
        if key is not None:
            self._key = self._key_at(key)
        return self

    def _set(
        self,
        name: str,
        place: Memory,
        code: Code | None,
        resolve: Callable[[str], int] | None,
        prototype: type | None,
    ) -> None:
        self._targets = Targets(name, place, code, resolve, prototype)
        self.name = name
        self.place = place
        self.prototype = prototype
        self.key = None
        self._code = code
        self._runs = place if isinstance(place, Runs) else None
        self._trampoline = self._key = self._call = self._home = self._dropped = None
        self._pieces = []

    def _key_at(self, address: int, *, ours: bool | None = None) -> Key:
        executable = self._code.executable if self._code else None
        return Key(address, self.address, self.place.read, executable, ours=ours)

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
        """What its trampoline's bytes say. Raises NotATrampoline for other bytes."""
        return self.trampoline.state(self.place.read)

    @property
    def form(self) -> str:
        """The form that its trampoline is in."""
        return self.state.form

    @property
    def target(self) -> Target:
        """The function that it calls now: an address, None or RET0."""
        target = self.state.target
        if self._key is None or not isinstance(target, int):
            return target
        if target == self._targets.return0():
            # The design has no form for None or RET0: the key says which of the two it is.
            held = self._key.value
            return None if held == 0 or self._key.leads_here(held) else RET0
        return target

    @property
    def key_value(self) -> int | None:
        """What its key holds; None where no key is known."""
        return None if self._key is None else self._key.value

    @property
    def has_own_key(self) -> bool:
        """Whether its key's address holds a key of static_call.h, and that of this static call."""
        return self._key is not None and self._key.ours

    @property
    def _shared(self) -> Shared:
        return self.place.shared.of(self.address)

    def update(self, target: Target | HasAddress | str | object, *, fresh: bool = True) -> None:
        """Retargets it: the key, then the trampoline in its design's order.

        The objects that have been targets are kept alive, as a thread may be calling one: see
        release.

        Args:
            target: An address, a function of the place, a symbol's name, None or RET0. In this
                process also a ctypes or cffi function, and a Python function if there is a
                prototype.
            fresh: If False, the target's code is older than every thread's last context
                synchronisation event, which saves one.

        Raises:
            BadTarget: The target is not code, or needs a landing pad and has none.
            Misaligned: The target's address is not a multiple of 4.
            Unreachable: No form of the design reaches the target.
            Deadlock: This thread is in an update of it already.
            MissingPart: The place cannot say what must be known about the target.
            StaticCallError: What the place raises. In all cases nothing has been changed, unless
                the text says so.
        """
        shared = self._shared
        with alone(shared.lock, _UPDATING, self.name):
            self._retarget(target, shared, fresh)

    def _retarget(self, target: object, shared: Shared, fresh: bool = True) -> None:
        wanted = self._targets.find(target, shared.held)
        goal = self._targets.accept(wanted, self.trampoline, shared.held)
        try:
            retarget = shared.plan(self.trampoline, goal, self.place.read, fresh=fresh)
        except (a64.A64Error, NotATrampoline, BadRetarget) as error:
            raise type(error)(f"{self.name}: {error}") from None
        key = self._key
        store = None if key is None else key.store(self._key_for(key, wanted))
        self.place.perform(retarget, store)

    def _key_for(self, key: Key, wanted: Wanted) -> int:
        """What the key holds for a target."""
        try:
            return key.holds(wanted.target, self._targets.resolve)
        except BadTarget as error:
            raise BadTarget(f"{self.name}: {error}") from None

    def __call__(self, *args: Any) -> Any:
        """Calls through the trampoline, in a place that can run code.

        With a prototype, ctypes converts the arguments and the result. Without one, arguments are
        integers and bytes, and the result is x0. Raises MissingPart in a place that runs no code.
        """
        if self._home is not None and self.prototype is not None:
            if self._call is None:
                self._call = self._home.callable(self.address, self.prototype)
            return self._call(*args)
        if self._runs is None:
            raise MissingPart(f"{self.name}: nothing runs in its place, so it cannot be called")
        return self._runs.call(self.address, *args)

    @property
    def _as_parameter_(self) -> object:
        """What ctypes passes where it is given as an argument: a pointer to its trampoline.

        It has its prototype's type, where it has one. Raises MissingPart in a place that is not
        this process.
        """
        if not isinstance(self.place, Native):
            raise MissingPart(
                f"{self.name} is not in this process, so C code of this process cannot call it: "
                "call it from Python, or run this on arm64 Linux"
            )
        return self.place.parameter(self.address, self.prototype)

    def release(self) -> None:
        """Drops its references to the objects that were targets before the current one.

        The caller must know that no call that began before the last update still runs.
        """
        shared = self._shared
        with alone(shared.lock, _UPDATING, self.name):
            now = self.target
            shared.held = {key: one for key, one in shared.held.items() if one.address == now}

    def close(self) -> None:
        """Gives its trampoline, key and name back to the place, which may use them again.

        The caller must know that nobody calls it any more or has its address. Only a static call
        that was made by StaticCall(...) can be closed; one of a file cannot. A static call that is
        not closed stays, with its name, even when no Python object refers to it, as C code may call
        it. `place.names` then has it.
        """
        place, shared = self._home, self._shared
        if place is None:
            raise StaticCallError(f"{self.name} was not made here: it cannot be closed")
        with alone(shared.lock, _UPDATING, self.name):
            self._retarget(None, shared)
            self._discard(place)


def _show(target: Target) -> str:
    return hex(target) if isinstance(target, int) else repr(target)
