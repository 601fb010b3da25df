"""set: exactly what was asked is in the file, in any order and under any name, or nothing is."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from elf_files import readelf
from toolchain import CLANG_LLD, GCC, need, qemu, run

from static_call import image_calls
from static_call.cli.main import main
from static_call.design import notation
from static_call.elf import arm64, relocation
from static_call.elf.image import Image
from static_call.places.elf_changes import Unsafe
from static_call.places.elf_file import ElfFile, NotAsAsked

INCLUDE = Path(__file__).parent.parent / "src/static_call/include"
SOURCE = """
#include "static_call.h"
int one(int x) { return x + 1; }
int two(int x) { return x + 2; }
int ext(int x);
DEFINE_STATIC_CALL(alpha, one);
DEFINE_STATIC_CALL_NULL(beta, one);
DEFINE_STATIC_CALL_RET0(gamma, one);
DEFINE_STATIC_CALL(delta, two);
int use(int x)
{
    return static_call(alpha)(x) + static_call(beta)(x) + static_call(gamma)(x) +
           static_call(delta)(x);
}
"""
MAIN = """
#include <stdio.h>
int main(void)
{
    printf("%d %d %d %d\\n", static_call(alpha)(10), static_call(beta)(10),
           static_call(gamma)(10), static_call(delta)(10));
    return 0;
}
"""
RESULTS = {"one": "11", "two": "12", "null": "10", "ret0": "0"}
NAMES = ("alpha", "beta", "gamma", "delta")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A program and a shared object with four static calls."""
    folder = tmp_path_factory.mktemp("set")
    (folder / "program.c").write_text(SOURCE + MAIN)
    (folder / "library.c").write_text(SOURCE.replace("(delta, two)", "(delta, ext)"))
    flags = ("-O1", f"-I{INCLUDE}")
    GCC(*flags, "-static", "-no-pie", folder / "program.c", "-o", folder / "static")
    GCC(*flags, "-fPIE", "-pie", folder / "program.c", "-o", folder / "pie")
    library = (*flags, "-fPIC", "-shared", "-nostdlib", folder / "library.c", "-o")
    GCC(*library, folder / "lib.so")
    packed = ("-Wl,--pack-dyn-relocs=android+relr", "-Wl,-z,norelro")
    CLANG_LLD(*library, folder / "packed.so", *packed)
    CLANG_LLD(*library, folder / "relr.so", *packed, "-Wl,--use-android-relr-tags")
    return {one.name: one for one in folder.iterdir()}


@pytest.fixture
def program(built: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the static program, alone in its folder."""
    return Path(shutil.copy(built["static"], tmp_path / "program"))


def symbol(path: Path, name: str) -> int:
    """A symbol's address, as nm prints it."""
    found = re.search(rf"^(\w+) \w {name}$", run("aarch64-linux-gnu-nm", path).stdout, re.M)
    assert found, name
    return int(found[1], 16)


def listed(path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, object]]:
    """What list --json says, by name."""
    capsys.readouterr()
    assert main(["list", "--json", str(path)]) == 0
    return {one["name"]: one for one in json.loads(capsys.readouterr().out)["static_calls"]}


