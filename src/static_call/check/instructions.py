"""The instructions that litmus tests and the code around trampolines use, besides those of a64.py.

Rows in the manner of a64.TABLE, which only the checker reads: its table is held to every word that
objdump and capstone know, and every start of the program pays for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from static_call import a64
from static_call.a64 import Instruction, Row

_CONDITIONS = (
    "eq", "ne", "cs", "cc", "mi", "pl", "vs", "vc", "hi", "ls", "ge", "lt", "gt", "le", "al", "nv",
)  # fmt: skip

MORE: tuple[Row, ...] = (
    # Arithmetic, comparisons and selections
    *(
        Row(name, f"{wide}{op}{kind}", form.replace("r:", register), alias=alias)
        for register, wide in (("w:", "0"), ("x:", "1"))
        for name, op, kind, form, alias in (
            ("cmp", "11", "10001 00 i12 n5 11111", "r:n, #i", True),
            ("cmp", "11", "01011 000 m5 000000 n5 11111", "r:n, r:m", True),
            ("adds", "01", "10001 00 i12 n5 d5", "r:d, r:n, #i", False),
            ("adds", "01", "01011 000 m5 000000 n5 d5", "r:d, r:n, r:m", False),
            ("subs", "11", "10001 00 i12 n5 d5", "r:d, r:n, #i", False),
            ("subs", "11", "01011 000 m5 000000 n5 d5", "r:d, r:n, r:m", False),
            ("sub", "10", "01011 000 m5 000000 n5 d5", "r:d, r:n, r:m", False),
            ("and", "00", "01010 000 m5 000000 n5 d5", "r:d, r:n, r:m", False),
            ("eor", "10", "01010 000 m5 000000 n5 d5", "r:d, r:n, r:m", False),
        )
    ),
    Row("add", "0001000100 i12 n5 d5", "w:d, w:n, #i"),
    Row("sub", "0101000100 i12 n5 d5", "w:d, w:n, #i"),
    Row("add", "00001011000 m5 000000 n5 d5", "w:d, w:n, w:m"),
    Row("orr", "00101010000 m5 000000 n5 d5", "w:d, w:n, w:m"),
    Row("mov", "00101010000 m5 000000 11111 d5", "w:d, w:m", alias=True),
    Row("add", "10001011001 m5 010 000 n5 d5", "s:d, s:n, w:m, uxtw"),
    Row("add", "10001011001 m5 110 000 n5 d5", "s:d, s:n, w:m, sxtw"),
    *(
        Row(
            name,
            f"{wide}{op}011010100 m5 {number ^ invert:04b} {inc} n5 d5",
            f"{form.replace('r:', register)}, {condition}",
            alias=alias,
        )
        for register, wide in (("w:", "0"), ("x:", "1"))
        for name, op, inc, form, invert, alias in (
            ("csel", "0", "00", "r:d, r:n, r:m", 0, False),
            ("csinc", "0", "01", "r:d, r:n, r:m", 0, False),
        )
        for number, condition in enumerate(_CONDITIONS)
    ),
    *(
        Row(
            "cset",
            f"{wide}0011010100 11111 {number ^ 1:04b} 01 11111 d5",
            f"{register}d, {condition}",
            alias=True,
        )
        for register, wide in (("w:", "0"), ("x:", "1"))
        for number, condition in enumerate(_CONDITIONS[:14])
    ),
    # Addressing modes, acquire and release, exclusives, atomics (FEAT_LSE, FEAT_LRCPC)
    *(
        Row(name, f"{wide}111000{load}{bits}", form.replace("r:", register))
        for register, wide in (("w:", "10"), ("x:", "11"))
        for names, load in ((("str", "stur"), "00"), (("ldr", "ldur"), "01"))
        for name, bits, form in (
            (names[0], "0 i9 01 n5 t5", "r:t, [s:n], ~i"),
            (names[0], "0 i9 11 n5 t5", "r:t, [s:n, ~i]!"),
            (names[1], "0 000000000 00 n5 t5", "r:t, [s:n]"),
            (names[1], "0 i9 00 n5 t5", "r:t, [s:n, ~i]"),
            (names[0], "1 m5 011 0 10 n5 t5", "r:t, [s:n, x:m]"),
            (names[0], "1 m5 010 0 10 n5 t5", "r:t, [s:n, w:m, uxtw]"),
            (names[0], "1 m5 110 0 10 n5 t5", "r:t, [s:n, w:m, sxtw]"),
        )
    ),
    Row("str", "11111000001 m5 011 1 10 n5 t5", "x:t, [s:n, x:m, lsl #3]"),
    Row("ldr", "11111000011 m5 011 1 10 n5 t5", "x:t, [s:n, x:m, lsl #3]"),
    Row("str", "10111000001 m5 011 1 10 n5 t5", "w:t, [s:n, x:m, lsl #2]"),
    Row("ldr", "10111000011 m5 011 1 10 n5 t5", "w:t, [s:n, x:m, lsl #2]"),
    *(
        Row(name, f"{wide}001000 {bits}", form.replace("r:", register))
        for register, wide in (("w:", "10"), ("x:", "11"))
        for name, bits, form in (
            ("stxr", "000 s5 0 11111 n5 t5", "w:s, r:t, [s:n]"),
            ("stlxr", "000 s5 1 11111 n5 t5", "w:s, r:t, [s:n]"),
            ("ldxr", "010 11111 0 11111 n5 t5", "r:t, [s:n]"),
            ("ldaxr", "010 11111 1 11111 n5 t5", "r:t, [s:n]"),
            ("stlr", "100 11111 1 11111 n5 t5", "r:t, [s:n]"),
            ("ldar", "110 11111 1 11111 n5 t5", "r:t, [s:n]"),
            ("cas", "101 s5 0 11111 n5 t5", "r:s, r:t, [s:n]"),
            ("casl", "101 s5 1 11111 n5 t5", "r:s, r:t, [s:n]"),
            ("casa", "111 s5 0 11111 n5 t5", "r:s, r:t, [s:n]"),
            ("casal", "111 s5 1 11111 n5 t5", "r:s, r:t, [s:n]"),
        )
    ),
    *(
        Row(name, f"{wide}111000 {acquire}{release}1 s5 {op} 00 n5 {target}", text, alias=alias)
        for register, wide in (("w:", "10"), ("x:", "11"))
        for suffix, acquire, release in (("", 0, 0), ("a", 1, 0), ("l", 0, 1), ("al", 1, 1))
        for base, op in (
            ("add", "0000"),
            ("clr", "0001"),
            ("eor", "0010"),
            ("set", "0011"),
            ("swp", "1000"),
        )
        for name, target, text, alias in (
            (
                f"{'' if base == 'swp' else 'ld'}{base}{suffix}",
                "t5",
                f"{register}s, {register}t, [s:n]",
                False,
            ),
            (f"st{base}{suffix}", "11111", f"{register}s, [s:n]", True),
        )
        if not alias or (base != "swp" and not acquire)
    ),
    Row("ldapr", "10111000101 11111 1100 00 n5 t5", "w:t, [s:n]"),
    Row("ldapr", "11111000101 11111 1100 00 n5 t5", "x:t, [s:n]"),
    # Exception entry and return, for litmus tests that write what cannot be executed
    Row("msr", "110101010001 1000010000 00001 t5", "elr_el1, x:t"),
    Row("eret", "1101011010011111000000 11111 00000"),
)

_DECODED = tuple(row for row in MORE if not row.alias)


@lru_cache(maxsize=8192)
def decode(word: int, at: int = 0) -> Instruction:
    """The instruction that a word at address `at` is, by both tables. Never raises."""
    return a64.decode(word, at, _DECODED)


def assemble(line: str, at: int = 0, symbols: Mapping[str, int] | None = None) -> int:
    """The word that a line of assembly is at address `at`, by both tables.

    Raises what a64.assemble does.
    """
    return a64.parse(line, MORE).bind(symbols or {}).encode(at)
