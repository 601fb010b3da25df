"""The example programs: they build with every compiler, and do what their README says."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
from linked import Linked
from toolchain import COMPILERS, GCC, ZIG, Compiler, need, qemu, run, run_qemu, zig_is_there

from static_call.cli.main import main
from static_call.design.notation import load

EXAMPLES = Path(__file__).parents[1] / "examples"
REACH = 1 << 27


def make(compiler: Compiler, folder: Path) -> Path:
    """Builds the examples into a folder."""
    need("make", *compiler.needs)
    run("make", "-s", "-C", EXAMPLES, f"CC={' '.join(compiler.cc)}", f"O={folder}")
    return folder


@pytest.fixture(scope="module", params=[*COMPILERS, *([ZIG] if zig_is_there() else [])], ids=str)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The examples as each compiler builds them."""
    return make(request.param, tmp_path_factory.mktemp("examples"))


@pytest.fixture(scope="module")
def with_gcc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The examples as gcc builds them."""
    return make(GCC, tmp_path_factory.mktemp("examples"))


def retarget(program: Path, name: str, form: str, function: str) -> Path:
    """A copy in which the design's bytes replace a static call's trampoline, and its key."""
    image = Linked(program)
    design = load("inline-stub")
    target = image.symbols[function].value if function else None
    entry = image.symbols[f"__SCT__{name}"].value
    ((at, code),) = design.assemble(entry, form, target)
    image.write(at, code)
    image.write_word(image.symbols[f"__SCK__{name}"].value, target or 0)
    return image.save(program.with_name(f"{program.name}-{form}-{function or name}"))


def test_checksum(built: Path, tmp_path: Path) -> None:
    """The checksum of a file, and of standard input, is zlib's."""
    data = bytes(range(256)) * 777
    (tmp_path / "data").write_bytes(data)
    printed = qemu(built / "checksum", tmp_path / "data")
    assert printed == f"{zlib.crc32(data):08x}  {tmp_path}/data  (crc32_bitwise)\n"
    assert qemu(built / "checksum", text="123456789") == "cbf43926  -  (crc32_bitwise)\n"


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 255, 65536, 65543])
@pytest.mark.parametrize("version", ["crc32_bitwise", "crc32_table", "crc32_acle"])
def test_every_version(with_gcc: Path, version: str, size: int, tmp_path: Path) -> None:
    """Each version that the static call can be set to computes zlib's CRC-32, and says its name."""
    program = retarget(with_gcc / "checksum", "crc32", "near", version)
    data = bytes((i * i + size) % 251 for i in range(size))
    (tmp_path / "data").write_bytes(data)
    expected = f"{zlib.crc32(data):08x}  {tmp_path}/data  ({version})\n"
    assert qemu(program, tmp_path / "data") == expected


def test_trace(with_gcc: Path) -> None:
    """Set to trace_stderr, the hook that calls nothing tells of every block."""
    program = retarget(with_gcc / "checksum", "trace", "near", "trace_stderr")
    done = run_qemu(program, text="x" * 65537)
    assert done.stderr.splitlines() == [
        f"trace: -: 65536 bytes, crc {zlib.crc32(b'x' * 65536):08x}",
        f"trace: -: 1 bytes, crc {zlib.crc32(b'x' * 65537):08x}",
    ]


def test_policy(with_gcc: Path, tmp_path: Path) -> None:
    """The policy allows all as RET0, and refuses dot files as policy_no_dotfiles."""
    program = with_gcc / "checksum"
    (tmp_path / ".secret").write_text("")
    assert qemu(program, tmp_path / ".secret").startswith("00000000")
    program = retarget(program, "policy", "near", "policy_no_dotfiles")
    done = run_qemu(program, tmp_path / ".secret", ok=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "refused by the policy" in done.stderr


def test_unreadable_file(with_gcc: Path, tmp_path: Path) -> None:
    """A file that is not there gives one line and exit status 1."""
    done = run_qemu(with_gcc / "checksum", tmp_path / "none", ok=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("No such file or directory\n")


def test_far(built: Path) -> None:
    """The target is out of reach: as linked, a veneer leads to it; far, the literal does."""
    program = built / "far"
    assert "work(41) = 42, by far_work, 2" in qemu(program)
    image = Linked(program)
    assert program.stat().st_size < 1 << 23, "the gap is in the addresses, not in the file"
    entry, func = (image.symbols[name].value for name in ("__SCT__work", "far_work"))
    assert abs(func - entry) > REACH
    design = load("inline-stub")
    found = design.recognise(entry, image.read)
    assert found is not None
    assert (found.form, found.agrees) == ("near", False)
    assert isinstance(found.target, int)
    assert abs(found.target - entry) < REACH
    assert image.section_of(found.target) != ".far.text"
    assert found.literals == {"literal": func}
    patched = retarget(program, "work", "far", "far_work")
    assert design.recognise(entry, Linked(patched).read).target == func  # type: ignore[union-attr]
    assert qemu(patched) == qemu(program)
    near = retarget(program, "work", "near", "near_work")
    assert "work(41) = 42, by near_work, 0 MiB" in qemu(near)


def test_set_checksum(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The README's commands: `static-call set` chooses the version and switches the hook on."""
    program = built / "checksum.set"
    values = ["crc32=crc32_acle", "trace=trace_stderr"]
    assert main(["set", str(built / "checksum"), "-o", str(program), *values]) == 0
    assert capsys.readouterr().err == ""
    done = run_qemu(program, text="123456789")
    assert done.stdout == "cbf43926  -  (crc32_acle)\n"
    assert done.stderr == "trace: -: 9 bytes, crc cbf43926\n"


def test_set_far(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The README's commands: the far form in place of the veneer, then a branch again."""
    program = built / "far.set"
    for function, form in (("far_work", "far"), ("near_work", "near")):
        assert main(["set", str(built / "far"), "-o", str(program), f"work={function}"]) == 0
        assert main(["show", str(program), "work"]) == 0
        assert f"inline-stub, {form}, target {function}" in capsys.readouterr().out
        assert f"work(41) = 42, by {function}, " in qemu(program)
    assert main(["set", str(program), "work=ret0"]) == 0
    assert qemu(program) == "work(41) = 0, by no function\n"
