"""The shipped designs, each against its assembly written by hand and assembled by GNU as.

BY_HAND comes from the mails, commits and rules that the designs' texts name, not
from those texts: assembly by form, layout, the retarget's code and what a call costs.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from gnu import Memory, link, pack
from hypothesis import given
from hypothesis import strategies as st
from unicorn import UC_ARCH_ARM64, UC_HOOK_CODE, UC_MODE_ARM
from unicorn.arm64_const import UC_ARM64_REG_LR, UC_ARM64_REG_X0
from unicorn.unicorn import Uc

from static_call.design import notation, shapes
from static_call.design.design import Cost, Design, Recognised
from static_call.design.retarget import steps
from static_call.design.target import RET0, Target, Unreachable, Unsupported
from static_call.design.trampoline import Trampoline
from static_call.isa import a64

GIB = 1 << 30
REACH = 128 << 20


class ByHand(NamedTuple):
    """A design, by hand.

    code       its assembly: {slot} and the like are the cells; E is the entry, T the target,
               L the literal where that lies in another section
    forms      by form, what the cells hold, and what a call costs: instructions, loads, taken
               branches, indirect ones
    align, size, entry, slot
    literal    its offset, or None if it is in another section
    retarget   its code
    """

    code: str
    forms: dict[str, tuple[dict[str, str], tuple[int, int, int, int]]]
    align: int
    size: int
    entry: int
    slot: int | None
    literal: int | None
    retarget: str


# The order of the field: the literal, then the slot, then maintenance (for CTR_EL0.{IDC,DIC} = 0).
LITERAL_THEN_SLOT = (
    "str x3, [x2]; dmb ishst; str w1, [x0]; dc cvau, x0; dsb ish; ic ivau, x0; dsb ish; "
)

BY_HAND = {
    "adrp-add": ByHand(
        "bti c; {slot}; {page}; {offset}; br x16",
        {
            "near": ({"slot": "b T", "page": ".word 0", "offset": ".word 0"}, (2, 0, 1, 0)),
            "far": (
                {"slot": "nop", "page": "adrp x16, T", "offset": "add x16, x16, :lo12:T"},
                (5, 0, 1, 1),
            ),
            "null": ({"slot": "ret", "page": ".word 0", "offset": ".word 0"}, (2, 0, 1, 0)),
        },
        8, 20, 0, 4, None,
        "str w3, [x2]; str w5, [x4]; dmb ishst; str w1, [x0]; dc cvau, x0; dc cvau, x4; dsb ish; "
        "ic ivau, x0; ic ivau, x4; dsb ish; isb",
    ),
    "data-literal": ByHand(
        "bti c; adrp x16, L; ldr x16, [x16, :lo12:L]; cbz x16, 1f; br x16; 1: ret",
        {
            "far": ({"literal": ".quad T"}, (5, 1, 1, 1)),
            "null": ({"literal": ".quad 0"}, (5, 1, 2, 0)),
        },
        8, 24, 0, None, None,
        "str x1, [x0]",
    ),
    "slot-adrp-literal": ByHand(
        "bti c; {slot}; adrp x16, L; ldr x16, [x16, :lo12:L]; br x16",
        {
            "near": ({"slot": "b T", "literal": ".quad T"}, (2, 0, 1, 0)),
            "far": ({"slot": "nop", "literal": ".quad T"}, (5, 1, 1, 1)),
            "null": ({"slot": "ret", "literal": ".quad 0"}, (2, 0, 1, 0)),
        },
        8, 20, 0, 4, None,
        LITERAL_THEN_SLOT + "isb",
    ),
    "slot-inline-literal": ByHand(
        "bti c; {slot}; ldr x16, 1f; br x16; 1: {literal}",
        {
            "near": ({"slot": "b T", "literal": ".quad T"}, (2, 0, 1, 0)),
            "far": ({"slot": "nop", "literal": ".quad T"}, (4, 1, 1, 1)),
            "null": ({"slot": "ret", "literal": ".quad 0"}, (2, 0, 1, 0)),
        },
        8, 24, 0, 4, 16,
        LITERAL_THEN_SLOT + "isb",
    ),
    "literal-before-entry": ByHand(
        "2: {literal}; bti c; {slot}; ldr x16, 2b; cbz x16, 1f; br x16; 1: ret",
        {
            "near": ({"slot": "b T", "literal": ".quad T"}, (2, 0, 1, 0)),
            "far": ({"slot": "nop", "literal": ".quad T"}, (5, 1, 1, 1)),
            "null": ({"slot": "ret", "literal": ".quad 0"}, (2, 0, 1, 0)),
        },
        16, 32, 8, 12, 0,
        "ldr w4, [x0, #8]; orr x4, x4, x3, lsl #32; stp x1, x4, [x0]; dc cvau, x0; dsb ish; "
        "ic ivau, x0; dsb ish; isb",
    ),
    "local-stub": ByHand(
        "2: {literal}; bti c; {slot}; ldr x16, 2b; br x16; 1: bti c; ret",
        {
            "near": ({"slot": "b T", "literal": ".quad T"}, (2, 0, 1, 0)),
            "far": ({"slot": "nop", "literal": ".quad T"}, (4, 1, 1, 1)),
            "null": ({"slot": "nop", "literal": ".quad 1f"}, (6, 1, 2, 1)),
        },
        16, 32, 8, 12, 0,
        "str x1, [x0]; dmb ishst; str w3, [x2]; dc cvau, x2; dsb ish; ic ivau, x2; dsb ish; isb",
    ),
    "mainline": ByHand(
        "bti c; adrp x16, L; ldr x16, [x16, :lo12:L]; br x16",
        {"far": ({"literal": ".quad T"}, (4, 1, 1, 1))},
        16, 16, 0, None, None,
        "str x1, [x0]",
    ),
    "inline-stub": ByHand(
        "bti c; {slot}; ldr x16, 1f; br x16; 1: {literal}; 2: bti c; mov x0, #0; 3: bti c; ret",
        {
            "near": ({"slot": "b T", "literal": ".quad T"}, (2, 0, 1, 0)),
            "far": ({"slot": "nop", "literal": ".quad T"}, (4, 1, 1, 1)),
            "null": ({"slot": "b 3f", "literal": ".quad 3f"}, (4, 0, 2, 0)),
            "ret0": ({"slot": "b 2f", "literal": ".quad 2f"}, (6, 0, 2, 0)),
        },
        8, 40, 0, 4, 16,
        "cse; " + LITERAL_THEN_SLOT + "cse",
    ),
    "adrp-stub": ByHand(
        "bti c; {slot}; adrp x16, L; ldr x16, [x16, :lo12:L]; br x16; "
        "2: bti c; mov x0, #0; 3: bti c; ret",
        {
            "near": ({"slot": "b T", "literal": ".quad T"}, (2, 0, 1, 0)),
            "far": ({"slot": "nop", "literal": ".quad T"}, (5, 1, 1, 1)),
            "null": ({"slot": "b 3f", "literal": ".quad E + 28"}, (4, 0, 2, 0)),
            "ret0": ({"slot": "b 2f", "literal": ".quad E + 20"}, (6, 0, 2, 0)),
        },
        8, 36, 0, 4, None,
        "cse; " + LITERAL_THEN_SLOT + "cse",
    ),
}  # fmt: skip

NAMES = sorted(BY_HAND)


class Case(NamedTuple):
    """A trampoline: a design and form, at an entry, with a target and, if elsewhere, a literal."""

    name: str
    form: str
    entry: int
    target: Target
    outside: dict[str, int]

    @property
    def design(self) -> Design:
        """The design under test."""
        return notation.load(self.name)

    def assemble(self) -> list[tuple[int, bytes]]:
        """The bytes that are under test."""
        target = self.target if isinstance(self.target, int) else None
        return self.design.assemble(self.entry, self.form, target, self.outside)


def case(name: str, form: str, base: int, target: int, literal: int) -> Case:
    """A trampoline whose first byte is at `base`."""
    hand = BY_HAND[name]
    fixed: dict[str, Target] = {"null": None, "ret0": RET0}
    outside = {"literal": literal} if "L" in hand.code else {}
    return Case(name, form, base + hand.entry, fixed.get(form, target), outside)


def edges() -> Iterator[Case]:
    """Every design in every form, across a page's end, its targets and its literal at the last
    address in reach; far targets just beyond a near branch, and at memory's ends."""
    page = 0
    for name, hand in BY_HAND.items():
        for form in hand.forms:
            for number in range(3):
                page += 64 * GIB
                base = page + 0xFF0  # an ADRP is among the first four words
                if form == "near":
                    target = base + (hand.slot or 0) + (-REACH, 4096, REACH - 4)[number]
                elif name == "adrp-add":
                    target = (page - 4 * GIB, base + 4 + REACH, page + 4 * GIB - 4)[number]
                elif hand.slot is None:
                    target = (4, base + 4096, (1 << 64) - 4)[number]
                else:
                    target = base + hand.slot + (-REACH - 4, 1 << 60, REACH)[number]
                literal = page + (-4 * GIB, 0x2000, 4 * GIB - 8)[number]
                yield case(name, form, base, target, literal)


