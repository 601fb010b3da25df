"""The port's changes of a Linux tree: applying them, taking them out, and finding a port.

A change replaces exact lines of a file, or adds text after them. If those lines are not there
exactly once, the port does not know the file, and nothing is done. No record is kept in the tree:
the transform's first comment has the design's text, from which the port is worked out again and
compared.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from static_call.design.design import Design
from static_call.design.notation import NotationError
from static_call.errors import StaticCallError
from static_call.kernel import code
from static_call.kernel.header import trampoline
from static_call.kernel.transform import transform
from static_call.kernel.tree import Tree

HEADER = "arch/arm64/include/asm/static_call.h"
TRANSFORM = "arch/arm64/kernel/static_call.c"
CREATED = (HEADER, TRANSFORM)
_MARK = "Made by static-call"


class CannotPort(StaticCallError):
    """The tree is not one that the port can be applied to, or taken out of."""


class Edit(NamedTuple):
    """A change of one file.

    Attributes:
        file: its path in the tree.
        old: the lines that must be there, once.
        new: the lines that replace them.
    """

    file: str
    old: str
    new: str


class Part(NamedTuple):
    """A logical change: what one patch does.

    Attributes:
        name: the name of its commit message: see patches.py.
        edits: the changes of the tree's files.
        files: the files that it creates, with their text.
    """

    name: str
    edits: tuple[Edit, ...]
    files: Mapping[str, str] = {}


def _after(file: str, lines: str, more: str) -> Edit:
    return Edit(file, lines, lines + more)


_PATCHING_C = "arch/arm64/kernel/patching.c"

_WRITE_U64 = """
/* Stores an aligned literal in one piece: whoever loads it sees the old or @val. */
int __kprobes aarch64_insn_write_literal_u64(void *addr, u64 val)
{
	unsigned long flags;
	void *waddr;
	int ret;

	raw_spin_lock_irqsave(&patch_lock, flags);
	waddr = patch_map(addr, FIX_TEXT_POKE0);

	ret = copy_to_kernel_nofault(waddr, &val, sizeof(val));

	patch_unmap(FIX_TEXT_POKE0);
	raw_spin_unlock_irqrestore(&patch_lock, flags);

	return ret;
}
"""
_LITERAL = (
    _after(
        "arch/arm64/include/asm/patching.h",
        "int aarch64_insn_write(void *addr, u32 insn);\n",
        "int aarch64_insn_write_literal_u64(void *addr, u64 val);\n",
    ),
    _after(
        _PATCHING_C,
        "int __kprobes aarch64_insn_write(void *addr, u32 insn)\n"
        "{\n"
        "\treturn __aarch64_insn_write(addr, cpu_to_le32(insn));\n"
        "}\n",
        _WRITE_U64,
    ),
)
_RODATA = (
    Edit(
        _PATCHING_C,
        "\tbool image = is_image_text(uintaddr);\n",
        "\tbool image = is_image_text(uintaddr) || is_kernel_rodata(uintaddr);\n",
    ),
)
_LINK = (
    _after(
        "arch/arm64/kernel/vmlinux.lds.S",
        "\t\t\tLOCK_TEXT\n\t\t\tKPROBES_TEXT\n",
        "\t\t\tSTATIC_CALL_TEXT\n",
    ),
)
_KPROBES = (
    _after(
        "arch/arm64/include/asm/sections.h",
        "extern char __relocate_new_kernel_start[], __relocate_new_kernel_end[];\n",
        "extern char __static_call_text_start[], __static_call_text_end[];\n",
    ),
    _after(
        "arch/arm64/kernel/probes/kprobes.c",
        "\tret = kprobe_add_area_blacklist((unsigned long)__irqentry_text_start,\n"
        "\t\t\t\t\t(unsigned long)__irqentry_text_end);\n"
        "\tif (ret)\n"
        "\t\treturn ret;\n",
        "\tret = kprobe_add_area_blacklist((unsigned long)__static_call_text_start,\n"
        "\t\t\t\t\t(unsigned long)__static_call_text_end);\n"
        "\tif (ret)\n"
        "\t\treturn ret;\n",
    ),
    _after(
        "arch/arm64/include/asm/module.lds.h",
        "SECTIONS {\n",
        "\t/* Trampolines of static calls must not be probed. */\n"
        "\t.kprobes.text 0 : {\n"
        "\t\t*(.kprobes.text .static_call.text)\n"
        "\t}\n\n",
    ),
)
_SELECT = (
    _after(
        "arch/arm64/Kconfig",
        "\tselect HAVE_STACKPROTECTOR\n",
        "\tselect HAVE_STATIC_CALL\n",
    ),
)
_BUILD = (
    _after(
        "arch/arm64/kernel/Makefile",
        "obj-$(CONFIG_JUMP_LABEL)\t\t+= jump_label.o\n",
        "obj-$(CONFIG_HAVE_STATIC_CALL)\t\t+= static_call.o\n",
    ),
)
_EDITS = (*_LITERAL, *_RODATA, *_LINK, *_BUILD, *_KPROBES, *_SELECT)
"""All edits that a port of any design to any tree may have made."""


class _Needs(NamedTuple):
    """A text that a file of the tree must contain.

    Attributes:
        file: its path in the tree.
        text: the text.
        what: what the port needs it for.
    """

    file: str
    text: str
    what: str


_ASM = "arch/arm64/include/asm"
_NEEDED = (
    _Needs(
        "include/linux/static_call.h",
        "arch_static_call_transform(void *site, void *tramp, void *func, bool tail)",
        "what the port implements",
    ),
    _Needs("include/linux/cacheflush.h", "#include <asm/cacheflush.h>", "cache maintenance"),
    _Needs("arch/Kconfig", "config HAVE_STATIC_CALL\n", "what the port selects"),
    _Needs("include/asm-generic/vmlinux.lds.h", "#define STATIC_CALL_TEXT", "the section"),
    _Needs("include/linux/memory.h", "extern struct mutex text_mutex", "the lock"),
    _Needs("include/linux/smp.h", "void kick_all_cpus_sync(void)", "the IPI"),
    _Needs(f"{_ASM}/cacheflush.h", "void dcache_clean_pou(", "cache maintenance"),
    _Needs(f"{_ASM}/cacheflush.h", "void icache_inval_pou(", "cache maintenance"),
    _Needs(f"{_ASM}/insn.h", "aarch64_insn_gen_branch_imm(", "how B is encoded"),
)
_RODATA_NEEDED = _Needs(
    "include/asm-generic/sections.h", "bool is_kernel_rodata(unsigned long addr)", "its bounds"
)


def _patching(tree: Tree) -> str:
    """The header that declares the functions that write to kernel text."""
    for name in ("patching.h", "text-patching.h"):  # renamed in Linux 6.13
        if "aarch64_insn_write(" in (tree.read(f"arch/arm64/include/asm/{name}") or ""):
            return name
    raise CannotPort(
        f"{tree.path}: Linux {tree.version} has no aarch64_insn_write() in asm/patching.h: "
        "it is too old, or not one that the port knows"
    )


def doubt(design: Design) -> str | None:
    """Why the design should not run in a kernel, or None; --force ports it anyway."""
    from static_call.check import report

    if not code.reaches_all(design):
        return "it has no far form, and a module may be out of a branch's reach"
    verdicts = report.judge([design])
    live = [one for row in verdicts[design].values() for one in row if one.name == "live"]
    if not any(verdict.holds for verdict in live):
        return f"that it is live could be shown for no change: {live[0].says}"
    broken = next(report.broken_claims(verdicts), None) or next(
        (verdict for verdict in live if verdict.holds is False), None
    )
    if broken is None:
        return None
    change = "-".join(goal.replace(" ", "") for goal in broken.change)
    claims = "claims to be" if broken.claimed else "is not"
    return (
        f"it {claims} {broken.name}, and {broken.says} in the change {change}: see "
        f"static-call check --explain {design.name} {change}"
    )


def known(tree: Tree) -> None:
    """Raises CannotPort, with the reason, for a tree that could not be ported."""
    if tree.read("include/linux/static_call.h") is None:
        raise CannotPort(
            f"{tree.path}: Linux {tree.version} has no static calls: they came with 5.10"
        )
    header = tree.read(HEADER)
    if header is not None and _MARK not in header:
        raise CannotPort(
            f"{tree.path}: Linux {tree.version} has its own static calls on arm64, in {HEADER}: "
            "nothing to port"
        )
    for need in _NEEDED:
        _need(tree, need)


def _need(tree: Tree, need: _Needs) -> None:
    if need.text not in (tree.read(need.file) or ""):
        raise CannotPort(
            f"{tree.path}: {need.file} has no {need.text.strip()!r} ({need.what}): "
            f"Linux {tree.version} is not one that the port knows"
        )


def parts(tree: Tree, design: Design) -> Iterator[Part]:
    """The port of a design, in the order of its patches. The tree does not have the port yet.

    Raises CannotPort for a tree that the port does not know.
    """
    patching = _patching(tree)
    header = tree.read(f"arch/arm64/include/asm/{patching}") or ""
    if "aarch64_insn_write_literal_u64(" not in header:
        yield Part("literal", _LITERAL)
    if design.outside:
        _need(tree, _RODATA_NEEDED)
        yield Part("rodata", _RODATA)
    yield Part("link", _LINK)
    files = {HEADER: trampoline(design), TRANSFORM: transform(design, patching)}
    yield Part("transform", _BUILD, files)
    yield Part("kprobes", _KPROBES)
    yield Part("select", _SELECT)


def applied(tree: Tree, part: Part) -> Tree:
    """The tree with a part's changes.

    Raises CannotPort if the lines that a change replaces or follows are not there exactly once.
    """
    changes: dict[str, str | None] = {}
    for edit in part.edits:
        text = changes.get(edit.file) or tree.read(edit.file) or ""
        if (count := text.count(edit.old)) != 1:
            path, line = os.path.join(tree.path, edit.file), edit.old.strip().splitlines()[0]
            raise CannotPort(
                f"{path}: expected {line.strip()!r} and what follows it once, found them "
                f"{count or 'no'} times: changed locally, or Linux {tree.version} is not one that "
                "the port knows"
            )
        changes[edit.file] = text.replace(edit.old, edit.new)
    for name in part.files:
        if tree.read(name) is not None:
            raise CannotPort(f"{os.path.join(tree.path, name)}: exists already")
    return tree.but({**changes, **part.files})


def ported(tree: Tree, design: Design) -> Tree:
    """The tree with the port of a design; it must not have one yet. Raises CannotPort."""
    for part in list(parts(tree, design)):
        tree = applied(tree, part)
    return tree


def reverted(tree: Tree) -> Tree:
    """The tree without what looks like a part of the port; `installed` says whether it was one."""
    changes: dict[str, str | None] = {}
    for edit in _EDITS:
        text = changes.get(edit.file) or tree.read(edit.file) or ""
        if text.count(edit.new) == 1:
            changes[edit.file] = text.replace(edit.new, edit.old)
    return tree.but(changes | {name: None for name in CREATED if tree.read(name) is not None})


def installed(tree: Tree) -> Design | None:
    """The design whose port is in the tree; None where there is none.

    Raises CannotPort for a port that is incomplete, or was changed since it was written.
    """
    base = reverted(tree)
    if not base.changes:
        return None
    try:
        design = code.design_of(tree.read(TRANSFORM) or "")
    except NotationError as error:
        path = os.path.join(tree.path, TRANSFORM)
        raise CannotPort(f"{path}: the design in its first comment was changed: {error}") from None
    if design is None:
        there = ", ".join(base.changes)
        raise CannotPort(
            f"{tree.path}: a part of a port is there ({there}), and {TRANSFORM} is not"
        )
    code.check(design)
    whole = ported(base, design)
    for name in whole.changes:
        if whole.read(name) != tree.read(name):
            raise CannotPort(
                f"{os.path.join(tree.path, name)}: not as the port of {design.name} writes it: "
                "half of a port, changed since, or from another version of static-call"
            )
    return design
