"""Finds the static calls of an ELF image: trampolines, keys, targets, sites."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from static_call.calls import Place, StaticCall
from static_call.design.design import Design, Recognised, Target
from static_call.design.scan import candidates, overlap
from static_call.design.trampoline import NotATrampoline, Trampoline
from static_call.elf import plt
from static_call.elf.image import AmbiguousSymbol, Image
from static_call.elf.relocation import ABS64, GLOB_DAT, IRELATIVE, JUMP_SLOT, NONE, RELATIVE, RELR
from static_call.errors import StaticCallError
from static_call.isa import a64
from static_call.isa.walk import Detour, detour

TRAMPOLINE = "__SCT__"
"""What Linux puts before the name of a trampoline."""

KEY = "__SCK__"
"""What Linux puts before the name of a key."""


_READ = (NONE, RELR, RELATIVE, ABS64, GLOB_DAT, JUMP_SLOT)  # relocations that Image.read applies


class NoSuchCall(StaticCallError):
    """The image has no static call of this name."""


class SetTwice(StaticCallError):
    """Two names stand for one static call."""


class Goal(NamedTuple):
    """An address that a static call leads to, and how.

    address  None for a function that another file defines
    name     its symbol, or ""
    via      the veneer, PLT entry or stub between: its symbol or address; "" if none
    section  what `address` is an offset in, in a relocatable object; else ""
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

    name   without prefix; the address, as text, where the image has no symbol for it
    entry  the trampoline's address
    state  what the trampoline's bytes are; None where no design recognises them
    goal   where it leads; None where a call returns at once or returns 0
    key    the key's address, or None; `value` is where it points, None where to no function
    other  where a literal leads, when the slot leads elsewhere: a retarget stopped between them
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
        """The state; raises NotATrampoline where no design recognised the bytes."""
        if self.state is None:
            raise NotATrampoline(
                f"{self.name}: the bytes at {self.entry:#x} are no trampoline of a known design"
            )
        return self.state

    @property
    def unfinished(self) -> bool:
        """Whether slot and literal do not say the same: a retarget stopped between them.

        A linker's veneer, or a PLT entry, after the slot's branch is no such case.
        """
        if self.state is None or self.state.agrees:
            return False
        return self.other is not None or not isinstance(self.state.target, int)

    def static_call(
        self, place: Place, bias: int = 0, resolve: Callable[[str], int] | None = None
    ) -> StaticCall:
        """The static call in a place that has the image, moved by `bias`.

        resolve  finds symbols' addresses; the place's own if None
        Raises NotATrampoline where no design recognised the bytes.
        """
        outside = {label: at + bias for label, at in self.known.outside.items()}
        trampoline = Trampoline(self.known.design, self.entry + bias, outside)
        key = None if self.key is None else self.key + bias
        return StaticCall.found(self.name, trampoline, place, key, resolve)


def find(image: Image, designs: Sequence[Design]) -> list[Found]:
    """The static calls that an image has symbols for, by address.

    designs  the longest first: see longest_first
    """
    calls = sorted(_named(image, designs), key=lambda one: (one.entry, one.name))
    return _describe(image, calls, _states(image, designs, calls))


def lookup(image: Image, designs: Sequence[Design], names: Iterable[str]) -> list[Found]:
    """The static calls of these names, in their order; a trampoline's address, 0x..., is one too.

    Raises NoSuchCall, and elf.AmbiguousSymbol where several have a name.
    """
    return _look_up(image, designs, _named(image, designs), names)


def lookup_to_change(image: Image, designs: Sequence[Design], names: Iterable[str]) -> list[Found]:
    """The same, to change each of them: none is there twice, nor has another one its trampoline.

    Raises what lookup raises, and SetTwice.
    """
    every = _named(image, designs)
    found = _look_up(image, designs, every, names)
    chosen: dict[int, Found] = {}
    for one in found:
        if one.entry in chosen:
            raise SetTwice(f"{image.path}: {one.name} at {one.entry:#x} is set twice")
        chosen[one.entry] = one
    for other in every:
        known = chosen.get(other.entry)
        if known is not None and other.key not in (None, known.key):
            raise SetTwice(
                f"{image.path}: {known.name} and {other.name} are one trampoline with two keys, "
                "of which only one would change"
            )
    return found


