"""The seam for instruction sets: one with other sizes and another order of bytes than A64's.

In it a slot and a literal both have four bytes, and numbers are big-endian, so whatever tells one
from the other by its size, or reads A64's order, goes wrong here. Its encodings are Power's, where
Power has the instruction; the expected words were put together by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar

import pytest
from gnu import Memory

from static_call.design import notation
from static_call.design.design import Design
from static_call.design.scan import candidates
from static_call.design.trampoline import Trampoline
from static_call.isa.instruction import (
    KINDS,
    Instruction,
    Kind,
    Misaligned,
    OutOfRange,
    Row,
    Table,
)
from static_call.isa.isa import Cmodx, Executed, Isa, Patcher, Read, Step
from static_call.isa.sets import SETS


class ToyRow(Row):
    """A row of the toy: registers r0 to r31, addresses of 32 bits."""

    kinds: ClassVar[Mapping[str, Kind]] = {
        **KINDS,
        "r:": Kind("a register", {f"r{n}": n for n in range(32)}, size=4),
        "@": Kind("a label or an address", bits=32),
    }


TABLE = Table(
    ToyRow("b", "010010 i24 00", "@i*4", "every"),
    ToyRow("nop", "011000 00000 00000 0000000000000000", "", "every"),
    ToyRow("blr", "010011 10100 00000 00000 0000010000 0"),
    ToyRow("jump", "010011 n5 000000000000000000000", "r:n"),
    ToyRow("load", "100001 t5 i21", "r:t, @i*4"),
    ToyRow("stw", "100100 t5 n5 0000000000000000", "r:t, [r:n]"),
    ToyRow("sync", "011111 00000 00000 00000 1001010110 0"),
)


def perform(insn: Instruction, values: list[int], load: Callable[[int, int], int]) -> Step | None:
    """What a retarget's instruction does; its registers are r3 and on."""
    if insn.name == "stw":
        return Step("store", values[insn["n"] - 3], values[insn["t"] - 3], 4, "big")
    return Step(insn.name)


def uses(insn: Instruction, writes: bool) -> Iterator[tuple[str, int]]:
    """The registers that it reads; none is written."""
    if insn.name == "stw" and not writes:
        for number in (insn["t"], insn["n"]):
            yield f"r{number}", number - 3 if 3 <= number <= 10 else -1


def walk(read: Read, start: int, limit: int) -> Iterator[Executed]:
    """Follows b, nop, load, jump and blr."""
    known: dict[int, int] = {}
    pc = start
    for _ in range(limit):
        insn = TABLE.decode(int.from_bytes(read(pc, 4), "big"), pc)
        match insn.name:
            case "b":
                done = Executed(pc, insn, insn["i"], branch="direct")
            case "load":
                known[insn["t"]] = int.from_bytes(read(insn["i"], 4), "big")
                done = Executed(pc, insn, pc + 4, load=insn["i"], writes=insn["t"])
            case "jump":
                done = Executed(pc, insn, known[insn["n"]], branch="indirect")
            case "blr":
                done = Executed(pc, insn, None, branch="return")
            case _:
                done = Executed(pc, insn, pc + 4)
        yield done
        if done.next is None:
            return
        pc = done.next


TOY = Isa(
    name="toy",
    word=4,
    pointer=4,
    order="big",
    literal=".long",
    parse=TABLE.parse,
    decode=TABLE.decode,
    walk=walk,
    patcher=Patcher(
        ("stw", "sync"),
        lambda insn: not insn.symbols,
        tuple(f"r{n}" for n in range(3, 11)),
        uses,
        perform,
        (),
    ),
    pads=lambda _: None,
    cmodx=Cmodx("Power ISA 2.03, Book II, 1.8.1", {"every": "every edition"}, TABLE.listed),
    common=frozenset({"nop", "blr"}),
)

TEXT = """\
// Toy: a slot and a literal of the same size
        .isa    toy
slot:   { near: b target | far: nop | null: blr }
        load    r12, literal
        jump    r12
literal: { near, far: .long target | null: .long 0 }
retarget:
        stw     r6, [r5]
        sync
        stw     r4, [r3]
"""

AT, NEAR, FAR = 0x10000, 0x11000, 0x4000_0000
LOAD, JUMP = "85800002", "4d800000"  # r12: two words on; by r12
CODE = {
    "near": ("48001000", NEAR, "00011000"),
    "far": ("60000000", FAR, "40000000"),
    "null": ("4e800020", None, "00000000"),
}
"""By form: the slot, the target, the literal."""


@pytest.fixture
def design(monkeypatch: pytest.MonkeyPatch) -> Design:
    """TEXT, in a program that has the toy."""
    monkeypatch.setitem(SETS, "toy", TOY)
    return notation.read(TEXT, "toy.s", "toy")