CASES = list(edges())


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> list[list[tuple[int, bytes]]]:
    """The cases' bytes as GNU as and ld make them of the assembly by hand."""
    source, options = "", ["-z", "max-page-size=4096"]
    symbols: dict[str, int] = {}
    for k, one in enumerate(CASES):
        hand = BY_HAND[one.name]
        held = hand.forms[one.form][0]
        code = f'.section t{k},"ax"; {hand.code}\n'.format_map(held)
        options.append(f"--section-start=t{k}={one.entry - hand.entry:#x}")
        if one.outside:
            code += f'.section l{k},"a"; {held["literal"]}\n'
            options.append(f"--section-start=l{k}={one.outside['literal']:#x}")
        values = {"E": one.entry, "T": one.target, "L": one.outside.get("literal")}
        symbols |= {f"{name}{k}": at for name, at in values.items() if isinstance(at, int)}
        source += re.sub(r"\b([ELT])\b", rf"\g<1>{k}", code)
    made = link(tmp_path_factory.mktemp("gnu"), source, symbols, *options)
    return [
        [(one.entry - BY_HAND[one.name].entry, made[f"t{k}"])]
        + [(at, made[f"l{k}"]) for at in one.outside.values()]
        for k, one in enumerate(CASES)
    ]


def test_bytes_are_those_of_the_assembly_by_hand(theirs: list[list[tuple[int, bytes]]]) -> None:
    """Every design and form, up to the edges of reach: what GNU as and ld make of the mails'
    assembly."""
    for one, pieces in zip(CASES, theirs, strict=True):
        assert one.assemble() == pieces, one


