"""A64: the rows that trampolines, retargets, landing pads and call sites use; what is A64's own.

The bits are as the Arm ARM (DDI 0487, chapter C6) draws them. The rows that only the checker reads
are in a64_more.py, so that they do not slow the start of every run.

>>> hex(assemble("b policy", at=0x800, symbols={"policy": 0x1000}))
'0x14000200'
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from static_call.isa.instruction import (
    EDITIONS,
    KINDS,
    PAGE,
    WORD,
    BadRegister,
    BadSyntax,
    CannotEncode,
    Instruction,
    Kind,
    Misaligned,
    Operand,
    OutOfRange,
    Symbol,
    Table,
    Value,
    number,
)
from static_call.isa.instruction import Row as _Row

TYPE_CHECKING = False  # as typing has it, without its import
if TYPE_CHECKING:
    from typing import ClassVar

__all__ = [
    "CONDITIONS",
    "HINTS",
    "PADS",
    "PAGE",
    "TABLE",
    "WORD",
    "A64Error",
    "BadRegister",
    "BadSyntax",
    "Instruction",
    "Misaligned",
    "Operand",
    "OutOfRange",
    "Row",
    "Symbol",
    "Value",
    "assemble",
    "decode",
    "listed",
    "number",
    "pads",
    "parse",
    "words",
]

A64Error = CannotEncode
"""An instruction cannot be encoded."""

CONDITIONS = (
    "eq", "ne", "cs", "cc", "mi", "pl", "vs", "vc", "hi", "ls", "ge", "lt", "gt", "le", "al", "nv",
)  # fmt: skip
"""The conditions of B.cond and CSEL by their encoding, 0 to 15 (Arm ARM C1.2.4)."""

_CONDITIONS = {name: number for number, name in enumerate(CONDITIONS)} | {"hs": 2, "lo": 3}
_X = {f"x{number}": number for number in range(31)}
_W = {f"w{number}": number for number in range(31)}
_LONG = {"fp": 29, "lr": 30, "ip0": 16, "ip1": 17}


class Row(_Row):
    """A row of A64's table. It has these kinds of operand besides those of every set:

    `x:` and `w:`, as in `x:n`, are a 64-bit and a 32-bit register, where 31 is the zero register;
    `s:` is a 64-bit register where 31 is SP, and `v:` a 32-bit one; `xe:`, `xo:`, `we:` and `wo:`
    are the even and the odd register of a pair; `o:` is a barrier's option; `c:` is a condition and
    `!:` the opposite of one.
    """

    kinds: ClassVar[Mapping[str, Kind]] = {
        "x:": Kind("a 64-bit register", _X | {"xzr": 31} | _LONG, size=8),
        "w:": Kind("a 32-bit register", _W | {"wzr": 31}, size=4),
        "s:": Kind("a 64-bit register or sp", _X | {"sp": 31} | _LONG, size=8),
        "v:": Kind("a 32-bit register or wsp", _W | {"wsp": 31}, size=4),
        **{
            f"{x}{kind}:": Kind(
                f"an {word} {bits}-bit register",
                {
                    name: n // 2 * 2
                    for name, n in (names | {f"{x}zr": 31}).items()
                    if n % 2 == odd and name[0] == x
                },
                size=bits // 8,
            )
            for x, names, bits in (("x", _X, 64), ("w", _W, 32))
            for kind, word, odd in (("e", "even", 0), ("o", "odd", 1))
        },
        "c:": Kind("a condition", _CONDITIONS),
        "!:": Kind("a condition", {name: n ^ 1 for name, n in _CONDITIONS.items() if n < 14}),
        "o:": Kind("a barrier option", {
            "oshld": 1, "oshst": 2, "osh": 3, "nshld": 5, "nshst": 6, "nsh": 7,
            "ishld": 9, "ishst": 10, "ish": 11, "ld": 13, "st": 14, "sy": 15,
        }),
        **KINDS,
    }  # fmt: skip


HINTS = {
    1: "yield", 2: "wfe", 3: "wfi", 4: "sev", 5: "sevl", 7: "xpaclri",
    8: "pacia1716", 10: "pacib1716", 12: "autia1716", 14: "autib1716",
    16: "esb", 17: "psb csync", 18: "tsb csync", 20: "csdb",
    24: "paciaz", 25: "paciasp", 26: "pacibz", 27: "pacibsp",
    28: "autiaz", 29: "autiasp", 30: "autibz", 31: "autibsp",
    32: "bti", 34: "bti c", 36: "bti j", 38: "bti jc",
}  # fmt: skip
"""The hints that have a mnemonic, by their number (Arm ARM C6.2, HINT)."""


TABLE: tuple[Row, ...] = (
    # Branches
    Row("b", "000101 i26", "@i*4", "every"),
    Row("bl", "100101 i26", "@i*4", "every"),
    *(
        Row(f"b.{condition}", f"01010100 i19 0 {number:04b}", "@i*4", "newer")
        for number, condition in enumerate(CONDITIONS)
    ),
    Row("b.hs", "01010100 i19 0 0010", "@i*4", "newer", alias=True),
    Row("b.lo", "01010100 i19 0 0011", "@i*4", "newer", alias=True),
    Row("cbz", "00110100 i19 t5", "w:t, @i*4", "newer"),
    Row("cbz", "10110100 i19 t5", "x:t, @i*4", "newer"),
    Row("cbnz", "00110101 i19 t5", "w:t, @i*4", "newer"),
    Row("cbnz", "10110101 i19 t5", "x:t, @i*4", "newer"),
    Row("tbz", "00110110 b5 i14 t5", "w:t, %b, @i*4", "newer"),
    Row("tbz", "h1 0110110 b5 i14 t5", "x:t, %hb, @i*4", "newer"),
    Row("tbnz", "00110111 b5 i14 t5", "w:t, %b, @i*4", "newer"),
    Row("tbnz", "h1 0110111 b5 i14 t5", "x:t, %hb, @i*4", "newer"),
    Row("br", "1101011000011111000000 n5 00000", "x:n"),
    Row("blr", "1101011000111111000000 n5 00000", "x:n"),
    Row("ret", "1101011001011111000000 11110 00000"),
    Row("ret", "1101011001011111000000 n5 00000", "x:n"),
    # Exceptions
    Row("svc", "11010100000 i16 00001", "#i", "every"),
    Row("hvc", "11010100000 i16 00010", "#i", "every"),
    Row("smc", "11010100000 i16 00011", "#i", "every"),
    Row("brk", "11010100001 i16 00000", "#i", "every"),
    *(
        row
        for level in (1, 2, 3)
        for row in (
            Row(f"dcps{level}", f"11010100101 0000000000000000 000{level:02b}"),
            Row(f"dcps{level}", f"11010100101 i16 000{level:02b}", "#i"),
        )
    ),
    Row("udf", "0000000000000000 i16", "#i", "present"),
    # Hints: of these only NOP is on the CMODX list
    Row("nop", "11010101000000110010 0000000 11111", "", "every"),
    *(Row(name, f"11010101000000110010 {number:07b} 11111") for number, name in HINTS.items()),
    Row("hint", "11010101000000110010 i7 11111", "#i"),
    # Barriers, cache maintenance, system registers
    Row("dmb", "11010101000000110011 o4 10111111", "o:o"),
    Row("ssbb", "11010101000000110011 0000 10011111"),
    Row("pssbb", "11010101000000110011 0100 10011111"),
    Row("dsb", "11010101000000110011 o4 10011111", "o:o"),
    Row("isb", "11010101000000110011 1111 11011111", "", "every"),
    Row("isb", "11010101000000110011 i4 11011111", "#i", "every"),
    Row("dc cvau", "110101010000101101111011001 t5", ", x:t"),
    Row("ic ivau", "110101010000101101110101001 t5", ", x:t"),
    Row("mrs", "110101010011101100000000001 t5", "x:t, ctr_el0"),
    # Addresses and constants
    Row("adr", "0 l2 10000 i19 d5", "x:d, @il"),
    Row("adrp", "1 l2 10000 i19 d5", "x:d, @@il"),
    Row("add", "1001000100 i12 n5 d5", "s:d, s:n, #i"),
    Row("add", "100100010 s1 i12 n5 d5", "s:d, s:n, #i, lsl %s*12"),
    Row("add", "10001011000 m5 000000 n5 d5", "x:d, x:n, x:m"),
    Row("add", "10001011000 m5 s6 n5 d5", "x:d, x:n, x:m, lsl %s"),
    Row("sub", "1101000100 i12 n5 d5", "s:d, s:n, #i"),
    Row("sub", "110100010 s1 i12 n5 d5", "s:d, s:n, #i, lsl %s*12"),
    Row("orr", "10101010000 m5 000000 n5 d5", "x:d, x:n, x:m"),
    Row("orr", "10101010000 m5 s6 n5 d5", "x:d, x:n, x:m, lsl %s"),
    Row("mov", "10101010000 m5 000000 11111 d5", "x:d, x:m", alias=True),
    Row("mov", "11010010100 i16 d5", "x:d, #i", alias=True),
    Row("mov", "01010010100 i16 d5", "w:d, #i", alias=True),
    *(
        Row(name, f"{wide}{op}100101 {shift} i16 d5", f"{register}:d, #i{shifted}")
        for name, op in (("movn", "00"), ("movz", "10"), ("movk", "11"))
        for register, wide, shifts in (("w", "0", "0 s1"), ("x", "1", "s2"))
        for shift, shifted in (("00", ""), (shifts, ", lsl %s*16"))
    ),
    # Loads and stores
    Row("ldr", "00011000 i19 t5", "w:t, @i*4"),
    Row("ldr", "01011000 i19 t5", "x:t, @i*4"),
    Row("ldr", "1011100101 000000000000 n5 t5", "w:t, [s:n]"),
    Row("ldr", "1011100101 i12 n5 t5", "w:t, [s:n, #i*4]"),
    Row("ldr", "1111100101 000000000000 n5 t5", "x:t, [s:n]"),
    Row("ldr", "1111100101 i12 n5 t5", "x:t, [s:n, #i*8]"),
    Row("str", "1011100100 000000000000 n5 t5", "w:t, [s:n]"),
    Row("str", "1011100100 i12 n5 t5", "w:t, [s:n, #i*4]"),
    Row("str", "1111100100 000000000000 n5 t5", "x:t, [s:n]"),
    Row("str", "1111100100 i12 n5 t5", "x:t, [s:n, #i*8]"),
    *(
        Row(name, f"{wide}010100{mode}{load} {offset} u5 n5 t5", form.replace("r:", register))
        for name, load in (("stp", "0"), ("ldp", "1"))
        for register, wide, size in (("w:", "0", 4), ("x:", "1", 8))
        for mode, offset, form in (
            ("10", "0000000", "r:t, r:u, [s:n]"),
            ("10", "i7", f"r:t, r:u, [s:n, ~i*{size}]"),
            ("01", "i7", f"r:t, r:u, [s:n], ~i*{size}"),
            ("11", "i7", f"r:t, r:u, [s:n, ~i*{size}]!"),
        )
    ),
)
"""The rows, in the order in which they decode a word."""

_ROWS = Table(*TABLE)

PADS: Mapping[str, frozenset[str]] = {
    "br": frozenset({"bti j", "bti jc"}),
    "br x16": frozenset({"bti c", "bti j", "bti jc", "paciasp", "pacibsp"}),
    "blr": frozenset({"bti c", "bti jc", "paciasp", "pacibsp"}),
}
"""The landing pads: where an indirect branch may land in a guarded page.

