"""A64 rows that only read and write registers: arithmetic, logic, bit fields, selections.

The bits are as the Arm ARM (DDI 0487, chapter C6) draws them. See a64_more.py.
"""

from __future__ import annotations

from static_call.isa.a64 import Row

_REGISTERS = (("w:", "v:", "0"), ("x:", "s:", "1"))
"""The two sizes: a register, one where 31 is SP, and the bit that tells them apart."""

_SHIFTS = (("lsl", "00"), ("lsr", "01"), ("asr", "10"), ("ror", "11"))

_EXTENDS = (
    ("uxtb", "w:", "000"), ("uxth", "w:", "001"), ("uxtw", "w:", "010"), ("uxtx", "x:", "011"),
    ("sxtb", "w:", "100"), ("sxth", "w:", "101"), ("sxtw", "w:", "110"), ("sxtx", "x:", "111"),
)  # fmt: skip


def row(name: str, bits: str, assembly: str = "", *, alias: bool = False) -> Row:
    """A row whose leading bits may be in groups: joined, they find a word's row sooner."""
    parts = bits.split()
    first = next(i for i, part in enumerate([*parts, "x"]) if part[0] not in "01")
    return Row(name, " ".join(["".join(parts[:first]), *parts[first:]]), assembly, alias=alias)


_NO = "11111"
"""The field of a register that is the zero register."""


def _immediate() -> list[Row]:
    """ADD and SUB of an immediate. Those of 64 bits that set no flags are in a64.py."""
    return [
        row(name, f"{wide}{op}100010 {bits} n5 {to_bits}", f"{to}{plus}n, #i{shift}", alias=alias)
        for x, plus, wide in _REGISTERS
        for name, op, alias in (
            ("add", "00", False), ("adds", "01", False), ("sub", "10", False),
            ("subs", "11", False), ("cmn", "01", True), ("cmp", "11", True),
        )
        for bits, shift in (("0 i12", ""), ("s1 i12", ", lsl %s*12"))
        for to, to_bits in (
            ("", _NO) if alias else (f"{x if name[-1] == 's' else plus}d, ", "d5"),
        )
        if wide == "0" or name not in ("add", "sub")
    ]  # fmt: skip


def _shifted() -> list[Row]:
    """Operations on two registers, the second of which may be shifted."""
    rows = []
    for x, _, wide in _REGISTERS:
        for name, code, form, n, d in (
            ("add", "00 01011 - 0", "r:d, r:n, ", "n5", "d5"),
            ("adds", "01 01011 - 0", "r:d, r:n, ", "n5", "d5"),
            ("sub", "10 01011 - 0", "r:d, r:n, ", "n5", "d5"),
            ("subs", "11 01011 - 0", "r:d, r:n, ", "n5", "d5"),
            ("and", "00 01010 - 0", "r:d, r:n, ", "n5", "d5"),
            ("bic", "00 01010 - 1", "r:d, r:n, ", "n5", "d5"),
            ("orr", "01 01010 - 0", "r:d, r:n, ", "n5", "d5"),
            ("orn", "01 01010 - 1", "r:d, r:n, ", "n5", "d5"),
            ("eor", "10 01010 - 0", "r:d, r:n, ", "n5", "d5"),
            ("eon", "10 01010 - 1", "r:d, r:n, ", "n5", "d5"),
            ("ands", "11 01010 - 0", "r:d, r:n, ", "n5", "d5"),
            ("bics", "11 01010 - 1", "r:d, r:n, ", "n5", "d5"),
            ("cmn", "01 01011 - 0", "r:n, ", "n5", _NO),
            ("cmp", "11 01011 - 0", "r:n, ", "n5", _NO),
            ("tst", "11 01010 - 0", "r:n, ", "n5", _NO),
            ("neg", "10 01011 - 0", "r:d, ", _NO, "d5"),
            ("negs", "11 01011 - 0", "r:d, ", _NO, "d5"),
            ("mvn", "01 01010 - 1", "r:d, ", _NO, "d5"),
            ("mov", "01 01010 00 0", "r:d, ", _NO, "d5"),
        ):
            first = form.replace("r:", x) + x + "m"
            alias = _NO in (n, d)
            elsewhere = wide == "1" and name in ("add", "orr", "mov")  # their LSL is in a64.py
            shifts = _SHIFTS[1:] if elsewhere else _SHIFTS
            plain = f"{wide} {code.replace('-', '00')} m5 000000 {n} {d}"
            if not elsewhere:
                rows.append(row(name, plain, first, alias=alias))
            for shift, bits in shifts if "-" in code else ():
                amount = "s6" if wide == "1" else "0 s5"
                if shift != "ror" or "01010" in code:
                    code_ = f"{wide} {code.replace('-', bits)} m5 {amount} {n} {d}"
                    rows.append(row(name, code_, f"{first}, {shift} %s", alias=alias))
    return rows


