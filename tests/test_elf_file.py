"""An ELF file as a place: patched programs run; files change whole or not at all."""

import errno
import hashlib
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from elf_files import KINDS, assemble, build, readelf
from patience import patient
from toolchain import GCC, qemu, run

import static_call
from static_call import image_calls
from static_call.design import notation
from static_call.design.retarget import Retarget
from static_call.design.target import RET0
from static_call.elf import arm64
from static_call.elf.errors import NotInFile
from static_call.elf.image import Image
from static_call.errors import BadTarget
from static_call.isa.isa import Step
from static_call.places.elf_changes import NeedsRelocation
from static_call.places.elf_file import ElfFile
from static_call.places.protocol import Code, Memory, Native, Runs
from static_call.places.whole_file import Changed, NotWritten, ReadOnly

RUNNING = [kind for kind in KINDS if kind not in ("shared", "bti")]
"""What runs by itself. Debian's start files have no landing pads, so what is marked doesn't run."""


@pytest.fixture
def pie(tmp_path: Path) -> Path:
    """A small position-independent executable."""
    return build(tmp_path, "pie")


def point(path: Path, output: Path | None = None, **pointers: str | None) -> None:
    """Makes the program's pointers point to functions, or to nothing."""
    with Image.open(path) as image:
        place = ElfFile(image)
        for name, function in pointers.items():
            address = image.names.symbol(function).value if function else 0
            place.write(image.names.symbol(name).value, address.to_bytes(8, "little"))
        place.commit(output)


def relocations(path: Path) -> dict[int, tuple[str, str]]:
    """Type and the rest of each relocation, as readelf prints it, by address."""
    found = {}
    for line in readelf("-r", path):
        if match := re.fullmatch(r"([0-9a-f]{16})  [0-9a-f]{16} R_AARCH64_(\w+)\s*(.*)", line):
            found[int(match[1], 16)] = (match[2], match[3])
    return found


def listing(folder: Path) -> dict[str, str]:
    """The files of a folder and their contents, hashed: what must not change."""
    return {
        one.name: hashlib.sha256(one.read_bytes()).hexdigest()
        for one in folder.iterdir()
        if one.is_file()
    }


# What patched programs do


@pytest.mark.parametrize("kind", RUNNING)
def test_a_program_calls_what_its_pointers_are_changed_to(tmp_path: Path, kind: str) -> None:
    """To a global and to a local function, to nothing, and back, whatever makes the pointers."""
    path = build(tmp_path, kind)
    assert qemu(path) == "1 2 -1 -1\n"
    point(path, pointer="three", other="one")
    assert qemu(path) == "3 1 -1 -1\n"
    point(path, pointer=None, other=None)
    assert qemu(path) == "-1 -1 -1 -1\n"
    point(path, pointer="two")
    assert qemu(path) == "2 -1 -1 -1\n"
    point(path, pointer="one", other="two")
    assert qemu(path) == "1 2 -1 -1\n"


def test_a_shared_object_calls_what_its_pointers_are_changed_to(tmp_path: Path) -> None:
    """Also if another file would have chosen the pointer: it is then this file's function."""
    library = build(tmp_path, "shared")
    main = tmp_path / "main.c"
    main.write_text("extern void report(void); int main(void) { report(); return 0; }")
    program = tmp_path / "main"
    GCC(main, library, "-o", program, f"-Wl,-rpath,{tmp_path}")
    pointer = Image.open(library).names.symbol("pointer").value
    assert qemu(program) == "1 2 -1 -1\n"
    assert relocations(library)[pointer][0] == "ABS64"
    point(library, pointer="two", other="three")
    assert relocations(library)[pointer] == (
        "RELATIVE",
        f"{Image.open(library).names.symbol('two').value:x}",
    )
    assert qemu(program) == "2 3 -1 -1\n"
    point(library, pointer=None, other=None)
    assert relocations(library)[pointer][0] == "NONE"
    assert qemu(program) == "-1 -1 -1 -1\n"
    point(library, pointer="three")
    assert qemu(program) == "3 -1 -1 -1\n"


