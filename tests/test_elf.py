"""ELF images: memory, symbols, relocations and searches, compared with the GNU tools; bad files."""

import os
import random
import re
import resource
import struct
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from elf_files import KINDS, assemble, build, readelf
from elftools.elf.elffile import ELFFile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toolchain import need, run

from static_call.elf import arm64, relocation
from static_call.elf.errors import (
    AmbiguousSymbol,
    Damaged,
    ElfError,
    NoSuchSymbol,
    NotArm64,
    NotInFile,
)
from static_call.elf.image import Image
from static_call.elf.sites import count_sites
from static_call.elf.symbols import FUNC
from static_call.errors import StaticCallError
from static_call.isa import a64
from static_call.places.elf_file import ElfFile


@pytest.fixture(scope="module", params=KINDS)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, linked in each way."""
    return build(tmp_path_factory.mktemp("built"), request.param)


@pytest.fixture(scope="module")
def pie(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small position-independent executable."""
    return build(tmp_path_factory.mktemp("pie"), "pie")


class Row(NamedTuple):
    """A symbol as readelf prints it."""

    name: str
    value: int
    size: int
    type: str
    binding: str
    section: str


def symbols(path: Path) -> list[Row]:
    """The symbols of code and data of both symbol tables, without mapping symbols."""
    found = []
    for line in readelf("-s", path):
        # lld leaves the OS/ABI open, so readelf doesn't know what type 10 is.
        parts = line.replace("<OS specific>: 10", "IFUNC").split()
        if len(parts) != 8 or parts[3] not in ("NOTYPE", "OBJECT", "FUNC", "IFUNC"):
            continue
        _, value, size, kind, binding, _, section, name = parts
        if not name.startswith("$"):
            row = Row(name.partition("@")[0], int(value, 16), int(size, 0), kind, binding, section)
            found.append(row)
    return found


def relocations(path: Path) -> list[tuple[int, str, str, int]]:
    """Address, type, symbol and addend of the RELA entries, as readelf prints them."""
    found = []
    for line in readelf("-r", path):
        if match := re.fullmatch(r"([0-9a-f]{16})  [0-9a-f]{16} (R_AARCH64_\w+)\s*(.*)", line):
            place, kind, rest = match.groups()
            *symbol, addend = rest.replace(" + ", " ").replace(" - ", " -").split()
            name = symbol[-1].partition("@")[0] if symbol else ""
            found.append((int(place, 16), kind, name, int(addend, 16)))
    return found


# Memory


def test_memory_is_what_readelf_says_that_a_loader_makes(built: Path) -> None:
    """All memory: the file's bytes, zeros after them, over them what readelf -r lists."""
    image = Image.open(built)
    known = {
        one.name: one.value
        for one in symbols(built)
        if one.section != "UND" and one.binding != "LOCAL"
    }
    with built.open("rb") as file:
        for segment in ELFFile(file).iter_segments("PT_LOAD"):
            start, size = segment["p_vaddr"], segment["p_memsz"]
            expected = bytearray(segment.data().ljust(size, b"\0"))
            for place, kind, symbol, addend in relocations(built):
                if not start <= place <= start + size - 8:
                    continue
                value = None
                if kind == "R_AARCH64_RELATIVE":
                    value = addend
                elif kind in ("R_AARCH64_ABS64", "R_AARCH64_GLOB_DAT", "R_AARCH64_JUMP_SLOT"):
                    value = known[symbol] + addend if symbol in known else 0
                if value is not None:
                    expected[place - start : place - start + 8] = value.to_bytes(8, "little")
            assert image.read(start, size) == expected
            assert image.read(start, size + 1) == expected or image.segments.at(start + size)


def test_reads_of_any_size_anywhere_are_parts_of_the_same_memory(pie: Path) -> None:
    """Whatever relocated pointers and blocks a read begins or ends in."""
    image = Image.open(pie)
    data = image.segments[-1]
    memory = image.read(data.address, data.size)
    rng = random.Random(1)
    for _ in range(2000):
        at, size = rng.randrange(data.size), rng.randrange(40)
        assert image.read(data.address + at, size) == memory[at : at + size]


def test_pointers_that_are_not_aligned(tmp_path: Path) -> None:
    """Packed structures have them; some are across any border that a reader may draw."""
    source = (
        ".data\n.balign 8\n.long 1\npointers: .rept 1200\n.quad pointers+0x1234567800000000\n.endr"
    )
    path = assemble(tmp_path, "packed", source, "-shared")
    image = Image.open(path)
    pointers = image.names.symbol("pointers").value
    assert pointers % 8 == 4
    data, at = path.read_bytes(), image.segments.offset(pointers, 9600)
    path.write_bytes(data[:at] + bytes(9600) + data[at + 9600 :])  # only the relocations say it
    image = Image.open(path)
    expected = (pointers + 0x1234567800000000).to_bytes(8, "little")
    assert image.read(pointers, 9600) == expected * 1200


def test_nothing_is_read_where_nothing_is(pie: Path) -> None:
    """Fewer bytes where memory ends, none where there is no memory, at whatever address."""
    image = Image.open(pie)
    end = image.segments[-1].end
    assert len(image.read(end - 3, 8)) == 3
    assert [image.read(at, 8) for at in (end, -1, -(1 << 70), 1 << 63, 1 << 70)] == [b""] * 5