def _look_up(
    image: Image, designs: Sequence[Design], every: Sequence[Named], names: Iterable[str]
) -> list[Found]:
    chosen = []
    for name in names:
        if name.startswith("0x"):
            at = _address(name)
            chosen.append(next((one for one in every if one.entry == at), Named(name, at, None)))
            continue
        found = [one for one in every if one.name == name]
        if not found:
            known = sorted({one.name for one in every})
            more = f" and {len(known) - 8} more" if len(known) > 8 else ""
            has = (", ".join(known[:8]) or "none") + more
            if image.linked and image.stripped:
                has += (
                    ", as its symbols are stripped: give the file that has them with --debug-file, "
                    "or the trampoline's address, which list --scan finds"
                )
            raise NoSuchCall(f"{image.path}: no static call {name}: it has {has}")
        if len(found) > 1:
            places = ", ".join(hex(one.entry) for one in found)
            raise AmbiguousSymbol(f"{image.path}: {name} is at {places}: say which by the address")
        chosen += found
    return _describe(image, chosen, _states(image, designs, chosen))


def scan(image: Image, designs: Sequence[Design]) -> list[Found]:
    """The trampolines of an image by their shape; with names where it has symbols for them.

    Of two that lie on each other the longer one's design is the one meant, then the first.

    designs  the longest first: see longest_first
    Raises StaticCallError where a design has no word that never changes.
    """
    found = {}
    for start, design in candidates(image.code(overlap(designs)), designs):
        if state := design.recognise(start + design.entry, image.read):
            found[designs.index(design), start] = state
    states = {}
    taken: set[int] = set()
    for (number, start), state in sorted(found.items()):
        words = range(start, start + designs[number].size, a64.WORD)
        if taken.isdisjoint(words):
            taken.update(words)
            states[state.entry] = state
    named = {one.entry: one for one in reversed(_named(image, designs))}
    return _describe(
        image,
        [named.get(at, Named(image.where(at), at, None)) for at in sorted(states)],
        states,
    )


def recognise(image: Image, entry: int, designs: Sequence[Design]) -> Recognised | None:
    """What the bytes at an address are: of these designs the first that fits. Data is none."""
    for design in designs if image.executable(entry) else ():
        if state := design.recognise(entry, image.read):
            return state
    return None


def longest_first(designs: Iterable[Design]) -> list[Design]:
    """Designs in the order in which they are to be tried, since one may begin another."""
    return sorted(designs, key=lambda design: -design.size)


class Named(NamedTuple):
    """What symbols say of a static call: its name, its trampoline's address, its key's or None."""

    name: str
    entry: int
    key: int | None


_SUFFIX = re.compile(
    r"(?:\.(?:llvm|lto_priv|localalias|constprop|isra|part|cold|__uniq)(?:\.\w+)*)+$|@.*$"
)
"""What compilers add to the name of a local symbol that they copy or move to another file's code;
and a version, which GNU ld writes into .symtab: name@@VERSION."""


def _named(image: Image, designs: Sequence[Design]) -> list[Named]:
    """The static calls that an image has symbols for.

    A name that has more in it than a C name can have is looked at: what linkers and clang's CFI
    make to reach a trampoline, and call by its name and a suffix, is not a static call.
    """
    trampolines: dict[str, list[int]] = {}
    others: list[tuple[str, int]] = []
    keys: dict[str, dict[int, None]] = {}
    for symbol in image.symbols(TRAMPOLINE, KEY):
        if not symbol.defined:
            continue
        name = symbol.name[len(TRAMPOLINE) :]
        if symbol.name.startswith(KEY):
            keys.setdefault(_SUFFIX.sub("", name), {})[symbol.value] = None
        elif re.fullmatch(r"\w*", name):
            trampolines.setdefault(name, []).append(symbol.value)
        else:
            others.append((name, symbol.value))
    stubs: dict[int, int] = {}
    for name, entry in others:
        if recognise(image, entry, designs):
            own = trampolines.setdefault(_SUFFIX.sub("", name), [])
            own += [entry] if entry not in own else []
            continue
        end = _end_of(image, entry, re.sub(r"\W.*", "", name), trampolines)
        if end is None:
            trampolines.setdefault(name, []).append(entry)
        else:
            stubs[entry] = end
    key_of = _key_finder(image, trampolines, keys, stubs)
    return [
        Named(name, entry, key_of(name, entry))
        for name, entries in trampolines.items()
        for entry in dict.fromkeys(entries)
    ]


