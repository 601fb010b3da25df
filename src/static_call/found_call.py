"""A static call that was found in an image: what its bytes are, and where it leads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from static_call.design.design import Recognised
from static_call.design.target import Target
from static_call.elf import arm64
from static_call.elf.image import Image
from static_call.isa.walk import Detour, detour
from static_call.records import NamedTuple

TYPE_CHECKING = False  # as typing has it, without its import
if TYPE_CHECKING:
    from static_call.calls import StaticCall
    from static_call.places.protocol import Code, Memory

_READ = (arm64.NONE, arm64.RELR, arm64.RELATIVE, *arm64.SYMBOLIC)
"""Relocations that Image.read applies."""

_DETOURS = 4  # veneers and stubs in a row that are followed


class Named(NamedTuple):
    """What symbols say of a static call: its name, its trampoline's address, its key's or None."""

    name: str
    entry: int
    key: int | None


class Goal(NamedTuple):
    """An address that a static call leads to, and how.

    Attributes:
        address: None for a function that another file defines.
        name: its symbol, or "".
        via: the veneer, PLT entry or stub on the way: its symbol or address; "" if there is none.
        section: what `address` is an offset in, in a relocatable object; else "".
    """

    address: int | None
    name: str = ""
    via: str = ""
    section: str = ""

    def __str__(self) -> str:
        where = hex(self.address) if self.address is not None else "?"
        text = self.name or (f"{self.section}+{where}" if self.section else where)
        return f"{text} via {self.via}" if self.via else text


class Found(NamedTuple):
    """A static call of an image.

    Attributes:
        name: its name without prefix; its address as text if the image has no symbol for it.
        entry: the trampoline's address.
        state: what the trampoline's bytes are; None if no design recognises them.
        goal: where it leads; None if a call returns at once or returns 0.
        key: the key's address, or None.
        value: where the key points; None if it points to no function.
        other: where a literal leads, if the slot leads elsewhere: a retarget was stopped between
            its stores.
    """

    name: str
    entry: int
    state: Recognised | None
    goal: Goal | None
    key: int | None
    value: Goal | None
    other: Goal | None = None

    @property
    def known(self) -> Recognised:
        """The state. Raises NotATrampoline where no design recognised the bytes."""
        if self.state is None:
            from static_call.design.trampoline import NotATrampoline

            raise NotATrampoline(
                f"{self.name}: the bytes at {self.entry:#x} are not a trampoline of a known design"
            )
        return self.state

    @property
    def unfinished(self) -> bool:
        """Whether slot and literal disagree: a retarget was stopped between its stores.

        A linker's veneer or a PLT entry after the slot's branch does not count.
        """
        if self.state is None or self.state.agrees:
            return False
        return self.other is not None or not isinstance(self.state.target, int)

    def static_call(
        self,
        place: Memory,
        bias: int = 0,
        resolve: Callable[[str], int] | None = None,
        code: Code | None = None,
    ) -> StaticCall:
        """The static call in a place that has the image.

        Args:
            place: the place; the Memory part is enough.
            bias: what was added to the image's addresses.
            resolve: finds symbols' addresses: see StaticCall.found.
            code: says what is code in the place: see StaticCall.found.

        Raises:
            NotATrampoline: no design recognised the bytes.
        """
        from static_call.calls import StaticCall
        from static_call.design.trampoline import Trampoline

        outside = {label: at + bias for label, at in self.known.outside.items()}
        trampoline = Trampoline(self.known.design, self.entry + bias, outside)
        key = None if self.key is None else self.key + bias
        return StaticCall.found(self.name, trampoline, place, key, resolve, code)


def describe(
    image: Image, calls: Sequence[Named], states: Mapping[int, Recognised | None]
) -> list[Found]:
    """The static calls, in the order given, with names for everything that they lead to.

    Args:
        image: where they are.
        calls: what symbols say of them.
        states: what the trampolines' bytes are, by the trampolines' addresses.
    """
    return list(map(_Describer(image, calls, states).found, calls))


class _Describer:
    """Names what static calls lead to. Symbols are looked up for all of them at once."""

    def __init__(
        self, image: Image, calls: Sequence[Named], states: Mapping[int, Recognised | None]
    ) -> None:
        self._image, self._states = image, states
        known = [state for state in states.values() if state]
        self._stored = {state.entry: _stored(state) for state in known}
        targets = {one for state in known for one in (state.target, *self._stored[state.entry])}
        self._values = {one.key: pointer(image, one.key) for one in calls if one.key is not None}
        addresses = {one for one in targets if isinstance(one, int)}
        addresses |= {at for at, _ in self._values.values()}
        self._detours = {one: _follow(image, one) for one in addresses}
        ends = {one.target for one in self._detours.values() if one and one.target is not None}
        self._names = image.names.at(ends | addresses)

    def found(self, one: Named) -> Found:
        """One of the static calls."""
        state = self._states[one.entry]
        goal, other = self._goal(state), self._other(state)
        return Found(one.name, one.entry, state, goal, one.key, self._value(one), other)

    def _goal(self, state: Recognised | None) -> Goal | None:
        if state is None or not isinstance(state.target, int):
            return None
        if state.form == "far" and (symbol := _imported(self._image, state)):
            return Goal(None, symbol)
        return self._leads(state.target, state.entry)

    def _other(self, state: Recognised | None) -> Goal | None:
        if state is None or state.agrees:
            return None
        slot = self._goal(state)
        if symbol := _imported(self._image, state):
            return None if slot and slot.name == symbol else Goal(None, symbol)
        for literal in self._stored[state.entry]:
            if isinstance(literal, int):
                found = self._leads(literal, state.entry)
                if slot is None or (found.address, found.name) != (slot.address, slot.name):
                    return found
            elif literal != state.target:
                return Goal(None, "null" if literal is None else "ret0")
        return None

    def _value(self, one: Named) -> Goal | None:
        address, symbol = self._values.get(one.key, (0, "")) if one.key is not None else (0, "")
        if symbol:
            return Goal(None, symbol)
        if address in (0, one.entry):  # Linux's way to say none, and static_call.h's
            return None
        # Under clang's CFI the trampoline's address is a jump table's: a stub, so it has a detour.
        stub = self._detours[address] and detour(self._image.read, address)
        if stub and stub.target == one.entry:
            return None
        return self._at(address)

    def _leads(self, address: int, entry: int) -> Goal:
        """Where a branch to an address leads, through veneers and PLT entries."""
        found = self._detours[address]
        if found is None or address == entry:
            return self._at(address)
        via = self._label(address) or self._image.where(address)
        if found.got is not None and (symbol := pointer(self._image, found.got)[1]):
            # lld names an IFUNC's PLT entry as the function; GNU ld names the resolver so.
            return self._at(address) if self._own(address) else Goal(None, symbol, via)
        return self._at(address) if found.target is None else self._at(found.target, via)

    def _at(self, address: int, via: str = "") -> Goal:
        if symbol := self._image.elsewhere(address):
            return Goal(None, symbol, via)
        section, offset = self._image.locate(address)
        return Goal(offset, self._label(address), via, section)

    def _label(self, address: int) -> str:
        """The symbol at an address, or the PLT entry's name."""
        found, symbol = self._detours.get(address), self._own(address)
        if symbol or found is None or found.got is None:
            return symbol
        from static_call.elf import plt

        linked = plt.name(self._image, found.got)
        return linked + plt.SUFFIX if linked else ""

    def _own(self, address: int) -> str:
        """The symbol at an address. mold gives PLT entries symbols too: `name$plt`."""
        symbol = self._names.get(address, "")
        return "" if symbol.endswith("$plt") else symbol