def test_pointers_of_a_kernel_are_read_from_its_relocations(tmp_path: Path) -> None:
    """As arm64 Linux is linked: no dynamic section, and zeros in the file where pointers are."""
    script = tmp_path / "kernel.lds"
    script.write_text(
        """SECTIONS {
            . = 0xffff800080000000; .text : { *(.text) }
            .rela.dyn : ALIGN(8) { *(.rela .rela*) } .data : ALIGN(4096) { *(.data) }
            /DISCARD/ : { *(.interp .dynamic .dynsym .dynstr .hash .gnu.hash) } }"""
    )
    flags = ("-shared", "-Bsymbolic", "-z", "notext", "--no-apply-dynamic-relocs", "-T", script)
    need("ld.lld")
    need("aarch64-linux-gnu-as")
    source, made, path = tmp_path / "k.s", tmp_path / "k.o", tmp_path / "vmlinux"
    source.write_text(
        ".globl __SCT__x, __SCK__x\n__SCT__x: ret\nf: ret\n.data\n__SCK__x: .quad f\n.quad 0"
    )
    run("aarch64-linux-gnu-as", "-o", made, source)
    run("ld.lld", *map(str, flags), "-o", path, made)
    image = Image.open(path)
    key = image.names.symbol("__SCK__x").value
    assert not image.loader.dynamic
    assert path.read_bytes()[image.segments.offset(key, 8) :][:8] == bytes(8)
    assert image.read(key, 16) == image.names.symbol("f").value.to_bytes(8, "little") + bytes(8)
    assert image.names.symbol("f").value == 0xFFFF800080000004
    entry = image.loader.relocation(key)
    assert entry is not None
    assert (entry.type, entry.addend % (1 << 64)) == (arm64.RELATIVE, 0xFFFF800080000004)


def test_offsets_are_where_the_bytes_are_in_the_file(built: Path) -> None:
    """As objdump counts sections: address and file offset of each with contents."""
    need("aarch64-linux-gnu-objdump")
    image = Image.open(built)
    lines = run("aarch64-linux-gnu-objdump", "-h", built).stdout
    rows = re.findall(
        r"^ +\d+ \S+ +([0-9a-f]+)  ([0-9a-f]+)  [0-9a-f]+  ([0-9a-f]+) .*\n +CONTENTS, ALLOC",
        lines,
        re.MULTILINE,
    )
    assert len(rows) > 5
    for size, address, offset in rows:
        assert image.segments.offset(int(address, 16), int(size, 16)) == int(offset, 16)


def test_memory_that_the_file_does_not_hold_has_no_offset(pie: Path) -> None:
    """.bss and unmapped addresses are refused, and a pointer half in .bss."""
    image = Image.open(pie)
    data = image.segments[-1]
    held = data.address + data.file_size
    assert image.segments.offset(held - 8, 8)
    for address in (image.names.symbol("zeros").value, held - 4, data.end, 1 << 63):
        with pytest.raises(NotInFile, match=hex(address)):
            image.segments.offset(address, 8)


def test_code_is_what_is_in_executable_sections(tmp_path: Path) -> None:
    """Constants share an executable segment with code there, and are not code."""
    need("aarch64-linux-gnu-as")
    source = "_start: ret\n.section .rodata\nconstant: .quad 1\n.data\ndata: .quad 2"
    path = assemble(tmp_path, "mixed", source, "-z", "noseparate-code", "-e", "0")
    image = Image.open(path)
    code, constant, data = (
        image.names.symbol(name).value for name in ("_start", "constant", "data")
    )
    segment = image.segments.at(constant)
    assert segment is not None
    assert segment.executable
    assert [image.code.holds(at) for at in (code, constant, data, 0)] == [True, False, False, False]


def test_without_sections_executable_segments_are_code(pie: Path, tmp_path: Path) -> None:
    """A file stripped of section headers: memory, relocations and searches work; no symbols."""
    data = bytearray(pie.read_bytes())
    data[0x28:0x30], data[0x3C:0x3E] = bytes(8), bytes(2)  # e_shoff, e_shnum
    path = tmp_path / "headless"
    path.write_bytes(data)
    image, whole = Image.open(path), Image.open(pie)
    main, pointer = whole.names.symbol("main").value, whole.names.symbol("pointer").value
    assert image.code.holds(main)
    assert not image.code.holds(pointer)
    assert image.read(pointer, 8) == whole.read(pointer, 8)
    assert image.loader.relocation(pointer) == whole.loader.relocation(pointer)
    report = whole.names.symbol("report").value
    assert image.code.sites([report]) == whole.code.sites([report]) == {report: 1}
    assert image.names.starting("") == []
    with pytest.raises(NoSuchSymbol, match="its symbols are stripped"):
        image.names.symbol("main")


def test_guarded_is_what_readelf_says_of_bti(built: Path) -> None:
    """The GNU property note, for executables and shared objects."""
    says = any("BTI" in line for line in readelf("-n", built))
    assert Image.open(built).guarded == says == ("bti" in built.name)


def test_a_note_with_other_properties_before_bti(tmp_path: Path) -> None:
    """The property is found after others; PAC alone is not BTI."""
    for bits, guarded in ((3, True), (1, True), (2, False)):
        note = f"""
            .section .note.gnu.property, "a"
            .balign 8
            .long 4, 1f - 0f, 5
            .asciz "GNU"
            0: .long 0xb0008000, 4, 7, 0, 0xc0000000, 4, {bits}, 0
            1:
            .text
            nop"""
        path = assemble(tmp_path, f"note{bits}", note, "-shared")
        assert Image.open(path).guarded == guarded


