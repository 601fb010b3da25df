"""The Linux port: what it makes of a design, and what it does to a tree."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import linux_source
import pytest
from patience import patient
from toolchain import GCC, need, qemu, run

from static_call.design import notation
from static_call.kernel import code
from static_call.kernel.header import trampoline
from static_call.kernel.transform import transform
from static_call.kernel.tree import NotATree, Tree

PORT = Path(__file__).parent / "port"
MAINTAIN = ["dc cvau 4", "dsb ish", "ic ivau 4", "dsb ish"]
SYNC = ["kick", "isb"]
SEED = ["str literal", "dmb ishst", "str slot+4", *MAINTAIN, "isb"]
OURS = [*SYNC, *SEED[:-1], *SYNC]
STEPS = {
    "adrp-stub": OURS,
    "data-literal": ["str literal"],
    "inline-stub": OURS,
    "local-stub": SEED,
    "mainline": ["str literal"],
    "slot-adrp-literal": SEED,
    "slot-inline-literal": SEED,
}
MANY_STEPS = ["str literal", "isb", "dsb sy", "str literal", "str slot+4", "dc cvau 4", "ic ivau 4"]
"""What each design's text says, step by step, in the words of port/linux.h."""


def program(folder: Path, text: str, name: str) -> Path:
    """A program of port/main.c with the C of a design."""
    design = notation.read(text, f"{name}.s", name)
    code.check(design)
    source = transform(design, "patching.h")
    again = code.design_of(source)
    assert again is not None
    assert code.text(again) == code.text(design)
    for header in re.findall(r"#include <(.*)>", source):
        path = folder / header
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('#pragma once\n#include "linux.h"\n')
    (folder / "linux/static_call.h").write_text(
        '#include "linux.h"\n#include <asm/static_call.h>\n'
    )
    (folder / "asm").mkdir(exist_ok=True)
    (folder / "asm/static_call.h").write_text(trampoline(design))
    (folder / "static_call.c").write_text(source)
    GCC(
        "-O2", "-Wall", "-Werror", "-Wno-unused-function", "-Wno-unused-variable", "-static",
        "-fno-pie", "-no-pie", f"-I{folder}", f"-I{PORT}",
        PORT / "main.c", "-o", folder / "program",
    )  # fmt: skip
    return folder / "program"


MANY = """
        .align  4
        .quad   0x0             // nobody's, and not a cell
first:  { near, far: .quad target | null: .quad 1f }
again:  entry: bti c
slot:   { near: b target | far, null: nop | ret0: b zero | new: udf #0 }
        ldr     x16, first
        br      x16
1:      bti     c
        ret
zero:   mov     x0, xzr
        cbz     x0, 1b
        .section .data
last:   { null, ret0: .quad again | far: .quad 0x1234 }
        .section .text
        adrp    x17, last
        add     x17, x17, :lo12:last
retarget:
        str     x1, [x0]
        isb
        dsb     sy
        str     x5, [x4]
        str     w3, [x2]
        dc      cvau, x2
        ic      ivau, x2
"""
"""Everything at once: three cells, an entry that is not first, labels of all kinds."""


@pytest.mark.parametrize("name", [*STEPS, "many"])
def test_transform(name: str, tmp_path: Path) -> None:
    """The generated C takes the design's steps, in its order, and calls arrive."""
    text = MANY if name == "many" else (Path(notation.SHIPPED) / f"{name}.s").read_text()
    lines = qemu(program(tmp_path, text, name)).splitlines()
    null = 7 if name not in ("mainline",) else 0
    assert lines[0] == f"= 8 {null} 0"
    assert lines[-2:] == ["to nothing", "warn"]
    rounds = "\n".join(lines[1:-2]).split("to ")[1:]
    results = {"near": ("9", "8"), "far": ("10",), "null": (str(null),), "ret0": ("0",)}
    assert len(rounds) == 10
    for one in rounds:
        form, *steps, result = one.splitlines()
        assert steps == {**STEPS, "many": MANY_STEPS}[name]
        assert result.removeprefix("= ") in results[form]


