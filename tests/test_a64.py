"""The A64 table compared with GNU as, objdump and capstone, and its limits with the Arm ARM."""

from __future__ import annotations

import random
import re
from pathlib import Path

import capstone
import pytest
from gnu import disassemble, link, pack
from hypothesis import given
from hypothesis import strategies as st

from static_call.isa import a64

BASE = 0x7_1234_0404
"""Where the first instruction lies: not at the start of a page, and ADRP can go both ways."""

MIB = 1 << 20


def counts(operand: a64.Operand, chance: random.Random) -> list[int]:
    """Values of an operand in its units: all, or the edges, each bit, and some at random."""
    low, high = operand.span
    if operand.width <= 7:
        return list(range(low, high + 1))
    bits = [1 << bit for bit in range(operand.width - 1)]
    chosen = {low, low + 1, 0, high - 1, high, *bits, *(low + bit for bit in bits)}
    return sorted(chosen) + [chance.randint(low, high) for _ in range(16)]


def place(operand: a64.Operand, count: int, at: int) -> int:
    """The operand's value that is `count` of its units."""
    if operand.relative:
        return (at & -4096 if operand.kind == "@@" else at) + count * operand.unit
    return count * operand.unit


def instructions() -> list[a64.Instruction]:
    """Every row over each operand's range, the others at random; the k-th is at BASE + 4k."""
    chance = random.Random(64)
    made: list[a64.Instruction] = []
    for row in a64.TABLE:
        every = [counts(operand, chance) for operand in row.operands]
        choices = [[chance.choice(some) for some in every]]
        for number, some in enumerate(every):
            choices += [
                [one if k == number else chance.choice(other) for k, other in enumerate(every)]
                for one in some
            ]
        for choice in choices:
            at = BASE + 4 * len(made)
            values = {
                operand.name: place(operand, count, at)
                for operand, count in zip(row.operands, choice)
            }
            made.append(a64.Instruction(row, values))
    return made


INSTRUCTIONS = instructions()
WORDS = [insn.encode(BASE + 4 * k) for k, insn in enumerate(INSTRUCTIONS)]


def neighbours() -> list[int]:
    """Words at random, and for each row words that differ from it in one bit."""
    chance = random.Random(46)
    found = [chance.getrandbits(32) for _ in range(8000)]
    for row in a64.TABLE:
        free = chance.getrandbits(32) & ~row.mask
        found += [row.value ^ free ^ 1 << bit for bit in range(32)]
    return found


def plain(text: str) -> str:
    """A line without comment, its numbers in decimal, its blanks alike."""
    text = re.sub(r"\s*//.*", "", text.lower())
    text = re.sub(r"#?(-?)\b(0x[0-9a-f]+|\d+)\b", lambda m: m[1] + str(int(m[2], 0)), text)
    return " ".join(text.replace(",", ", ").split())


def for_capstone(insn: a64.Instruction) -> str:
    """The instruction in capstone's words, which cannot be asked to use fewer aliases."""
    text = str(insn)
    match insn.name:
        case "ldp" | "stp" if unpredictable(insn):
            return ""
        case "dsb" if insn["o"] == 12:
            return "dfb"
        case "b.cs" | "b.cc":
            return text.replace("b.cs", "b.hs").replace("b.cc", "b.lo")
        case "hint" if insn["i"] == 6:
            return "dgh"
        case "movz" | "movn" if insn["i"] or not insn.get("s"):
            value = insn["i"] << insn.get("s")
            if insn.name == "movn" and insn.size == 4 and insn["i"] == 0xFFFF:
                return text
            register = text.split()[1]
            bits = 8 * insn.size
            value = value if insn.name == "movz" else ~value
            value = (value + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)
            return f"mov {register} {value}"
        case "orr" if insn["n"] == 31 and not insn.get("s"):
            return text.replace("orr", "mov").replace(" xzr,", "", 1)
        case "add" if (
            "i" in insn and 31 in (insn["d"], insn["n"]) and not (insn["i"] or insn.get("s"))
        ):
            return text.replace("add", "mov").partition(", #")[0]
    return text