# Relocations


def test_relocations_are_those_that_readelf_lists(built: Path) -> None:
    """The address, type, symbol and addend of each, and at its offset the entry itself."""
    image, data = Image.open(built), built.read_bytes()
    expected = relocations(built)
    found = [one for one in image.loader.relocations() if one.offset is not None]
    numbers = {
        "R_AARCH64_NONE": 0, "R_AARCH64_ABS64": 257, "R_AARCH64_GLOB_DAT": 1025,
        "R_AARCH64_JUMP_SLOT": 1026, "R_AARCH64_RELATIVE": 1027, "R_AARCH64_IRELATIVE": 1032,
        "R_AARCH64_TPREL64": 1030, "R_AARCH64_TLS_TPREL": 1030, "R_AARCH64_TLSDESC": 1031,
        "R_AARCH64_TLS_TPREL64": 1030,
    }  # fmt: skip
    assert expected or built.name == "relr"
    assert Counter((one.address, one.type, one.symbol, one.addend) for one in found) == Counter(
        (place, numbers[kind], symbol, addend) for place, kind, symbol, addend in expected
    )
    for one in found:
        assert one.offset is not None
        place, info, addend = struct.unpack_from("<QQq", data, one.offset)
        assert (place, info & 0xFFFFFFFF, addend) == (one.address, one.type, one.addend)
        if one.type == arm64.RELATIVE:
            assert image.loader.relocation(one.address) == one


def test_relr_addresses_are_those_that_readelf_lists(tmp_path: Path) -> None:
    """Each address of the RELR table, and that its relocation is a RELR one."""
    path = build(tmp_path, "relr")
    lines = readelf("-r", path)
    start = next(at for at, line in enumerate(lines) if ".relr.dyn" in line)
    expected = [int(line, 16) for line in lines[start:] if re.fullmatch("[0-9a-f]{16}", line)]
    image = Image.open(path)
    assert len(expected) > 1000
    assert list(image.loader.relr_addresses) == expected
    entry = image.loader.relocation(expected[7])
    assert entry == (expected[7], arm64.RELR, "", 0, None)
    assert image.loader.relocation(expected[7] + 4) is None


def test_our_relr_table_is_the_linkers(tmp_path: Path) -> None:
    """What lld wrote for these addresses is what we would."""
    path = build(tmp_path, "relr")
    image = Image.open(path)
    offset, size = image.loader.tables.relr
    table = path.read_bytes()[offset : offset + size]
    assert relocation.relr_table(image.loader.relr_addresses) == table


@given(st.sets(st.integers(0, 4000), max_size=300), st.integers(0, 3))
def test_a_relr_table_has_the_addresses_it_was_made_of(places: set[int], odd: int) -> None:
    """Dense or sparse, in or out of step with each other."""
    expected = sorted(8 * place + (2 * odd if place % 7 else 0) for place in places)
    assert list(relocation.relr_addresses(relocation.relr_table(expected))) == expected


@given(st.sets(st.integers(0, 4000), min_size=1, max_size=300), st.data())
def test_a_relr_table_does_not_grow_when_a_place_goes(
    places: set[int], data: st.DataObject
) -> None:
    """So a pointer can become null in place."""
    before = sorted(8 * place for place in places)
    after = sorted(set(before) - {data.draw(st.sampled_from(before))})
    assert len(relocation.relr_table(after)) <= len(relocation.relr_table(before))


def test_of_several_relocations_for_a_place_the_last_counts() -> None:
    """As a loader, which takes one after the other, leaves it."""
    entries = [(0x20, 1), (0x10, 2), (0x20, 3), (0x18, 4), (0x20, 5)]
    table = b"".join(struct.pack("<QQq", at, arm64.RELATIVE, n) for at, n in entries)
    file = bytes(100) + table[:48] + bytes(1000 - 148) + table[48:]
    tables = relocation.RelaTables(
        lambda at, size: file[at : at + size], [(100, 48), (1000, len(table) - 48)], Damaged()
    )
    found = [(one.address, one.addend, one.offset) for one in tables.between(0x11, 0x21)]
    assert found == [(0x18, 4, 1024), (0x20, 1, 100), (0x20, 3, 1000), (0x20, 5, 1048)]


# Symbols


def test_symbols_are_those_that_readelf_lists(built: Path) -> None:
    """Those that the file defines, of both tables, each once; by any prefixes."""
    image = Image.open(built)
    listed = {(one.name, one.value) for one in symbols(built) if one.section != "UND"}
    every = image.names.starting("")
    assert len(every) > 20
    assert len({(one.name, one.value) for one in every}) == len(every)
    assert {(one.name, one.value) for one in every} == listed
    some = {(one.name, one.value) for one in image.names.starting("_", "tw", "two", "no such")}
    assert some == {(name, value) for name, value in listed if name.startswith(("_", "tw"))}
    assert image.names.starting() == image.names.starting("no such") == []


def test_a_symbol_has_what_readelf_says(built: Path) -> None:
    """Value, size, type and binding, of a global one and of a local one."""
    image = Image.open(built)
    listed = {one.name: one for one in symbols(built)}
    for name in ("one", "two", "forty_two", "pointer"):
        symbol, row = image.names.symbol(name), listed[name]
        assert (symbol.value, symbol.size) == (row.value, row.size)
        assert (symbol.type == FUNC) == (row.type == "FUNC")
        assert (symbol.binding == 0) == (row.binding == "LOCAL")