def image(form: str) -> bytes:
    """The trampoline in a form."""
    slot, _, literal = CODE[form]
    return bytes.fromhex(slot + LOAD + JUMP + literal)


def test_the_text_says_what_is_a_slot_and_what_a_literal(design: Design) -> None:
    """Four items of four bytes, of which the first is a slot and the last a literal."""
    assert [item.size for item in design.items] == [4, 4, 4, 4]
    assert [item.is_slot for item in design.items] == [True, False, False, False]
    assert [item.is_literal for item in design.items] == [False, False, False, True]
    assert [slot.label for slot in design.slots] == ["slot"]
    assert [one.modifiable() for one in design.patched] == [True, True, False]
    assert design.isa.cmodx.listed("every") == ["b", "nop"]
    assert (design.size, design.entry, design.align, design.isa) == (16, 0, 4, TOY)
    assert [text for _, text in design.listing()] == [
        "{ near: b target | far: nop | null: blr }",
        "load r12, literal",
        "jump r12",
        "{ near, far: .long target | null: .long 0x0 }",
    ]


@pytest.mark.parametrize("form", CODE)
def test_bytes_and_back(design: Design, form: str) -> None:
    """Each form is assembled to its words, big-endian, and found from them; so it is by a scan."""
    _, target, literal = CODE[form]
    assert design.form_for(AT, target, {}) == form
    assert design.assemble(AT, form, target) == [(AT, image(form))]
    found = design.recognise(AT, Memory([(AT, image(form))]).read)
    assert found is not None
    assert (found.form, found.target, found.agrees) == (form, target, True)
    assert found.literals == {"literal": int(literal, 16)}
    code = [(AT - 8, bytes(8) + image(form) + bytes(8), 0)]
    assert list(candidates(code, [design])) == [(AT, design)]
    assert design.recognise(AT, Memory([(AT, image(form)[::-1])]).read) is None


@pytest.mark.parametrize("before", CODE)
@pytest.mark.parametrize("after", CODE)
def test_the_plan_makes_one_of_the_other(design: Design, before: str, after: str) -> None:
    """The steps of a retarget store the new literal, then the new slot, and leave the new form."""
    slot, target, literal = CODE[after]
    memory = bytearray(image(before))
    plan = Trampoline(design, AT).plan(target, Memory([(AT, bytes(memory))]).read)
    assert [(step.op, step.address, step.data.hex()) for step in plan.steps] == [
        ("store", AT + 12, literal),
        ("sync", 0, ""),
        ("store", AT, slot),
    ]
    for step in plan.steps:
        memory[step.address - AT : step.address - AT + step.size] = step.data
    assert bytes(memory) == image(after)


def test_costs_come_from_its_walk(design: Design) -> None:
    """Instructions, loads, branches, and indirect ones among them."""
    assert design.cost("near") == (1, 0, 1, 0)
    assert design.cost("far") == (3, 1, 1, 1)
    assert design.cost("null") == (1, 0, 1, 0)


def test_addresses_have_its_width(design: Design) -> None:
    """32 bits: no target beyond, no literal of 64; a branch wraps where addresses do."""
    with pytest.raises(OutOfRange, match="not a 32-bit address"):
        design.form_for(AT, 1 << 32, {})
    with pytest.raises(Misaligned):
        design.form_for(AT, NEAR + 2, {})
    with pytest.raises(notation.NotationError, match="expected a 32-bit number"):
        notation.read(TEXT.replace(".long 0", ".long 0x100000000"), "toy.s", "toy")
    assert TABLE.parse("b 0xfffffff0").encode(0x10) == 0x4BFFFFE0
    assert TABLE.decode(0x4BFFFFE0, 0x10)["i"] == 0xFFFFFFF0


def test_registers_have_its_names(design: Design) -> None:
    """Cell 0 is in r3 and r4, cell 1 in r5 and r6; what a retarget reads beyond holds nothing."""
    with pytest.raises(notation.NotationError, match="r7 holds nothing: the 2 cells are in r3 to"):
        notation.read(TEXT.replace("r4, [r3]", "r7, [r3]"), "toy.s", "toy")


def test_another_sets_name_comes_before_its_instructions(design: Design) -> None:
    """`.isa` decides how the lines after it are read."""
    text = "slot: { near: b target }\n.isa toy\nretarget: str w1, [x0]\n"
    with pytest.raises(notation.NotationError, match="before the first instruction"):
        notation.read(text, "t.s", "t")
    with pytest.raises(notation.NotationError, match="expected a64 or toy, not other"):
        notation.read(".isa other\n", "t.s", "t")