def unpredictable(insn: a64.Instruction) -> bool:
    """Whether a pair's registers overlap so that it is CONSTRAINED UNPREDICTABLE (C6.2, LDP, STP):
    objdump shows it, capstone doesn't."""
    assert insn.row is not None
    text = str(insn)
    overlap = insn["n"] != 31 and insn["n"] in (insn["t"], insn["u"])
    return (overlap and not text.endswith("]")) or (insn.name == "ldp" and insn["t"] == insn["u"])


def hold(folder: Path, words: list[int]) -> None:
    """Asserts that objdump and capstone read the words as the table does."""
    data = pack(words)
    said = disassemble(folder, data, BASE), disassemble(folder, data, BASE, "-M", "no-aliases")
    machine = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_LITTLE_ENDIAN)
    for k, (word, *texts) in enumerate(zip(words, *said, strict=True)):
        at = BASE + 4 * k
        insn = a64.decode(word, at)
        assert insn.encode(at) == word, hex(word)
        if insn.row is None:
            for text in texts:  # and nothing that objdump calls it is in the table
                with pytest.raises(a64.BadSyntax):
                    a64.parse(re.sub(r"\s*//.*", "", text))
            continue
        assert plain(str(insn)) in map(plain, texts), hex(word)
        assert a64.assemble(str(insn), at) == word, hex(word)
        other = next((f"{m} {ops}" for _, _, m, ops in machine.disasm_lite(pack([word]), at)), "")
        assert plain(for_capstone(insn)) == plain(other), hex(word)


def test_text_to_words_is_as_gnu_as_has_it(tmp_path: Path) -> None:
    """Every row's text, over its operands' ranges, makes the word that GNU as and ld make of it."""
    symbols: dict[str, int] = {}

    def name(address: int) -> str:
        symbols[f"A{address:x}"] = address
        return f"A{address:x}"

    texts = [insn.format(name) for insn in INSTRUCTIONS]
    theirs = a64.words(
        link(tmp_path, "\n".join(texts) + "\n", symbols, f"-Ttext={BASE:#x}")[".text"]
    )
    ours = [a64.assemble(text, BASE + 4 * k, symbols) for k, text in enumerate(texts)]
    wrong = [
        f"{text}: {mine:#010x}, GNU as has {other:#010x}"
        for text, mine, other in zip(texts, ours, theirs, strict=True)
        if mine != other
    ]
    assert not wrong
    assert ours == WORDS


def test_words_to_text_is_as_objdump_and_capstone_have_it(tmp_path: Path) -> None:
    """Every row's words, over its operands' ranges, are read as objdump and capstone read them."""
    hold(tmp_path, WORDS)


def test_any_word_is_read_as_objdump_and_capstone_read_it_or_as_unknown(tmp_path: Path) -> None:
    """Random words and words one bit off a row: the same instruction, or none in the table."""
    hold(tmp_path, neighbours())


def limits(row: a64.Row, operand: a64.Operand) -> tuple[int, int, int]:
    """The lowest and the highest value (a distance, for an address) and the step between values,
    as the instructions' pages in the Arm ARM (C6.2) give them."""
    wide = row.operands[0].kind != "w:"
    match row.name, operand.kind:
        case _, "x:" | "w:" | "s:":
            return 0, 31, 1
        case "b" | "bl", "@":
            return -128 * MIB, 128 * MIB - 4, 4
        case "tbz" | "tbnz", "@":
            return -0x8000, 0x7FFC, 4
        case "adr", "@":
            return -MIB, MIB - 1, 1
        case "adrp", "@@":
            return -(1 << 32), (1 << 32) - 0x1000, 0x1000
        case name, "@" if name in ("cbz", "cbnz", "ldr") or name.startswith("b."):
            return -MIB, MIB - 4, 4
        case "tbz" | "tbnz", "%":
            return 0, 63 if wide else 31, 1
        case (
            "svc"
            | "hvc"
            | "smc"
            | "brk"
            | "udf"
            | "dcps1"
            | "dcps2"
            | "dcps3"
            | "mov"
            | "movz"
            | "movn"
            | "movk",
            "#",
        ):
            return 0, 0xFFFF, 1
        case "movz" | "movn" | "movk", "%":
            return 0, 48 if wide else 16, 16
        case "add" | "sub", "#":
            return 0, 0xFFF, 1
        case "add" | "sub", "%" if "i" in {other.name for other in row.operands}:
            return 0, 12, 12
        case "add" | "orr", "%":
            return 0, 63, 1
        case "ldr" | "str", "#":
            return (0, 0x7FF8, 8) if wide else (0, 0x3FFC, 4)
        case "ldp" | "stp", "~":
            return (-512, 504, 8) if wide else (-256, 252, 4)
        case "hint", "#":
            return 0, 127, 1
        case "isb", "#":
            return 0, 15, 1
        case "dmb" | "dsb", "o:":
            return 0, 15, 1
    raise AssertionError(f"no limits for {operand} of {row}")