def test_every_address_has_the_name_of_its_function(built: Path) -> None:
    """Of a function before another symbol, of a global one before a weak before a local one."""
    image = Image.open(built)
    rows: dict[int, list[Row]] = {}
    for one in symbols(built):
        if one.section != "UND":
            rows.setdefault(one.value, []).append(one)
    kinds, bindings = ["FUNC", "IFUNC", "OBJECT", "NOTYPE"], ["GLOBAL", "WEAK", "LOCAL"]
    names = image.names.at(set(rows) | {1, 1 << 63})
    assert names.keys() == rows.keys()
    for address, name in names.items():
        best = min(
            rows[address],
            key=lambda one: (
                kinds.index(one.type) - (one.type == "IFUNC"),
                bindings.index(one.binding),
                one.name,
            ),
        )
        assert name == best.name


def test_the_function_that_an_address_is_in(pie: Path) -> None:
    """From its first byte to its last; none in data and none between functions."""
    image = Image.open(pie)
    for row in symbols(pie):
        if row.type == "FUNC" and row.size:
            for address in (row.value, row.value + 4, row.value + row.size - 1):
                function = image.names.function(address)
                assert function is not None
                assert function.value == row.value
    assert image.names.function(image.names.symbol("pointer").value) is None
    assert image.names.function(0) is None


def test_names_that_end_other_names(tmp_path: Path) -> None:
    """Linkers store a name that is the end of another one within that; prefixes still work."""
    source = ".globl __SCT__a, x__SCT__a\n__SCT__a: nop\nx__SCT__a: nop\n__SCT__: nop"
    path = assemble(tmp_path, "merged", source, "-shared")
    image = Image.open(path)
    table = next(one for one in image.sections if one.type == 2)
    strings = image.sections[table.link]
    text = path.read_bytes()[strings.offset :][: strings.size]
    assert text.count(b"__SCT__a\0") == 1  # so merged they are
    address = image.names.symbol("__SCT__a").value
    assert {(one.name, one.value - address) for one in image.names.starting("__SCT__")} == {
        ("__SCT__a", 0),
        ("__SCT__", 8),
    }
    assert image.names.symbol("x__SCT__a").value == address + 4
    assert image.names.symbol("__SCT__").value == address + 8


def test_a_name_is_ambiguous_only_among_local_symbols(tmp_path: Path) -> None:
    """Two files may have a static function of the same name; a global one is preferred."""
    need("aarch64-linux-gnu-as")
    made = []
    for number, text in enumerate(["f: ret\ng: ret", "f: ret\n.globl g\ng: ret"]):
        source, target = tmp_path / f"{number}.s", tmp_path / f"{number}.o"
        source.write_text(text)
        run("aarch64-linux-gnu-as", "-o", target, source)
        made.append(target)
    path = tmp_path / "two"
    run("aarch64-linux-gnu-ld", "-e", "0", "-o", path, *made)
    image = Image.open(path)
    assert image.names.symbol("g").binding == 1
    with pytest.raises(AmbiguousSymbol, match=r"f is at 0x\w+, 0x\w+: say which"):
        image.names.symbol("f")


def test_a_symbol_that_is_not_there(pie: Path) -> None:
    """The error says whether no file has it or another one does."""
    image = Image.open(pie)
    with pytest.raises(NoSuchSymbol, match="no symbol nobody: none has this name"):
        image.names.symbol("nobody")
    with pytest.raises(NoSuchSymbol, match="no symbol printf: it is another file's"):
        image.names.symbol("printf")


def test_a_stripped_shared_object_has_its_dynamic_symbols(tmp_path: Path) -> None:
    """.dynsym is what remains of the symbols."""
    need("aarch64-linux-gnu-strip")
    path = build(tmp_path, "shared")
    before = Image.open(path)
    run("aarch64-linux-gnu-strip", path)
    image = Image.open(path)
    assert image.names.symbol("one") == before.names.symbol("one")
    with pytest.raises(NoSuchSymbol):
        image.names.symbol("two")


def test_names_are_printable_whatever_the_file_has_in_them(tmp_path: Path) -> None:
    """A terminal's escape sequences, and what is not UTF-8, come escaped."""
    path = assemble(tmp_path, "ugly", ".globl colourful, otherwise\ncolourful: nop\notherwise: nop")
    data = (
        path.read_bytes().replace(b"colourful", b"\x1b[31mful\n").replace(b"other", b"\xff\xfeher")
    )
    path.write_bytes(data)
    names = {one.name for one in Image.open(path).names.starting("")}
    assert {"\\x1b[31mful\\n", "\\xff\\xfeherwise"} <= names


def test_words_and_pointers(tmp_path: Path) -> None:
    """As assembled, in the image's order and width; at the end of memory what is there."""
    source = "_start: nop\n.data\nword: .quad 0x123456789abcdef0\n.byte 1, 2, 3"
    image = Image.open(assemble(tmp_path, "words", source, "-e", "0"))
    start, data = (image.names.symbol(name).value for name in ("_start", "word"))
    assert (image.order, image.pointer_size) == ("little", 8)
    assert image.word(start) == 0xD503201F
    assert image.pointer(data) == 0x123456789ABCDEF0
    assert image.number(data + 6, 2) == 0x1234
    assert image.number(data + 8, 8) == 0x030201


