"""A64 rows that access memory: addressing modes, acquire and release, exclusives, atomics.

The bits are as the Arm ARM (DDI 0487, chapter C6) draws them. See a64_more.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from static_call.isa.a64 import Row
from static_call.isa.a64_data import row

_SIZES = (("b", "w:", 0), ("h", "w:", 1), ("", "w:", 2), ("", "x:", 3))
"""The suffix, the register and the size, as a power of two, of what one register holds."""

_ACCESSES = (
    *((f"str{suffix}", x, size, "00") for suffix, x, size in _SIZES),
    *((f"ldr{suffix}", x, size, "01") for suffix, x, size in _SIZES),
    *(
        (f"ldrs{suffix}", x, size, op)
        for suffix, size, kinds in (
            ("b", 0, (("x:", "10"), ("w:", "11"))),
            ("h", 1, (("x:", "10"), ("w:", "11"))),
            ("w", 2, (("x:", "10"),)),
        )
        for x, op in kinds
    ),
)
"""The name, the register, the size and the bits of each load and store of one register."""

_INDEXES = (("lsl", "x:", "011"), ("uxtw", "w:", "010"), ("sxtw", "w:", "110"),
            ("sxtx", "x:", "111"))  # fmt: skip


def _one_register() -> Iterator[Row]:
    for name, x, size, op in _ACCESSES:
        bits, unscaled = f"{size:02b}111000{op}", f"{name[:2]}u{name[2:]}"
        target = f"{x}t, "
        if name not in ("ldr", "str"):  # theirs are in a64.py
            yield row(name, f"{size:02b}111001{op} 000000000000 n5 t5", f"{target}[s:n]")
            yield row(name, f"{size:02b}111001{op} i12 n5 t5", f"{target}[s:n, #i*{1 << size}]")
        yield row(name, f"{bits} 0 i9 01 n5 t5", f"{target}[s:n], ~i")
        yield row(name, f"{bits} 0 i9 11 n5 t5", f"{target}[s:n, ~i]!")
        yield row(unscaled, f"{bits} 0 000000000 00 n5 t5", f"{target}[s:n]")
        yield row(unscaled, f"{bits} 0 i9 00 n5 t5", f"{target}[s:n, ~i]")
        yield row(name, f"{bits} 0 i9 00 n5 t5", f"{target}[s:n, ~i]", alias=True)
        for extend, m, option in _INDEXES:
            how = "" if extend == "lsl" else f", {extend}"
            scaled = f"{target}[s:n, {m}m, {extend} #{size}]"
            yield row(name, f"{bits} 1 m5 {option} 0 10 n5 t5", f"{target}[s:n, {m}m{how}]")
            yield row(name, f"{bits} 1 m5 {option} 1 10 n5 t5", scaled)
            if size:
                zero = f"{target}[s:n, {m}m, {extend} #0]"
                yield row(name, f"{bits} 1 m5 {option} 0 10 n5 t5", zero, alias=True)
    yield row("ldrsw", "10011000 i19 t5", "x:t, @i*4")


def _ordered() -> Iterator[Row]:
    """Acquire, release and exclusives."""
    for suffix, x, size in _SIZES:
        for name, bits, form in (
            ("stxr", "000 s5 0 11111 n5 t5", "w:s, r:t, [s:n]"),
            ("stlxr", "000 s5 1 11111 n5 t5", "w:s, r:t, [s:n]"),
            ("ldxr", "010 11111 0 11111 n5 t5", "r:t, [s:n]"),
            ("ldaxr", "010 11111 1 11111 n5 t5", "r:t, [s:n]"),
            ("stlr", "100 11111 1 11111 n5 t5", "r:t, [s:n]"),
            ("ldar", "110 11111 1 11111 n5 t5", "r:t, [s:n]"),
        ):
            yield row(name + suffix, f"{size:02b}001000 {bits}", form.replace("r:", x))
        yield row(f"ldapr{suffix}", f"{size:02b}111000101 11111 110000 n5 t5", f"{x}t, [s:n]")
    for name, x, size, op in _ACCESSES:
        bits = f"{size:02b}011001{op}"
        unscaled = "stlur" + name[3:] if name.startswith("st") else "ldapur" + name[3:]
        yield row(unscaled, f"{bits} 0 000000000 00 n5 t5", f"{x}t, [s:n]")
        yield row(unscaled, f"{bits} 0 i9 00 n5 t5", f"{x}t, [s:n, ~i]")


def _pairs() -> Iterator[Row]:
    for x, wide, size in (("w:", "0", 4), ("x:", "1", 8)):
        for name, bits, form in (
            ("stxp", "001 s5 0 u5 n5 t5", "w:s, r:t, r:u, [s:n]"),
            ("stlxp", "001 s5 1 u5 n5 t5", "w:s, r:t, r:u, [s:n]"),
            ("ldxp", "011 11111 0 u5 n5 t5", "r:t, r:u, [s:n]"),
            ("ldaxp", "011 11111 1 u5 n5 t5", "r:t, r:u, [s:n]"),
        ):
            yield row(name, f"1{wide}001000 {bits}", form.replace("r:", x))
        for name, load in (("stnp", "0"), ("ldnp", "1")):
            yield row(name, f"{wide}01010000{load} 0000000 u5 n5 t5", f"{x}t, {x}u, [s:n]")
            yield row(name, f"{wide}01010000{load} i7 u5 n5 t5", f"{x}t, {x}u, [s:n, ~i*{size}]")
        for name, load, bits, form in (
            ("ldiapp", "1", "0001", "[s:n]"),
            ("ldiapp", "1", "0000", f"[s:n], #{2 * size}"),
            ("stilp", "0", "0001", "[s:n]"),
            ("stilp", "0", "0000", f"[s:n, #-{2 * size}]!"),
        ):
            yield row(name, f"1{wide}0110010{load}0 u5 {bits}10 n5 t5", f"{x}t, {x}u, {form}")
        for suffix, acquire, release in _ORDERS:
            name, bits = f"casp{suffix}", f"0{wide}0010000{acquire}1 s5 {release} 11111 n5 t5"
            yield row(name, bits, "rE:s, rO:s, rE:t, rO:t, [s:n]".replace("r", x[0]).lower())
    for bits, form in (
        ("10 0000000", "[s:n]"), ("10 i7", "[s:n, ~i*4]"),
        ("01 i7", "[s:n], ~i*4"), ("11 i7", "[s:n, ~i*4]!"),
    ):  # fmt: skip
        mode, _, offset = bits.partition(" ")
        yield row("ldpsw", f"0110100{mode}1 {offset} u5 n5 t5", f"x:t, x:u, {form}")


_ORDERS = (("", 0, 0), ("a", 1, 0), ("l", 0, 1), ("al", 1, 1))

_OPERATIONS = (
    ("add", "0000"), ("clr", "0001"), ("eor", "0010"), ("set", "0011"), ("smax", "0100"),
    ("smin", "0101"), ("umax", "0110"), ("umin", "0111"), ("swp", "1000"),
)  # fmt: skip


def _atomics() -> Iterator[Row]:
    for size_suffix, x, size in _SIZES:
        for suffix, acquire, release in _ORDERS:
            cas = f"{size:02b}0010001{acquire}1 s5 {release} 11111 n5 t5"
            yield row(f"cas{suffix}{size_suffix}", cas, f"{x}s, {x}t, [s:n]")
            for base, op in _OPERATIONS:
                load = base if base == "swp" else f"ld{base}"
                bits = f"{size:02b}111000{acquire}{release}1 s5 {op}00 n5"
                yield row(f"{load}{suffix}{size_suffix}", f"{bits} t5", f"{x}s, {x}t, [s:n]")
                if base != "swp" and not acquire:
                    store = f"st{base}{suffix}{size_suffix}"
                    yield row(store, f"{bits} 11111", f"{x}s, [s:n]", alias=True)


MEMORY: tuple[Row, ...] = (*_one_register(), *_ordered(), *_pairs(), *_atomics())
"""The rows, in the order in which they decode a word."""
