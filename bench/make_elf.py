"""Makes a large arm64 ELF executable with static calls: a real link of generated assembly.

What a kernel with debug information looks like to a tool: some hundred thousand functions of
plausible code, a thousand static calls of the default design, several calls of each, and more
debug information than code. The code between the calls is made of random words in the proportions
of compiled code, with BL and B as frequent as there, so that a search for call sites has work to
do. The same size gives the same file.

    python bench/make_elf.py FILE [--text MB] [--debug MB]
"""

from __future__ import annotations

import argparse
import random
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from static_call.design import notation
from static_call.design.design import Design
from static_call.design.text import Quad
from static_call.isa import a64

SYMBOLS = 300_000
CALLS = 1_000
SITES = 5_000
PARTS = 8  # object files
TOOLS = "aarch64-linux-gnu-"
FUNCTIONS = SYMBOLS - 2 * CALLS - 3

# Shares of instruction words in compiled code, roughly: their fixed bits and the bits that vary.
WORDS = [
    (28, 0xF9400000, 0x003FFFFF),  # ldr x, [x, #]
    (14, 0xF9000000, 0x003FFFFF),  # str x, [x, #]
    (14, 0x91000000, 0x003FFFFF),  # add x, x, #
    (12, 0xAA0003E0, 0x001F001F),  # mov x, x
    (8, 0x52800000, 0x001FFFFF),  # mov w, #
    (6, 0xF1000000, 0x003FFFE0),  # cmp x, #
    (7, 0x54000000, 0x0000FFEF),  # b.cond
    (3, 0x94000000, 0x00FFFFFF),  # bl, forwards and
    (3, 0x97000000, 0x00FFFFFF),  # backwards, up to 64 MiB
    (2, 0x14000000, 0x0000FFFF),  # b, forwards and
    (1, 0x17FF0000, 0x0000FFFF),  # backwards
    (2, 0xD503201F, 0),  # nop
]


def trampoline(design: Design, name: str, form: str, target: str) -> Iterator[str]:
    """A trampoline of a design without literals in other sections, as assembly."""
    labels = {label: f".L{name}_{label.replace('@', '_')}" for label in design.labels}
    labels["target"] = target
    yield f".balign {design.align}"
    for item in design.items:
        if item.label:
            yield f"{labels[item.label]}:"
        if item.offset == design.entry:
            yield f".globl __SCT__{name}\n.type __SCT__{name}, %function\n__SCT__{name}:"
        contents = item.holds(form)
        if isinstance(contents, Quad):
            value = contents.value
            yield f".quad {labels[value] if isinstance(value, str) else value}"
        elif isinstance(contents, a64.Instruction):
            fields = dict(contents.fields)
            for operand, symbol in contents.symbols:
                fields[operand.name] = a64.Symbol(labels[symbol.name], symbol.lo12)
            yield str(a64.Instruction(contents.row, fields))
    yield f".size __SCT__{name}, . - __SCT__{name}"


def calls_text() -> Iterator[str]:
    """The static calls, their keys, and the program's entry."""
    rng = random.Random(0)
    design = notation.load("inline-stub")
    for call in range(CALLS):
        name = f"call_{call:04}"
        form = design.forms[0] if call == 0 else rng.choice(design.forms)
        target = "answer" if call == 0 else f"function_{rng.randrange(FUNCTIONS):06}"
        yield '.section .static_call.text, "ax"'
        yield from trampoline(design, name, form, target)
        yield f".data\n.balign 8\n.globl __SCK__{name}\n.type __SCK__{name}, %object"
        held = {"null": "0", "ret0": "__static_call_return0"}.get(form, target)
        yield f"__SCK__{name}: .quad {held}"
        yield f".size __SCK__{name}, 8"
    yield ".text\n.globl _start, answer, __static_call_return0"
    yield ".type answer, %function\nanswer: bti c\nmov w0, #42\nret"
    yield "__static_call_return0: bti c\nmov x0, #0\nret"
    yield "_start: bl __SCT__call_0000\nmov w8, #93\nsvc #0"


def part_text(part: int, text: int, debug: int) -> Iterator[str]:
    """One object file: `text` bytes of functions and `debug` bytes of debug information."""
    rng = random.Random(part + 1)
    first, last = FUNCTIONS * part // PARTS, FUNCTIONS * (part + 1) // PARTS
    length = text // 4 // (last - first) - 6
    weights = [weight for weight, _, _ in WORDS]
    bodies = []
    for _ in range(256):
        kinds = rng.choices(WORDS, weights, k=rng.randrange(length // 2, 3 * length // 2))
        words = ",".join(hex(fixed | rng.getrandbits(32) & free) for _, fixed, free in kinds)
        bodies.append(f".inst {words}")
    calling = {rng.randrange(first, last): rng.randrange(CALLS) for _ in range(SITES // PARTS)}
    yield ".text"
    for number in range(first, last):
        name = f"function_{number:06}"
        yield f".globl {name}\n.type {name}, %function\n{name}:"
        yield "bti c\nstp x29, x30, [sp, #-16]!\nmov x29, sp"
        yield bodies[rng.randrange(256)]
        if number in calling:
            yield f"bl __SCT__call_{calling[number]:04}"
        yield f"ldp x29, x30, [sp], #16\nret\n.size {name}, . - {name}"
    yield f'.section .debug_info, "", %progbits\n.fill {debug // 8}, 8, 0x0123456789abcdef'


def make(path: Path, text: int = 96 << 20, debug: int = 320 << 20) -> None:
    """Writes the file: `text` bytes of code and `debug` bytes of debug information, about."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        objects = []
        for part in range(-1, PARTS):
            source, target = Path(folder, f"{part}.s"), Path(folder, f"{part}.o")
            lines = calls_text() if part < 0 else part_text(part, text // PARTS, debug // PARTS)
            with source.open("w") as file:
                file.writelines(f"{line}\n" for line in lines)
            subprocess.run([f"{TOOLS}as", "-o", target, source], check=True)
            source.unlink()
            objects.append(target)
        subprocess.run([f"{TOOLS}ld", "-o", path, *objects], check=True)


def main() -> None:
    """Makes the file that the command line names."""
    parser = argparse.ArgumentParser(description="Make a large arm64 ELF file with static calls.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--text", type=int, default=96, metavar="MB", help="code")
    parser.add_argument("--debug", type=int, default=320, metavar="MB", help="debug information")
    options = parser.parse_args()
    make(options.file, options.text << 20, options.debug << 20)
    print(f"{options.file}: {options.file.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