@pytest.mark.parametrize("kind", ["static", "pie", "static-pie"])
def test_static_calls_of_a_c_program_are_retargeted(tmp_path: Path, kind: str) -> None:
    """The header's trampolines and keys: near, null, ret0 and back, in a program that runs."""
    source = """
        #include <stdio.h>
        #include <static_call.h>
        int one(int x) { return x + 1; }
        int ten(int x) { return x + 10; }
        DEFINE_STATIC_CALL(policy, one);
        void report(void) { printf("%d\\n", static_call(policy)(100)); }
    """
    include = Path(static_call.__file__).parent / "include"
    path = build(tmp_path, kind, source, f"-I{include}")
    assert qemu(path) == "101\n"
    designs = [notation.load(name) for name in notation.shipped()]
    targets: list[tuple[Any, str]] = [
        ("ten", "110\n"),
        (RET0, "0\n"),
        (None, "100\n"),
        ("one", "101\n"),
    ]
    for target, printed in targets:
        image = Image.open(path)
        place = ElfFile(image)
        found = image_calls.lookup(image, designs, ["policy"])[0]
        found.static_call(place).update(target)
        place.commit()
        assert qemu(path) == printed


# What changes in the file


def test_only_what_must_change_does(pie: Path) -> None:
    """The addend, and not the pointer's own bytes where the linker left another value there."""
    before = bytearray(pie.read_bytes())
    image = Image.open(pie)
    pointer, three = image.names.symbol("pointer").value, image.names.symbol("three").value
    offset, entry = image.segments.offset(pointer, 8), image.loader.relocation(pointer)
    assert entry is not None
    assert entry.offset is not None
    before[offset : offset + 8] = bytes(8)
    pie.write_bytes(before)
    point(pie, pointer="three")
    after = pie.read_bytes()
    before[entry.offset + 16 : entry.offset + 24] = three.to_bytes(8, "little")
    assert after == before
    assert qemu(pie) == "3 2 -1 -1\n"


def test_bytes_count_where_nothing_is_stored_over_them(pie: Path) -> None:
    """A pointer that becomes null is 0 in the file, whatever a linker had left there."""
    data = bytearray(pie.read_bytes())
    image = Image.open(pie)
    offset = image.segments.offset(image.names.symbol("pointer").value, 8)
    data[offset : offset + 8] = b"whatever"
    pie.write_bytes(data)
    point(pie, pointer=None)
    assert pie.read_bytes()[offset : offset + 8] == bytes(8)
    assert qemu(pie) == "-1 2 -1 -1\n"


def test_bytes_that_follow_the_addend_go_on_doing_so(tmp_path: Path) -> None:
    """As with --apply-dynamic-relocs: code that doesn't relocate reads the link address there."""
    path = build(tmp_path, "applied")
    point(path, pointer="three")
    image = Image.open(path)
    offset = image.segments.offset(image.names.symbol("pointer").value, 8)
    held = int.from_bytes(path.read_bytes()[offset : offset + 8], "little")
    assert held == image.names.symbol("three").value
    assert relocations(path)[image.names.symbol("pointer").value] == ("RELATIVE", f"{held:x}")


def test_the_count_of_relative_relocations_stays_true(pie: Path) -> None:
    """A loader takes the first DT_RELACOUNT entries for RELATIVE without looking."""
    count = next(line.split()[-1] for line in readelf("-d", pie) if "RELACOUNT" in line)
    point(pie, pointer=None)
    kinds = [kind for kind, _ in relocations(pie).values()]
    left = int(next(line.split()[-1] for line in readelf("-d", pie) if "RELACOUNT" in line))
    assert kinds.count("NONE") == 1
    assert 0 < left < int(count)
    assert kinds[:left] == ["RELATIVE"] * left


def test_a_pointer_without_a_relocation_needs_one(pie: Path) -> None:
    """In a position-independent file: refused, and the file stays; a number needs none."""
    before = listing(pie.parent)
    nothing = Image.open(pie).names.symbol("nothing").value
    with pytest.raises(
        NeedsRelocation, match=f"^{pie}: the pointer at {nothing:#x} would need a reloc"
    ):
        point(pie, nothing="one")
    assert listing(pie.parent) == before
    with Image.open(pie) as image:
        place = ElfFile(image)
        place.write(nothing, (1 << 62).to_bytes(8, "little"))
        place.commit()
    assert Image.open(pie).read(nothing, 8) == (1 << 62).to_bytes(8, "little")


