"""The GNU tools for arm64: the tests ask them what they make of text and words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from elftools.elf.elffile import ELFFile
from toolchain import need, run

ARCH = ".arch armv9-a\n"
PREFIX = "aarch64-linux-gnu-"


def link(folder: Path, source: str, symbols: Mapping[str, int], *options: str) -> dict[str, bytes]:
    """The sections of a program that GNU as and ld make of a source, its symbols where they are."""
    values = "".join(f".globl {name}\n.set {name}, {at:#x}\n" for name, at in symbols.items())
    objects = [assemble(folder / "code.o", source), assemble(folder / "symbols.o", values)]
    program = folder / "program"
    run(PREFIX + "ld", "-e", "0", *options, "-o", program, *objects)
    elf = ELFFile.load_from_path(str(program))
    return {section.name: section.data() for section in elf.iter_sections()}


def assemble(path: Path, source: str) -> Path:
    """An object file, by GNU as."""
    text = path.with_suffix(".s")
    text.write_text(ARCH + source)
    need(PREFIX + "as")
    run(PREFIX + "as", "-o", path, text)
    return path


def disassemble(folder: Path, data: bytes, at: int, *options: str) -> list[str]:
    """What objdump says of each word."""
    path = folder / "words.bin"
    path.write_bytes(data)
    need(PREFIX + "objdump")
    done = run(
        PREFIX + "objdump", "-D", "-z", "-b", "binary", "-m", "aarch64",
        f"--adjust-vma={at:#x}", *options, path,
    )  # fmt: skip
    return re.findall(r"^ *[0-9a-f]+:\t[0-9a-f]{8} \t(.*)$", done.stdout, re.MULTILINE)


def pack(words: Sequence[int]) -> bytes:
    """Words as they lie in memory."""
    return b"".join(word.to_bytes(4, "little") for word in words)


class Memory:
    """Bytes at addresses, as the code under test reads them."""

    def __init__(self, pieces: Iterable[tuple[int, bytes]]) -> None:
        self.pieces = [(at, bytearray(data)) for at, data in pieces]

    def read(self, address: int, size: int) -> bytes:
        """The bytes; fewer where they end."""
        for at, data in self.pieces:
            if at <= address < at + len(data):
                return bytes(data[address - at : address - at + size])
        return b""

    def write(self, address: int, data: bytes) -> None:
        """Puts bytes where there are some."""
        for at, old in self.pieces:
            if at <= address < at + len(old):
                old[address - at : address - at + len(data)] = data
