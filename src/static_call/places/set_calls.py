"""Retargets static calls of an ELF file by name, all or none, and reads back the result."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from static_call import image_calls
from static_call.calls import StaticCall
from static_call.design.design import Design
from static_call.design.target import Target
from static_call.elf.image import Image
from static_call.found_call import Found
from static_call.key import RETURN0
from static_call.places.elf_file import ElfFile, NotAsAsked


def set_calls(
    image: Image,
    designs: Sequence[Design],
    changes: Mapping[str, Target | str],
    output: str | os.PathLike[str] | None = None,
) -> list[Found]:
    """Changes the file, or writes a changed copy; returns what was read from the new file.

    The result is in the order of `changes`, and was read before the new file took its name. If this
    raises, the file is as it was.

    Args:
        image: the image of the file.
        designs: the designs to look for, the longest first: see image_calls.longest_first.
        changes: what StaticCall.update takes, by a static call's name or its trampoline's address
            as text, 0x...
        output: the path of the copy; None to change the file.

    Raises:
        NotAsAsked: the new file does not say what was asked.
        StaticCallError: what image_calls.lookup_to_change, StaticCall.update and ElfFile.commit
            raise.
    """
    place = ElfFile(image)
    image.names.load(target for target in changes.values() if isinstance(target, str))
    found = image_calls.lookup_to_change(image, designs, changes)
    calls = [one.static_call(place) for one in found]
    asked = []
    for call, target in zip(calls, changes.values()):
        call.update(target)
        _check(call, place.resolve(target) if isinstance(target, str) else target, place)
        asked.append((call.state, call.key_value))
    for call, wanted in zip(calls, asked):
        if (call.state, call.key_value) != wanted:
            raise NotAsAsked(
                f"{image.path}: {call.name} shares a literal or a key with another static call "
                "that is set"
            )
    written: list[Found] = []

    def read_back(copy: Image) -> None:
        if image.debug is not None:
            copy.use_symbols_of(image.debug)
        written[:] = image_calls.lookup(copy, designs, changes)
        reader = ElfFile(copy)
        for before, now, (state, key) in zip(found, written, asked):
            same = (before.name, before.entry, before.key) == (now.name, now.entry, now.key)
            if not same or now.state != state or now.static_call(reader).key_value != key:
                raise NotAsAsked(f"{copy.path}: {before.name} is not what was asked for")

    place.commit(output, read_back)
    return written


def _check(call: StaticCall, wanted: Target, place: ElfFile) -> None:
    """Checks that a static call is what was asked for. Raises NotAsAsked."""
    if not isinstance(wanted, int) and call.key is None:
        # Without a key, a design that has no form for None or RET0 does not tell them apart.
        form = "null" if wanted is None else "ret0"
        if form not in call.design.forms:
            wanted = place.resolve(RETURN0)
    if call.target != wanted or not call.state.agrees:
        raise NotAsAsked(f"{call.name}: its update did not do what was asked for")