def test_names_that_are_looked_up_at_once(tmp_path: Path) -> None:
    """Each has the symbols that readelf lists: also a local one, one that ends another, none."""
    source = ".globl tail, of_tail, other\ntail: nop\nof_tail: nop\nlocal: bl other\n"
    path = assemble(tmp_path, "several", source, "-shared")
    asked = ("tail", "of_tail", "local", "other", "missing", "$x", "tail\n", "tail")
    rows = [row.split() for row in readelf("-s", path)]
    expected = {
        name: {int(row[1], 16) for row in rows if len(row) == 8 and row[7] == name}
        for name in ("tail", "of_tail", "local", "other")
    }
    assert all(expected.values())
    image = Image.open(path)
    image.names.load(asked)
    for name in asked:
        assert {one.value for one in image.names.named(name)} == expected.get(name, set())
    assert {one.name for one in image.names.named("tail")} == {"tail"}
    assert [one.defined for one in image.names.named("other")].count(True) == 0


def test_tables_longer_than_a_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is searched in pieces is found at every seam: names, entries, code."""
    source = "".join(f"__SCT__{n}: bl __SCT__{n}\n" for n in range(300))
    path = assemble(tmp_path, "long", source, "-shared")
    image = Image.open(path)
    expected = (sorted(image.names.starting("__SCT__")), words(image, "00000094"))
    assert len(expected[0]) == 300
    assert expected[1] == sorted(one.value for one in expected[0])
    monkeypatch.setattr("static_call.elf.symbols._SYMBOLS", 7)
    monkeypatch.setattr("static_call.elf.code._CHUNK", 4 * 7)
    for size in range(16, 32):
        monkeypatch.setattr("static_call.elf.symbols._STRINGS", size)
        found = (sorted(image.names.starting("__SCT__")), words(image, "00000094"))
        assert found == expected
        assert image.names.symbol("__SCT__123").value == expected[1][123]
    assert list(image.code.sites([expected[1][5]]).values()) == [1]


# Searches


def test_sites_are_those_that_objdump_shows(built: Path) -> None:
    """For every function of the program and the C library in it: BL and B to its entry."""
    need("aarch64-linux-gnu-objdump")
    image = Image.open(built)
    text = run("aarch64-linux-gnu-objdump", "-d", built).stdout
    branches = Counter(
        int(target, 16)
        for target in re.findall(r":\t[0-9a-f]{8} \tbl?\t([0-9a-f]+)(?: <|$)", text, re.MULTILINE)
    )
    entries = {one.value for one in image.names.starting("") if one.type == FUNC}
    assert image.code.sites(entries) == {entry: branches[entry] for entry in entries}
    assert sum(branches[entry] for entry in entries) >= 3
    for entry in sorted(entries)[:3]:  # few entries are searched for in another way
        assert image.code.sites([entry]) == {entry: branches[entry]}


def test_code_that_two_sections_claim_counts_once(pie: Path, tmp_path: Path) -> None:
    """Where section headers overlap."""
    data = bytearray(pie.read_bytes())
    text, fini = section_at(pie, ".text"), section_at(pie, ".fini")
    for field in ("address", "offset", "size"):
        at = SECTION[field]
        data[fini + at : fini + at + 8] = data[text + at : text + at + 8]
    path = tmp_path / "overlapping"
    path.write_bytes(data)
    report = Image.open(pie).names.symbol("report").value
    assert Image.open(path).code.sites([report]) == {report: 1}


@settings(max_examples=60)
@given(
    st.integers(0, 1 << 46).map(lambda n: 4 * n),
    st.lists(st.tuples(st.integers(0, 999), st.integers(-(1 << 25), (1 << 25) - 1), st.booleans())),
    st.sets(st.integers(0, 20), max_size=8),
)
def test_sites_at_any_distance(
    address: int, branches: list[tuple[int, int, bool]], chosen: set[int]
) -> None:
    """Up to both ends of a branch's reach, beside words that are not branches."""
    words = [0xD503201F] * 1000
    targets = []
    for at, words_away, link in branches:
        here = address + 4 * at
        target = max(here + 4 * words_away, here % 4)
        words[at] = a64.assemble(f"{'bl' if link else 'b'} {target:#x}", here)
        targets.append(target)
    entries = {targets[one] for one in chosen if one < len(targets)}
    expected = dict.fromkeys(entries, 0)
    for at, word in enumerate(words):
        insn = a64.decode(word, address + 4 * at)
        if insn.name in ("b", "bl") and insn["i"] in entries:
            expected[insn["i"]] += 1
    code = struct.pack("<1000I", *words)
    chunks = [(address + at, code[at : at + 256]) for at in range(0, 4000, 256)]
    assert count_sites(chunks, entries) == expected


def words(image: Image, data: str) -> list[int]:
    """The addresses of the words that have these bytes, among all code."""
    return [
        address + at
        for address, chunk, _ in image.code.chunks()
        for at in range(0, len(chunk), 4)
        if chunk[at : at + 4].hex() == data
    ]