def _stored(state: Recognised) -> list[Target]:
    """What the values of the literals that a retarget changes mean."""
    symbols = state.design.symbols(state.entry, state.outside)
    return [state.design.meaning(value, symbols) for value in state.literals.values()]


def _follow(image: Image, address: int) -> Detour | None:
    """Where the veneers and stubs at an address lead: lld can put one before a PLT entry."""
    found = None
    for _ in range(_DETOURS):
        further = detour(image.read, address)
        if further is None:
            break
        found = further
        if found.target is None or found.got is not None:
            break
        address = found.target
    return found


def pointer(image: Image, address: int) -> tuple[int, str]:
    """The pointer at an address; and its symbol, if only a loader knows what it points to."""
    relocation = image.loader.relocation(address)
    if relocation is None:
        return image.pointer(address), ""
    if relocation.type == arm64.IRELATIVE:
        from static_call.elf import plt

        return 0, plt.name(image, address)
    if relocation.type not in _READ:
        return 0, f"relocation {relocation.type} {relocation.symbol}".strip()
    value = image.pointer(address)
    return (value, "") if value else (0, relocation.symbol)


def _imported(image: Image, state: Recognised) -> str:
    """The symbol of another file that a far form's literal will get."""
    symbols = state.design.symbols(state.entry, state.outside)
    literals = (symbols[label] for label in state.literals)
    return next((name for at in literals for _, name in [pointer(image, at)] if name), "")


def listing(found: Found, image: Image) -> Iterator[tuple[int, str, str]]:
    """The trampoline line by line: address, contents in hex, assembly with a comment.

    In a relocatable object, contents are as Image.read has them: with relocations applied.

    Raises NotATrampoline where no design recognised the bytes.
    """
    state = found.known
    design = state.design
    symbols = design.symbols(found.entry, state.outside)
    targets = {state.target} if isinstance(state.target, int) else set()
    names = image.names.at(targets | set(state.literals.values()))
    names |= {at: label.partition("@")[0] for label, at in symbols.items() if at != found.entry}
    name = partial(_name, image, names)
    base = found.entry - design.entry
    for item in design.items:
        at = state.outside[item.label] if item.offset is None else base + item.offset
        value = image.number(at, item.size)
        isa = design.isa
        text = f"{isa.literal} {name(value)}"
        if not item.is_literal:
            text = isa.decode(value, at).format(name)
        label = f"{item.title}: " if item.label else ""
        comment = f"  // {state.form}" if item.is_slot else ""
        yield at, f"{value:0{2 * item.size}x}", label + text + comment


def _name(image: Image, names: Mapping[int, str], address: int) -> str:
    """An address in a listing, with its name where there is one."""
    where = image.where(address)
    return f"{where} <{names[address]}>" if address in names else where
