"""Reading designs: what the notation means, and the error for each way to get it wrong."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from gnu import Memory
from hypothesis import example, given
from hypothesis import strategies as st

from static_call.design import notation
from static_call.design.design import Design
from static_call.design.retarget import Cse
from static_call.design.text import Quad
from static_call.errors import StaticCallError
from static_call.isa import a64

PLAIN = """\
// Plain: for tests
//
// More about it.

        .isa    a64
        .source https://example.org/a//b
        .source a mail
        .align  4

entry:  bti     c
slot:   { near: b target | far: nop | null, ret0: b 1f }
        ldr     x16, literal
        br      x16
literal: { near, far: .quad target | null, ret0: .quad 1f }
1:      bti     c
        cbz     x16, 1f
        b       1b
1:      ret

retarget:
        cse
        str     x3, [x2]
        dmb     ishst
        str     w1, [x0]
"""

NEEDED = "slot: { near: b target }\nretarget: str w1, [x0]\n"
"""The least that makes a design."""


def read(text: str) -> Design:
    """The design of a text in a file named t.s."""
    return notation.read(text, "t.s", "t")


def shape(design: Design) -> object:
    """All that a design's text says."""
    listing = [text for _, text in design.listing()]
    code = [str(step) for step in design.retarget]
    parts = design.about, design.sources, design.align, design.size, design.labels, design.forms
    return (*parts, design.outside, listing, code)


def test_what_a_text_says() -> None:
    """Each part of the notation ends up where design.py looks for it."""
    design = read(PLAIN)
    assert (design.name, design.isa.name) == ("t", "a64")
    assert design.about == "Plain: for tests\n\nMore about it."
    assert design.summary == "Plain: for tests"
    assert design.sources == ("https://example.org/a//b", "a mail")
    assert (design.align, design.size, design.entry) == (16, 40, 0)
    assert design.forms == ("near", "far", "null", "ret0")
    assert [item.label for item in design.cells] == ["slot", "literal"]
    assert [item.label for item in design.slots] == ["slot"]
    assert [(item.offset, item.size) for item in design.items] == [
        (0, 4), (4, 4), (8, 4), (12, 4), (16, 8), (24, 4), (28, 4), (32, 4), (36, 4),
    ]  # fmt: skip
    assert design.cells[1].holds("far") == Quad("target")
    assert [str(step) for step in design.retarget] == [
        "cse", "str x3, [x2]", "dmb ishst", "str w1, [x0]",
    ]  # fmt: skip
    assert isinstance(design.retarget[0], Cse)


def test_numeric_labels_are_the_nearest_in_their_direction() -> None:
    """1f is the next 1:, 1b the last one, the line's own among them, as in GNU as."""
    text = "1: b 1b\nb 1f\n1: nop\nb 1b\n" + NEEDED
    [(_, code)] = read(text).assemble(0x1000, "near", 0x2000)
    assert a64.words(code)[:4] == [0x14000000, 0x14000001, 0xD503201F, 0x17FFFFFF]


DIRECTIVES = "expected .isa, .source, .align, .claims or .section"