def port(*arguments: str | Path, status: int = 0, author: dict[str, str] | None = None) -> str:
    """Runs static-call kernel port; gives its output, or the one line that it refuses with."""
    done = subprocess.run(
        [sys.executable, "-m", "static_call", "kernel", "port", *map(str, arguments)],
        capture_output=True, text=True, timeout=patient(120), env=os.environ | (author or {}),
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    if status == 0:
        assert not done.stderr
        return done.stdout
    assert done.stderr.startswith("static-call: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file's mode and bytes."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mode, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(params=linux_source.VERSIONS)
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A tree of each version."""
    return linux_source.tree(request.param, tmp_path / "linux")


@pytest.fixture
def latest(tmp_path: Path) -> Path:
    """A tree of one version, where that makes no difference."""
    return linux_source.tree("6.12", tmp_path / "linux")


CHANGED = {
    "arch/arm64/Kconfig",
    "arch/arm64/include/asm/module.lds.h",
    "arch/arm64/include/asm/sections.h",
    "arch/arm64/include/asm/static_call.h",
    "arch/arm64/kernel/Makefile",
    "arch/arm64/kernel/probes/kprobes.c",
    "arch/arm64/kernel/static_call.c",
    "arch/arm64/kernel/vmlinux.lds.S",
}
LITERAL = {"arch/arm64/include/asm/patching.h", "arch/arm64/kernel/patching.c"}


def test_port_and_revert(tree: Path) -> None:
    """The port changes the files that it says and no other; taken out, all bytes are as before."""
    before = contents(tree)
    said = port(tree, "--dry-run")
    assert contents(tree) == before
    version = said.rsplit(" ", 1)[1].strip()
    assert port(tree).replace("ported", "would port") == said
    after = contents(tree)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == CHANGED | (LITERAL if version.startswith("6.1.") else set())
    assert set(re.findall(r"^(arch/\S+)", said, re.MULTILINE)) == changed
    assert "select HAVE_STATIC_CALL\n" in (tree / "arch/arm64/Kconfig").read_text()

    assert "the port of inline-stub is in" in port(tree)
    assert "the port of inline-stub is in" in port(tree, "--check", "--design", "inline-stub")
    assert "--revert takes it out" in port(tree, "--design", "mainline", status=2)
    assert contents(tree) == after
    port(tree, "--revert")
    assert contents(tree) == before
    assert "no port" in port(tree, "--revert", status=2)


@pytest.mark.parametrize("name", STEPS)
def test_designs(name: str, tree: Path) -> None:
    """Every shipped design with at most one slot can be ported and taken out again."""
    before = contents(tree)
    port(tree, "--design", name)
    outside = ".section" in (Path(notation.SHIPPED) / f"{name}.s").read_text()
    assert outside == ("is_kernel_rodata" in (tree / "arch/arm64/kernel/patching.c").read_text())
    assert f"the port of {name} is in" in port(tree)
    port(tree, "--revert")
    assert contents(tree) == before


@pytest.mark.parametrize("name", ["inline-stub", "mainline", "slot-adrp-literal"])
def test_patches(name: str, tree: Path, tmp_path: Path) -> None:
    """--patch prints what git am makes the port of, each part clean to the tree's checkpatch.pl."""
    need("git", "perl")
    git = ("git", "-C", tree, "-c", "user.name=Jürgen Tester", "-c", "user.email=j@example.org")
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "start"]):
        run(*git, *words)
    author = {"GIT_CONFIG_COUNT": "2", "GIT_CONFIG_KEY_0": "user.name",
              "GIT_CONFIG_VALUE_0": "Jürgen Tester", "GIT_CONFIG_KEY_1": "user.email",
              "GIT_CONFIG_VALUE_1": "j@example.org"}  # fmt: skip
    series = tmp_path / "series"
    before = contents(tree)
    series.write_text(port(tree, "--patch", "--design", name, author=author))
    assert contents(tree) == before
    mails = tmp_path / "mails"
    mails.mkdir()
    run("git", "mailsplit", f"-o{mails}", series)
    parts = sorted(mails.iterdir())
    assert len(parts) >= 4
    for part in parts:
        checked = subprocess.run(
            ["perl", "scripts/checkpatch.pl", "--strict", part],
            cwd=tree, capture_output=True, text=True, timeout=patient(120),
        )  # fmt: skip
        assert "total: 0 errors, 0 warnings, 0 checks" in checked.stdout, checked.stdout

    run(*git, "am", "-q", series)
    log = run(*git, "log", "--format=%an <%ae>%n%B").stdout
    assert log.count("Signed-off-by: Jürgen Tester <j@example.org>") == len(parts)
    assert log.count("Jürgen Tester <j@example.org>") == 2 * len(parts) + 1
    applied = {one: data for one, data in contents(tree).items() if not one.startswith(".git")}
    run(*git, "reset", "-q", "--hard", f"HEAD~{len(parts)}")
    port(tree, "--design", name)
    assert {one: d for one, d in contents(tree).items() if not one.startswith(".git")} == applied


def test_no_author(latest: Path, tmp_path: Path) -> None:
    """Patches are not signed off by nobody."""
    nobody = {"HOME": str(tmp_path), "GIT_CONFIG_GLOBAL": "/dev/null",
              "GIT_CONFIG_SYSTEM": "/dev/null"}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "static_call", "kernel", "port", latest, "--patch"],
        capture_output=True, text=True, timeout=patient(60), cwd=tmp_path, env=os.environ | nobody,
    )  # fmt: skip
    assert done.returncode == 2
    assert "git config user.name" in done.stderr
    assert not done.stdout


