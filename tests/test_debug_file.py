"""Stripped files and the files with their symbols: found and checked as gdb does, or named."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
from toolchain import GCC, qemu, run

from static_call.cli.main import main
from static_call.elf import debug_file
from static_call.elf.image import Image

INCLUDE = Path(__file__).parent.parent / "src/static_call/include"
SOURCE = """
#include <stdio.h>
#include "static_call.h"
int slow(int x) { return x + 1; }
int fast(int x) { return x + 2; }
DEFINE_STATIC_CALL(policy, slow);
int main(void) { printf("%d\\n", static_call(policy)(NUMBER)); return 0; }
"""
COPY = "aarch64-linux-gnu-objcopy"


def build(folder: Path, number: int, *flags: str, text: str = SOURCE) -> Path:
    """A program, with its symbols."""
    source, path = folder / "policy.c", folder / f"whole{number}"
    source.write_text(text)
    GCC(
        "-O1",
        "-static",
        "-no-pie",
        f"-I{INCLUDE}",
        f"-DNUMBER={number}",
        *flags,
        source,
        "-o",
        path,
    )
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two programs that differ in a number, with build-ids and without."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "plain").mkdir()
    plain = "-Wl,--build-id=none"
    return {
        "id": build(folder, 10), "id2": build(folder, 11),
        "plain": build(folder / "plain", 10, plain), "plain2": build(folder / "plain", 11, plain),
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and none of this machine's debug files."""
    monkeypatch.setattr(debug_file, "DIRECTORIES", (str(tmp_path / "usr-lib-debug"),))
    (tmp_path / "bin").mkdir()
    return tmp_path / "bin"


def split(whole: Path, folder: Path, *, linked: bool = False) -> tuple[Path, Path]:
    """The stripped file, and the one with its symbols alone."""
    path, debug = folder / "program", folder / "program.debug"
    run(COPY, "--only-keep-debug", whole, debug)
    link = ["--add-gnu-debuglink", str(debug)] if linked else []
    run(COPY, "--strip-all", *link, whole, path)
    return path, debug


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """The one line that is printed."""
    capsys.readouterr()
    assert main([str(one) for one in arguments]) == 2
    out, said = capsys.readouterr()
    assert not out
    assert said.count("\n") == 1
    return said


def works(path: Path, capsys: pytest.CaptureFixture[str], *more: str | Path) -> None:
    """list, show and set with names; the program then does what was set."""
    options = [str(one) for one in more]
    assert main(["list", str(path), *options]) == 0
    assert re.search(r"^policy .* near +slow +slow$", capsys.readouterr().out, re.M)
    assert main(["show", str(path), "policy", *options]) == 0
    assert "<slow>" in capsys.readouterr().out
    assert main(["set", str(path), "policy=fast", *options]) == 0
    assert capsys.readouterr().out == "policy = fast (near)\n"
    assert qemu(path) == "12\n"