@pytest.mark.parametrize(
    "changes",
    [
        {"\n": "\r\n"},
        {"\n": "\r"},
        {"        ": "\t", "isa    a": "isa\ta", "align  4": "align\t4"},
        {"\n": "  \n"},
        {".isa": ".ISA", ".align": ".Align", ".source": ".SOURCE", ".quad": ".QUAD", "cse": "CSE"},
        {"x16": "X16", "nop": "NOP", "bti     c": "BTI C", "dmb": "DMB", "ldr": "Ldr"},
        {"{ ": "{", " }": "}", "far: nop |": "far:nop|", "slot:   ": "slot:"},
        {"{ near": "{  \t near", "near, far": "near ,far", "null, ret0:": "null\t,\tret0 :"},
        {"cse": "cse // all see it", "        br ": "br  ", "bti     c": "bti     c//c"},
    ],
)
def test_line_ends_blanks_and_case_mean_nothing(changes: dict[str, str]) -> None:
    """CRLF, tabs, upper case, comments and blanks do not change what a text says."""
    text = PLAIN
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    assert shape(read(text)) == shape(read(PLAIN))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # The file as a whole
        ("", "1:1: expected an instruction"),
        ("\n\n// nothing\n", "3:1: expected an instruction"),
        ("nop\n", "1:1: expected a cell with a near or a far form: nothing reaches target"),
        ("a: { null: ret }\n", "1:1: expected a cell with a near or a far form: "
         "nothing reaches target"),
        ("a: { near: b target }\n", "1:1: expected retarget: and the code that changes the cells"),
        ("a: { near: b target }\nretarget:\n",
         "2:1: expected retarget: and the code that changes the cells"),
        ("literal: { far: .quad target }\n", "1:1: expected an instruction"),
        ("\x7fELF\x02\x01\x01\n", "1:1: \x7fELF\x02\x01\x01 is not an instruction of the table"),
        # Directives
        ("  .foo 3\n", f"1:3: .foo is not a directive: {DIRECTIVES}"),
        (".word 3\n", f"1:1: .word is not a directive: {DIRECTIVES}"),
        (".isa ppc32\n", "1:6: expected a64, not ppc32"),
        ("  .isa  // a64\n", "1:7: expected a64, not nothing"),
        (".source\n", "1:8: expected where the design comes from"),
        (".align\t1\n", "1:8: expected a power of two, 2 (4 bytes) to 12"),
        (".align 13\n", "1:8: expected a power of two, 2 (4 bytes) to 12"),
        (".align\n", "1:7: expected a power of two, 2 (4 bytes) to 12"),
        (".align 3, 0\n", "1:8: expected a power of two, 2 (4 bytes) to 12"),
        ("nop\n  .align 3\n", "2:3: expected .align before the first instruction"),
        (".section\n", "1:9: expected a section's name"),
        ('.section .rodata, "a"\n', "1:10: expected a section's name"),
        # Instructions
        ("  frobnicate x0\n", "1:3: frobnicate is not an instruction of the table"),
        ("x: ldr x16, [x16, #12]\n", "1:19: 0xc is not a multiple of 8"),
        ("b 0x1000\n", "1:3: expected a label: a trampoline has no fixed address"),
        ("cbz x16, #-4\n", "1:10: expected a label: a trampoline has no fixed address"),
        ("svc #" + "9" * 9999 + "\n", "1:5: expected an immediate"),
        # Literals
        (".quad\n", "1:6: expected a 64-bit number or a label"),
        (".quad target+4\n", "1:7: expected a 64-bit number or a label"),
        (".quad 010\n", "1:7: expected a 64-bit number or a label"),
        (".quad -1\n", "1:7: expected a 64-bit number or a label"),
        (".quad 0x10000000000000000\n", "1:7: expected a 64-bit number or a label"),
        # Cells
        ("{ near: b target }\n",
         "1:1: expected a label before {: what retargeting changes has a name"),
        ("a: { near: b target\n", "1:20: expected }"),
        ("a: { near: b target // }\n", "1:20: expected }"),
        ("a: { near: b target } nop\n", "1:23: expected the end of the line"),
        ("a: {}\n", "1:5: expected a form and a colon"),
        ("a: { near: b target | }\n", "1:23: expected a form and a colon"),
        ("a: { near: b target |  nop }\n", "1:24: expected a form and a colon"),
        ("a: { neer: b target }\n", "1:6: expected a form (near, far, null, ret0), not 'neer'"),
        ("a: { near: nop | NULL: ret }\n",
         "1:18: expected a form (near, far, null, ret0), not 'NULL'"),
        ("a: { near, : nop }\n", "1:12: expected a form (near, far, null, ret0), not ''"),
        ("a: { near far: nop }\n",
         "1:6: expected a form (near, far, null, ret0), not 'near far'"),
        ("a: { near, near: nop }\n", "1:12: the form near is given twice"),
        ("a: { near: nop | far, near: ret }\n", "1:23: the form near is given twice"),
        ("a: { near: b target | far: }\n", "1:28: expected an instruction"),
        ("a: { near: b target | far: ldr x16, [x16 }\n", "1:41: expected ] or ,"),
        ("a: { near: b target | far: movz x31, #1 }\n",
         "1:33: expected a 32-bit register or a 64-bit register"),
        ("a: { near: b target | null: b nowhere }\n", "1:31: no label nowhere"),
        ("a: { far: nop | near: b 4 }\n",
         "1:25: expected a label: a trampoline has no fixed address"),
        ("a: { near: nop | far: .quad x y }\n", "1:29: expected a 64-bit number or a label"),
        ("a: { near: b target | far: .quad target }\n",
         "1:4: a literal and an instruction cannot share a cell"),
        ("nop\na: { far: .quad target }\n",
         "2:4: expected a literal at a multiple of 8 bytes, not 4"),
        ("".join(f"a{n}: {{ near: nop }}\n" for n in range(9)), "9:5: expected at most 8 cells"),
        ("nop\n" * 1025, "1025:1: expected at most 4096 bytes"),
        # Other sections
        (".section .rodata\na: nop\n",
         "2:4: expected one label and a literal in braces in .rodata"),
        (".section .rodata\na: b: { far: .quad target }\n",
         "2:7: expected one label and a literal in braces in .rodata"),
        # Labels
        ("é: nop\n", "1:1: é: is not an instruction of the table"),
        ("né: nop\n", "1:1: né: is not an instruction of the table"),
        ("²: nop\n", "1:1: ²: is not an instruction of the table"),
        ("a: a: nop\n", "1:4: the label a is defined twice"),
        ("a: nop\n a: nop\n", "2:2: the label a is defined twice"),
        (".section .x\na: { far: .quad target }\n.section .text\na: nop\n",
         "4:1: the label a is defined twice"),
        ("retarget: cse\nretarget: cse\n", "2:1: the label retarget is defined twice"),
        ("target: nop\n", "1:1: target is the function called: no label may have that name"),
        ("nop\n  end:\n" + NEEDED + "loop: nop\n",
         "5:1: no labels after retarget: its code runs straight through"),
        (NEEDED + "1: nop\n", "3:1: no labels after retarget: its code runs straight through"),
        ("nop\na: { near: b target }\n end:\nretarget: cse\n",
         "3:2: nothing is at the label end"),
        ("nop\na: { near: b target }\n1:\nretarget: cse\n", "3:1: nothing is at the label 1"),
        ("b nowhere\n" + NEEDED, "1:3: no label nowhere"),
        ("adrp x16, a\nadd x16, x16, :lo12:x1\n" + NEEDED, "1:11: no label a"),
        ("add x16, x16, :lo12:x\n" + NEEDED, "1:21: no label x"),
        ("b b\n" + NEEDED, "1:3: no label b"),
        (".quad x\n" + NEEDED, "1:7: no label x"),
        ("b SLOT\n" + NEEDED, "1:3: no label SLOT"),
        ("nop\n 1: nop\nb 2f\n", "3:3: no 2: after this"),
        ("b 1b\n1: nop\n", "1:3: no 1: before this"),
        ("1: nop\nb 1f\n", "2:3: no 1: after this"),
        ("a: { near: b target | null: b 7f }\n", "1:31: no 7: after this"),
        ("b target\n" + NEEDED,
         "1:3: target is for the near and far forms of cells only"),
        ("a: { near, null: b target }\n",
         "1:20: target is for the near and far forms of cells only"),
        ("a: { far: .quad target | ret0: .quad target }\n",
         "1:38: target is for the near and far forms of cells only"),
        ("entry: .quad 0\n" + NEEDED, "3:1: expected an instruction at the label entry"),
        # The retarget
        (NEEDED + "  b slot\n", "3:3: {steps}"),
        (NEEDED + "  bl target\n", "3:3: {steps}"),
        (NEEDED + "mov x4, x5\n", "3:1: {steps}"),
        (NEEDED + "ldr x4, slot\n", "3:1: {steps}"),
        (NEEDED + "ldr x4, 0x1000\n", "3:1: {steps}"),
        (NEEDED + "str x4, [sp]\n", "3:1: {steps}"),
        (NEEDED + "stp x4, x5, [x0], #16\n", "3:1: {steps}"),
        (NEEDED + "stp x4, x5, [x0, #16]!\n", "3:1: {steps}"),
        (NEEDED + "str x4, [x0, :lo12:slot]\n", "3:1: {steps}"),
        (NEEDED + "cse now\n", "3:1: cse is not an instruction of the table"),
        (NEEDED + ".align 3\n", "3:1: .align is not an instruction of the table"),
        (NEEDED + "{ near: nop }\n", "3:1: { is not an instruction of the table"),
        (NEEDED + "str x4 [x0]\n", "3:8: expected ,"),
    ],
)  # fmt: skip
def test_an_error_says_where_and_what_was_expected(text: str, message: str) -> None:
    """The message begins with file, line and column, and is one line."""
    steps = "expected cse or one of str, stp, ldr, orr, dmb, dsb, isb, dc cvau, ic ivau, "
    with pytest.raises(notation.NotationError) as raised:
        read(text)
    assert str(raised.value) == "t.s:" + message.replace(
        "{steps}", f"{steps}on registers and numbers"
    )
    line, column, _ = message.split(":", 2)
    assert (raised.value.path, raised.value.line, raised.value.column) == (
        "t.s", int(line), int(column),
    )  # fmt: skip


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    """load says which file and why, and for a name what the names are."""
    garbage = tmp_path / "garbage.s"
    garbage.write_bytes(bytes(range(256)))
    rows = [
        (str(tmp_path / "none.s"), "No such file or directory"),
        (str(tmp_path), "Is a directory"),
        (str(garbage), "not a text file"),
        ("./nul\0.s", "not a text file"),
        ("/dev/zero", "not a design: longer than 65536 characters"),
    ]
    for name, reason in rows:
        with pytest.raises(notation.UnknownDesign) as raised:
            notation.load(name)
        assert str(raised.value) == f"{name}: {reason}"
    with pytest.raises(notation.UnknownDesign) as raised:
        notation.load("nonesuch")
    known = ", ".join(notation.shipped())
    assert str(raised.value) == f"no design 'nonesuch': give a file or one of {known}"


