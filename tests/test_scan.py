"""list --scan: trampolines by their shape, held against where the source has put them.

Addresses come from nm; for words of all kinds from looking at every address with the recogniser.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from elf_files import assemble, readelf
from gnu import PREFIX, pack
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cli import INCLUDE, calls, refused, tool
from test_design import BY_HAND
from test_elf import bounded
from test_kernel_image import trampoline
from toolchain import CLANG_LLD, CLANG_MOLD, GCC, Compiler, need, run

from static_call import image_calls
from static_call.cli.main import main
from static_call.design import notation
from static_call.design.design import Design
from static_call.design.scan import candidates, overlap
from static_call.elf.image import Image
from static_call.elf.reader import Reader
from static_call.isa import a64

FUNCTIONS = ".text; .globl _start, other\n_start: bti c; ret\nother: nop; ret\n".replace("; ", "\n")
NOP, BTI_C, BR_X16, BR_X17, RET, B = (
    0xD503201F, 0xD503245F, 0xD61F0200, 0xD61F0220, 0xD65F03C0, 0x14000002,
)  # fmt: skip
OWN = {
    "by-x17": "bti c\nslot: { near: b target | far: nop }\nldr x17, literal\nbr x17\n"
    "literal: { near, far: .quad target }",
    "all-common": "bti c\nslot: { near: b target | null: ret }\nret",
    "nops": "nop\nslot: { near: b target }\nnop",
    "zero": "udf #0\nslot: { near: b target }",
}
RETARGET = {2: "str w1, [x0]", 4: "str x3, [x2]\ndmb ishst\nstr w1, [x0]"}


def own(folder: Path, name: str, align: int = 3) -> Path:
    """A design of a user's own, as a file."""
    text = OWN[name]
    retarget = RETARGET[4 if "literal" in text else 2]
    path = folder / f"{name}.s"
    path.write_text(f"// {name}\n.isa a64\n.align {align}\n{text}\nretarget:\n{retarget}\n")
    return path


def shipped(*more: Path) -> list[Design]:
    """All designs as list takes them."""
    return image_calls.longest_first(
        notation.load(str(name)) for name in (*more, *notation.shipped())
    )


def addresses(path: Path, prefix: str = "") -> dict[str, int]:
    """The symbols that nm prints, by name."""
    need(PREFIX + "nm")
    lines = (line.split() for line in run(PREFIX + "nm", path).stdout.splitlines())
    return {line[2]: int(line[0], 16) for line in lines if len(line) == 3 and prefix in line[2]}


def scanned(path: Path, *options: str | Path) -> dict[int, str]:
    """The design by the address, as list --scan prints it."""
    found = calls(path, "--scan", *map(str, options)).values()
    return {int(str(call["address"])): str(call["design"]) for call in found}