@pytest.mark.parametrize("name", NAMES)
def test_layout_and_cost(name: str) -> None:
    """Size, alignment, entry and forms as by hand; what a call executes in each form, too."""
    design, hand = notation.load(name), BY_HAND[name]
    assert (design.size, design.align, design.entry) == (hand.size, hand.align, hand.entry)
    assert set(design.forms) == set(hand.forms)
    assert [item.offset for item in design.slots][:1] == [hand.slot][: hand.slot is not None]
    for form, (_, cost) in hand.forms.items():
        assert design.cost(form) == Cost(*cost), form


def test_every_shipped_design_is_here() -> None:
    """A new design needs its assembly by hand here, too."""
    assert list(notation.shipped()) == NAMES


def test_the_form_is_near_exactly_where_that_reaches() -> None:
    """form_for gives each case's form: near up to ±128 MiB from the slot, far from there on."""
    for one in CASES:
        assert one.design.form_for(one.entry, one.target, one.outside) == one.form, one


def test_what_no_form_does_is_refused() -> None:
    """Beyond ADRP's ±4 GiB, None or RET0 without a form, what is not an instruction's address."""
    page = 64 * GIB
    adrp, plain = notation.load("adrp-add"), notation.load("mainline")
    for target in (page - 4 * GIB - 4, page + 4 * GIB):
        with pytest.raises(Unreachable, match="no form of adrp-add reaches"):
            adrp.form_for(page + 0xFF0, target, {})
    for nothing, form in ((None, "null"), (RET0, "ret0")):
        with pytest.raises(Unsupported, match=f"mainline has no {form} form"):
            plain.form_for(page, nothing, {"literal": page + 64})
    for target, error in (
        (page + 2, a64.Misaligned),
        (-4, a64.OutOfRange),
        (1 << 64, a64.OutOfRange),
    ):
        for design in map(notation.load, NAMES):
            with pytest.raises(error):
                design.form_for(page + design.entry, target, {"literal": page + 64})


