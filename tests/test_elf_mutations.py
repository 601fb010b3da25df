"""Damaged ELF files: each verb ends with an answer or one line, and what set reports is true.

MUTANTS=N makes N of them; `make fuzz` makes 20,000.
"""

from __future__ import annotations

import os
import random
import struct
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from linked import Linked
from toolchain import CLANG_LLD, GCC

from static_call.cli.main import main
from static_call.design import notation
from static_call.image_calls import longest_first

MUTANTS = int(os.environ.get("MUTANTS", "300"))
INCLUDE = Path(__file__).parent.parent / "src/static_call/include"
SOURCE = """
#include "static_call.h"
int one(int x) { return x + 1; }
int two(int x) { return x + 2; }
int ext(int x);
DEFINE_STATIC_CALL(alpha, one);
DEFINE_STATIC_CALL_NULL(beta, one);
DEFINE_STATIC_CALL_RET0(gamma, one);
int use(int x)
{
    return static_call(alpha)(x) + static_call(beta)(x) + static_call(gamma)(x) EXT;
}
void _start(void) { use(3); }
"""
NAMES = ("alpha", "beta", "gamma")
TARGETS = ("one", "two", "null", "ret0")
NUMBERS = (
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    0xFF,
    0xFFFF,
    0x1000,
    1 << 31,
    (1 << 32) - 1,
    1 << 63,
    (1 << 64) - 8,
)
RET = 0xD65F03C0
STEPS = (-0x1000, -24, -8, -4, -1, 1, 4, 8, 24, 0x1000, 0x10000)
# Offsets of the stubs from the entry, by the offset of the word after BR: design/shipped/*.s.
STUBS = {"inline-stub": {"ret0": 24, "null": 32}, "adrp-stub": {"ret0": 20, "null": 28}}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Small files of every kind of link."""
    folder = tmp_path_factory.mktemp("files")
    source = folder / "source.c"
    source.write_text(SOURCE)
    flags = ("-O1", "-nostdlib", f"-I{INCLUDE}", source)
    small = ("-Wl,-z,max-page-size=4096",)
    packed = ("-Wl,--pack-dyn-relocs=android+relr", "-Wl,-z,norelro")
    builds = [
        (GCC, ("-static", "-no-pie", "-DEXT=", *small)),
        (GCC, ("-static-pie", "-fPIE", "-DEXT=", *small)),
        (GCC, ("-shared", "-fPIC", "-DEXT=+ext(x)", *small)),
        (CLANG_LLD, ("-static-pie", "-fPIE", "-DEXT=", "-Wl,--pack-dyn-relocs=relr")),
        (CLANG_LLD, ("-shared", "-fPIC", "-DEXT=+ext(x)", *packed)),
    ]
    made = []
    for number, (compiler, more) in enumerate(builds):
        compiler(*flags, *more, "-o", folder / f"{number}")
        made.append((folder / f"{number}").read_bytes())
    return made


def regions(data: bytes) -> list[tuple[int, int]]:
    """Offset and size of the parts that a reader goes by."""
    (phoff, shoff), (phnum,) = (
        struct.unpack_from("<2Q", data, 32),
        struct.unpack_from("<H", data, 56),
    )
    (shnum,) = struct.unpack_from("<H", data, 60)
    found = [(0, 64), (phoff, 56 * phnum), (shoff, 64 * shnum)]
    for at in range(phoff, phoff + 56 * phnum, 56):
        kind, _, offset, _, _, size = struct.unpack_from("<2I4Q", data, at)
        found += [(offset, size)] if kind in (2, 4) else []
    for at in range(shoff, shoff + 64 * shnum, 64):
        _, kind, _, _, offset, size = struct.unpack_from("<2I4Q", data, at)
        found += [(offset, size)] if size and kind not in (0, 8) else []
    return found


def mutate(rng: random.Random, original: bytes) -> bytes:
    """The file with a few bytes, words or numbers changed; some are cut off."""
    data, parts = bytearray(original), regions(original)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        start, size = rng.choice(parts)
        at = min(start + rng.randrange(size), len(data) - 8)
        word = at & ~7
        (number,) = struct.unpack_from("<Q", data, word)
        match rng.randrange(6):
            case 0:
                data[at] = rng.randrange(256)
            case 1:
                data[at] ^= 1 << rng.randrange(8)
            case 2:
                struct.pack_into("<Q", data, word, rng.choice(NUMBERS))
            case 3:
                struct.pack_into("<Q", data, word, (number + rng.choice(STEPS)) % (1 << 64))
            case 4:
                start, size = rng.choice(parts)
                other = min(start + rng.randrange(size), len(data) - 8) & ~7
                data[word : word + 8] = data[other : other + 8]
            case 5:
                struct.pack_into("<I", data, at & ~3, rng.choice(NUMBERS) & 0xFFFFFFFF)
    return bytes(data[: rng.randrange(len(data))] if rng.random() < 0.02 else data)


@dataclass
class Facts:
    """What pyelftools alone reads of a static call: its entry, and what a loader leaves there.

    symbols  the addresses of each name: a damaged file may have it at several
    """

    symbols: dict[str, set[int]]
    entry: int
    slot: int
    key: int
    packed: bool


def facts(path: Path, name: str) -> list[Facts]:
    """One for each address that the name may have; none if pyelftools cannot read the file."""
    try:
        linked = Linked(path)
        symbols: dict[str, set[int]] = {}
        for table in (linked.exported, linked.symbols):
            for one in table.values():
                symbols.setdefault(one.name, set()).add(one.value)
        if not symbols.keys() >= {"one", "two", "__static_call_return0"}:
            return []  # names are damaged, or the table's own
        packed = linked.data.find(b"APS2") >= 0
        return [
            Facts(symbols, entry, linked.word(entry) >> 32, linked.word(key), packed)
            for entry in symbols[f"__SCT__{name}"]
            for key in symbols[f"__SCK__{name}"]
        ]
    except Exception:
        return []


def is_set(found: Facts, target: str) -> bool:
    """Whether slot and key say what set was asked for."""
    symbols, slot, entry = found.symbols, found.slot, found.entry
    return0 = symbols["__static_call_return0"]
    if slot == RET and target == "null":  # changed so, it is a trampoline of another design
        return True
    goal = entry + 4 + 4 * ((slot & 0x3FFFFFF ^ 0x2000000) - 0x2000000)
    if target in ("null", "ret0"):  # changed so, it may be of a design without such a form
        slot_says = goal - entry in [one[target] for one in STUBS.values()] or goal in return0
    else:
        slot_says = goal in symbols[target]
    if slot >> 26 != 0b000101 or not slot_says:
        return False
    if found.packed:  # pyelftools knows no packed relocations
        return True
    wanted = {"null": {0, entry}, "ret0": return0}.get(target)
    return found.key in (symbols[target] if wanted is None else wanted)


def test_mutants(
    files: list[bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """No traceback, no status but 0 to 2, one line where it is not 0; what was set is set."""
    designs = longest_first(notation.load(name) for name in notation.shipped())
    for verb in ("list", "show", "set"):
        monkeypatch.setattr(f"static_call.cli.verbs.{verb}.load_designs", lambda _: designs)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    rng = random.Random(int(os.environ.get("SEED", "1")))
    path, output = tmp_path / "mutant", tmp_path / "output"
    counts: Counter[str] = Counter()
    for number in range(MUTANTS):
        path.write_bytes(mutate(rng, rng.choice(files)))
        name, target = rng.choice(NAMES), rng.choice(TARGETS)
        output.unlink(missing_ok=True)
        for command in (
            ["list", str(path)],
            ["list", "--json", str(path)],
            ["show", str(path), name],
            ["set", str(path), f"{name}={target}", "-o", str(output)],
        ):
            try:
                status = main(command)
                said = capsys.readouterr().err
                assert status in (0, 1, 2)
                assert said.count("\n") <= 1
                assert status == 0 or said or "--json" in command
                assert output.exists() == (command[0] == "set" and status == 0)
                counts[f"{command[0]} {status}"] += 1
                if command[0] == "set" and status == 0 and not said:
                    read = facts(output, name)
                    assert not read or any(is_set(one, target) for one in read), read
                    counts[f"set, {'' if read else 'not '}read by pyelftools"] += 1
            except BaseException as error:
                kept = Path(os.environ.get("KEEP", tmp_path)) / f"mutant-{number}"
                kept.write_bytes(path.read_bytes())
                error.add_note(f"mutant {number}: {kept}: {command} {target}")
                raise
    print(dict(counts))
    assert counts["set, read by pyelftools"] > MUTANTS // 10