@pytest.mark.parametrize("chunk", [1 << 17, 4, 28, 64])
def test_every_design_is_found_across_any_seam(
    chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of each, where nm says; whatever the pieces in which the code is read."""
    need(PREFIX + "as")
    text = FUNCTIONS + "".join(
        trampoline(f"{name.replace('-', '_')}_{number}", by_hand, "other")
        for name, by_hand in BY_HAND.items()
        for number in range(2)
    )
    path = assemble(tmp_path, "each", text)
    expected = {
        at: name.removeprefix("__SCT__")[:-2].replace("_", "-")
        for name, at in addresses(path, "__SCT__").items()
    }
    assert len(expected) == 2 * len(BY_HAND)
    monkeypatch.setattr("static_call.elf.code._CHUNK", chunk)
    with Image.open(path) as image:
        found = image_calls.scan(image, shipped())
    assert {one.entry: one.known.design.name for one in found} == expected


@pytest.mark.parametrize(("skip", "found"), [(0, True), (4, False), (8, True), (12, False)])
@pytest.mark.parametrize("linked", [True, False])
def test_a_trampoline_is_where_its_alignment_lets_it_be(
    skip: int, found: bool, linked: bool, tmp_path: Path
) -> None:
    """Of the design's first byte: a multiple of 8 here, in an object of the offset."""
    code = BY_HAND["slot-adrp-literal"].code.format(slot="ret").replace("L", "literal")
    text = f".text\n.balign 16\n.globl _start\n_start: .skip {skip}\n{code}\n.balign 8\n"
    path = assemble(tmp_path, "at", text.replace("; ", "\n") + "literal: .quad 0\n")
    path = path if linked else path.with_suffix(".o")
    with Image.open(path) as image:
        listed = [image.locate(one.entry) for one in image_calls.scan(image, shipped())]
    start = addresses(path)["_start"]
    section = "" if linked else ".text"
    assert listed == ([(section, start + skip)] if found else [])


def test_nothing_is_found_inside_a_trampoline(tmp_path: Path) -> None:
    """The end of one and a thunk after it look like a shorter design; aligned or not."""
    tail = next(iter(BY_HAND["adrp-stub"].forms.values()))[0]
    code = BY_HAND["adrp-stub"].code.format(**tail).replace("T", "other").replace("L", "literal")
    text = FUNCTIONS + f".balign 8\n__SCT__a: {code}\nadrp x16, other\nadd x16, x16, :lo12:other\n"
    text += "br x16\n.data\n.balign 8\nliteral: .quad other\n"
    path = assemble(tmp_path, "thunk", text.replace("; ", "\n"))
    start = addresses(path)["__SCT__a"]
    loose = tmp_path / "loose.s"
    shipped_text = notation.load("adrp-add")
    assert shipped_text.align == 8
    folder = Path(notation.__file__).parent / "shipped"
    loose.write_text((folder / "adrp-add.s").read_text().replace(".align  3", ".align  2"))
    with Image.open(path) as image:
        lone = [at for at, _ in candidates(image.code.chunks(20), [notation.load(str(loose))])]
    assert start + 28 in lone  # it does look like one
    assert scanned(path) == {start: "adrp-stub"}
    assert scanned(path, "-d", loose) == {start: "adrp-stub"}


def test_designs_of_ones_own(tmp_path: Path) -> None:
    """Other registers, and nothing but words that are everywhere: as right as the others."""
    text = FUNCTIONS + ".rept 1000\nnop\nbti c\nret\n.inst 0\n.endr\n"
    text += ".balign 8\nx17: bti c\nb other\nldr x17, 1f\nbr x17\n1: .quad other\n"
    text += ".balign 8\ncommon: bti c\nb other\nret\nnop\nnops: nop\nb other\nnop\nret\n"
    text += ".balign 8\nzero: .inst 0\nb other\n"
    path = assemble(tmp_path, "own", text)
    designs = [own(tmp_path, name) for name in OWN]
    at = addresses(path)
    assert scanned(path, *(part for one in designs for part in ("-d", one))) == {
        at["x17"]: "by-x17",
        at["common"]: "all-common",
        at["nops"]: "nops",
        at["zero"]: "zero",
    }


def test_a_design_that_cannot_be_scanned_for(tmp_path: Path) -> None:
    """Without a word that never changes there is nothing to look for: one line says so."""
    path = assemble(tmp_path, "some", FUNCTIONS)
    design = tmp_path / "free.s"
    design.write_text(
        "// free\n.isa a64\n.align 2\nslot: { near: b target }\nretarget:\nstr w1, [x0]\n"
    )
    assert "free has no word that never changes" in refused("list", "--scan", "-d", design, path)


@pytest.fixture(scope="module")
def designs(tmp_path_factory: pytest.TempPathFactory) -> list[Design]:
    """Shipped designs and such as users bring."""
    folder = tmp_path_factory.mktemp("designs")
    return shipped(*(own(folder, name, align=2) for name in OWN))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 1 << 32), st.sampled_from([1 << 20, 4, 40]))