def test_a_pointer_without_a_relocation_needs_none_at_a_fixed_address(tmp_path: Path) -> None:
    """In a file that is loaded where it was linked for, every pointer can point anywhere."""
    path = build(tmp_path, "static")
    point(path, nothing="three")
    assert qemu(path) == "1 2 3 -1\n"


def test_a_relr_table_takes_a_new_place_where_there_is_room(tmp_path: Path) -> None:
    """A pointer that was null at the link can be given a bit in a bitmap with others."""
    path = build(tmp_path, "relr")
    size = Image.open(path).loader.tables.relr[1]
    before = set(Image.open(path).loader.relr_addresses)
    point(path, nothing="three")
    image = Image.open(path)
    assert set(image.loader.relr_addresses) == before | {image.names.symbol("nothing").value}
    assert image.loader.tables.relr[1] == size
    assert qemu(path) == "1 2 3 -1\n"


def test_a_relr_table_that_has_no_room(tmp_path: Path) -> None:
    """Addresses far from all others would take more entries than there are."""
    path = build(tmp_path, "relr")
    before = listing(tmp_path)
    with Image.open(path) as image:
        place = ElfFile(image)
        data = next(one for one in image.segments if one.writable)
        taken = set(image.loader.relr_addresses)
        free = [at for at in range(data.address, data.end - 8, 8) if at not in taken]
        sparse = [at for at in free if at - data.address > 0x200][::64]
        for at in sparse:
            if not any(image.read(at, 8)):
                place.write(at, image.entry.to_bytes(8, "little"))
        with pytest.raises((NeedsRelocation, NotInFile)):
            place.commit()
    assert listing(tmp_path) == before


def test_pointers_of_the_procedure_linkage_table_stay(pie: Path) -> None:
    """A lazy loader knows only some types there; the refusal names the symbol."""
    image = Image.open(pie)
    jump = next(one for one in image.loader.relocations() if one.type == arm64.JUMP_SLOT)
    place = ElfFile(image)
    place.write(jump.address, image.names.symbol("one").value.to_bytes(8, "little"))
    with pytest.raises(NeedsRelocation, match=f"type 1026 against {jump.symbol}, which must stay"):
        place.patches()


def test_in_its_table_not_even_a_relative_one_is_changed(pie: Path) -> None:
    """A lazy loader would stop at the R_AARCH64_NONE that a null pointer needs."""
    image, data = Image.open(pie), bytearray(pie.read_bytes())
    jump = next(one for one in image.loader.relocations() if one.type == arm64.JUMP_SLOT)
    assert jump.offset is not None
    data[jump.offset + 8 : jump.offset + 16] = arm64.RELATIVE.to_bytes(8, "little")
    data[jump.offset + 16 : jump.offset + 24] = (1234).to_bytes(8, "little")
    pie.write_bytes(data)
    image = Image.open(pie)
    place = ElfFile(image)
    place.write(jump.address, bytes(8))
    with pytest.raises(NeedsRelocation, match="type 1027 against no symbol, which must stay"):
        place.patches()


def test_pointers_that_only_the_loader_knows_stay(tmp_path: Path) -> None:
    """R_AARCH64_IRELATIVE: the choice of a resolver."""
    image = Image.open(build(tmp_path, "relr"))
    chosen = next(one for one in image.loader.relocations() if one.type == arm64.IRELATIVE)
    place = ElfFile(image)
    place.write(chosen.address, image.entry.to_bytes(8, "little"))
    with pytest.raises(NeedsRelocation, match="type 1032 against no symbol, which must stay"):
        place.patches()


def test_a_relr_table_gets_no_place_that_a_loader_cannot_write_to(tmp_path: Path) -> None:
    """Constants and code: the program would fault before it starts; nor one out of step."""
    image = Image.open(build(tmp_path, "relr"))
    data = next(one for one in image.segments if one.writable)
    taken = set(image.loader.relr_addresses)
    odd = next(at + 4 for at in range(data.address, data.end, 8) if not taken & {at, at + 8})
    for address in (image.segments[0].address + 0x2000, image.entry & -8, odd):
        place = ElfFile(image)
        place.write(address, image.entry.to_bytes(8, "little"))
        with pytest.raises(NeedsRelocation, match=f"the pointer at {address:#x} would need"):
            place.patches()