def _extended() -> list[Row]:
    """ADD and SUB of an extended register."""
    return [
        row(
            name,
            f"{wide} {op} 01011001 m5 {option} {amount} n5 {to_bits}",
            f"{to}{plus}n, {m if wide == '1' else 'w:'}m, {extend}{text}",
            alias=alias or (wide, plus, extend) == ("1", "s:", "lsl"),
        )
        for x, plus, wide in _REGISTERS
        for name, op, alias in (
            ("add", "00", False), ("adds", "01", False), ("sub", "10", False),
            ("subs", "11", False), ("cmn", "01", True), ("cmp", "11", True),
        )
        for to, to_bits in (
            ("", _NO) if alias else (f"{x if name[-1] == 's' else plus}d, ", "d5"),
        )
        for extend, m, option in (*_EXTENDS, ("lsl", "x:", "011"))
        for amount, text in (("000", ""), ("0 a2", " %a"), ("100", " #4"))
        if (extend, text) != ("lsl", "") and (extend, wide) != ("lsl", "0")
    ]  # fmt: skip


def _others() -> list[Row]:
    """Multiplication, division, variable shifts, bit fields and selections."""
    rows = []
    for x, _, wide in _REGISTERS:
        i, j = ("i6", "j6") if wide == "1" else ("0 i5", "0 j5")
        for mnemonic, bits, form, alias in (
            ("madd", "00 11011000 m5 0 a5 n5 d5", "r:d, r:n, r:m, r:a", False),
            ("msub", "00 11011000 m5 1 a5 n5 d5", "r:d, r:n, r:m, r:a", False),
            ("mul", f"00 11011000 m5 0 {_NO} n5 d5", "r:d, r:n, r:m", True),
            ("mneg", f"00 11011000 m5 1 {_NO} n5 d5", "r:d, r:n, r:m", True),
            *(
                (name, f"00 11010110 m5 {op} n5 d5", "r:d, r:n, r:m", name[-1] != "v")
                for op, names in (
                    ("000010", "udiv"), ("000011", "sdiv"), ("001000", "lslv lsl"),
                    ("001001", "lsrv lsr"), ("001010", "asrv asr"), ("001011", "rorv ror"),
                )
                for name in names.split()
            ),
            *(
                (name, f"{op} 11010000 m5 000000 n5 d5", "r:d, r:n, r:m", False)
                for name, op in (("adc", "00"), ("adcs", "01"), ("sbc", "10"), ("sbcs", "11"))
            ),
            ("ngc", f"10 11010000 m5 000000 {_NO} d5", "r:d, r:m", True),
            ("ngcs", f"11 11010000 m5 000000 {_NO} d5", "r:d, r:m", True),
            *(
                (name, f"10 11010110 00000 {op} n5 d5", "r:d, r:n", False)
                for name, op in (
                    ("rbit", "000000"), ("rev16", "000001"), ("clz", "000100"), ("cls", "000101"),
                    ("ctz", "000110"), ("cnt", "000111"), ("abs", "001000"),
                    ("rev32" if wide == "1" else "rev", "000010"),
                    *([("rev", "000011")] if wide == "1" else []),
                )
            ),
            *(
                (name, f"{op} 100110{wide} {i} {j} n5 d5", "r:d, r:n, %i, %j", False)
                for name, op in (("sbfm", "00"), ("bfm", "01"), ("ubfm", "10"))
            ),
            ("extr", f"00 100111{wide}0 m5 {i} n5 d5", "r:d, r:n, r:m, %i", False),
            *(
                (name, f"{op} 11010100 m5 c4 {more} n5 d5", "r:d, r:n, r:m, c:c", False)
                for name, op, more in (
                    ("csel", "00", "00"), ("csinc", "00", "01"),
                    ("csinv", "10", "00"), ("csneg", "10", "01"),
                )
            ),
            ("cset", f"00 11010100 {_NO} c4 01 {_NO} d5", "r:d, !:c", True),
            ("csetm", f"10 11010100 {_NO} c4 00 {_NO} d5", "r:d, !:c", True),
            *(
                row
                for name, op in (("ccmn", "01"), ("ccmp", "11"))
                for row in (
                    (name, f"{op} 11010010 m5 c4 00 n5 0 f4", "r:n, r:m, #f, c:c", False),
                    (name, f"{op} 11010010 i5 c4 10 n5 0 f4", "r:n, #i, #f, c:c", False),
                )
            ),
        ):  # fmt: skip
            rows.append(row(mnemonic, f"{wide} {bits}", form.replace("r:", x), alias=alias))
    rows += [
        row(name, f"10011011 {unsigned} 01 m5 {minus} {a} n5 d5", f"x:d, w:n, w:m{more}",
            alias=not more)
        for letter, unsigned in (("s", "0"), ("u", "1"))
        for names, minus in (("maddl mull", "0"), ("msubl mnegl", "1"))
        for name, a, more in zip(
            [letter + name for name in names.split()], ("a5", _NO), (", x:a", "")
        )
    ]  # fmt: skip
    rows += [
        row("smulh", f"10011011010 m5 0 {_NO} n5 d5", "x:d, x:n, x:m"),
        row("mov", "1001000100 000000000000 n5 d5", "s:d, s:n", alias=True),
        row("umulh", f"10011011110 m5 0 {_NO} n5 d5", "x:d, x:n, x:m"),
    ]
    return rows


DATA: tuple[Row, ...] = (*_immediate(), *_shifted(), *_extended(), *_others())
"""The rows, in the order in which they decode a word."""