def test_candidates_are_all_that_any_recogniser_takes(
    designs: list[Design], seed: int, chunk: int
) -> None:
    """Among words of trampolines in any order: each aligned address where one is recognised."""
    rng = random.Random(seed)
    words = [NOP, BTI_C, BR_X16, BR_X17, RET, B, 0, 0x58000050, 0x90000010, 0xF9400210]
    code = pack([rng.choice(words) for _ in range(60)])
    for _ in range(4):
        design = rng.choice(designs)
        at = 4 * rng.randrange(len(code) // 4)
        form = rng.choice(design.forms)
        base = 0x10000 + at // design.align * design.align
        try:
            made = design.assemble(
                base + design.entry, form, 0x10040, dict.fromkeys(design.outside, 0x11000)
            )
        except a64.OutOfRange:
            continue
        offset = base - 0x10000
        code = (code[:offset] + made[0][1] + code[offset + design.size :])[: len(code)]

    def read(address: int, size: int) -> bytes:
        if 0x11000 <= address < 0x12000:
            return bytes(size)
        return code[address - 0x10000 :][:size] if address >= 0x10000 else b""

    expected = {
        (at, design.name)
        for at in range(0x10000, 0x10000 + len(code), 4)
        for design in designs
        if at % design.align == 0 and design.recognise(at + design.entry, read)
    }
    more = overlap(designs)
    pieces = ((0x10000 + at, code[at : at + chunk + more], 0) for at in range(0, len(code), chunk))
    found = {(at, design.name) for at, design in candidates(pieces, designs)}
    assert found >= expected


# Names: what linkers and compilers make of a static call's

SOURCE = """
#include "static_call.h"
int one(int x) { return x + 1; }
DEFINE_STATIC_CALL(alpha, one);
DEFINE_STATIC_CALL_NULL(beta, one);
int use(int x) { return static_call(alpha)(x) + static_call(beta)(x); }
"""
FAR = "-Wl,--section-start=.static_call.text=0x20000000"
LINKED: dict[str, tuple[Compiler, Sequence[str]]] = {
    "bfd": (GCC, ("-static", FAR)),
    "gold": (GCC, ("-static", "-fuse-ld=gold", FAR)),
    "lld": (CLANG_LLD, ("-static", "-no-pie", FAR, "-Wl,--image-base=0x10000")),
    "mold": (CLANG_MOLD, ("-pie", "-fPIE")),
    "mold, shared": (CLANG_MOLD, ("-shared", "-fPIC")),
}


@pytest.mark.parametrize("kind", LINKED)
def test_linkers_thunks_are_not_static_calls(kind: str, tmp_path: Path) -> None:
    """Whatever the linker puts between a caller and a trampoline, and whatever it names that."""
    compiler, flags = LINKED[kind]
    source = tmp_path / "a.c"
    source.write_text(SOURCE + "int _start(void) { return use(1); }\n")
    path = tmp_path / "a"
    compiler("-O1", "-nostdlib", *flags, f"-I{INCLUDE}", source, "-o", path)
    listed = calls(path)
    assert set(listed) == set(calls(path, "--scan")) == {"alpha", "beta"}
    if kind == "mold":  # which makes them whether they are needed or not
        assert any("__SCT__alpha$thunk" in line for line in readelf("-s", path))


def test_only_what_leads_to_a_trampoline_is_a_linkers(tmp_path: Path) -> None:
    """A symbol with more in its name is listed if its bytes are unknown, or lead elsewhere."""
    text = FUNCTIONS + trampoline("x", BY_HAND["inline-stub"], "other") + ".text\n"
    thunk = "adrp x16, {0}\nadd x16, x16, :lo12:{0}\nbr x16\n"
    for name, code in {
        "x$thunk": thunk.format("__SCT__x"),
        "x.thunk": "b __SCT__x\n",
        "x$thunk$thunk": thunk.format('"__SCT__x$thunk"'),
        "x$long": "ldr x16, 1f\nbr x16\n1: .quad __SCT__x\n",
        "x$elsewhere": thunk.format("other"),
        "x$unknown": "mov x0, #1\nret\n",
        "x.cold": "mov x0, #1\nret\n",
        "y$thunk": thunk.format("__SCT__x"),
        "xy": "b __SCT__x\n",
    }.items():
        text += f'.balign 8\n.globl "__SCT__{name}"\n"__SCT__{name}": {code}'
    text += '.data\n.balign 8\n"__SCT__x$got": .quad __SCT__x\n"__SCT__x$data": .quad other\n'
    listed = calls(assemble(tmp_path, "names", text))
    unknown = {name for name, call in listed.items() if call["design"] is None}
    assert unknown == {"x$elsewhere", "x$unknown", "x.cold", "y$thunk", "xy", "x$data"}
    assert set(listed) - unknown == {"x"}


def test_what_compilers_and_versions_add_to_a_name(tmp_path: Path) -> None:
    """A local trampoline that LTO renamed, and one of a versioned library: their own names."""
    text = FUNCTIONS + "".join(
        trampoline(name, BY_HAND["inline-stub"], "other") for name in ("a", "b", "c")
    )
    text = re.sub(r"\b(__SC[TK]__a)\b", r"\1.llvm.123", text)
    text = re.sub(r"\b(__SC[TK]__b)\b", r"\1.lto_priv.0", text)
    text += ".symver __SCT__c, __SCT__c@@V1, remove\n"
    (tmp_path / "v.map").write_text("V1 { __SCT__c; };\n")
    path = assemble(
        tmp_path, "named", text, "-shared", f"--version-script={tmp_path / 'v.map'}", "-Bsymbolic"
    )
    listed = calls(path)
    assert set(listed) == {"a", "b", "c"}
    assert all(call["key"] for call in listed.values())


# Objects

KINDS = {
    "empty section": '.section .bss.e, "aw", %nobits\nplace:\n',
    "end of a section": '.section .data.e, "aw"\n.quad 1\nplace:\n',
    "not in memory": '.section .debug_e, ""\n.quad 1\nplace: .quad 2\n',
    "common": ".comm place, 8, 8\n",
    "absolute": ".set place, 0x4000\n",
    "absolute, far": ".set place, 0x123456789abcdef0\n",
    "undefined": "",
    "weak": ".weak place\n",
    "thread-local": '.section .tbss.e, "awT", %nobits\nplace: .skip 8\n',
}


@pytest.mark.parametrize("addend", ["", " + 16", " - 48", " + 0x7fff00"])
@pytest.mark.parametrize("kind", KINDS)
def test_relocations_against_anything(kind: str, addend: str, tmp_path: Path) -> None:
    """Code and data next to a trampoline that refer to it do not keep it from being listed."""
    text = FUNCTIONS + trampoline("x", BY_HAND["inline-stub"], "other")
    text += '.section .static_call.text, "ax"\n'
    text += f"bl place{addend}\nb place{addend}\nadrp x0, place{addend}\n"
    text += f"add x0, x0, :lo12:place{addend}\n.data\n.quad place{addend}\n"
    need(PREFIX + "as")
    source, made = tmp_path / "a.s", tmp_path / "a.o"
    source.write_text(text + KINDS[kind])
    run(PREFIX + "as", "-o", made, source)
    for option in ("--sites", "--scan"):
        (call,) = calls(made, option).values()
        assert (call["name"], call["target"] and call["target"]["symbol"]) == ("x", "other")  # type: ignore[index]


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("empty section", "place"),
        ("end of a section", "place"),
        ("not in memory", ".debug_e+0x8"),
        ("common", "place"),
        ("undefined", "place"),
    ],
)
@pytest.mark.parametrize("addend", [0, 16])
def test_what_a_slot_in_an_object_leads_to(
    kind: str, shown: str, addend: int, tmp_path: Path
) -> None:
    """Named by the symbol, with its addend, where it has no address; never by another symbol."""
    target = f"place + {addend}" if addend else "place"
    text = FUNCTIONS + trampoline("x", BY_HAND["inline-stub"], target) + KINDS[kind]
    text += "".join(f".globl z{n}\n" for n in range(9)) + ".data\n"
    text += "".join(f".quad z{n}\n" for n in range(9))
    need(PREFIX + "as")
    source, made = tmp_path / "a.s", tmp_path / "a.o"
    source.write_text(text)
    run(PREFIX + "as", "-o", made, source)
    (line,) = [line for line in tool("list", made).splitlines() if line.startswith("x ")]
    row = line.split()
    place = re.escape("place" if addend == 0 else "place+0x10")
    if shown != "place":  # gas refers to a local symbol by its section
        section, _, offset = shown.partition("+")
        place = re.escape(f"{section}+{int(offset, 16) + addend:#x}")
    where = place if kind in ("not in memory", "common", "undefined") or not addend else "0x.*"
    assert re.fullmatch(where, row[4]), line
    assert not re.search(r"\bz\d", line)