def test_nothing_is_assembled_that_would_not_work() -> None:
    """A trampoline or literal off its alignment, one out of the other's reach, a missing form."""
    inline, adrp = notation.load("inline-stub"), notation.load("adrp-stub")
    for entry, form, literal, error in (
        (0x10004, "near", 0x20000, a64.Misaligned),
        (0x10000, "near", 0x20004, a64.Misaligned),
        (0x10000, "near", 0x10000 + 4 * GIB, a64.OutOfRange),
        (0x10000, "middle", 0x20000, Unsupported),
    ):
        with pytest.raises(error):
            adrp.assemble(entry, form, 0x10000, {"literal": literal})
    for target in (0x10004 + REACH, 0x10004 - REACH - 4):
        with pytest.raises(a64.OutOfRange):
            inline.assemble(0x10000, "near", target)
    text = """
        adrp x16, lit; add x16, x16, :lo12:lit; ldr x16, [x16]; br x16
        .section .rodata
        lit: { far: .quad target }
        retarget: str x1, [x0]
    """
    by_add = notation.read(text.replace("; ", "\n"), "add.s", "add")
    with pytest.raises(a64.Misaligned):
        by_add.assemble(0x10000, "far", 0x10000, {"lit": 0x20004})
    with pytest.raises(Unsupported):
        notation.load("data-literal").assemble(0x10000, "near", 0x10000, {"literal": 0x20000})


def test_a_form_that_cannot_be_followed_has_no_cost() -> None:
    """It is refused, rather than given the cost of a part."""
    text = "mrs x16, ctr_el0\nslot: { near: b target }\nretarget: str w1, [x0]\n"
    with pytest.raises(Unsupported, match="cannot follow the near form of odd at the entry"):
        notation.read(text, "odd.s", "odd").cost("near")


def recognise(one: Case, pieces: list[tuple[int, bytes]]) -> Recognised | None:
    """What the case's design says that the bytes are."""
    return one.design.recognise(one.entry, Memory(pieces).read)


def is_found(one: Case, found: Recognised | None) -> bool:
    """Whether the recogniser found what the case is."""
    return found is not None and (found.form, found.target, found.outside, found.entry) == (
        one.form, one.target, one.outside, one.entry,
    )  # fmt: skip


def test_the_recogniser_finds_what_gnu_ld_made(theirs: list[list[tuple[int, bytes]]]) -> None:
    """Design, form, target and literal, from the bytes alone; slot and literal agree."""
    for one, pieces in zip(CASES, theirs, strict=True):
        found = recognise(one, pieces)
        assert is_found(one, found), one
        assert found is not None
        assert found.agrees
        assert found.design is one.design