def test_a_part_of_a_relocated_pointer_is_not_written(pie: Path) -> None:
    """Half an address, or an instruction over one, would make nonsense of both."""
    pointer = Image.open(pie).names.symbol("pointer").value
    for address, data in ((pointer, b"\1\2\3\4"), (pointer - 4, b"8 bytes!")):
        place = ElfFile(Image.open(pie))
        place.write(address, data)
        with pytest.raises(NeedsRelocation, match=f"a relocation at {pointer:#x} makes a part"):
            place.patches()


def test_memory_that_starts_as_zeros_is_not_in_the_file(pie: Path) -> None:
    """A null pointer in .bss can stay null and cannot become anything else."""
    point(pie, zeros=None)
    with pytest.raises(NotInFile, match=r"not in the file: memory that starts as zeros \(.bss\)"):
        point(pie, zeros="one")
    place = ElfFile(Image.open(pie))
    place.write(1 << 40, bytes(8))
    with pytest.raises(NotInFile, match="nothing is at"):
        place.commit()


def test_reads_see_what_was_written(pie: Path) -> None:
    """Before the file changes, at any offset from what was written."""
    image = Image.open(pie)
    place = ElfFile(image)
    pointer = image.names.symbol("pointer").value
    old = image.read(pointer - 8, 32)
    place.write(pointer, b"abcdefgh")
    place.write(pointer + 8, b"ijkl")
    new = old[:8] + b"abcdefghijkl" + old[20:]
    for at in range(32):
        for size in range(32 - at):
            assert place.read(pointer - 8 + at, size) == new[at : at + size]
    assert image.read(pointer - 8, 32) == old
    assert len(place.read(image.segments[-1].end - 2, 8)) == 2


def test_a_retarget_is_its_stores_in_their_order(pie: Path) -> None:
    """The last store to an address counts; barriers and maintenance change nothing."""
    image = Image.open(pie)
    place = ElfFile(image)
    at = image.names.symbol("main").value
    steps = (
        Step("cse"), Step("store", at, 0x1111111122222222, 8), Step("dmb ishst"),
        Step("store", at, 0x33333333, 4), Step("dc cvau", at), Step("dsb ish"), Step("ic ivau", at),
    )  # fmt: skip
    place.perform(Retarget((), (), steps))
    assert place.read(at, 8).hex() == "3333333311111111"
    place.commit()
    assert Image.open(pie).read(at, 8).hex() == "3333333311111111"


def test_what_is_undone_does_not_change_the_file(pie: Path) -> None:
    """Also not by a new file with the same contents."""
    before = pie.stat()
    point(pie, pointer="one", other="two", nothing=None)
    assert (pie.stat().st_ino, pie.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_the_address_of_an_indirect_function_is_the_loaders(tmp_path: Path) -> None:
    """Its symbol is a resolver: a call of it would resolve, and not do what was asked."""
    path = assemble(
        tmp_path, "ifunc", ".type f, %gnu_indirect_function\n.globl f\nf: ret", "-shared"
    )
    with pytest.raises(BadTarget, match="f is an indirect function"):
        ElfFile(Image.open(path)).resolve("f")


def test_a_file_cannot_be_called(pie: Path) -> None:
    """It has memory and code, and not the parts of a place that runs code."""
    image = Image.open(pie)
    place = ElfFile(image)
    assert place.resolve("one") == image.names.symbol("one").value
    assert place.executable(place.resolve("one"))
    assert not place.executable(place.resolve("pointer"))
    assert not place.guarded(place.resolve("one"))
    assert not place.live
    assert isinstance(place, Memory)
    assert isinstance(place, Code)
    assert not isinstance(place, Runs)
    assert not isinstance(place, Native)


def test_only_code_of_a_marked_file_is_guarded(tmp_path: Path) -> None:
    """What BTI says of pages holds for code."""
    place = ElfFile(Image.open(build(tmp_path, "bti")))
    assert place.guarded(place.resolve("one"))
    assert not place.guarded(place.resolve("pointer"))


# How the file changes


def test_mode_owner_attributes_and_links_are_kept(pie: Path) -> None:
    """Of the file that a symbolic link leads to; the link stays one."""
    pie.chmod(0o6751)
    if os.geteuid() == 0:
        os.chown(pie, 1234, 4321)
        pie.chmod(0o6751)
    marked = True
    try:
        os.setxattr(pie, "user.note", b"kept")
    except OSError:
        marked = False
    link = pie.parent / "link"
    link.symlink_to(pie.name)
    before = pie.stat()
    point(link, pointer="three")
    after = pie.stat()
    assert link.is_symlink()
    assert after.st_ino != before.st_ino
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )
    assert stat.S_IMODE(after.st_mode) == 0o6751
    assert not marked or os.getxattr(pie, "user.note") == b"kept"
    assert qemu(link) == "3 2 -1 -1\n"
    assert sorted(one.name for one in pie.parent.iterdir()) == ["link", "pie", "pie.c"]