def test_code_is_what_objdump_disassembles(built: Path) -> None:
    """The words that objdump shows, at the addresses that it shows."""
    need("aarch64-linux-gnu-objdump")
    text = run("aarch64-linux-gnu-objdump", "-d", built).stdout
    shown = [int(at, 16) for at in re.findall(r"^ +([0-9a-f]+):\td65f03c0", text, re.MULTILINE)]
    assert len(shown) > 3
    assert words(Image.open(built), "c0035fd6") == shown


# Bad input

HEADER = {
    "class": 4, "encoding": 5, "type": 16, "machine": 18, "phoff": 32, "shoff": 40,
    "phentsize": 54, "phnum": 56, "shentsize": 58, "shnum": 60,
}  # fmt: skip
SEGMENT = {"type": 0, "flags": 4, "offset": 8, "address": 16, "file_size": 32, "size": 40}
SECTION = {"type": 4, "flags": 8, "address": 16, "offset": 24, "size": 32, "link": 40, "entry": 56}
SEGMENT_SIZE, SECTION_SIZE = 56, 64


def use(path: Path) -> None:
    """Asks an image everything that can be asked."""
    with Image.open(path) as image:
        addresses = {image.entry, 0, 1 << 63}
        for segment in image.segments:
            addresses |= {segment.address, segment.end - 4}
            for address in (segment.address, segment.address + segment.file_size, segment.end):
                image.read(address - 20, 40)
        addresses |= {one.value for one in image.names.starting("", "_")}
        image.names.at(addresses)
        image.names.function(image.entry)
        assert image.guarded in (True, False)
        for address in sorted(addresses)[:50]:
            image.read(address, 40)
            image.code.holds(address)
            image.loader.relocation(address)
        assert sum(1 for _ in image.loader.relocations()) < 100_000
        image.code.sites(addresses)
        for address in [*addresses][:10] + [one.address for one in image.loader.relocations()][
            ::200
        ]:
            for value in (0, image.entry):
                place = ElfFile(image)
                place.write(address, value.to_bytes(8, "little"))
                with suppress(ElfError):
                    place.patches()
        assert all(at % 4 == 0 for at, _, _ in image.code.chunks(more=40))