def test_symbols_without_code(whole: dict[str, Path], folder: Path,
                              capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    """What --only-keep-debug makes is called what it is, whatever the verb; for objects, too."""
    _, debug = split(whole["id"], folder)
    for verb, *more in (["list"], ["list", "--scan"], ["show", "policy"], ["set", "policy=fast"],
                        ["call", "main"]):  # fmt: skip
        said = refused(capsys, verb, debug, *more)
        assert "holds symbols only" in said
        assert "--debug-file" in said
    source = folder / "o.c"
    source.write_text(SOURCE)
    GCC("-O1", f"-I{INCLUDE}", "-DNUMBER=1", "-c", source, "-o", folder / "o.o")
    run(COPY, "--only-keep-debug", folder / "o.o", folder / "o.debug")
    assert "holds symbols only" in refused(capsys, "list", folder / "o.debug")


def test_a_stripped_file_says_how(whole: dict[str, Path], folder: Path,
                                  capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    """Without its symbols: that they are stripped, and what would help."""
    path, debug = split(whole["id"], folder)
    debug.unlink()
    for verb, *more in (["list"], ["list", "--json"], ["show", "policy"], ["set", "policy=fast"]):
        said = refused(capsys, verb, path, *more)
        assert "stripped" in said
        assert "--debug-file" in said
    assert main(["list", "--scan", str(path)]) == 0


def test_what_is_not_known_of_a_stripped_file(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`list` says no only where the symbols or a scan say so. Of a stripped shared object it lists
    what is exported, and says that this may not be all."""
    source, path = folder / "shared.c", folder / "shared.so"
    for text, status, scanned in (
        ("long f(long x) { return x; }", 2, 1),
        ("long f(long x) { return x; } DEFINE_STATIC_CALL(policy, f);", 2, 0),
        (
            "long f(long x) { return x; } DEFINE_STATIC_CALL(policy, f);"
            "DEFINE_STATIC_CALL(hook, f); EXPORT_STATIC_CALL(hook);",
            0,
            0,
        ),
    ):
        source.write_text(f"#include <static_call.h>\n{text}\n")
        GCC("-O1", f"-I{INCLUDE}", "-shared", "-fPIC", source, "-o", path)
        assert main(["list", str(path)]) == (0 if "DEFINE" in text else 1)
        run(COPY, "--strip-all", path)
        capsys.readouterr()
        assert main(["list", str(path)]) == status
        listed, said = capsys.readouterr()
        assert "its symbols are stripped" in said
        assert re.findall(r"^\w+(?= +0x)", listed, re.M) == ([] if status else ["hook"])
        assert ("only exported static calls" in said) == (status == 0)
        assert main(["list", "--scan", str(path)]) == scanned
        assert "stripped" not in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["id", "plain"])
def test_the_file_that_is_named(whole: dict[str, Path], kind: str, folder: Path,
                                capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    """--debug-file takes one of symbols alone and the unstripped file; not one of another build."""
    path, debug = split(whole[kind], folder)
    hidden = debug.rename(folder / "elsewhere")
    before = path.read_bytes()
    for other in (whole[f"{kind}2"], whole["plain" if kind == "id" else "id"]):
        said = refused(capsys, "list", path, "--debug-file", other)
        assert "not the symbols of" in said
        assert "not the symbols of" in refused(
            capsys, "set", path, "policy=fast", "--debug-file", other
        )
    assert "no symbol table" in refused(capsys, "list", path, "--debug-file", path)
    assert path.read_bytes() == before
    if kind == "plain":
        assert "nothing says that they are" in refused(capsys, "list", path, "--debug-file", hidden)
    else:
        works(path, capsys, "--debug-file", hidden)
        path.write_bytes(before)
    works(path, capsys, "--debug-file", whole[kind])


@pytest.mark.parametrize("alone", [True, False])
def test_an_older_build_of_the_same_layout(alone: bool, folder: Path,
                                           capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    """Without a build-id, symbols of a build with functions at other addresses are not taken."""
    plain = ("-Wl,--build-id=none", "-fno-toplevel-reorder")
    old = build(folder, 10, *plain)
    old_symbols = old.rename(folder / "old")
    if alone:
        run(COPY, "--only-keep-debug", old_symbols, folder / "old.debug")
        old_symbols = folder / "old.debug"
    lines = SOURCE.splitlines()
    lines[3:5] = lines[4], lines[3]
    new = build(folder, 10, *plain, text="\n".join(lines) + "\n")
    path, _ = split(new, folder)
    before = path.read_bytes()
    said = refused(capsys, "set", path, "policy=fast", "--debug-file", old_symbols)
    assert "not the symbols of" in said
    assert path.read_bytes() == before


def test_a_debuglink_says_it_after_a_set(whole: dict[str, Path], folder: Path,
                                         capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    """A program that was set is no longer the same as its unstripped file: the message helps."""
    path, _ = split(whole["plain"], folder)
    works(path, capsys, "--debug-file", whole["plain"])
    again = ("set", path, "policy=slow", "--debug-file", whole["plain"])
    assert "--add-gnu-debuglink" in refused(capsys, *again)
    run(COPY, f"--add-gnu-debuglink={whole['plain']}", path)
    assert main([str(one) for one in again]) == 0
    assert qemu(path) == "11\n"


def test_symbols_of_an_object(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An object's symbols may be in another file, too: what --only-keep-debug makes of it."""
    source, whole, debug, path = (folder / f"o{end}" for end in (".c", ".o", ".debug", ".s.o"))
    source.write_text(SOURCE)
    GCC("-O1", f"-I{INCLUDE}", "-DNUMBER=1", "-c", source, "-o", whole)
    run(COPY, "--only-keep-debug", whole, debug)
    run(COPY, "--strip-debug", f"--add-gnu-debuglink={debug}", whole, path)
    capsys.readouterr()
    assert main(["list", str(path), "--debug-file", str(debug)]) == 0
    assert re.search(r"^policy .* near +slow +slow$", capsys.readouterr().out, re.M)


@pytest.mark.parametrize("where", ["{folder}", "{folder}/.debug", "{debug}{folder}"])
def test_found_by_debuglink(whole: dict[str, Path], where: str, folder: Path,
                            capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    """Beside the file, in .debug and in the directory of debug files; its CRC is checked."""
    path, debug = split(whole["plain"], folder, linked=True)
    place = Path(where.format(folder=folder, debug=debug_file.DIRECTORIES[0]))
    place.mkdir(parents=True, exist_ok=True)
    moved = Path(shutil.move(debug, place / debug.name))
    before, data = path.read_bytes(), moved.read_bytes()
    works(path, capsys)
    path.write_bytes(before)
    moved.write_bytes(data + b"\0")
    assert "stripped" in refused(capsys, "list", path)
    assert "its CRC is" in refused(capsys, "list", path, "--debug-file", moved)


def test_found_by_build_id(whole: dict[str, Path], folder: Path,
                           capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    """In .build-id of the directory of debug files; one of another build there is not taken."""
    path, debug = split(whole["id"], folder)
    notes = run("aarch64-linux-gnu-readelf", "-n", path).stdout
    build_id = re.search(r"Build ID: (\w\w)(\w+)", notes)
    assert build_id
    with Image.open(path) as image:
        assert image.build_id.hex() == build_id[1] + build_id[2]
    place = Path(debug_file.DIRECTORIES[0], ".build-id", build_id[1], build_id[2] + ".debug")
    place.parent.mkdir(parents=True)
    run(COPY, "--only-keep-debug", whole["id2"], place)
    debug.unlink()
    assert "stripped" in refused(capsys, "list", path)
    run(COPY, "--only-keep-debug", whole["id"], place)
    works(path, capsys)


def test_a_debuglink_that_leads_astray(whole: dict[str, Path], folder: Path,
                                       capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    """To the file itself, a folder, what is not an ELF file, out of the folder: passed over."""
    path, debug = split(whole["id"], folder, linked=True)
    data = path.read_bytes()
    for name in (b"program\0", b"..\0", b"../x\0", b"\0"):
        changed = data.replace(b"program.debug\0", name.ljust(14, b"\0"))
        path.write_bytes(changed)
        assert "stripped" in refused(capsys, "list", path)
    path.write_bytes(data)
    debug.write_text("not an ELF file")
    assert "stripped" in refused(capsys, "list", path)
    os.unlink(debug)
    os.mkfifo(debug)
    assert "stripped" in refused(capsys, "list", path)


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (b"\xfd7zXZ\0" + bytes(60), "xz -dk"),
        (b"\x1f\x8b\x08" + bytes(60), "gzip -dk"),
        (b"\x28\xb5\x2f\xfd" + bytes(60), "zstd -dk"),
        (b"BZh9" + bytes(60), "bzip2 -dk"),
        (b"MZ" + bytes(54) + b"ARMd" + bytes(8), "vmlinux"),
        (b"MZ\0\0zimg" + bytes(60), "vmlinux"),
        (b"!<arch>\ndebian-binary   " + bytes(60), "dpkg -x"),
        (b"!<arch>\nfoo.o/" + bytes(60), "ar x"),
        (b"BC\xc0\xde" + bytes(60), "link it first"),
        (b"", "not an ELF file"),
        (b"\x7fEL", "not an ELF file"),
    ],
)
def test_what_is_not_an_elf_file_says_how_to_get_one(
    head: bytes, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Compressed modules, kernel images, packages: which command gives the ELF file."""
    path = tmp_path / "module.ko.xz"
    path.write_bytes(head)
    said = refused(capsys, "list", path)
    assert says in said
    assert "not an ELF file" in said


def test_a_compressed_kernel_is_no_compressed_elf_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unpacking a vmlinuz gives an Image, which is not an ELF file either."""
    path = tmp_path / "vmlinuz-6.1.0"
    path.write_bytes(b"\x1f\x8b\x08" + bytes(61))
    said = refused(capsys, "list", path)
    assert "gzip" in said
    assert "vmlinux" in said


def test_images_that_are_dropped_close_their_files(whole: dict[str, Path]) -> None:
    """Without the garbage collector, whatever they were used for, and also if they are refused."""
    program = f"""
import gc, os
gc.disable()
from static_call import image_calls
from static_call.design import notation
from static_call.elf.errors import ElfError
from static_call.elf.image import Image
from static_call.image_calls import longest_first
from static_call.places.elf_file import ElfFile
designs = longest_first(notation.load(name) for name in notation.shipped())
def use(path):
    image = Image.open(path)
    image_calls.find(image, designs)
    place = ElfFile(image)
    image_calls.lookup(image, designs, ["policy"])[0].static_call(place).update("fast")
    place.patches()
    image.names.at({{image.entry}})
    image.names.function(image.entry)
use({str(whole["id"])!r})
before = len(os.listdir("/proc/self/fd"))
for _ in range(50):
    use({str(whole["id"])!r})
    for bad in ("/etc/passwd", "/dev/null", "/"):
        try:
            Image.open(bad)
        except (ElfError, OSError):
            pass
print(len(os.listdir("/proc/self/fd")) - before)
"""
    import sys

    assert run(sys.executable, "-c", program).stdout == "0\n"