def test_a_copy_leaves_the_file(pie: Path) -> None:
    """With its permission bits, but no rights beyond those of who made it."""
    pie.chmod(0o4750)
    before = listing(pie.parent)
    copy = pie.parent / "copy"
    copy.write_text("what is there already goes")
    point(pie, copy, pointer="three")
    assert qemu(copy) == "3 2 -1 -1\n"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o750
    after = listing(pie.parent)
    assert after.pop("copy") != before["pie"]
    assert after == before
    point(pie, copy, pointer="one")  # nothing to change: a plain copy
    assert copy.read_bytes() == pie.read_bytes()


def test_a_copy_to_the_file_itself_replaces_it(pie: Path) -> None:
    """Whatever its path."""
    (pie.parent / "sub").mkdir()
    point(pie, pie.parent / "sub" / ".." / "pie", pointer="three")
    assert qemu(pie) == "3 2 -1 -1\n"


def test_a_read_only_file_is_refused_even_to_root(pie: Path) -> None:
    """Its owner has said so, though the folder would allow it; the same for an output file."""
    pie.chmod(0o555)
    before = listing(pie.parent)
    with pytest.raises(ReadOnly, match=f"^{pie}: it is read-only"):
        point(pie, pointer="three")
    copy = pie.parent / "copy"
    copy.write_text("old")
    copy.chmod(0o444)
    with pytest.raises(ReadOnly, match=f"^{copy}: it is read-only"):
        point(pie, copy, pointer="three")
    assert listing(pie.parent) == {**before, "copy": hashlib.sha256(b"old").hexdigest()}
    copy.unlink()
    point(pie, copy, pointer="three")
    assert qemu(copy) == "3 2 -1 -1\n"


def test_an_output_that_is_no_file_is_refused(pie: Path) -> None:
    """A device would be replaced by a file otherwise; there is nothing to replace a folder by."""
    os.mkfifo(pie.parent / "pipe")
    for output in (Path("/dev/null"), pie.parent, pie.parent / "pipe"):
        with pytest.raises(NotWritten, match="not a regular file"):
            point(pie, output, pointer="three")
    with pytest.raises(NotWritten, match="No such file or directory"):
        point(pie, pie.parent / "nowhere" / "copy", pointer="three")


def test_a_file_that_has_changed_is_not_overwritten(pie: Path) -> None:
    """In place, by another file at its path, or gone."""

    def append() -> None:
        with pie.open("ab") as file:
            file.write(b"more")

    def rebuild() -> None:
        data = pie.read_bytes()
        pie.unlink()
        pie.write_bytes(data)

    for meddle in (append, rebuild):
        image = Image.open(pie)
        place = ElfFile(image)
        place.write(
            image.names.symbol("pointer").value,
            image.names.symbol("three").value.to_bytes(8, "little"),
        )
        meddle()
        before = listing(pie.parent)
        with pytest.raises(Changed, match=f"^{pie}: it has changed since it was read"):
            place.commit()
        assert listing(pie.parent) == before
    pie.unlink()
    with pytest.raises(NotWritten, match="No such file"):
        place.commit()
    assert list(listing(pie.parent)) == ["pie.c"]


LOCKER = """
import fcntl, sys
file = open(sys.argv[1])
fcntl.flock(file, fcntl.LOCK_EX)
print(1, flush=True)
sys.stdin.read()
"""