@contextmanager
def bounded(seconds: float = 10, more: int = 300 << 20) -> Iterator[None]:
    """Allows only so much more memory, and checks that it didn't take long, in time of the CPU."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more, before[1]))
    start = time.process_time()
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert time.process_time() - start < seconds


def change(data: bytearray, offset: int, value: int, size: int) -> None:
    """Changes a field."""
    data[offset : offset + size] = (value % (1 << 8 * size)).to_bytes(size, "little")


def segment_at(path: Path, kind: str, number: int = 0) -> int:
    """Where in the file a program header of a type is."""
    with path.open("rb") as file:
        image = ELFFile(file)
        found = [n for n, one in enumerate(image.iter_segments()) if one["p_type"] == kind]
        return int(image["e_phoff"]) + SEGMENT_SIZE * found[number]


def section_at(path: Path, name: str) -> int:
    """Where in the file the header of a section is."""
    with path.open("rb") as file:
        image = ELFFile(file)
        return int(image["e_shoff"]) + SECTION_SIZE * int(image.get_section_index(name) or 0)


@pytest.mark.parametrize(
    ("field", "size", "value", "error", "text"),
    [
        ("class", 1, 1, NotArm64, "a 32-bit ELF file"),
        ("encoding", 1, 2, NotArm64, "big-endian"),
        ("machine", 2, 62, NotArm64, "an ELF file for x86-64, not for arm64"),
        ("machine", 2, 4711, NotArm64, "an ELF file for machine 4711, not for arm64"),
        ("type", 2, 4, NotArm64, "a core dump"),
        ("type", 2, 0, NotArm64, "an ELF file of type 0"),
        ("phoff", 8, -1, Damaged, "program header table ends at byte"),
        ("phentsize", 2, 0, Damaged, "a program header has 56 bytes, not 0"),
        ("phnum", 2, 0xFFFF, Damaged, "its header has counts"),
        ("phnum", 2, 0xFFFE, Damaged, "program header table ends at byte"),
        ("shoff", 8, 1 << 63, Damaged, "section header table ends at byte"),
        ("shentsize", 2, 40, Damaged, "a section header has 64 bytes, not 40"),
        ("shnum", 2, 0, Damaged, "its header has counts"),
        ("shnum", 2, 0xFFFF, Damaged, "section header table ends at byte .*: is it truncated"),
    ],
)
def test_headers_that_are_wrong(
    pie: Path, tmp_path: Path, field: str, size: int, value: int, error: type, text: str
) -> None:
    """One line that says what is wrong; it begins with the path."""
    data = bytearray(pie.read_bytes())
    change(data, HEADER[field], value, size)
    path = tmp_path / "bad"
    path.write_bytes(data)
    with bounded(1), pytest.raises(error, match=f"^{path}: .*{text}") as caught:
        Image.open(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("what", "field", "size", "value", "text"),
    [
        ("PT_LOAD", "file_size", 8, 1 << 62, "ends at byte .* of the file"),
        ("PT_LOAD", "offset", 8, -1, "ends at byte .* of the file"),
        ("PT_LOAD", "size", 8, 1, "has an impossible size"),
        ("PT_LOAD", "address", 8, -8, "has an impossible size"),
        ("PT_LOAD", "size", 8, 0x100000, "overlaps"),
        ("PT_DYNAMIC", "file_size", 8, 1 << 62, "dynamic section ends at byte"),
        ("PT_DYNAMIC", "offset", 8, 1 << 63, "dynamic section ends at byte"),
        (".symtab", "size", 8, 1 << 63, "symbol table ends at byte"),
        (".symtab", "offset", 8, 1 << 63, "symbol table ends at byte"),
        (".symtab", "entry", 8, 0, "entries of 0 bytes"),
        (".symtab", "link", 4, 99999, "section 99999 is not a string table"),
        (".symtab", "link", 4, 1, "section 1 is not a string table"),
        (".dynsym", "link", 4, 0, "section 0 is not a string table"),
        (".strtab", "size", 8, 1 << 63, "string table ends at byte"),
        (".text", "size", 8, 1 << 63, "code ends at byte"),
        (".text", "offset", 8, -1, "code ends at byte"),
    ],
)
def test_tables_that_are_absurd(
    pie: Path, tmp_path: Path, what: str, field: str, size: int, value: int, text: str
) -> None:
    """Sizes and offsets beyond the file, links to nothing, segments on each other."""
    data = bytearray(pie.read_bytes())
    if what.startswith("PT_"):
        change(data, segment_at(pie, what) + SEGMENT[field], value, size)
    else:
        change(data, section_at(pie, what) + SECTION[field], value, size)
    path = tmp_path / "bad"
    path.write_bytes(data)
    with bounded(1), pytest.raises(Damaged, match=f"^{path}: .*{text}"):
        use(path)


@pytest.mark.parametrize(
    ("tag", "value"),
    [(7, 1 << 62), (8, 1 << 62), (8, -1), (23, 1 << 40), (5, 1 << 40), (6, 1 << 40)],
)
def test_a_dynamic_section_that_names_what_is_not_there(
    pie: Path, tmp_path: Path, tag: int, value: int
) -> None:
    """DT_RELA, DT_RELASZ, DT_JMPREL, DT_STRTAB and DT_SYMTAB."""
    data = bytearray(pie.read_bytes())
    change(data, Image.open(pie).loader.dynamic[tag][1], value, 8)
    path = tmp_path / "bad"
    path.write_bytes(data)
    with bounded(1), pytest.raises(Damaged, match="its dynamic section names a table"):
        use(path)


def test_a_relr_table_that_goes_astray(tmp_path: Path) -> None:
    """Addresses outside memory, in .bss, twice, or overlapping would have no end."""
    path = build(tmp_path, "relr")
    image, good = Image.open(path), path.read_bytes()
    offset, size = image.loader.tables.relr
    zeros = image.names.symbol("zeros").value
    first = image.loader.relr_addresses[0]
    ends = (first, first + 4, -1)  # again, across it, and a bitmap that goes on after memory
    for word, at in ((1 << 62, 0), (zeros, 0), *((word, size - 8) for word in ends)):
        data = bytearray(good)
        change(data, offset + at, word, 8)
        path.write_bytes(data)
        with bounded(1), pytest.raises(Damaged, match="its RELR table relocates 0x"):
            use(path)


def test_symbols_that_point_outside(pie: Path, tmp_path: Path) -> None:
    """A name outside of the string table is none; a value outside of memory is just a number."""
    image, data = Image.open(pie), bytearray(pie.read_bytes())
    table = next(one for one in image.sections if one.type == 2)
    for number, at in enumerate(range(table.offset, table.offset + table.size, 24)):
        change(data, at, -1 - number, 4) if number % 2 else change(data, at + 8, -number, 8)
    path = tmp_path / "bad"
    path.write_bytes(data)
    use(path)
    assert all(one.name for one in Image.open(path).names.starting(""))


@pytest.mark.parametrize("size", [0, 7, 24, 24 * 40 + 23])
def test_a_symbol_table_of_any_size(pie: Path, tmp_path: Path, size: int) -> None:
    """What is left of an entry at its end is not a symbol."""
    data = bytearray(pie.read_bytes())
    change(data, section_at(pie, ".symtab") + SECTION["size"], size, 8)
    path = tmp_path / "short"
    path.write_bytes(data)
    use(path)


def test_memory_of_any_size_is_not_made(pie: Path, tmp_path: Path) -> None:
    """A .bss of exabytes takes no memory and no time."""
    data = bytearray(pie.read_bytes())
    change(data, segment_at(pie, "PT_LOAD", 1) + SEGMENT["size"], 1 << 60, 8)
    path = tmp_path / "huge"
    path.write_bytes(data)
    with bounded(2):
        use(path)
        assert Image.open(path).read(1 << 59, 8) == bytes(8)


def test_files_that_are_no_elf_files(tmp_path: Path) -> None:
    """Empty, text, a compressed kernel, a directory, a pipe that nobody writes to."""
    path = tmp_path / "file"
    for data in (b"", b"\x7fEL", b"#!/bin/sh\n", b"\x1f\x8b\x08", b"MZ" + bytes(100)):
        path.write_bytes(data)
        with pytest.raises(NotArm64, match="not an ELF file"):
            Image.open(path)
    os.mkfifo(tmp_path / "pipe")
    for name in (".", "pipe"):
        with pytest.raises(NotArm64, match="not a regular file"):
            Image.open(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        Image.open(tmp_path / "nothing")
    with pytest.raises(NotArm64, match="not for arm64"):
        Image.open("/proc/self/exe") if os.uname().machine != "aarch64" else Image.open(path)


def test_a_file_that_is_truncated_anywhere(pie: Path, tmp_path: Path) -> None:
    """At and around every edge of every header, segment and section."""
    data = pie.read_bytes()
    with pie.open("rb") as file:
        image = ELFFile(file)
        edges = {0, 4, 16, 64, image["e_phoff"] + SEGMENT_SIZE * image["e_phnum"]}
        for one in image.iter_segments():
            edges |= {one["p_offset"], one["p_offset"] + one["p_filesz"]}
        for number, section in enumerate(image.iter_sections()):
            edges |= {section["sh_offset"], section["sh_offset"] + section["sh_size"]}
            edges.add(image["e_shoff"] + SECTION_SIZE * number)
    path = tmp_path / "cut"
    for edge in sorted(edges):
        for cut in {max(edge - 1, 0), edge, edge + 1} - {*range(len(data), len(data) + 2)}:
            path.write_bytes(data[:cut])
            with pytest.raises(ElfError, match=f"^{path}: "):
                use(path)


def test_a_file_without_sections_that_is_truncated(pie: Path, tmp_path: Path) -> None:
    """Then it is the segments that are cut."""
    data = bytearray(pie.read_bytes())
    change(data, HEADER["shoff"], 0, 8)
    change(data, HEADER["shnum"], 0, 2)
    held = max(one.offset + one.file_size for one in Image.open(pie).segments)
    path = tmp_path / "cut"
    path.write_bytes(data[:held])
    use(path)
    path.write_bytes(data[: held - 1])
    with pytest.raises(Damaged, match="is it truncated"):
        use(path)


def test_a_file_that_is_truncated_while_it_is_open(pie: Path, tmp_path: Path) -> None:
    """No signal kills the reader: it gets an error that the file became shorter."""
    path = tmp_path / "shrinks"
    path.write_bytes(pie.read_bytes())
    image = Image.open(path)
    table = next(one for one in image.sections if one.type == 2)
    main = image.names.symbol("main").value
    os.truncate(path, pie.read_bytes().index(struct.pack("<Q", main), table.offset) + 8)
    assert image.names.at({main}) == {}  # half of its entry is left
    os.truncate(path, 100)
    with pytest.raises(Damaged, match="became shorter"):
        image.read(image.segments[0].address + 200, 8)
    for ask in (
        lambda: image.names.starting("m"),
        lambda: image.code.sites([0]),
        lambda: image.guarded,
    ):
        with suppress(ElfError):
            ask()


INTERESTING = [0, 1, 2, 7, 24, 1 << 31, (1 << 32) - 1, 1 << 62, 1 << 63, (1 << 64) - 1]


class Victim:
    """A good file, its contents, and where the parts of it are that a reader goes by."""

    def __init__(self, path: Path, regions: list[tuple[int, int]]) -> None:
        self.path, self.good, self.regions = path, path.read_bytes(), regions


@pytest.fixture(scope="module", params=["pie", "shared", "relr"])
def victim(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Victim:
    """What is to be mutated."""
    folder = tmp_path_factory.mktemp("fuzz")
    path = build(folder, request.param)
    with path.open("rb") as file:
        image = ELFFile(file)
        found = [
            (0, 64),
            (image["e_phoff"], SEGMENT_SIZE * image["e_phnum"]),
            (image["e_shoff"], SECTION_SIZE * image["e_shnum"]),
        ]
        for name in (".symtab", ".dynsym", ".dynamic", ".rela.dyn", ".rela.plt", ".relr.dyn"):
            if section := image.get_section_by_name(name):
                found.append((section["sh_offset"], min(section["sh_size"], 2048)))
        for segment in image.iter_segments("PT_NOTE"):
            found.append((segment["p_offset"], segment["p_filesz"]))
    found = [one for one in found if one[1] >= 8]
    return Victim(path, found)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_mutated_files_give_an_error_or_an_answer(victim: Victim, data: st.DataObject) -> None:
    """Whatever the bytes: only our exceptions, soon, and without much memory."""
    bad = bytearray(victim.good)
    for _ in range(data.draw(st.integers(1, 4))):
        offset, size = data.draw(st.sampled_from(victim.regions))
        width = data.draw(st.sampled_from([1, 2, 4, 8, 8]))
        at = offset + data.draw(st.integers(0, size // width - 1)) * width
        value = data.draw(st.sampled_from(INTERESTING) | st.integers(0, (1 << 64) - 1))
        change(bad, at, value, width)
    mutated = victim.path.with_suffix(".bad")
    mutated.write_bytes(bad)
    with bounded(), suppress(StaticCallError):
        use(mutated)


@settings(max_examples=100, deadline=None)
@given(tail=st.binary(max_size=400), shorten=st.integers(0, 64))
def test_arbitrary_bytes_after_an_elf_header(
    tmp_path_factory: pytest.TempPathFactory, tail: bytes, shorten: int
) -> None:
    """No valid file to begin with: headers of noise."""
    header = (
        b"\x7fELF\x02\x01\x01"
        + bytes(9)
        + struct.pack("<HHIQQQIHHHHHH", 3, 183, 1, 0, 64, 200, 0, 64, 56, 2, 64, 3, 1)
    )
    path = tmp_path_factory.getbasetemp() / "noise"
    path.write_bytes((header + tail)[: len(header) + len(tail) - shorten])
    with bounded(), suppress(StaticCallError):
        use(path)
