"""Relocatable objects, .o and .ko: static calls of every design, held against the GNU tools.

What is expected comes from readelf's relocations and nm's symbols, or was written into the source.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from elf_files import readelf
from gnu import assemble
from hypothesis import given
from hypothesis import strategies as st
from test_cli import tool
from test_design import BY_HAND
from test_elf import bounded
from test_kernel_image import trampoline
from toolchain import COMPILERS, Compiler, need, run

from static_call import image_calls
from static_call.design import notation
from static_call.elf.errors import ElfError, NotLinked
from static_call.elf.image import Image
from static_call.found_call import Found, listing
from static_call.places.elf_file import ElfFile
from static_call.places.emulator import Emulator

PREFIX = "aarch64-linux-gnu-"
TARGETS = {"exported": "exported", "local": "local", "other": "other"}
FUNCTIONS = """
        .text
        nop
        .globl exported
        .type exported, %function
exported: bti c
        ret
        .section .text.more, "ax"
        nop
        nop
        .type local, %function
local:  bti c
        mov x0, #1
        ret
caller: bl __SCT__inline_stub_other
        b __SCT__inline_stub_other
        bl __SCT__mainline_local
"""


def name_of(design: str, target: str) -> str:
    """The static call of a design to a target."""
    return f"{design.replace('-', '_')}_{target}"


@pytest.fixture(scope="module", params=["as", "ld -r", "ld -r of two"])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An object with a static call of each design to each target."""
    folder = tmp_path_factory.mktemp("object")
    calls = "".join(
        trampoline(name_of(design, target), by_hand, target)
        for design, by_hand in BY_HAND.items()
        for target in TARGETS
    )
    first = assemble(folder / "a.o", FUNCTIONS + calls)
    if request.param == "as":
        return first
    others = []
    if request.param == "ld -r of two":  # everything of the first one moves
        more = ".text\n.rept 100\nnop\n.endr\n.data\n.quad 1\n.section .rodata\n.quad 1\n"
        more += '.section .static_call.text, "ax"\n.rept 6\nnop\n.endr\n'
        others = [assemble(folder / "b.o", more)]
    run(PREFIX + "ld", "-r", "-o", folder / "a.ko", *others, first)
    return folder / "a.ko"


def listed(path: Path, *options: str) -> dict[str, dict[str, Any]]:
    """The static calls by name, as the tool prints them."""
    calls = json.loads(tool("list", "--json", *options, path))["static_calls"]
    return {call["name"]: call for call in calls}


def listed_calls(image: Image) -> list[Found]:
    """The static calls of an image, of any shipped design."""
    return image_calls.find(
        image, image_calls.longest_first(map(notation.load, notation.shipped()))
    )


def relocations(path: Path) -> Iterator[tuple[str, int, str, str, int]]:
    """Section, offset, type, symbol or section, addend: as readelf prints them."""
    section = ""
    for line in readelf("-r", path):
        if found := re.match(r"Relocation section '\.rela(\S+)'", line):
            section = found[1]
        elif found := re.match(
            r"([0-9a-f]{16})  \S+ (R_AARCH64_\S+) +[0-9a-f]{16} (\S+) ([+-]) ([0-9a-f]+)", line
        ):
            addend = int(found[5], 16) * (1 if found[4] == "+" else -1)
            yield section, int(found[1], 16), found[2], found[3], addend


def symbols(path: Path) -> dict[tuple[str, int], str]:
    """Names by section and offset, as readelf prints them."""
    sections = {}
    for line in readelf("-S", path):
        if found := re.match(r" +\[ *(\d+)\] (\S+)", line):
            sections[found[1]] = found[2]
    found_symbols = {}
    for line in readelf("-s", path):
        fields = line.split()
        if len(fields) < 8 or fields[3] not in ("FUNC", "NOTYPE") or fields[7][0] == "$":
            continue
        if fields[6] in sections:
            found_symbols[sections[fields[6]], int(fields[1], 16)] = fields[7]
    return found_symbols


def test_every_design_and_target_is_listed(built: Path) -> None:
    """Name, design, form and target, of functions in this object and in another."""
    expected = {
        name_of(design, target): (design, next(iter(one.forms)), target)
        for design, one in BY_HAND.items()
        for target in TARGETS
    }
    found = listed(built)
    assert {
        name: (call["design"], call["form"], call["target"] and call["target"]["symbol"])
        for name, call in found.items()
    } == expected
    assert {call["key"] and call["key"]["symbol"] for call in found.values()} == set(TARGETS)


