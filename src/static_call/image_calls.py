"""Finds the static calls of an ELF image: by its symbols, or by the shape of trampolines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from static_call.design.design import Design, Recognised
from static_call.elf.errors import AmbiguousSymbol
from static_call.elf.image import Image
from static_call.errors import StaticCallError
from static_call.found_call import Found, Named, describe, pointer
from static_call.isa import a64
from static_call.isa.walk import detour
from static_call.key import TRAMPOLINE as OWNER

TRAMPOLINE = "__SCT__"
"""What Linux puts before the name of a trampoline."""

KEY = "__SCK__"
"""What Linux puts before the name of a key."""

_SHOWN = 8  # names in a message

_SUFFIX = (
    r"(?:\.(?:llvm|lto_priv|localalias|constprop|isra|part|cold|__uniq)(?:\.\w+)*)+$"
    r"|@.*$"
)
"""What compilers add to the name of a local symbol that they copy or move to another file's code;
or a version, as GNU ld writes it into .symtab: name@@VERSION."""


class NoSuchCall(StaticCallError):
    """The image has no static call of this name."""


class SetTwice(StaticCallError):
    """Two of the names mean the same static call."""


def find(image: Image, designs: Sequence[Design]) -> list[Found]:
    """The static calls that an image has symbols for, by address.

    Args:
        image: where to look.
        designs: the designs to look for, the longest first: see longest_first.

    Raises:
        ElfError: the file is damaged.
    """
    calls = sorted(_named(image, designs), key=lambda one: (one.entry, one.name))
    return describe(image, calls, _states(image, designs, calls))


def lookup(image: Image, designs: Sequence[Design], names: Iterable[str]) -> list[Found]:
    """The static calls with these names, in the order given.

    Args:
        image: where to look.
        designs: the designs to look for, the longest first: see longest_first.
        names: names of static calls, or trampolines' addresses, 0x...

    Raises:
        NoSuchCall: the image has no static call of a name.
        AmbiguousSymbol: several have a name.
    """
    return _look_up(image, designs, _named(image, designs), names)


def lookup_to_change(image: Image, designs: Sequence[Design], names: Iterable[str]) -> list[Found]:
    """Like lookup, for static calls that will all be changed.

    Raises:
        SetTwice: two names mean the same static call, or a trampoline has a second key, which would
            not change.
        NoSuchCall: the image has no static call of a name.
        AmbiguousSymbol: several have a name.
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


def scan(image: Image, designs: Sequence[Design]) -> list[Found]:
    """The trampolines of an image by their shape, with names where it has symbols for them.

    Where two overlap, the one with the longer design is taken, or else the first.

    Args:
        image: where to look.
        designs: the designs to look for, the longest first: see longest_first.

    Raises:
        StaticCallError: a design has no word that never changes, or the file is damaged.
    """
    from static_call.design.scan import candidates, overlap

    found = {}
    for start, design in candidates(image.code.chunks(overlap(designs)), designs):
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
    calls = [named.get(at, Named(image.where(at), at, None)) for at in sorted(states)]
    return describe(image, calls, states)


def recognise(image: Image, entry: int, designs: Sequence[Design]) -> Recognised | None:
    """What the code at an address is: a trampoline of the first of these designs that matches.

    None if none matches, or if there is data.
    """
    for design in designs if image.code.holds(entry) else ():
        if state := design.recognise(entry, image.read):
            return state
    return None


def longest_first(designs: Iterable[Design]) -> list[Design]:
    """Designs in the order to try them in: a short one may match the start of a longer one."""
    return sorted(designs, key=lambda design: -design.size)


def _states(
    image: Image, designs: Sequence[Design], calls: Sequence[Named]
) -> dict[int, Recognised | None]:
    """What the code at the calls' entries is."""
    return {one.entry: recognise(image, one.entry, designs) for one in calls}


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
            raise NoSuchCall(f"{image.path}: no static call {name}: it has {_known(image, every)}")
        if len(found) > 1:
            several = ", ".join(hex(one.entry) for one in found)
            raise AmbiguousSymbol(f"{image.path}: {name} is at {several}: say which by the address")
        chosen += found
    return describe(image, chosen, _states(image, designs, chosen))