@st.composite
def trampolines(draw: st.DrawFn) -> Case:
    """Any trampoline that can be."""
    name, form = draw(
        st.sampled_from([(name, form) for name in NAMES for form in BY_HAND[name].forms])
    )
    hand = BY_HAND[name]
    base = draw(st.integers(8 * GIB // 16, (1 << 60) // 16)) * 16
    if form == "near":
        target = base + (hand.slot or 0) + 4 * draw(st.integers(-REACH // 4, REACH // 4 - 1))
    elif name == "adrp-add":
        target = base + 4 * draw(st.integers(-GIB + 1024, GIB - 1024))
    else:
        target = 4 * draw(st.integers(1, (1 << 62) - 1))
    literal = base + 8 * draw(
        st.integers(-GIB // 2 + 512, GIB // 2 - 512).filter(lambda n: not 0 <= n < 8)
    )
    return case(name, form, base, target, literal)


@given(trampolines())
def test_the_recogniser_finds_what_was_assembled(one: Case) -> None:
    """Anywhere, for any target; and no other design of the same or greater length matches it."""
    pieces = one.assemble()
    assert is_found(one, recognise(one, pieces))
    read = Memory(pieces).read
    others = [notation.load(name) for name in NAMES if name != one.name]
    taken = [other.name for other in others if other.recognise(one.entry, read)]
    assert all(BY_HAND[name].size < BY_HAND[one.name].size for name in taken), taken


def test_only_a_design_that_another_begins_with_takes_it_for_its_own() -> None:
    """All forms of all designs: the first words of an ADRP stub are a slot + ADRP literal, those of
    an inline stub a slot + inline literal; nothing else is taken for anything else."""
    taken = set()
    for one in CASES:
        read = Memory(one.assemble()).read
        for name in NAMES:
            if name != one.name and notation.load(name).recognise(one.entry, read):
                taken.add((one.name, name))
    assert taken == {("adrp-stub", "slot-adrp-literal"), ("inline-stub", "slot-inline-literal")}


# The bits of a word that depend on where something is, by how its assembly begins.
FREE = {
    "b ": 0x03FFFFFF, "adrp x16, ": 0x60FFFFE0, "ldr x16, [x16, :lo12:": 0x003FFC00,
    "add x16, x16, :lo12:": 0x003FFC00,
}  # fmt: skip


def test_bytes_with_one_wrong_bit_are_not_a_trampoline() -> None:
    """The recogniser looks at every bit of every form, except the bits of addresses."""
    for one in CASES[::3]:
        hand = BY_HAND[one.name]
        pieces = one.assemble()
        base, code = pieces[0]
        offset = 0
        for line in hand.code.format_map(hand.forms[one.form][0]).split("; "):
            text = re.sub(r"^\d: ", "", line)
            if text.startswith(".quad"):
                offset += 8
                continue
            free = next((bits for start, bits in FREE.items() if text.startswith(start)), 0)
            for bit in (bit for bit in range(32) if not free >> bit & 1):
                wrong = bytearray(code)
                wrong[offset + bit // 8] ^= 1 << bit % 8
                assert recognise(one, [(base, bytes(wrong)), *pieces[1:]]) is None, (one, text, bit)
            offset += 4
        assert offset == hand.size


def test_bytes_that_are_not_all_there_are_not_a_trampoline() -> None:
    """Memory that ends within the trampoline, or that has no literal; an entry at 0."""
    for one in CASES[::3]:
        pieces = one.assemble()
        base, code = pieces[0]
        for size in range(len(code)):
            assert recognise(one, [(base, code[:size]), *pieces[1:]]) is None
        if one.outside:
            assert recognise(one, pieces[:1]) is None


def test_there_is_no_trampoline_where_there_is_no_instruction() -> None:
    """Its bytes two bytes on, or begun before address 0 by memory that wraps, are none."""
    for name in ("inline-stub", "local-stub"):
        one = case(name, "far", 0x10000, 0x20000000, 0)
        [(base, code)] = one.assemble()
        assert one.design.recognise(one.entry + 2, Memory([(base + 2, code)]).read) is None
    assert one.design.recognise(0, Memory([(-8, code)]).read) is None


def test_designs_of_ones_own_are_recognised_in_full() -> None:
    """A literal that is not a cell is fixed bytes; all bits of a target must be known."""
    text = "slot: {{ near: b target }}\n{line}\nstub: ret\nnop\nretarget: str w1, [x0]\n"
    fixed = notation.read(text.format(line=".quad stub\n.quad 5"), "fixed.s", "fixed")
    [(base, code)] = fixed.assemble(0x10000, "near", 0x20000)
    assert fixed.recognise(base, Memory([(base, code)]).read) is not None
    for offset in range(4, 20):
        wrong = code[:offset] + bytes([code[offset] ^ 1]) + code[offset + 1 :]
        assert fixed.recognise(base, Memory([(base, wrong)]).read) is None
    text = "page: { far: adrp x16, target }\nbr x16\nretarget: str w1, [x0]\n"
    half = notation.read(text, "half.s", "half")
    assert half.recognise(0x10000, Memory(half.assemble(0x10000, "far", 0x20000)).read) is None


def test_an_offset_beyond_the_page_is_not_a_lo12() -> None:
    """LDR's offset goes up to 32760, :lo12: to 4088: what has more was not made from the text."""
    one = case("adrp-stub", "far", 0x10000, 0x20000000, 0x30008)
    [(base, code), _] = one.assemble()
    ldr = a64.assemble("ldr x16, [x16, #0x1008]").to_bytes(4, "little")
    read = Memory([(base, code[:12] + ldr + code[16:]), (0x30000, bytes(0x2000))]).read
    assert one.design.recognise(one.entry, read) is None


def test_slot_and_literal_that_do_not_agree_are_said_so() -> None:
    """The slot says where a call goes. After a linker's veneer, or a retarget that stopped halfway,
    the literal says something else."""
    one = case("inline-stub", "near", 0x10000, 0x20000, 0)
    [(base, code)] = one.assemble()
    other = code[:16] + (0x30000).to_bytes(8, "little") + code[24:]
    found = recognise(one, [(base, other)])
    assert is_found(one, found)
    assert found is not None
    assert (found.agrees, found.literals) == (False, {"literal": 0x30000})


def test_words_that_a_form_leaves_alone_may_hold_another_forms() -> None:
    """ADRP+ADD once far and then near still has both; where a retarget stopped, one of them."""
    far = case("adrp-add", "far", 0x10000, 0x10000 + GIB, 0).assemble()[0][1]
    for form, target in (("near", 0x20000), ("null", None)):
        one = case("adrp-add", form, 0x10000, 0x20000, 0)
        code = one.assemble()[0][1]
        for middle in (far[8:16], far[8:12] + code[12:16], code[8:12] + far[12:16]):
            found = recognise(one, [(0x10000, code[:8] + middle + code[16:])])
            assert found is not None
            assert (found.form, found.target) == (form, target)
        assert recognise(one, [(0x10000, code[:8] + pack([0xD503201F, 0]) + code[16:])]) is None


# The shapes that are kept


def test_the_shapes_kept_are_those_of_the_texts() -> None:
    """shapes.py is what scripts/make_shapes.py makes of the shipped texts: else, make shapes."""
    script = Path(__file__).parent.parent / "scripts" / "make_shapes.py"
    made = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert Path(shapes.__file__).read_text() == made.stdout
    assert list(shapes.SHAPES) == NAMES


def test_a_trampoline_is_found_without_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shipped design recognises by its shape: no text is read before its items are asked for."""

    def unread(name: str, shape: object = None) -> object:
        raise AssertionError(f"{name} was read")

    made = {one.name: (one, one.assemble()) for one in CASES}
    monkeypatch.setattr(notation, "_shipped_text", unread)
    assert sorted(made) == NAMES
    for name, (one, pieces) in made.items():
        design = notation._load_shipped.__wrapped__(name)
        found = design.recognise(one.entry, Memory(pieces).read)
        assert found is not None
        assert (found.form, found.target) == (one.form, one.target)
        with pytest.raises(AssertionError, match="was read"):
            print(design.items)


def test_a_text_that_was_changed_is_not_taken_for_its_old_shape(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What needs the text refuses, until its shape is made anew; one without a shape is read."""
    text = (Path(notation.SHIPPED) / "inline-stub.s").read_text()
    monkeypatch.setattr(notation, "SHIPPED", str(tmp_path))
    (tmp_path / "mainline.s").write_text(text)
    (tmp_path / "added.s").write_text(text)
    for loader in (notation.shipped, notation._load_shipped):
        monkeypatch.setattr(notation, loader.__name__, loader.__wrapped__)
    with pytest.raises(notation.StaleShape, match=r"mainline\.s was changed"):
        print(notation.load("mainline").items)
    assert notation.load("added").size == notation.read(text, "added.s", "added").size


# The retarget


def test_the_retargets_machine_code_is_gnu_ass(tmp_path: Path) -> None:
    """What runs is what GNU as makes of the steps as posted, or as the field orders them."""
    for name in NAMES:
        lines = BY_HAND[name].retarget.split("; ")
        code = [step for step in notation.load(name).retarget if isinstance(step, a64.Instruction)]
        expected = link(tmp_path, "\n".join(line for line in lines if line != "cse") + "\n", {})
        assert pack([insn.encode() for insn in code]) == expected[".text"], name
        places = [k for k, line in enumerate(lines) if line == "cse"]
        steps = notation.load(name).retarget
        assert [
            k for k, step in enumerate(steps) if not isinstance(step, a64.Instruction)
        ] == places


NOP, BTI_C = "d503201f", "d503245f"
SLOT_STEPS = [
    "store 8 bytes at {literal}: 0x0000000100000000", "dmb ishst",
    f"store 4 bytes at {{slot}}: 0x{NOP}", "dc cvau {slot}", "dsb ish", "ic ivau {slot}", "dsb ish",
]  # fmt: skip
STEPS = {
    "adrp-add": [
        "store 4 bytes at 0x10008: 0x907fff90", "store 4 bytes at 0x1000c: 0x91000210", "dmb ishst",
        f"store 4 bytes at 0x10004: 0x{NOP}", "dc cvau 0x10004", "dc cvau 0x1000c", "dsb ish",
        "ic ivau 0x10004", "ic ivau 0x1000c", "dsb ish", "isb",
    ],
    "data-literal": ["store 8 bytes at 0x30000: 0x0000000100000000"],
    "mainline": ["store 8 bytes at 0x30000: 0x0000000100000000"],
    "slot-adrp-literal": [*SLOT_STEPS, "isb"],
    "slot-inline-literal": [*SLOT_STEPS, "isb"],
    "literal-before-entry": [
        f"store 16 bytes at 0x10000: 0x{NOP}{BTI_C}0000000100000000", "dc cvau 0x10000", "dsb ish",
        "ic ivau 0x10000", "dsb ish", "isb",
    ],
    "local-stub": [*SLOT_STEPS, "isb"],
    "inline-stub": ["cse", *SLOT_STEPS, "cse"],
    "adrp-stub": ["cse", *SLOT_STEPS, "cse"],
}  # fmt: skip
"""What a retarget of the trampoline at 0x10000 (literals elsewhere at 0x30000) to 4 GiB does."""


@pytest.mark.parametrize("name", NAMES)
def test_the_steps_and_their_order(name: str) -> None:
    """A retarget from near (far, where there is no near form) to far, step by step by hand."""
    hand = BY_HAND[name]
    one = case(name, "near" if "near" in hand.forms else "far", 0x10000, 0x20000, 0x30000)
    plan = Trampoline(one.design, one.entry, one.outside).plan(4 * GIB, Memory(one.assemble()).read)
    literal = 0x30000 if hand.literal is None else 0x10000 + hand.literal
    places = {"literal": hex(literal), "slot": hex(0x10000 + (hand.slot or 0))}
    assert [str(step) for step in plan.steps] == [text.format(**places) for text in STEPS[name]]


def test_steps_are_what_the_code_does() -> None:
    """Widths, offsets, pairs, shifts, the zero register, a load of what has just been stored."""
    code = [
        a64.parse(line)
        for line in (
            "str w1, [x0, #4]", "stp w1, w2, [x0, #-8]", "ldr x3, [x0]", "orr x4, x3, x1, lsl #60",
            "stp x4, xzr, [x0, #16]", "ldr w5, [x0, #4]", "str x5, [x6]", "ic ivau, x6",
        )
    ]  # fmt: skip
    memory = Memory([(0x1000, bytes(range(16)))])
    taken = steps(
        code,
        [0x1000, 0xAAAAAAAA11111112, 0x22222222],
        memory.read,
        notation.load("inline-stub").isa,
    )
    assert [(step.op, step.address, step.value, step.size) for step in taken] == [
        ("store", 0x1004, 0x11111112, 4),
        ("store", 0x0FF8, 0x2222222211111112, 8),
        ("store", 0x1010, 0x3111111203020100, 16),
        ("store", 0, 0x11111112, 8),
        ("ic ivau", 0, 0, 0),
    ]


TARGETS: list[Target] = [0x20000, 0x20010, 0x40000000, 0x40000010, None, RET0]
RETURN = 0x50000


def calls(memory: Memory, start: int) -> Target:
    """Where a thread at `start` in a trampoline arrives, by unicorn: an int for a target, None or
    RET0 where it returns."""
    machine = Uc(UC_ARCH_ARM64, UC_MODE_ARM)
    for page in (0x10000, 0x20000, 0x30000, 0x40000000, RETURN):
        machine.mem_map(page, 0x1000)
    for at, data in memory.pieces:
        machine.mem_write(at, bytes(data))
    arrived: list[int] = []

    def arrive(_: object, address: int, size: int, data: object) -> None:
        if address in (*TARGETS, RETURN):
            arrived.append(address)
            machine.emu_stop()

    machine.hook_add(UC_HOOK_CODE, arrive)
    machine.reg_write(UC_ARM64_REG_LR, RETURN)
    machine.reg_write(UC_ARM64_REG_X0, 7)
    machine.emu_start(start, 0, count=32)
    [address] = arrived
    if address != RETURN:
        return address
    return {7: None, 0: RET0}[machine.reg_read(UC_ARM64_REG_X0)]


@pytest.mark.parametrize("name", ["inline-stub", "adrp-stub", "local-stub"])
def test_every_prefix_of_a_retarget_is_a_working_trampoline(name: str) -> None:
    """After each store of each retarget between two targets, a thread at any instruction up to the
    literal's load arrives at the old or at the new one, and the recogniser finds one of them.

    (One that has loaded the literal has an address that was a whole target or stub then.)
    """
    hand = BY_HAND[name]
    assert hand.slot is not None
    targets = TARGETS if "ret0" in hand.forms else TARGETS[:-1]
    for old in targets:
        for new in targets:
            design = notation.load(name)
            outside = {"literal": 0x30000} if hand.literal is None else {}
            form = design.form_for(0x10000 + hand.entry, old, outside)
            address = old if isinstance(old, int) else None
            trampoline = Trampoline(design, 0x10000 + hand.entry, outside)
            memory = Memory(design.assemble(trampoline.entry, form, address, outside))
            for step in (None, *trampoline.plan(new, memory.read).steps):
                if step is not None and step.op == "store":
                    memory.write(step.address, step.data)
                elif step is not None:
                    continue
                for start in (trampoline.entry, 0x10000 + hand.slot, 0x10000 + hand.slot + 4):
                    assert calls(memory, start) in (old, new), (old, new, step, hex(start))
                found = trampoline.state(memory.read)
                assert found.target in (old, new)
            found = trampoline.state(memory.read)
            assert (found.target, found.agrees) == (new, True)
            assert calls(memory, trampoline.entry) == new