def test_slots_lead_where_readelf_says(built: Path) -> None:
    """The symbol of each R_AARCH64_JUMP26 in .static_call.text, or what is at its addend."""
    names = symbols(built)
    by_place = {
        offset: symbol if not symbol.startswith(".") else names[symbol, addend]
        for section, offset, kind, symbol, addend in relocations(built)
        if (section, kind) == (".static_call.text", "R_AARCH64_JUMP26")
    }
    assert len(by_place) == len(TARGETS) * sum("near" in one.forms for one in BY_HAND.values())
    found = {
        call["address"] + 4: call["target"]["symbol"]
        for call in listed(built).values()
        if call["form"] == "near"
    }
    assert found == by_place


def test_addresses_are_a_section_and_an_offset(built: Path) -> None:
    """As readelf and objdump have them, for trampolines and for targets of this object."""
    names = {name: where for where, name in symbols(built).items()}
    for name, call in listed(built).items():
        assert (call["section"], call["address"]) == names[f"__SCT__{name}"]
        target = call["target"]
        assert isinstance(target, dict)
        if target["symbol"] == "other":
            assert target["address"] is None
        else:
            assert (target["section"], target["address"]) == names[target["symbol"]]
    shown = tool("list", built)
    section, offset = names["__SCT__mainline_local"]
    assert re.search(rf"^mainline_local +{re.escape(section)}\+{offset:#x} +mainline", shown, re.M)


def test_sites_are_the_branches_that_relocations_make(built: Path) -> None:
    """Two to one, one to another, as the source has them."""
    counts = {name: call["sites"] for name, call in listed(built, "--sites").items()}
    assert counts.pop("inline_stub_other") == 2
    assert counts.pop("mainline_local") == 1
    assert set(counts.values()) == {0}


def test_scan_finds_the_same(built: Path, tmp_path: Path) -> None:
    """By shape, too; and without the local symbols, a target is a section and an offset."""
    # mainline begins as data-literal does; each is found by its own words.
    assert listed(built, "--scan") == listed(built)
    need(PREFIX + "objcopy")
    bare = tmp_path / "bare.o"
    run(PREFIX + "objcopy", "--strip-symbol=local", built, bare, ok=False)
    if bare.exists():
        shown = tool("list", bare)
        assert re.search(r"^inline_stub_local .* near +\.text\.more\+0x", shown, re.M)


def test_show_applies_relocations(built: Path) -> None:
    """The listing names what slot and literal will be."""
    text = tool("show", built, "inline_stub_other")
    assert "slot: b other  // near" in text
    assert "literal: .quad other" in text
    text = tool("show", built, "mainline_local")
    assert re.search(r"literal: \.quad \.text\.more\+0x[0-9a-f]+ <local>", text)


def test_memory_is_what_ld_makes(built: Path, tmp_path: Path) -> None:
    """Linked by GNU ld to the addresses that sections got here, every byte of them is the same."""
    with Image.open(built) as image:
        other = image.where(image.names.symbol("exported").value)
        assert other.startswith(".text+")
        places = {
            name: one.address
            for name in (".text", ".text.more", ".static_call.text", ".data", ".rodata")
            for one in image.sections
            if one.address and image.where(one.address) == f"{name}+0x0"
        }
        calls = listed_calls(image)
        (foreign,) = {
            one.state.target for one in calls if one.state and one.goal and one.goal.name == "other"
        }
        assert isinstance(foreign, int)
        assert image.elsewhere(foreign) == "other"
        script = "SECTIONS {\n"
        for name, at in sorted(places.items(), key=lambda pair: pair[1]):
            script += f"{name} {at:#x} : SUBALIGN(1) {{ {built}({name}) }}\n"
        (tmp_path / "a.lds").write_text(script + f"other = {foreign:#x};\n}}\n")
        linked = tmp_path / "linked"
        run(PREFIX + "ld", "-e", "0", "-T", tmp_path / "a.lds", "-o", linked, built)
        need(PREFIX + "objcopy")
        for name, at in places.items():
            data = tmp_path / "data"
            run(PREFIX + "objcopy", "-O", "binary", "-j", name, linked, data)
            assert image.read(at, len(data.read_bytes())) == data.read_bytes(), name