def refused(capsys: pytest.CaptureFixture[str], path: Path, *changes: str) -> str:
    """The one line that set refuses with; the file and its folder stay as they were."""
    before, names = path.read_bytes(), sorted(os.listdir(path.parent))
    assert main(["set", str(path), *changes]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert path.read_bytes() == before
    assert sorted(os.listdir(path.parent)) == names
    return said.err


# What was asked


@pytest.mark.parametrize("kind", ["static", "pie"])
def test_targets_go_to_their_names_in_every_order(
    built: dict[str, Path], kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All orders of four names, by name or by address: what is printed, listed and run is that."""
    targets = ("two", "ret0", "null", "one")
    addresses = {name: symbol(built[kind], f"__SCT__{name}") for name in NAMES}
    path = tmp_path
    for number, order in enumerate(itertools.permutations(range(4))):
        path = tmp_path / f"{kind}{number}"
        asked = []
        for index in order:
            at = addresses[NAMES[index]]
            spelled = (NAMES[index], f"{at:#x}", f"0x{at:X}", f"0x00{at:x}")[(index + number) % 4]
            asked.append((spelled, targets[index]))
        changes = [f"{name}={target}" for name, target in asked]
        assert main(["set", str(built[kind]), *changes, "-o", str(path)]) == 0
        printed = [line.split(" (")[0] for line in capsys.readouterr().out.splitlines()]
        assert printed == [f"{name} = {target}" for name, target in asked]
        found = listed(path, capsys)
        for name, target in zip(NAMES, targets):
            goal, key = found[name]["target"], found[name]["key"]
            assert isinstance(key, dict)
            if target in ("one", "two"):
                assert isinstance(goal, dict)
                assert (goal["symbol"], key["symbol"]) == (target, target)
            else:
                assert (goal, found[name]["form"]) == (None, target)
    assert qemu(path) == " ".join(RESULTS[target] for target in targets) + "\n"


@pytest.mark.parametrize(
    "names", [("alpha", "alpha"), ("alpha", "0xADDR"), ("0xADDR", "0X"), ("0xADDR", "0xaddr")]
)
@pytest.mark.parametrize("targets", [("one", "two"), ("two", "two")])
def test_a_static_call_is_set_once(
    program: Path, names: tuple[str, str], targets: tuple[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Twice is refused as misuse, under whatever names, be it to the same target."""
    at = symbol(program, "__SCT__alpha")
    spelled = {"0xADDR": f"0x{at:X}", "0xaddr": f"{at:#x}", "0X": f"0x0{at:x}"}
    changes = [f"{spelled.get(name, name)}={to}" for name, to in zip(names, targets)]
    assert "twice" in refused(capsys, program, *changes)
    call = ["call", str(program), "use", "3"]
    assert main([*call, "--set", changes[0], "--set", changes[1]]) == 2
    assert "twice" in capsys.readouterr().err


def link(folder: Path, more: str) -> Path:
    """The static program with more assembly."""
    source, path = folder / "more.c", folder / "more"
    source.write_text(SOURCE + MAIN + f'__asm__("{more}");')
    GCC("-O1", f"-I{INCLUDE}", "-static", "-no-pie", source, "-o", path)
    source.unlink()
    return path


def test_an_alias_of_a_trampoline_has_its_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under a second name, or its address, the same key changes; both names at once are refused."""
    path = link(tmp_path, ".globl __SCT__aaa; .set __SCT__aaa, __SCT__alpha")
    assert "twice" in refused(capsys, path, "aaa=two", "alpha=two")
    assert main(["set", str(path), "delta=one", "aaa=two"]) == 0
    assert not capsys.readouterr().err
    for name in ("aaa", "alpha"):
        key = listed(path, capsys)[name]["key"]
        assert isinstance(key, dict)
        assert (key["address"], key["symbol"]) == (symbol(path, "__SCK__alpha"), "two")
    assert qemu(path) == "12 10 0 11\n"


def test_a_key_that_two_static_calls_share(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two targets for one key cannot both be what was asked; nor two keys for one trampoline."""
    copy = (
        ".balign 8; .globl __SCT__{0}; __SCT__{0}: bti c; b one; ldr x16, 1f; br x16;"
        "1: .quad one; bti c; mov x0, 0; bti c; ret;"
    )
    key = ".data; .balign 8; .globl __SCK__x, __SCK__y; __SCK__x: __SCK__y: .quad one, 0; .text"
    path = link(tmp_path, copy.format("x") + copy.format("y") + key)
    assert "shares a literal or a key" in refused(capsys, path, "x=two", "y=one")
    assert main(["set", str(path), "x=two", "y=two"]) == 0
    capsys.readouterr()
    path = link(tmp_path, copy.format("x") + ".globl __SCK__x; .set __SCK__x, __SCK__delta")
    assert main(["set", str(path), "x=two"]) == 0  # the key says that it is delta's
    assert "x: no key is known" in capsys.readouterr().err
    key_of_delta = listed(path, capsys)["delta"]["key"]
    assert isinstance(key_of_delta, dict)
    assert key_of_delta["symbol"] == "two"
    path = link(
        tmp_path,
        ".globl __SCT__aaa; .set __SCT__aaa, __SCT__alpha;"
        ".data; .balign 8; .globl __SCK__aaa; __SCK__aaa: .quad one, __SCT__alpha, 0; .text",
    )
    assert "two keys" in refused(capsys, path, "alpha=two")


# Reading back


def test_what_is_not_what_was_asked_does_not_replace_the_file(
    program: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each single write that goes wrong is found in the copy: exit 2, one line."""
    real, count, bad = os.pwrite, [0], [0]

    def write(fd: int, data: bytes, offset: int) -> int:
        count[0] += 1
        if count[0] == bad[0]:
            data = bytes([data[0] ^ 1]) + data[1:]
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", write)
    copy = program.parent.parent / "copied"
    assert main(["set", str(program), "alpha=two", "beta=one", "-o", str(copy)]) == 0
    capsys.readouterr()
    writes = count[0]
    assert writes >= 6  # two slots, literals and keys
    for bad[0] in range(1, writes + 1):
        count[0] = 0
        said = refused(capsys, program, "alpha=two", "beta=one")
        assert "not what was asked" in said


@pytest.mark.parametrize("kind", ["static", "pie", "relr.so"])
def test_commit_reads_back_what_was_stored(
    built: dict[str, Path], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same for who uses ElfFile: bytes, relocations and RELR places are compared."""
    path = Path(shutil.copy(built[kind], tmp_path / "file"))
    before = path.read_bytes()
    with Image.open(path) as image:
        place = ElfFile(image)
        place.write(symbol(path, "__SCK__beta"), symbol(path, "two").to_bytes(8, "little"))
        # Of a pointer with an entry in a RELA table, the bytes do not count.
        offset = image.segments.offset(symbol(path, "__SCK__beta"), 8)
        real = [one for one in place.patches() if kind != "pie" or one[0] != offset]
        assert real
        for number in range(len(real)):
            monkeypatch.setattr(place, "patches", lambda n=number: real[:n] + real[n + 1 :])
            with pytest.raises(NotAsAsked):
                place.commit(tmp_path / "copy")
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["file"]


# What a loader does


@pytest.mark.parametrize("kind", ["packed.so", "relr.so"])
def test_packed_relocations_are_read(
    built: dict[str, Path], kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Keys and targets of Android's tables; places, types and addends as llvm-readelf has them."""
    found = listed(built[kind], capsys)
    need("llvm-readelf")
    keys = {}
    for name, one in found.items():
        key = one["key"]
        assert isinstance(key, dict)
        keys[name] = key["symbol"] or key["value"]
    assert keys == {"alpha": "one", "beta": 0, "gamma": "__static_call_return0", "delta": "ext"}
    goals = [found[name]["target"] for name in ("alpha", "delta")]
    assert [goal["via"] for goal in goals if isinstance(goal, dict)] == ["one@plt", "ext@plt"]
    text = run("llvm-readelf", "-rW", built[kind]).stdout
    wanted = []
    for line in text.splitlines():
        if match := re.match(r"([0-9a-f]{16})  ([0-9a-f]{8})([0-9a-f]{8}) ", line):
            addend = int(line.rpartition("+ ")[2], 16) if "+ " in line else 0
            wanted.append((int(match[1], 16), int(match[3], 16), addend))
    with Image.open(built[kind]) as image:
        got = [
            (
                one.address,
                arm64.RELATIVE if one.type == arm64.RELR else one.type,
                one.addend,
            )
            for one in image.loader.relocations()
        ]
    assert sorted(got) == sorted(wanted)
    assert len(got) > 8


def test_what_a_packed_relocation_makes_is_not_changed(
    built: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would undo the change; a pointer beside it, of the RELR table, is changed."""
    need("llvm-readelf")
    for kind in ("packed.so", "relr.so"):
        path = Path(shutil.copy(built[kind], tmp_path / kind))
        said = refused(capsys, path, "alpha=two")
        assert "packed relocation" in said
        assert "--pack-dyn-relocs=none" in said
        assert main(["set", str(path), "beta=two"]) == 0
        capsys.readouterr()
        key = symbol(path, "__SCK__beta")
        assert f"{key:016x}" in run("llvm-readelf", "-rW", path).stdout
        with Image.open(path) as image:
            held = path.read_bytes()[image.segments.offset(key, 8) :][:8]
        assert int.from_bytes(held, "little") == symbol(path, "two")


@pytest.mark.parametrize(
    "numbers",
    [b"", b"APS", b"APR1\0\0", b"APS2", b"APS2\1", b"APS2\xff\xff\xff\x7f\0\1\0",
     b"APS2\1\0\x7f\0", b"APS2\2\0\3\0", b"APS2" + b"\x80" * 11, b"APS2\1\0\0\0"],
)  # fmt: skip
def test_a_damaged_packed_table(numbers: bytes) -> None:
    """Cut off, of another kind, or with more relocations than there can be."""
    with pytest.raises(ValueError, match=r"."):
        relocation.unpack(numbers, 100)


def patched_tag(path: Path, tag: int, new: int, value: int | None = None) -> None:
    """Turns a tag of the dynamic section into another one."""
    data = bytearray(path.read_bytes())
    with Image.open(path) as image:
        old, at = image.loader.dynamic[tag]
    struct.pack_into("<QQ", data, at - 8, new, old if value is None else value)
    path.write_bytes(data)


DT_DEBUG, DT_RELACOUNT, DT_FLAGS_1 = 21, 0x6FFFFFF9, 0x6FFFFFFB


@pytest.mark.parametrize(
    ("tag", "says", "lists"),
    [
        (17, "DT_REL", False),
        (0x6000000F, "DT_ANDROID_REL", False),
        (0x40000026, "DT_CREL", False),
        (0x70000012, "signed pointers", False),
        (0x6FFFFDF5, "prelink -u", True),
        (0x6FFFFEF8, "prelink -u", True),
        (0x60000042, "0x60000042", True),
        (0x7000000D, "0x7000000d", True),
    ],
)
def test_relocations_that_are_not_known(
    built: dict[str, Path], tag: int, says: str, lists: bool, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Such a table, or a tag that might be one, is named; what cannot be read is not shown."""
    path = Path(shutil.copy(built["pie"], tmp_path / "pie"))
    patched_tag(path, DT_DEBUG, tag)
    assert says in refused(capsys, path, "alpha=two")
    assert main(["list", str(path)]) == (0 if lists else 2)
    assert lists or says in capsys.readouterr().err


def test_two_relocations_of_one_pointer(
    built: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Loaders take tables in different orders: refused. So is one that stores more than 8 bytes."""
    key = symbol(built["pie"], "__SCK__alpha")
    with Image.open(built["pie"]) as image:
        entry = image.loader.relocation(key)
        other = next(
            one for one in image.loader.relocations()
            if one.type == arm64.RELATIVE and abs(one.address - key) > 64
        )  # fmt: skip
        count, _ = image.loader.dynamic[DT_RELACOUNT]
    assert entry
    assert other.offset is not None
    for place, kind, says in [
        (key, arm64.RELATIVE, "2 relocations make the pointer"),
        (key - 8, arm64.TLSDESC, f"a relocation at {key - 8:#x} makes a part"),
        (key + 4, arm64.RELATIVE, "relocations? .*at 0x"),
    ]:
        path = Path(shutil.copy(built["pie"], tmp_path / "pie"))
        data = bytearray(path.read_bytes())
        struct.pack_into("<QQ", data, other.offset, place, kind)
        path.write_bytes(data)
        if kind != arm64.RELATIVE:
            patched_tag(path, DT_RELACOUNT, DT_RELACOUNT, 0)
        assert re.search(says, refused(capsys, path, "alpha=two"))
    assert count


def test_a_leading_relocation_that_is_not_relative(
    built: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """DT_RELACOUNT says that it is, and glibc does not look."""
    path = Path(shutil.copy(built["pie"], tmp_path / "pie"))
    with Image.open(path) as image:
        entry = image.loader.relocation(symbol(path, "__SCK__alpha"))
    assert entry
    assert entry.offset is not None
    data = bytearray(path.read_bytes())
    struct.pack_into("<Q", data, entry.offset + 8, arm64.ABS64)
    path.write_bytes(data)
    assert "DT_RELACOUNT" in refused(capsys, path, "alpha=two")


# What else is there


def headers(data: bytes | bytearray) -> list[tuple[int, tuple[int, ...]]]:
    """Offset and fields of each program header."""
    start, count = struct.unpack_from("<Q", data, 32)[0], struct.unpack_from("<H", data, 56)[0]
    return [
        (at, struct.unpack_from("<IIQQQQQQ", data, at))
        for at in range(start, start + 56 * count, 56)
    ]


def test_bytes_that_are_in_memory_twice(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A segment that maps another one's bytes: a write to one changes the other."""
    data = bytearray(program.read_bytes())
    loads = [(at, one) for at, one in headers(data) if one[0] == 1]
    (_, code), (at, writable) = loads[0], loads[-1]
    size = max(writable[5], code[5])
    struct.pack_into("<Q", data, at + 8, code[2] + writable[3] % 0x1000)
    struct.pack_into("<QQ", data, at + 32, min(size, writable[5]), max(size, writable[6]))
    program.write_bytes(data)
    said = refused(capsys, program, "alpha=two")
    assert "2 segments" in said or "belongs to its" in said


AGAIN = 0x10000000  # where the file is mapped once more


def test_what_belongs_to_the_file_is_not_changed(program: Path) -> None:
    """Headers, notes, symbols and their names, in a segment that has them and can be written."""
    data = bytearray(program.read_bytes())
    stack = next(at for at, fields in headers(data) if fields[0] == 0x6474E551)
    loaded = max(one[2] + one[5] for _, one in headers(data) if one[0] == 1)
    sections = {}
    for line in readelf("-S", program):
        if match := re.match(r" +\[ *\d+\] (\S+) +\w+ +\w+ (\w+)", line):
            sections[match[1]] = int(match[2], 16)
    places = {
        sections[".symtab"] + 48: "tables",
        sections[".strtab"] + 48: "tables",
        int.from_bytes(data[40:48], "little") + 64: "section headers",
        24: "2 segments",
        64 + 56: "2 segments",
        sections[".note.gnu.build-id"]: "2 segments",
    }
    for offset, says in places.items():
        start = loaded + 0xFFF & -0x1000 if offset >= loaded + 0x1000 else offset & -0x1000
        again = AGAIN + start
        fields = (1, 6, start, again, again, len(data) - start, len(data) - start, 0x1000)
        if says == "2 segments":
            fields = (1, 6, start, again, again, 0x800, 0x800, 0x1000)
        struct.pack_into("<IIQQQQQQ", data, stack, *fields)
        program.write_bytes(data)
        with Image.open(program) as image:
            place = ElfFile(image)
            place.write(AGAIN + offset & -8, b"whatever")
            with pytest.raises(Unsafe, match=says):
                place.patches()


def test_headers_that_only_a_writable_segment_has(program: Path) -> None:
    """Each is named: the ELF header, the program headers, the notes."""
    data = bytearray(program.read_bytes())
    note = int(next(line for line in readelf("-l", program) if " NOTE " in line).split()[1], 16)
    base = None
    for at, (kind, _, start, *_) in headers(data):
        if kind == 1 and start == 0:  # the code's, which has the headers: it becomes writable
            struct.pack_into("<I", data, at + 4, 7)
            base = struct.unpack_from("<Q", data, at + 16)[0]
    program.write_bytes(data)
    assert base is not None
    for offset, says in ((24, "ELF header"), (64 + 56, "program headers"), (note, "notes")):
        with Image.open(program) as image:
            place = ElfFile(image)
            place.write(base + offset, b"whatever")
            with pytest.raises(Unsafe, match=says):
                place.patches()


# Being stopped


def test_killed_at_any_moment_the_file_is_the_old_one_or_the_new_one(
    built: dict[str, Path], tmp_path: Path
) -> None:
    """SIGKILL again and again; what was left is gone after the next set that ends."""
    path = Path(shutil.copy(built["static"], tmp_path / "program"))
    states = {}
    for target in ("one", "two"):
        copy = tmp_path.parent / f"{tmp_path.name}-{target}"
        assert main(["set", str(path), f"alpha={target}", "-o", str(copy)]) == 0
        states[target] = copy.read_bytes()
    kills = int(os.environ.get("KILLS", "10"))
    program = (
        "import sys, itertools; from static_call.cli.main import main\n"
        "for t in itertools.cycle(('two', 'one')):\n"
        "    main(['set', sys.argv[1], f'alpha={t}'])\n"
        "    sys.stdout.flush()\n"
    )
    left = 0
    for number in range(kills):
        process = subprocess.Popen(
            [sys.executable, "-c", program, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.02 + number * 0.007 % 0.1)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        assert path.read_bytes() in states.values()
        left += len(os.listdir(tmp_path)) - 1
    print(f"{left} temporary files after {kills} kills")
    (tmp_path / ".program.static-call-abcdefgh").write_bytes(b"left by a killed run")
    target = "one" if path.read_bytes() == states["two"] else "two"
    assert main(["set", str(path), f"alpha={target}"]) == 0
    assert path.read_bytes() == states[target]
    assert os.listdir(tmp_path) == ["program"]


def test_a_temporary_file_that_is_in_use_stays(program: Path) -> None:
    """Another process has it locked; and so do files that only look like one."""
    folder = program.parent
    used, other = folder / ".program.static-call-12345678", folder / ".program.static-call-note"
    used.touch()
    other.touch()
    locker = subprocess.Popen(
        ["flock", used, "sh", "-c", "echo 1; cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert locker.stdout is not None
        assert locker.stdout.readline() == b"1\n"
        assert main(["set", str(program), "alpha=two"]) == 0
        assert sorted(os.listdir(folder)) == [used.name, other.name, "program"]
    finally:
        locker.communicate(timeout=10)
    assert main(["set", str(program), "alpha=one"]) == 0
    assert sorted(os.listdir(folder)) == [other.name, "program"]


def test_a_temporary_file_is_no_standard_stream(tmp_path: Path) -> None:
    """With 0 to 2 closed it is at a number from 3 on: what is printed does not go into it."""
    code = f"""
import os
from static_call.places import temporary
for fd in range(3):
    os.close(fd)
with temporary.beside({str(tmp_path / "program")!r}) as (fd, path):
    os._exit(fd)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode >= 3


def test_outputs(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A copy onto itself, onto an existing file, through a link; hard links keep the old file."""
    folder, before = program.parent, program.read_bytes()
    hard, link, other = folder / "hard", folder / "link", folder / "other"
    os.link(program, hard)
    other.write_text("old")
    link.symlink_to(other)
    assert main(["set", str(program), "alpha=two", "-o", str(link)]) == 0
    assert link.is_symlink()
    assert listed(other, capsys)["alpha"]["target"] == {
        "address": symbol(program, "two"), "symbol": "two", "via": ""
    }  # fmt: skip
    assert program.read_bytes() == before
    assert main(["set", str(program), "alpha=two", "-o", str(program)]) == 0
    assert program.read_bytes() == other.read_bytes()
    assert hard.read_bytes() == before
    assert main(["set", str(program), "alpha=one", "-o", str(folder)]) == 2
    assert "not a regular file" in capsys.readouterr().err
    assert main(["set", str(program), "alpha=one", "-o", str(folder / "no" / "where")]) == 2
    assert "No such file" in capsys.readouterr().err


# Names of PLT entries and of CFI


def test_a_plt_entry_is_a_target_by_its_name(
    built: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The address is objdump's of that name; without @plt, the refusal says it."""
    path = Path(shutil.copy(built["lib.so"], tmp_path / "lib.so"))
    code = run("aarch64-linux-gnu-objdump", "-d", path).stdout
    entry = re.search(r"^0*(\w+) <ext@plt>:", code, re.M)
    assert entry
    assert f"say ext@plt for its PLT entry at 0x{entry[1]}" in refused(capsys, path, "alpha=ext")
    assert "no PLT entry for nothing" in refused(capsys, path, "alpha=nothing@plt")
    assert main(["set", str(path), "alpha=ext@plt"]) == 0
    assert capsys.readouterr().out == "alpha = ext via ext@plt (near)\n"
    slot = run("aarch64-linux-gnu-objdump", "-d", path).stdout
    assert re.search(r"<__SCT__alpha>:\n.*bti\tc\n.*\tb\t\w+ <ext@plt>", slot)
    key = listed(path, capsys)["alpha"]["key"]
    assert isinstance(key, dict)
    assert (key["symbol"], key["value"]) == ("ext@plt", int(entry[1], 16))


PLT_FLAGS = ((), ("-Wl,-z,force-bti",), ("-Wl,-z,pac-plt",))


@pytest.mark.parametrize(
    ("linker", "flags"),
    # gold knows neither option, mold makes no landing pads
    [("gold", ()), ("mold", ()), *itertools.product(("bfd", "lld"), PLT_FLAGS)],
)
def test_plt_entries_of_all_linkers(
    linker: str, flags: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With landing pads and signed pointers, as far as a linker makes them."""
    need("llvm-objdump", "aarch64-linux-gnu-ld.gold")
    source, path = tmp_path / "lib.c", tmp_path / "lib.so"
    source.write_text(SOURCE.replace("(delta, two)", "(delta, ext)"))
    compiler = CLANG_LLD if linker == "lld" else GCC
    chosen: tuple[str, ...] = () if linker == "lld" else (f"-fuse-ld={linker}",)
    if linker == "mold":
        need("mold")
        (tmp_path / "ld").symlink_to(shutil.which("mold") or "")
        chosen = ("-B", str(tmp_path))
    done = compiler("-O1", "-fPIC", "-shared", "-nostdlib", "-mbranch-protection=standard",
                    *chosen, *flags, f"-I{INCLUDE}", source, "-o", path)  # fmt: skip
    assert not done.returncode
    goal = listed(path, capsys)["delta"]["target"]
    assert goal == {"address": None, "symbol": "ext", "via": "ext@plt"}
    assert main(["set", str(path), "gamma=ext@plt"]) == 0
    assert capsys.readouterr().out == "gamma = ext via ext@plt (near)\n"
    found = listed(path, capsys)
    assert found["gamma"]["target"] == goal
    text = run("llvm-objdump", "-d", "--no-show-raw-insn", path).stdout
    slot = re.search(r"<__SCT__gamma>:\n.*\n.*\tb\t0x(\w+)", text)
    delta = re.search(r"<__SCT__delta>:\n.*\n.*\tb\t0x(\w+)", text)
    assert slot
    assert delta
    assert slot[1] == delta[1]


def test_an_indirect_function_that_lld_links(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It goes by its own name, not by its resolver's."""
    source, path = tmp_path / "i.c", tmp_path / "i"
    source.write_text(
        '#include "static_call.h"\n#include <stdio.h>\n'
        "int plain(int x) { return x + 1; }\n"
        "static int impl(int x) { return x + 50; }\n"
        "static int (*resolve(void))(int) { return impl; }\n"
        'int dispatched(int x) __attribute__((ifunc("resolve")));\n'
        "DEFINE_STATIC_CALL(a, plain);\nDEFINE_STATIC_CALL(b, dispatched);\n"
        'int main(void) { printf("%d %d\\n", static_call(a)(1), static_call(b)(1)); }\n'
    )
    CLANG_LLD("-O1", f"-I{INCLUDE}", source, "-o", path)
    goal = listed(path, capsys)["b"]["target"]
    assert isinstance(goal, dict)
    assert goal["symbol"] == "dispatched"
    assert main(["set", str(path), "a=dispatched"]) == 0
    assert capsys.readouterr().out == "a = dispatched (near)\n"
    assert qemu(path) == "51 51\n"


def test_jump_tables_of_clangs_cfi(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are not static calls; the target is the function itself, with no entry before it."""
    source, path = tmp_path / "cfi.c", tmp_path / "cfi"
    source.write_text(
        '#include "static_call.h"\n#include <stdio.h>\n'
        "static int slow(int x) { return x + 1; }\nstatic int fast(int x) { return x + 2; }\n"
        "DEFINE_STATIC_CALL(policy, slow);\nint (*volatile other)(int) = fast;\n"
        "int (*volatile trampoline)(int) = STATIC_CALL_TRAMP(policy);\n"
        'int main(void) { printf("%d %d\\n", static_call(policy)(1), other(1)); }\n'
    )
    CLANG_LLD("-O1", "-flto", "-fvisibility=hidden", "-fsanitize=cfi-icall",
              "-fno-sanitize-ignorelist", f"-I{INCLUDE}",
              source, "-o", path)  # fmt: skip
    assert "cfi_jt" in run("aarch64-linux-gnu-nm", path).stdout
    found = listed(path, capsys)
    assert set(found) == {"policy"}
    goal = found["policy"]["target"]
    assert isinstance(goal, dict)
    # clang 14 calls a function f.cfi and its entry in the jump table f; others f and f.cfi_jt.
    assert (goal["symbol"], goal["via"]) in (("slow.cfi", ""), ("slow", ""))
    assert main(["set", str(path), "policy=slow"]) == 0  # to the entry, in clang 14
    assert main(["set", str(path), "policy=fast"]) == 0
    assert qemu(path) == "3 3\n"
    assert main(["set", str(path), "policy=null"]) == 0
    capsys.readouterr()
    assert listed(path, capsys)["policy"]["key"]
    assert re.search(r"null +-? *null|- +null", _row(path, capsys, "policy"))
    assert qemu(path) == "1 3\n"


def _row(path: Path, capsys: pytest.CaptureFixture[str], name: str) -> str:
    assert main(["list", str(path)]) == 0
    rows: list[str] = capsys.readouterr().out.splitlines()
    first: Callable[[str], bool] = lambda row: row.startswith(name)  # noqa: E731
    return next(filter(first, rows))


@pytest.mark.parametrize("name", ["\udcff\udcfe", "one\udcff"])
def test_names_that_are_no_text(built: dict[str, Path], name: str,
                                capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    """Bytes of a command line that are not UTF-8 are a name that the file has not: one line."""
    before = built["static"].read_bytes()
    for arguments in (["set", f"alpha={name}"], ["set", f"{name}=one"], ["show", name],
                      ["call", name]):  # fmt: skip
        verb, *rest = arguments
        assert main([verb, str(built["static"]), *rest]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert built["static"].read_bytes() == before


@pytest.mark.parametrize(("closed", "said"), [(1, ""), (2, ""), (None, "it is set")])
def test_output_that_cannot_be_written(built: dict[str, Path], tmp_path: Path,
                                       closed: int | None, said: str) -> None:  # fmt: skip
    """Closed streams do not matter; a full one is reported, and the file is set all the same."""
    path = tmp_path / "copy"
    shutil.copy(built["static"], path)
    command = [sys.executable, "-m", "static_call", "set", str(path), "alpha=two"]
    with open("/dev/full", "w", encoding="utf-8") as full:
        close = None if closed is None else lambda: os.close(closed)
        done = subprocess.run(
            command,
            stdout=full if closed is None else None if closed == 1 else subprocess.PIPE,
            stderr=subprocess.PIPE if closed != 2 else None,
            text=True,
            preexec_fn=close,
            check=False,
            timeout=300,
        )
    assert done.returncode == (2 if closed is None else 0)
    assert "Traceback" not in (done.stderr or "")
    assert said in (done.stderr or "")
    assert (done.stderr or "").count("\n") == (closed is None)
    with Image.open(path) as image:
        assert (
            image.names.symbol("two").value
            == image_calls.lookup(
                image, image_calls.longest_first(map(notation.load, notation.shipped())), ["alpha"]
            )[0].known.target
        )


def test_trampolines_in_data_are_none(built: dict[str, Path], tmp_path: Path,
                                      capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    """A copy of a trampoline in .rodata is not code: by its address it is not set."""
    with Image.open(built["static"]) as image:
        words = image.read(image.names.symbol("__SCT__alpha").value, 64)
    source, path = tmp_path / "blob.c", tmp_path / "blob"
    data = ",".join(map(str, words))
    source.write_text(SOURCE + MAIN.replace("<stdio.h>", "<stdio.h>\n#define ext one") + (
        'asm(".section .rodata\\n.globl blob, __SCT__blob\\n.balign 64\\nblob: __SCT__blob:"\n'
        f'".byte {data}\\n.previous");\n'
    ))  # fmt: skip
    GCC("-O2", "-static", "-no-pie", f"-I{INCLUDE}", source, "-o", path)
    before = path.read_bytes()
    with Image.open(path) as image:
        address = image.names.symbol("blob").value
    for name in (f"{address:#x}", "blob"):
        assert main(["set", str(path), f"{name}=ret0"]) == 2
        assert f"the bytes at {address:#x} are not a trampoline" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_arguments_of_a_call_fit(built: dict[str, Path],
                                 capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    """An integer of more than 64 bits is refused, and not cut."""
    for number in (1 << 64, -(1 << 63) - 1):
        assert main(["call", str(built["static"]), "one", str(number)]) == 2
        assert "64 bits" in capsys.readouterr().err
    assert main(["call", str(built["static"]), "one", hex((1 << 64) - 1), "--bits", "32"]) == 0
    assert capsys.readouterr().out == "0 = 0x0\n"
