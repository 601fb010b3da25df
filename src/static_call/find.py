"""Finds the static calls of an ELF image: trampolines, keys, targets, sites."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from static_call import a64
from static_call.design import Design, Recognised
from static_call.elf import Image
from static_call.errors import StaticCallError
from static_call.static_call import Place, StaticCall
from static_call.trampoline import NotATrampoline, Trampoline
from static_call.walk import Detour, detour

TRAMPOLINE = "__SCT__"
"""What Linux puts before the name of a trampoline."""

KEY = "__SCK__"
"""What Linux puts before the name of a key."""


class NoSuchCall(StaticCallError):
    """The image has no static call of this name."""


class Goal(NamedTuple):
    """An address that a static call leads to, and how.

    address  None for a function that another file defines
    name     its symbol, or ""
    via      the veneer, PLT entry or stub between: its symbol or address; "" if none
    """

    address: int | None
    name: str = ""
    via: str = ""

    def __str__(self) -> str:
        text = self.name or (hex(self.address) if self.address is not None else "?")
        return f"{text} via {self.via}" if self.via else text


class Found(NamedTuple):
    """A static call of an image.

    name   without prefix; the address, as text, where the image has no symbol for it
    entry  the trampoline's address
    state  what the trampoline's bytes are; None where no design recognises them
    goal   where it leads; None in the null and ret0 forms
    key    the key's address, or None; `value` is where it points, None where to no function
    """

    name: str
    entry: int
    state: Recognised | None
    goal: Goal | None
    key: int | None
    value: Goal | None

    @property
    def known(self) -> Recognised:
        """The state; raises NotATrampoline where no design recognised the bytes."""
        if self.state is None:
            raise NotATrampoline(
                f"{self.name}: the bytes at {self.entry:#x} are no trampoline of a known design"
            )
        return self.state

    def static_call(self, place: Place, bias: int = 0) -> StaticCall:
        """The static call in a place that has the image, moved by `bias`.

        Raises NotATrampoline where no design recognised the bytes.
        """
        outside = {label: at + bias for label, at in self.known.outside.items()}
        trampoline = Trampoline(self.known.design, self.entry + bias, outside)
        key = None if self.key is None else self.key + bias
        return StaticCall(self.name, trampoline, place, key)


def find(image: Image, designs: Sequence[Design], names: Iterable[str] = ()) -> list[Found]:
    """The static calls that an image has symbols for, by address; with `names`, only those.

    Raises NoSuchCall for a name that isn't there.
    """
    symbols = {symbol.name: symbol.value for symbol in image.symbols(TRAMPOLINE, KEY)}
    entries = {name[7:]: at for name, at in symbols.items() if name.startswith(TRAMPOLINE)}
    keys = {name[7:]: at for name, at in symbols.items() if name.startswith(KEY)}
    wanted = list(names)
    for name in wanted:
        if name not in entries:
            known = ", ".join(sorted(entries)[:8]) or "none"
            more = f" and {len(entries) - 8} more" if len(entries) > 8 else ""
            raise NoSuchCall(f"{image.path}: no static call {name}: it has {known}{more}")
    chosen = {name: entries[name] for name in wanted} if wanted else entries
    states = {entry: recognise(image, entry, designs) for entry in set(chosen.values())}
    return _describe(image, chosen, states, keys)


def at(image: Image, designs: Sequence[Design], entry: int) -> Found:
    """The static call whose trampoline is at an address, with or without symbols."""
    name = image.names({entry}).get(entry, "")
    if name.startswith(TRAMPOLINE):
        return find(image, designs, [name.removeprefix(TRAMPOLINE)])[0]
    return _describe(image, {hex(entry): entry}, {entry: recognise(image, entry, designs)}, {})[0]


def recognise(image: Image, entry: int, designs: Sequence[Design]) -> Recognised | None:
    """What the bytes at an address are: of these designs the first that fits.

    The longest is to come first, as one may begin another: see longest_first.
    """
    for design in designs:
        if state := design.recognise(entry, image.read):
            return state
    return None


def longest_first(designs: Iterable[Design]) -> list[Design]:
    """Designs in the order in which they are to be tried."""
    return sorted(designs, key=lambda design: -design.size)


def scan(image: Image, designs: Sequence[Design]) -> list[Found]:
    """The trampolines of an image by their shape, for one without symbols."""
    states: dict[int, Recognised] = {}
    for design in designs:
        offset, word = _landmark(design)
        for address in image.find(word.to_bytes(a64.WORD, "little")):
            entry = address - offset + design.entry
            if entry % a64.WORD or entry in states:
                continue
            if state := recognise(image, entry, designs):
                states[entry] = state
    return _describe(image, {hex(entry): entry for entry in states}, states, {})


def _landmark(design: Design) -> tuple[int, int]:
    """A word that every trampoline of the design has, and its offset; the rarest in other code."""
    fixed = [
        (item.offset, contents.encode())
        for item in design.items
        if item.offset is not None and not item.cell and item.size == a64.WORD
        if isinstance(contents := item.contents[""], a64.Instruction) and not contents.symbols
    ]
    # bti c and ret begin and end functions everywhere; br x16 ends little but trampolines.
    return min(fixed, key=lambda one: a64.decode(one[1]).name in ("bti c", "ret", "nop"))


def _describe(
    image: Image,
    entries: Mapping[str, int],
    states: Mapping[int, Recognised | None],
    keys: Mapping[str, int],
) -> list[Found]:
    """The static calls with everything named; symbols are looked up all at once."""
    targets = {state.target for state in states.values() if state and isinstance(state.target, int)}
    values = {name: _pointer(image, keys[name]) for name in entries if name in keys}
    detours = {target: _follow(image, target) for target in targets}
    ends = {found.target for found in detours.values() if found and found.target is not None}
    names = image.names(targets | ends | {value for value, _ in values.values()})

    def goal(state: Recognised | None) -> Goal | None:
        if state is None or not isinstance(state.target, int):
            return None
        if state.form == "far" and (symbol := _imported(image, state)):
            return Goal(None, symbol)
        found = detours[state.target]
        here = names.get(state.target, "")
        if found is None or state.target == state.entry:
            return Goal(state.target, here)
        relocation = image.relocation(found.got) if found.got is not None else None
        if relocation and relocation.symbol:
            return Goal(found.target or None, relocation.symbol, here or hex(state.target))
        if found.target is None:
            return Goal(state.target, here)
        return Goal(found.target, names.get(found.target, ""), here or hex(state.target))

    def value(name: str) -> Goal | None:
        address, symbol = values.get(name, (0, ""))
        if symbol:
            return Goal(address or None, symbol)
        if address in (0, entries[name]):  # Linux's way to say none, and static_call.h's
            return None
        return Goal(address, names.get(address, ""))

    return [
        Found(name, entry, states[entry], goal(states[entry]), keys.get(name), value(name))
        for name, entry in sorted(entries.items(), key=lambda item: (item[1], item[0]))
    ]


def _follow(image: Image, address: int) -> Detour | None:
    """Where veneers and stubs lead from an address: lld can put one before a PLT entry."""
    found = None
    for _ in range(4):
        further = detour(image.read, address)
        if further is None:
            break
        found = further
        if found.target is None or found.got is not None:
            break
        address = found.target
    return found


def _pointer(image: Image, address: int) -> tuple[int, str]:
    """The pointer at an address, and the symbol if another file defines it."""
    value = int.from_bytes(image.read(address, 8), "little")
    relocation = image.relocation(address) if not value else None
    return value, relocation.symbol if relocation else ""


def _imported(image: Image, state: Recognised) -> str:
    """The symbol of another file that a far form's literal will get."""
    symbols = state.design.symbols(state.entry, state.outside)
    places = (symbols[label] for label, value in state.literals.items() if not value)
    return next((name for at in places for _, name in [_pointer(image, at)] if name), "")


def listing(found: Found, image: Image) -> Iterator[tuple[int, str, str, str]]:
    """The trampoline line by line: address, contents in hex, assembly, what retargeting puts there.

    Raises NotATrampoline where no design recognised the bytes.
    """
    state = found.known
    design = state.design
    symbols = design.symbols(found.entry, state.outside)
    targets = {state.target} if isinstance(state.target, int) else set()
    names = image.names(targets | set(state.literals.values()))
    names |= {at: label for label, at in symbols.items() if at != found.entry}

    def name(address: int) -> str:
        return f"{address:#x} <{names[address]}>" if address in names else hex(address)

    base = found.entry - design.entry
    for item, forms in design.listing():
        at = state.outside[item.label] if item.offset is None else base + item.offset
        value = int.from_bytes(image.read(at, item.size), "little")
        text = (
            a64.decode(value, at).format(name) if item.size == a64.WORD else f".quad {name(value)}"
        )
        label = f"{item.label.partition('@')[0]}: " if item.label else ""
        yield at, f"{value:0{2 * item.size}x}", label + text, forms if item.cell else ""