def _key_finder(
    image: Image,
    trampolines: Mapping[str, Sequence[int]],
    keys: Mapping[str, Mapping[int, None]],
    stubs: Mapping[int, int],
) -> Callable[[str, int], int | None]:
    """What gives the key of a trampoline, by name and entry; None where it cannot be told."""
    entries = {entry for places in trampolines.values() for entry in places}

    def owner(key: int) -> int:
        value = int.from_bytes(image.read(key + 8, 8), "little")
        return stubs.get(value, value)

    def own_key(name: str, entry: int) -> int | None:
        # A key of static_call.h names its trampoline: that says whose it is where several files
        # have a local one of this name. Linux's has something else there.
        own = {at: owner(at) for at in keys.get(name, ())}
        mine = [at for at, owner in own.items() if owner == entry]
        if len(own) > 1 or len(set(trampolines[name])) > 1:
            return mine[0] if len(mine) == 1 else None
        return next((at for at, owner in own.items() if at in mine or owner not in entries), None)

    by_owner: dict[int, list[int]] = {}

    def key_of(name: str, entry: int) -> int | None:
        if (own := own_key(name, entry)) is not None:
            return own
        if not by_owner:  # a trampoline may have several names, and a key by one of them
            for at in {at for places in keys.values() for at in places}:
                by_owner.setdefault(owner(at), []).append(at)
        others = by_owner.get(entry, [])
        return others[0] if len(others) == 1 else None

    return key_of


def _end_of(
    image: Image, address: int, name: str, trampolines: Mapping[str, Sequence[int]]
) -> int | None:
    """The trampoline of this name that what is at an address only leads to; None if it does not.

    A thunk, a PLT entry, or the word that one of these loads; several thunks in a row, too. 0 for
    another file's trampoline.
    """
    ends = trampolines.get(name, ())
    pointer = None if image.executable(address) else address
    for _ in range(4):
        if pointer is not None:
            value, symbol = _pointer(image, pointer)
            return value if value in ends else 0 if symbol == TRAMPOLINE + name else None
        further = detour(image.read, address)
        if further is None or (further.got is None and further.target is None):
            return None
        if further.target in ends:
            return further.target
        address, pointer = further.target or 0, further.got
    return None