BR through X16 or X17, BR through another register, and BLR set PSTATE.BTYPE to 01, 11 and 10, and
the pad must accept that (Arm ARM DDI 0487, D8.4 and the pseudocode of BTypeCompatible_BTI and
BTypeCompatible_PACIXSP, with SCTLR_ELx.BT0 and BT1 set, as Linux does). RET and direct branches
set it to 00 and need no pad.
"""


def pads(insn: Instruction) -> frozenset[str] | None:
    """The mnemonics that an indirect branch may land on in a guarded page; None for another."""
    kind = "br x16" if insn.name == "br" and insn["n"] in (16, 17) else insn.name
    return PADS.get(kind)


def listed(edition: str = EDITIONS[-1]) -> Sequence[str]:
    """The mnemonics on the CMODX list (B2.2.5) of one of EDITIONS; sets.py says which these are."""
    return _ROWS.listed(edition)


def decode(word: int, at: int = 0) -> Instruction:
    """The instruction that a word at address `at` is. Never raises: see Instruction."""
    return _ROWS.decode(word, at)


def parse(line: str) -> Instruction:
    """The instruction that a line of assembly is.

    Upper or lower case is accepted; names in it stay Symbols.

    Raises:
        BadSyntax: with the column where the line stops making sense.
    """
    return _ROWS.parse(line)


def assemble(line: str, at: int = 0, symbols: Mapping[str, int] | None = None) -> int:
    """The word that a line of assembly is at address `at`.

    Raises:
        BadSyntax: for the text.
        KeyError: for a name without a value.
        A64Error: for a value that does not fit.
    """
    return parse(line).bind(symbols or {}).encode(at)


def words(data: bytes) -> list[int]:
    """The words in a run of instructions; A64 instructions are always little-endian."""
    return [int.from_bytes(data[i : i + WORD], "little") for i in range(0, len(data), WORD)]