def edit(path: Path, old: str, new: str) -> None:
    """Changes a file of a tree."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def _too_old(tree: Path) -> None:
    (tree / "include/linux/static_call.h").unlink()
    edit(tree / "Makefile", "VERSION = 6\nPATCHLEVEL = 12", "VERSION = 5\nPATCHLEVEL = 4")


def _mainline(tree: Path) -> None:
    (tree / "arch/arm64/include/asm/static_call.h").write_text("#define ARCH_DEFINE_STATIC_CALL\n")


def _no_helper(tree: Path) -> None:
    edit(tree / "arch/arm64/include/asm/patching.h", "int aarch64_insn_write(", "int insn_write(")


def _no_lock(tree: Path) -> None:
    edit(tree / "include/linux/memory.h", "text_mutex", "other_mutex")


def _changed(tree: Path) -> None:
    edit(tree / "arch/arm64/Kconfig", "\tselect HAVE_STACKPROTECTOR\n", "")


def _twice(tree: Path) -> None:
    edit(tree / "arch/arm64/kernel/vmlinux.lds.S", "\t\t\tKPROBES_TEXT\n",
         "\t\t\tKPROBES_TEXT\n\t\t\tLOCK_TEXT\n\t\t\tKPROBES_TEXT\n")  # fmt: skip


def _half(tree: Path) -> None:
    edit(tree / "arch/arm64/Kconfig", "\tselect HAVE_STACKPROTECTOR\n",
         "\tselect HAVE_STACKPROTECTOR\n\tselect HAVE_STATIC_CALL\n")  # fmt: skip


def _one_undone(tree: Path) -> None:
    port(tree)
    edit(tree / "arch/arm64/Kconfig", "\tselect HAVE_STATIC_CALL\n", "")


def _transform_changed(tree: Path) -> None:
    port(tree)
    edit(tree / "arch/arm64/kernel/static_call.c", "dmb(ishst);", "")


def _text_broken(tree: Path) -> None:
    port(tree)
    edit(tree / "arch/arm64/kernel/static_call.c", " *\tcse\n", " *\tcsf\n")


def _transform_gone(tree: Path) -> None:
    port(tree)
    (tree / "arch/arm64/kernel/static_call.c").unlink()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_too_old, "no static calls: they came with 5.10"),
        (_mainline, "its own static calls on arm64"),
        (_no_helper, "no aarch64_insn_write()"),
        (_no_lock, "include/linux/memory.h has no 'extern struct mutex text_mutex'"),
        (_changed, "arch/arm64/Kconfig: expected 'select HAVE_STACKPROTECTOR'"),
        (_twice, "arch/arm64/kernel/vmlinux.lds.S: expected 'LOCK_TEXT'"),
        (_half, "a part of a port is there (arch/arm64/Kconfig)"),
        (_one_undone, "arch/arm64/Kconfig: not as the port of inline-stub writes it"),
        (_transform_changed, "static_call.c: not as the port of inline-stub writes it"),
        (_text_broken, "static_call.c: the design in its first comment was changed: inline-stub:"),
        (_transform_gone, "a part of a port is there"),
    ],
)
@pytest.mark.parametrize("way", ["", "--dry-run", "--patch", "--revert"])
def test_refused(change: Callable[[Path], None], says: str, way: str, latest: Path) -> None:
    """A tree that is not known, or has half of a port, is refused with the reason, untouched."""
    change(latest)
    before = contents(latest)
    if way == "--revert" and change in (_changed, _twice, _no_helper):
        says = "no port to take out"
    assert says in port(latest, *filter(None, [way]), status=2)
    assert contents(latest) == before


def test_no_tree(tmp_path: Path) -> None:
    """What is not a kernel's source tree is refused, with the reason."""
    assert "not a Linux source tree" in port(tmp_path, status=2)
    assert "not a Linux source tree" in port(tmp_path / "nowhere", status=2)
    (tmp_path / "Makefile").write_text("VERSION = 1\n")
    assert "not a Linux source tree" in port(tmp_path, status=2)
    with pytest.raises(NotATree):
        Tree(str(tmp_path))