def _address(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        raise NoSuchCall(f"{text} is not an address") from None


def _states(
    image: Image, designs: Sequence[Design], calls: Sequence[Named]
) -> dict[int, Recognised | None]:
    """What the bytes at the calls' entries are."""
    return {one.entry: recognise(image, one.entry, designs) for one in calls}


def _describe(
    image: Image, calls: Sequence[Named], states: Mapping[int, Recognised | None]
) -> list[Found]:
    """The static calls with everything named, in their order; symbols are looked up all at once.

    states  what the bytes are, by the entry
    """
    known = [state for state in states.values() if state]
    stored = {state.entry: _stored(state) for state in known}
    targets = {one for state in known for one in (state.target, *stored[state.entry])}
    values = {one.key: _pointer(image, one.key) for one in calls if one.key is not None}
    addresses = {one for one in targets if isinstance(one, int)}
    detours = {one: _follow(image, one) for one in addresses | {at for at, _ in values.values()}}
    ends = {found.target for found in detours.values() if found and found.target is not None}
    names = image.names(ends | detours.keys())

    def own(address: int) -> str:
        """The symbol at an address; mold gives PLT entries some, `name$plt`."""
        symbol = names.get(address, "")
        return "" if symbol.endswith("$plt") else symbol

    def label(address: int) -> str:
        """The symbol at an address, or the PLT entry's name."""
        found, symbol = detours.get(address), own(address)
        if symbol or found is None or found.got is None:
            return symbol
        linked = plt.name(image, found.got)
        return linked + plt.SUFFIX if linked else ""

    def at(address: int, via: str = "") -> Goal:
        if symbol := image.elsewhere(address):
            return Goal(None, symbol, via)
        section, offset = image.locate(address)
        return Goal(offset, label(address), via, section)

    def leads(address: int, entry: int) -> Goal:
        """Where a call goes that branches to an address: through veneers and PLT entries."""
        found = detours[address]
        if found is None or address == entry:
            return at(address)
        via = label(address) or image.where(address)
        if found.got is not None and (symbol := _pointer(image, found.got)[1]):
            # lld names an IFUNC's PLT entry as the function; GNU ld names the resolver so.
            return at(address) if own(address) else Goal(None, symbol, via)
        return at(address) if found.target is None else at(found.target, via)

    def goal(state: Recognised | None) -> Goal | None:
        if state is None or not isinstance(state.target, int):
            return None
        if state.form == "far" and (symbol := _imported(image, state)):
            return Goal(None, symbol)
        return leads(state.target, state.entry)

    def other(state: Recognised | None) -> Goal | None:
        if state is None or state.agrees:
            return None
        slot = goal(state)
        if symbol := _imported(image, state):
            return None if slot and slot.name == symbol else Goal(None, symbol)
        for literal in stored[state.entry]:
            if isinstance(literal, int):
                found = leads(literal, state.entry)
                if slot is None or (found.address, found.name) != (slot.address, slot.name):
                    return found
            elif literal != state.target:
                return Goal(None, "null" if literal is None else "ret0")
        return None

    def value(one: Named) -> Goal | None:
        address, symbol = values.get(one.key, (0, "")) if one.key is not None else (0, "")
        if symbol:
            return Goal(None, symbol)
        if address in (0, one.entry):  # Linux's way to say none, and static_call.h's
            return None
        # Under clang's CFI the trampoline's address is a jump table's: a stub, so it has a detour.
        stub = detours[address] and detour(image.read, address)
        if stub and stub.target == one.entry:
            return None
        return at(address)

    return [
        Found(
            one.name,
            one.entry,
            state := states[one.entry],
            goal(state),
            one.key,
            value(one),
            other(state),
        )
        for one in calls
    ]


def _stored(state: Recognised) -> list[Target]:
    """What the literals that a retarget changes stand for."""
    symbols = state.design.symbols(state.entry, state.outside)
    return [state.design.meaning(value, symbols) for value in state.literals.values()]


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
    """The pointer at an address, and its symbol where only a loader knows what it points to."""
    relocation = image.relocation(address)
    if relocation is not None and relocation.type == IRELATIVE:
        return 0, plt.name(image, address)
    if relocation is not None and relocation.type not in _READ:
        return 0, f"relocation {relocation.type} {relocation.symbol}".strip()
    value = int.from_bytes(image.read(address, 8), "little")
    if value or relocation is None:
        return value, ""
    return 0, relocation.symbol


def _imported(image: Image, state: Recognised) -> str:
    """The symbol of another file that a far form's literal will get."""
    symbols = state.design.symbols(state.entry, state.outside)
    places = (symbols[label] for label in state.literals)
    return next((name for at in places for _, name in [_pointer(image, at)] if name), "")


def listing(found: Found, image: Image) -> Iterator[tuple[int, str, str]]:
    """The trampoline line by line: address, contents in hex, assembly with a comment.

    Of a relocatable object: with its relocations applied, as elf.Image.read has it.

    Raises NotATrampoline where no design recognised the bytes.
    """
    state = found.known
    design = state.design
    symbols = design.symbols(found.entry, state.outside)
    targets = {state.target} if isinstance(state.target, int) else set()
    names = image.names(targets | set(state.literals.values()))
    names |= {at: label.partition("@")[0] for label, at in symbols.items() if at != found.entry}

    def name(address: int) -> str:
        where = image.where(address)
        return f"{where} <{names[address]}>" if address in names else where

    base = found.entry - design.entry
    for item in design.items:
        at = state.outside[item.label] if item.offset is None else base + item.offset
        value = int.from_bytes(image.read(at, item.size), "little")
        text = (
            a64.decode(value, at).format(name) if item.size == a64.WORD else f".quad {name(value)}"
        )
        label = f"{item.title}: " if item.label else ""
        comment = f"  // {state.form}" if item.cell and item.size == a64.WORD else ""
        yield at, f"{value:0{2 * item.size}x}", label + text + comment