def _address(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        raise NoSuchCall(f"{text} is not an address") from None


def _known(image: Image, every: Sequence[Named]) -> str:
    """The names that an image has, for a message."""
    names = sorted({one.name for one in every})
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    has = (", ".join(names[:_SHOWN]) or "none") + more
    if image.linked and image.names.stripped:
        has += (
            ", as its symbols are stripped: give the file that has them with --debug-file, "
            "or the trampoline's address, which list --scan finds"
        )
    return has


# Symbols


def _named(image: Image, designs: Sequence[Design]) -> list[Named]:
    """The static calls that an image has symbols for.

    Linkers and clang's CFI make code that only leads to a trampoline, and name it with the
    trampoline's name and a suffix. That is not a static call, so what has such a name, which is not
    a C name, is looked at more closely.
    """
    if not image.names.mention(TRAMPOLINE):  # arm64 kernels without static calls do have keys
        return []
    trampolines: dict[str, list[int]] = {}
    others: list[tuple[str, int]] = []
    keys: dict[str, dict[int, None]] = {}
    for symbol in image.names.starting(TRAMPOLINE, KEY):
        name = symbol.name[len(TRAMPOLINE) :]
        if symbol.name.startswith(KEY):
            keys.setdefault(_without_suffix(name), {})[symbol.value] = None
        elif _is_plain(name):
            trampolines.setdefault(name, []).append(symbol.value)
        else:
            others.append((name, symbol.value))
    stubs: dict[int, int] = {}
    for name, entry in others:
        if recognise(image, entry, designs):
            own = trampolines.setdefault(_without_suffix(name), [])
            own += [entry] if entry not in own else []
            continue
        end = _end_of(image, entry, _plain_start(name), trampolines)
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


def _is_plain(name: str) -> bool:
    r"""Whether a name is one that C can have: \w*."""
    return name.replace("_", "").isalnum() or not name.strip("_")


def _without_suffix(name: str) -> str:
    """A name without what compilers and linkers add to it."""
    if _is_plain(name):
        return name
    import re

    return re.sub(_SUFFIX, "", name)


def _plain_start(name: str) -> str:
    """A name up to the first character that a C name cannot have."""
    import re

    return re.sub(r"\W.*", "", name)


def _key_finder(
    image: Image,
    trampolines: Mapping[str, Sequence[int]],
    keys: Mapping[str, Mapping[int, None]],
    stubs: Mapping[int, int],
) -> Callable[[str, int], int | None]:
    """A function that gives a trampoline's key, by name and entry; None if it is not known."""
    entries = {entry for several in trampolines.values() for entry in several}

    def owner(key: int) -> int:
        value = image.pointer(key + OWNER)
        return stubs.get(value, value)

    def own_key(name: str, entry: int) -> int | None:
        # A key of static_call.h names its trampoline. That tells whose it is where several files
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
            for at in {at for several in keys.values() for at in several}:
                by_owner.setdefault(owner(at), []).append(at)
        others = by_owner.get(entry, [])
        return others[0] if len(others) == 1 else None

    return key_of


def _end_of(
    image: Image, address: int, name: str, trampolines: Mapping[str, Sequence[int]]
) -> int | None:
    """The trampoline of this name that the code at an address merely leads to; None if none.

    That code is a thunk or a PLT entry, or several thunks in a row. The address may also be that of
    the word that one of these loads. The result is 0 for another file's trampoline.
    """
    ends = trampolines.get(name, ())
    word = None if image.code.holds(address) else address
    for _ in range(4):
        if word is not None:
            value, symbol = pointer(image, word)
            return value if value in ends else 0 if symbol == TRAMPOLINE + name else None
        further = detour(image.read, address)
        if further is None or (further.got is None and further.target is None):
            return None
        if further.target in ends:
            return further.target
        address, word = further.target or 0, further.got
    return None