def test_a_literal_number_is_no_symbol(tmp_path: Path) -> None:
    """A number in an object, made by no relocation, is only a number."""
    text = FUNCTIONS + trampoline("x", BY_HAND["inline-stub"], "other")
    text = text.replace(".quad other, 0", ".quad 0x30, 0") + "bl foreign_1\nbl foreign_2\n"
    need(PREFIX + "as")
    source, made = tmp_path / "a.s", tmp_path / "a.o"
    for number in (0x10, 0x20, 0x30, 0x40, 0x50):
        source.write_text(text.replace("0x30", hex(number)))
        run(PREFIX + "as", "-o", made, source)
        (call,) = calls(made).values()
        assert call["key"]
        assert call["key"]["value"] == number  # type: ignore[index]
        assert call["key"]["symbol"] == ""  # type: ignore[index]


@pytest.mark.parametrize("what", ["sections", "relocations", "symbols", "trampolines"])
def test_an_object_costs_linear_time(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four times as much of anything, at most about four times the reads of the file."""
    need(PREFIX + "as")
    make = {
        "sections": '.section .text.f{n}, "ax"\nf{n}: bl g{n}\nret\n',
        "relocations": ".text\nbl g\nnop\n",
        "symbols": ".globl f{n}\nf{n}:\n",
        "trampolines": "",
    }[what]
    read = []
    original = Reader.__call__
    for count in (500, 2000):
        text = FUNCTIONS + trampoline("x", BY_HAND["inline-stub"], "other")
        for n in range(count):
            text += make.format(n=n) or trampoline(f"t{n}", BY_HAND["inline-stub"], "other")
        source, made = tmp_path / "a.s", tmp_path / "a.o"
        source.write_text(text)
        run(PREFIX + "as", "-o", made, source)
        total = 0

        def count_reads(file: Reader, offset: int, size: int) -> bytes:
            nonlocal total
            data = original(file, offset, size)
            total += 1000 + len(data)
            return data

        with monkeypatch.context() as patched:
            patched.setattr(Reader, "__call__", count_reads)
            with Image.open(made) as image:
                found = image_calls.scan(image, shipped())
                image.code.sites([one.entry for one in found])
        read.append(total)
    assert read[1] < 5 * read[0]


def test_names_are_found_among_any_number_of_like_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the strings are full of what a name starts with, memory is bounded."""
    text = FUNCTIONS + "".join(f"n{n}__SCT__: nop\n" for n in range(20))
    text += "".join(f"__SCT__{n}: nop\n" for n in range(20))
    path = assemble(tmp_path, "like", text)
    expected = Image.open(path).names.starting("__SCT__")
    assert {one.name for one in expected} == {f"__SCT__{n}" for n in range(20)}
    monkeypatch.setattr("static_call.elf.symbols._OCCURRENCES", 7)
    assert sorted(Image.open(path).names.starting("__SCT__")) == sorted(expected)
    assert Image.open(path).names.symbol("__SCT__1").name == "__SCT__1"


def test_relocations_by_page_whatever_the_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table in any order, of more pages than are kept apart: as the one in order."""
    text = ".text\n.globl _start\n_start: ret\n.data\n"
    text += "".join(f".quad _start + {n}\n.skip {n * 37 % 5000 // 8 * 8}\n" for n in range(200))
    path = assemble(tmp_path, "many", text, "-shared", "-Bsymbolic")
    image = Image.open(path)
    expected = list(image.loader.relocations())
    assert len(expected) == 200
    offset, size = image.loader.tables.rela
    data = bytearray(path.read_bytes())
    entries = [bytes(data[at : at + 24]) for at in range(offset, offset + size, 24)]
    random.Random(1).shuffle(entries)
    data[offset : offset + size] = b"".join(entries)
    shuffled = tmp_path / "shuffled"
    shuffled.write_bytes(data)
    for pages in (1 << 16, 7, 1):
        monkeypatch.setattr("static_call.elf.relocation._PAGES", pages)
        for piece in (24, 24 << 12):
            monkeypatch.setattr("static_call.elf.relocation._PIECE", piece)
            for name in (path, shuffled):
                other = Image.open(name)
                assert [one[:4] for one in other.loader.relocations()] == [
                    one[:4] for one in expected
                ]
                for one in expected[::9]:
                    assert other.loader.relocation(one.address) is not None
                    assert other.read(one.address, 8) == image.read(one.address, 8)


def test_relocations_of_a_kind_that_is_not_known_are_refused(tmp_path: Path) -> None:
    """Without them an object's words are not what they will be: SHT_REL, and clang's SHT_CREL."""
    need(PREFIX + "as")
    source, made = tmp_path / "a.s", tmp_path / "a.o"
    source.write_text(FUNCTIONS + trampoline("x", BY_HAND["inline-stub"], "other"))
    run(PREFIX + "as", "-o", made, source)
    data = bytearray(made.read_bytes())
    at = int.from_bytes(data[40:48], "little")
    for header in range(at, at + 64 * int.from_bytes(data[60:62], "little"), 64):
        if data[header + 4 : header + 8] == b"\4\0\0\0":
            data[header + 4 : header + 8] = b"\x14\0\0\x40"
    made.write_bytes(data)
    assert "relocations of a kind that is not known" in refused("list", made)


# Damage


@pytest.mark.parametrize("kind", ["object", "executable", "mold"])
def test_no_damage_ends_in_a_traceback(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is changed where: a listing, or one line on stderr."""
    source, path = tmp_path / "a.c", tmp_path / "a"
    source.write_text(
        SOURCE + "void f(void *);\nstatic struct { } key;\nvoid g(void) { f(&key); }\n"
    )
    flags: dict[str, tuple[Compiler, Sequence[str]]] = {
        "object": (GCC, ("-c",)),
        "executable": (GCC, ("-nostdlib", "-shared", "-fPIC")),
        "mold": (CLANG_MOLD, ("-nostdlib", "-shared", "-fPIC")),
    }
    compiler, options = flags[kind]
    compiler("-O1", *options, f"-I{INCLUDE}", source, "-o", path)
    good = path.read_bytes()
    rng = random.Random(kind)
    special = [0, 1, 7, 255, 0xFFF1, 0xFFFF, 1 << 31, (1 << 32) - 1, 1 << 63, (1 << 64) - 1]
    for _ in range(120):
        data = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            width = rng.choice([1, 2, 4, 8])
            at = rng.choice([0, len(data) // 2, len(data) - 2000]) + rng.randrange(2000)
            value = rng.choice(special) if rng.random() < 0.5 else rng.getrandbits(64)
            at = min(at, len(data) - width) // width * width
            data[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, "little")
        path.write_bytes(data)
        for asked in (["--scan"], ["--json", "--sites", "--scan"], ["--sites"]):
            with bounded(30):
                status = main(["list", *asked, str(path)])
            printed, said = capsys.readouterr()
            assert status in (0, 1, 2)
            assert bool(printed) or said.count("\n") == 1, said
            assert not said or said.startswith("static-call: ")