def test_a_file_of_ones_own_works_as_a_shipped_name_does(tmp_path: Path) -> None:
    """A copy of a shipped design's file is the same design, named for the file; errors name it."""
    for name in notation.shipped():
        copy = tmp_path / f"my-{name}.s"
        copy.write_bytes(Path(notation.SHIPPED, f"{name}.s").read_bytes())
        design = notation.load(str(copy))
        assert design.name == f"my-{name}"
        assert shape(design) == shape(notation.load(name))
    broken = tmp_path / "broken.s"
    broken.write_text("        nop\n        nope\n")
    with pytest.raises(notation.NotationError) as raised:
        notation.load(str(broken))
    assert str(raised.value) == f"{broken}:2:9: nope is not an instruction of the table"


def test_no_shipped_design_is_without_its_source() -> None:
    """Each says what it is in one line, and where it comes from."""
    for name in notation.shipped():
        design = notation.load(name)
        assert design.sources
        assert design.summary
        assert len(design.summary) <= 100


TEXTS = [Path(notation.SHIPPED, f"{name}.s").read_text() for name in notation.shipped()] + [PLAIN]


@st.composite
def mutations(draw: st.DrawFn) -> str:
    """A design's text with lines taken out, doubled or moved, and pieces of others put in."""
    lines = draw(st.sampled_from(TEXTS)).splitlines()
    pool = sorted({piece for text in TEXTS for piece in text.split()})
    for _ in range(draw(st.integers(0, 6))):
        place = draw(st.integers(0, len(lines) - 1))
        match draw(st.integers(0, 3)):
            case 0 if len(lines) > 1:
                del lines[place]
            case 1:
                lines.insert(draw(st.integers(0, len(lines))), lines[place])
            case 2:
                pieces = lines[place].split(" ")
                pieces[draw(st.integers(0, len(pieces) - 1))] = draw(st.sampled_from(pool))
                lines[place] = " ".join(pieces)
            case _:
                cut = draw(st.integers(0, len(lines[place])))
                lines[place] = lines[place][:cut] + draw(st.text(max_size=3)) + lines[place][cut:]
    return "\n".join(lines)


@given(mutations() | st.text())
@example("²: nop\n")
@example("slot: { near: b \u0661f }\n")
@example("\x00\n\x0c\u2028{ near :\ud800}")
def test_any_text_is_a_design_or_an_error(text: str) -> None:
    """Nothing but NotationError, in one line, at a place in the text; what is read works."""
    error = works(text)
    if error is not None:
        assert "\n" not in str(error)
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        assert 1 <= error.column <= len(lines[error.line - 1]) + 1


def works(text: str) -> notation.NotationError | None:
    """Reads a text and makes of the design all that can be made: it, or a StaticCallError."""
    try:
        design = read(text)
    except notation.NotationError as error:
        return error
    outside = {label: 0x20000 + 8 * k for k, label in enumerate(design.outside)}
    for form in design.forms:
        with contextlib.suppress(StaticCallError):
            entry = 0x10000 + design.entry
            target = 0x30000 if form in ("near", "far") else None
            pieces = design.assemble(entry, form, target, outside)
            assert len(pieces[0][1]) == design.size
            memory = Memory(pieces)
            found = design.recognise(entry, memory.read)
            assert found is None or found.outside == outside
            design.cost(form)
    return None