def encode_with(row: a64.Row, operand: a64.Operand, value: int) -> int:
    """The row's word at BASE with a value in one operand, 0 in the others."""
    origin = {"@": BASE, "@@": BASE & -4096}
    values = {
        other.name: origin.get(other.kind, 0) + (value if other is operand else 0)
        for other in row.operands
    }
    return a64.Instruction(row, values).encode(BASE)


def test_encode_refuses_one_step_beyond_every_limit() -> None:
    """The last value that fits encodes; the next raises OutOfRange, or BadRegister for a register;
    one between two steps raises Misaligned."""
    for row in a64.TABLE:
        for operand in row.operands:
            low, high, step = limits(row, operand)
            assert encode_with(row, operand, low) != encode_with(row, operand, high)
            beyond = a64.BadRegister if operand.is_register else a64.OutOfRange
            for value in (low - step, high + step):
                with pytest.raises(beyond):
                    encode_with(row, operand, value)
            if step > 1:
                for value in (low + 1, high - 1):
                    with pytest.raises(a64.Misaligned):
                        encode_with(row, operand, value)


def test_addresses_wrap_at_64_bits() -> None:
    """A branch past the end of the address space reaches the other end, both ways."""
    top = (1 << 64) - 8
    assert a64.assemble("b start", top, {"start": 8}) == 0x14000004
    assert a64.decode(0x14000004, top)["i"] == 8
    assert a64.assemble("b end", 8, {"end": top}) == 0x17FFFFFC
    assert a64.decode(0x17FFFFFC, 8)["i"] == top


EVERY = {"b", "bl", "brk", "hvc", "isb", "nop", "smc", "svc"}
NEWER = {
    "cbz", "cbnz", "tbz", "tbnz",
    "b.eq", "b.ne", "b.cs", "b.hs", "b.cc", "b.lo", "b.mi", "b.pl", "b.vs", "b.vc",
    "b.hi", "b.ls", "b.ge", "b.lt", "b.gt", "b.le", "b.al", "b.nv",
}  # fmt: skip


def test_the_cmodx_list() -> None:
    """Arm ARM B2.2.5: what may be modified while it may execute, and nothing else (CB, CBB, CBH and
    TRCIT, which newer editions list too, are not in the table). UDF came with issue M.a."""
    for row in a64.TABLE:
        expected = "every" if row.name in EVERY else "newer" if row.name in NEWER else ""
        assert row.cmodx == ("present" if row.name == "udf" else expected), row
    assert {row.name for row in a64.TABLE} >= EVERY | NEWER | {"udf"}
    assert (a64.listed("every"), set(a64.listed("newer"))) == (sorted(EVERY), EVERY | NEWER)
    assert set(a64.listed()) == set(a64.listed("present")) == EVERY | NEWER | {"udf"}
    assert not a64.decode(0x00000000).modifiable("newer")  # udf
    with pytest.raises(ValueError, match="not in"):
        a64.decode(0x00000000).modifiable("M.a")  # not one of EDITIONS
    assert a64.decode(0xD503201F).cmodx == "every"  # nop
    assert a64.decode(0xD503245F).cmodx == ""  # bti c
    assert a64.decode(0xD65F03C0).cmodx == ""  # ret
    assert a64.decode(0x1E602000).cmodx == ""  # fcmp: not in the table