def test_labels_and_names(latest: Path, tmp_path: Path) -> None:
    """What the kernel's C could not say is refused, with the line."""
    own = tmp_path / "own.s"
    for old, new, says in (
        ("near: b target", "near: cbz x1, target", "cbz x1, target: the kernel makes B reach"),
        ("far: nop", "far: b target", "far: b target: the kernel makes B reach a near target"),
        ("str     w1, [x0]", "str     x1, [x0]", "does not store the contents of one cell"),
        ("dc      cvau, x0", "dc      cvau, x1", "dc cvau, x1 is not about a cell"),
    ):
        assert old in OWN
        own.write_text(OWN.replace("        .claims cmodx\n", "").replace(old, new))
        assert says in port(latest, "--design", own, "--force", status=2)
    spaced = tmp_path / "my own.s"
    spaced.write_text(OWN)
    assert "its name has more than letters" in port(latest, "--design", spaced, status=2)


def test_between(latest: Path) -> None:
    """A version that was never tried is ported where everything is as the port knows it."""
    edit(latest / "Makefile", "PATCHLEVEL = 12", "PATCHLEVEL = 14")
    os.rename(latest / "arch/arm64/include/asm/patching.h",
              latest / "arch/arm64/include/asm/text-patching.h")  # fmt: skip
    assert "Linux 6.14." in port(latest)
    text = (latest / "arch/arm64/kernel/static_call.c").read_text()
    assert "#include <asm/text-patching.h>" in text


OWN = """
// B or RET: as the seed, but claims to be what it is not
        .claims cmodx
        .align  3
        bti     c
slot:   { near: b target | null: ret | far: nop }
        ldr     x16, 1f
        br      x16
1:      { near, far: .quad target }
retarget:
        str     x3, [x2]
        dmb     ishst
        str     w1, [x0]
        dc      cvau, x0
        dsb     ish
        ic      ivau, x0
        dsb     ish
        cse
"""


def test_own_design(latest: Path, tmp_path: Path) -> None:
    """A design of one's own is held to its claims, and taken out without its file."""
    before = contents(latest)
    own = tmp_path / "own.s"
    own.write_text(OWN)
    refusal = port(latest, "--design", own, status=2)
    assert "claims to be cmodx" in refusal
    assert "--force" in refusal
    assert contents(latest) == before
    own.write_text(OWN.replace("        .claims cmodx\n", ""))
    port(latest, "--design", own)
    own.unlink()
    assert "the port of own is in" in port(latest)
    port(latest, "--revert")
    assert contents(latest) == before
    own.write_text(OWN)
    port(latest, "--design", own, "--force")
    assert "the port of own is in" in port(latest)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("        str     x3, [x2]\n        dmb     ishst\n        str     w1, [x0]",
         "        str     w1, [x0]\n        dmb     ishst\n        str     x3, [x2]",
         "is not live"),
        ("near: b target | null: ret | far: nop", "near: b target | null: ret", "no far form"),
    ],
)  # fmt: skip
def test_unsound(old: str, new: str, says: str, latest: Path, tmp_path: Path) -> None:
    """A design that calls something else for a moment, or cannot reach a module, needs --force."""
    own = tmp_path / "own.s"
    text = OWN.replace("        .claims cmodx\n", "").replace(old, new)
    if "far: nop" not in text:
        text = text.replace("near, far: .quad", "near: .quad")
    own.write_text(text)
    before = contents(latest)
    assert says in port(latest, "--design", own, status=2)
    assert contents(latest) == before
    port(latest, "--design", own, "--force")


@pytest.mark.parametrize("design", ["adrp-add", "literal-before-entry"])
def test_unportable(design: str, latest: Path) -> None:
    """What the kernel cannot write in one piece is refused, whatever is forced."""
    says = {"adrp-add": "more than one slot", "literal-before-entry": "stores 16 bytes at once"}
    before = contents(latest)
    for force in ((), ("--force",)):
        assert says[design] in port(latest, "--design", design, *force, status=2)
    assert contents(latest) == before


def test_symbolic_link(latest: Path) -> None:
    """A tree of links into another is left alone, and so is that other."""
    kconfig = latest / "arch/arm64/Kconfig"
    kconfig.rename(latest / "Kconfig.real")
    kconfig.symlink_to(latest / "Kconfig.real")
    before = contents(latest)
    assert "a symbolic link" in port(latest, status=2)
    assert contents(latest) == before


def test_put_back(latest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a file cannot be written, those before it are put back."""
    before = contents(latest)
    names = ["Makefile", "COPYING", "arch/new", "README"]
    changed = Tree(str(latest)).but(dict.fromkeys(names, "other\n") | {"CREDITS": None})
    replace, calls = os.replace, []

    def fails(source: str, target: str) -> None:
        calls.append(target)
        if len(calls) == 4:
            raise OSError("no space left")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="no space"):
        changed.write()
    assert contents(latest) == before
    changed = Tree(str(latest)).but({"Makefile": "other\n", "CREDITS": None})
    changed.write()
    assert (latest / "Makefile").read_text() == "other\n"
    assert not (latest / "CREDITS").exists()