def test_a_file_that_another_process_changes_is_left_alone(pie: Path) -> None:
    """The other one has the lock; when it has let go, it is our turn."""
    before = listing(pie.parent)
    other = subprocess.Popen(
        [sys.executable, "-c", LOCKER, pie], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == b"1\n"
        with pytest.raises(Changed, match=f"^{pie}: another process is changing it"):
            point(pie, pointer="three")
        assert listing(pie.parent) == before
    finally:
        other.communicate(timeout=patient(10))
    point(pie, pointer="three")
    assert qemu(pie) == "3 2 -1 -1\n"


WRITER = """
import sys, time
from static_call.elf.image import Image
from static_call.errors import BadTarget
from static_call.places.elf_file import ElfFile
from static_call.places.whole_file import Changed
done, end = 0, time.monotonic() + float(sys.argv[2])
while done < 12 and time.monotonic() < end:
    try:
        with Image.open(sys.argv[1]) as image:
            place = ElfFile(image)
            value = image.names.symbol(("three", "two", "one")[done % 3]).value
            for name in ("pointer", "other"):
                place.write(image.names.symbol(name).value, value.to_bytes(8, "little"))
            place.commit()
            done += 1
    except Changed:
        time.sleep(0.001)
print(done)
"""


def test_two_writers_and_a_reader(pie: Path) -> None:
    """Every write is whole: readers see both pointers at the same function, always."""
    point(pie, other="one")
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, pie, str(patient(60))], stdout=subprocess.PIPE
        )
        for _ in range(2)
    ]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        with Image.open(pie) as image:
            pair = [image.read(image.names.symbol(name).value, 8) for name in ("pointer", "other")]
            assert pair[0] == pair[1]
            seen.add(pair[0])
    assert [writer.communicate(timeout=patient(10))[0] for writer in writers] == [b"12\n", b"12\n"]
    assert len(seen) > 1
    assert qemu(pie).split()[:2] in (["3", "3"], ["2", "2"], ["1", "1"])
    assert sorted(one.name for one in pie.parent.iterdir()) == ["pie", "pie.c"]


def fail_with(number: int) -> Callable[..., Any]:
    """A function that fails as a system call does."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("call", ["pwrite", "fsync", "replace", "fchmod"])
def test_nothing_is_left_when_writing_fails(
    pie: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Whatever fails: the file is as it was, no other file is there, and one line says why."""
    before = listing(pie.parent)
    monkeypatch.setattr(os, call, fail_with(errno.ENOSPC))
    with pytest.raises(NotWritten, match=f"^{pie}: No space left on device") as caught:
        point(pie, pointer="three")
    assert "\n" not in str(caught.value)
    assert listing(pie.parent) == before


def test_nothing_is_left_when_the_user_interrupts(
    pie: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while the copy is written."""
    before = listing(pie.parent)

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        point(pie, pointer="three")
    assert listing(pie.parent) == before


def test_a_file_size_limit_that_is_reached(pie: Path) -> None:
    """A write that really fails, halfway: what a full disk does."""
    before = listing(pie.parent)
    program = f"""
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
from pathlib import Path
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_elf_file import point
from static_call.errors import StaticCallError
try:
    point(Path({str(pie)!r}), pointer="three")
except StaticCallError as error:
    print(error)
"""
    done = run(sys.executable, "-B", "-c", program)  # -B: the limit would cut bytecode off
    assert re.fullmatch(f"{pie}: File too large: it is as it was\n", done.stdout)
    assert listing(pie.parent) == before


def test_a_file_system_without_shared_blocks(pie: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plain copy is the same one."""
    calls = []

    def refuse(*arguments: int) -> int:
        calls.append(arguments)
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "copy_file_range", refuse, raising=False)
    monkeypatch.setattr("static_call.places.whole_file._COPY", 1000)
    copy = pie.parent / "copy"
    point(pie, copy, pointer="one")
    assert calls
    assert copy.read_bytes() == pie.read_bytes()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be two users")
def test_who_cannot_keep_the_owner_is_refused(pie: Path) -> None:
    """A file of another user, writable for all: replacing it would take it from its owner."""
    os.chmod(pie.parent, 0o777)
    os.chown(pie, 1234, 1234)
    pie.chmod(0o777)
    before = listing(pie.parent)
    image = Image.open(pie)
    place = ElfFile(image)
    place.write(
        image.names.symbol("pointer").value, image.names.symbol("three").value.to_bytes(8, "little")
    )
    folder = pie.parent
    while folder != folder.parent:
        if not folder.stat().st_mode & 1:
            os.chmod(folder, folder.stat().st_mode | 0o111)
        folder = folder.parent
    os.seteuid(4321)
    try:
        with pytest.raises(NotWritten, match="only its owner or root can replace it"):
            place.commit()
    finally:
        os.seteuid(0)
    assert listing(pie.parent) == before