@pytest.mark.parametrize(
    ("line", "column", "message"),
    [
        ("", 0, "expected an instruction"),
        ("   ", 3, "expected an instruction"),
        ("  frob x0", 2, "frob is not an instruction of the table"),
        ("b", 1, "expected a label or an address"),
        ("b 4 5", 4, "expected the end of the line"),
        ("b 010", 2, "expected a label or an address"),
        ("b #", 2, "expected a label or an address"),
        ("b :lo12:x", 2, "expected a label or an address"),
        ("br w16", 3, "expected a 64-bit register"),
        ("br sp", 3, "expected a 64-bit register"),
        ("br x31", 3, "expected a 64-bit register"),
        ("cbz x0 8", 7, "expected ,"),
        ("tbz w0, #32, 8", 8, "0x20 is out of range: 0x0..0x1f"),
        ("ldr x16, [x16, #12]", 15, "0xc is not a multiple of 8"),
        ("ldr x16, [x16, #8", 17, "expected ]"),
        ("ldr x16, [xzr]", 10, "expected a 64-bit register or sp"),
        ("ldr x16, [x16, sym]", 15, "expected an immediate"),
        ("stp x1, x2, [sp, #512]!", 17, "0x200 is out of range: -0x200..0x1f8"),
        ("add x0, x1, #1, lsl #3", 20, "0x3 is not a multiple of 12"),
        ("movz w0, #1, lsl #32", 17, "0x20 is out of range: 0x0..0x10"),
        ("bti k", 4, "expected the end of the line or c or j or jc"),
        ("ldr x16, %", 9, "expected a label or an address or ["),
        ("mov x0, #0x10000", 8, "0x10000 is out of range: 0x0..0xffff"),
        ("dmb now", 4, "expected a barrier option"),
        ("dc cvau x0", 8, "expected ,"),
        ("dc civac, x0", 3, "expected cvau"),
        ("mrs x0, midr_el1", 8, "expected ctr_el0"),
        ("svc #" + "9" * 5000, 4, "expected an immediate"),
    ],
)
def test_bad_text_is_refused_where_it_stops_making_sense(
    line: str, column: int, message: str
) -> None:
    """BadSyntax says what was expected, and the column."""
    with pytest.raises(a64.BadSyntax) as raised:
        a64.parse(line)
    assert (raised.value.column, str(raised.value)) == (column, message)


def test_text_as_people_write_it(tmp_path: Path) -> None:
    """Upper case, blanks, tabs and other names of registers mean what they mean to GNU as."""
    lines = [
        "  LDR\tX16 , [ X16 , #:lo12:there ]",
        "add ip0, ip1, :lo12:there",
        "MOV X29, LR",
        "mov w3, 0x12",
        "stp fp, lr, [SP, #-16]!",
        "b.HS there",
        "movk w3, #0x12, LSL#16",
        "add sp, sp, 1, lsl 12",
        "ret x30",
        "tbz x3, #3, there",
    ]
    symbols = {"there": BASE + 0x84}
    theirs = a64.words(
        link(tmp_path, "\n".join(lines) + "\n", symbols, f"-Ttext={BASE:#x}")[".text"]
    )
    assert [a64.assemble(line, BASE + 4 * k, symbols) for k, line in enumerate(lines)] == theirs


def test_a_name_without_a_value_is_a_key_error() -> None:
    """What is left unbound cannot be encoded."""
    with pytest.raises(KeyError):
        a64.assemble("b nowhere")


def fragments() -> st.SearchStrategy[str]:
    """Pieces of assembly in any order, and any text."""
    names = sorted({word for row in a64.TABLE for word in row.name.split()})
    pieces = [*names, "x0", "w1", "sp", "[", "]", "]!", ",", "#", "#8", "lsl", ":lo12:", "1f", " "]
    lines = st.lists(st.sampled_from(pieces), max_size=9).map(" ".join)
    return lines | st.text(max_size=30)


@given(fragments())
def test_any_text_is_an_instruction_or_bad_syntax(line: str) -> None:
    """Nothing but BadSyntax, its column within the line; what is read is read again from its own
    text."""
    try:
        insn = a64.parse(line)
    except a64.BadSyntax as error:
        column = error.column
    else:
        column = 0
        assert str(a64.parse(str(insn))) == str(insn)
    assert 0 <= column <= len(line)