@pytest.mark.parametrize("row", COMPILERS[:2], ids=str)
def test_what_compilers_make(row: Compiler, tmp_path: Path) -> None:
    """gcc -c and clang -c of the C header: as the linked program's, but in sections."""
    flags = run(sys.executable, "-m", "static_call", "cflags").stdout.split()
    source = tmp_path / "a.c"
    source.write_text(
        '#include "static_call.h"\n'
        "int given(int x) { return x + 1; }\nint imported(int x);\n"
        "DEFINE_STATIC_CALL(here, given);\nDEFINE_STATIC_CALL(there, imported);\n"
        "int use(int x) { return static_call(here)(x) + static_call(there)(x); }\n"
    )
    made = tmp_path / "a.o"
    row("-O2", "-fno-pic", *flags, "-c", source, "-o", made)
    found = listed(made, "--sites")
    assert {name: call["target"]["symbol"] for name, call in found.items()} == {
        "here": "given",
        "there": "imported",
    }
    assert {call["sites"] for call in found.values()} == {1}


def test_what_needs_a_linked_file_is_refused(built: Path) -> None:
    """set and call say why, in one line, and leave the file as it was."""
    before = built.read_bytes()
    for arguments in (("set", built, "mainline_local=other"), ("call", built, "exported")):
        message = tool(*arguments, status=2)
        assert message.count("\n") == 1
        assert f"{built}: a relocatable object" in message
        assert "link it first" in message
    assert built.read_bytes() == before
    with Image.open(built) as image, pytest.raises(NotLinked):
        ElfFile(image)
    with pytest.raises(NotLinked):
        Emulator().load(str(built))


def test_more_sections_than_16_bits_count(tmp_path: Path) -> None:
    """Counts in the first section header, symbols' sections in SHT_SYMTAB_SHNDX."""
    fill = '.altmacro\n.macro one n\n.section .t.\\n, "ax"\nnop\n.endm\n'
    fill += ".set i, 0\n.rept 65400\none %i\n.set i, i + 1\n.endr\n"
    calls = trampoline("late", BY_HAND["inline-stub"], "local")
    made = assemble(tmp_path / "many.o", fill + FUNCTIONS.split("caller")[0] + calls)
    (call,) = listed(made).values()
    assert call["section"] == ".static_call.text"
    assert call["target"]["symbol"] == "local"


def test_a_branch_too_far_is_said(tmp_path: Path) -> None:
    """With 128 MiB of code between, the slot cannot hold what the relocation asks for."""
    calls = trampoline("far", BY_HAND["inline-stub"], "exported")
    gap = '.section .text.between, "ax"\n.skip 1 << 27\n'
    made = assemble(tmp_path / "big.o", FUNCTIONS.split("caller")[0] + gap + calls)
    message = tool("list", made, status=2)
    assert message.count("\n") == 1
    assert "do not reach" in message


def test_an_object_that_is_truncated_anywhere(built: Path, tmp_path: Path) -> None:
    """One line about what is missing, or what is there is listed."""
    data = built.read_bytes()
    path = tmp_path / "cut.o"
    for cut in [*range(0, 80), *range(80, len(data), 97)]:
        path.write_bytes(data[:cut])
        with bounded(2), pytest.raises(ElfError, match=f"^{path}: "):
            use(path)


@given(st.data())
def test_an_object_that_is_damaged_anywhere(damaged_folder: Path, data: st.DataObject) -> None:
    """Nothing but the package's own exceptions, in bounded time and memory."""
    contents = bytearray((damaged_folder / "a.o").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        contents[data.draw(st.integers(16, len(contents) - 1))] = data.draw(st.integers(0, 255))
    path = damaged_folder / "bad.o"
    path.write_bytes(contents)
    with bounded(10), suppress(ElfError):
        use(path)


@pytest.fixture(scope="module")
def damaged_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small object, a.o."""
    folder = tmp_path_factory.mktemp("damaged")
    calls = trampoline("one", BY_HAND["inline-stub"], "other")
    calls += trampoline("two", BY_HAND["mainline"], "local")
    assemble(folder / "a.o", FUNCTIONS.split("caller")[0] + calls)
    return folder


def use(path: Path) -> None:
    """Asks an object what list, scan and show ask."""
    designs = image_calls.longest_first(notation.load(name) for name in notation.shipped())
    with Image.open(path) as image:
        calls = image_calls.find(image, designs) + image_calls.scan(image, designs)
        image.code.sites([call.entry for call in calls])
        for call in calls:
            image.where(call.entry)
            if call.state:
                list(listing(call, image))
