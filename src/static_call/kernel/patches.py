"""The port as a patch series that git am takes."""

from __future__ import annotations

import difflib
import subprocess
import textwrap
from collections.abc import Iterable, Iterator
from email.header import Header
from email.utils import formatdate
from importlib.metadata import version
from pathlib import Path

from static_call.design.design import Design
from static_call.design.retarget import Cse
from static_call.errors import StaticCallError
from static_call.kernel.port import Part, applied
from static_call.kernel.tree import Tree

_MESSAGES = Path(__file__).parent / "messages"


class NoAuthor(StaticCallError):
    """git does not say who signs the patches off."""


def author(tree: Tree) -> tuple[str, str]:
    """The name and the e-mail address that git commits with in the tree. Raises NoAuthor."""
    found = []
    for key in ("user.name", "user.email"):
        try:
            done = subprocess.run(
                ["git", "-C", tree.path, "config", key], capture_output=True, text=True
            )
        except FileNotFoundError:
            raise NoAuthor(
                "patches are signed off by the author that git knows: git is not here"
            ) from None
        if done.returncode or not done.stdout.strip():
            raise NoAuthor(
                f"patches are signed off by the author that git knows: git config {key} ..."
            )
        found.append(done.stdout.strip())
    return found[0], found[1]


def summary(before: Tree, after: Tree) -> list[list[object]]:
    """For each file, what happens to it, and how many lines are added and removed."""
    rows: list[list[object]] = []
    for name in after.changes:
        added, removed = _counts(before, after, name)
        what = "new" if before.read(name) is None else "changed"
        rows.append([name, what, f"+{added} -{removed}" if removed else f"+{added}"])
    return rows


def series(tree: Tree, parts: Iterable[Part], by: tuple[str, str], design: Design) -> str:
    """The parts as consecutive mails in git's mailbox format."""
    those = list(parts)
    mails = []
    for number, part in enumerate(those, 1):
        after = applied(tree, part)
        mails.append(_mail(part, f"{number}/{len(those)}", by, design, tree, after))
        tree = after
    return "".join(mails)


def _mail(
    part: Part, number: str, by: tuple[str, str], design: Design, tree: Tree, after: Tree
) -> str:
    subject, _, body = (_MESSAGES / f"{part.name}.txt").read_text(encoding="utf-8").partition("\n")
    name, address = by
    shown = name if name.isascii() else Header(name, "utf-8").encode()
    changed = [one for one in after.changes if after.read(one) != tree.read(one)]
    stat = [f" {one} | {sum(_counts(tree, after, one))}" for one in changed]
    return "\n".join(
        [
            f"From {'0' * 40} Mon Sep 17 00:00:00 2001",
            f"From: {shown} <{address}>",
            f"Date: {formatdate(localtime=True)}",
            f"Subject: [PATCH {number}] {subject}",
            "MIME-Version: 1.0",
            "Content-Type: text/plain; charset=UTF-8",
            "Content-Transfer-Encoding: 8bit",
            "",
            body.strip().replace("@rules@", _rules(design)),
            "",
            f"Signed-off-by: {name} <{address}>",
            "---",
            *stat,
            "",
            "".join("".join(_diff(tree, after, one)) for one in changed) + "-- ",
            f"static-call {version('static-call')}",
            "",
            "",
        ]
    )


def _rules(design: Design) -> str:
    """What a message says of the design: its forms, what it patches, and in which order."""
    said = [
        f"The trampoline is the one of the design {design.name}, whose text is in the first "
        "comment of arch/arm64/kernel/static_call.c:"
    ]
    if design.slots:
        said.append(
            "- a function within 128 MiB is reached by a B, which is patched: no load and no "
            "indirect branch;"
        )
        cmodx = design.isa.cmodx
        edition = cmodx.first(design.patched)
        if edition is not None:
            names = sorted({insn.name.upper() for insn in design.patched})
            said.append(
                f"- what is patched holds {' or '.join(names)} only: other CPUs may be executing "
                f"it, and these may be modified then ({cmodx.rule}, by {cmodx.editions[edition]});"
            )
        else:
            said.append(
                "- what is patched may hold instructions that are not among those that Arm allows "
                f"to be modified while other CPUs may be executing them ({cmodx.rule}, by no "
                "edition);"
            )
    if len(design.cells) > len(design.slots):
        said.append(
            "- the literal, which is loaded where a B is not used or does not reach, changes in "
            "one 64-bit store;"
        )
    if isinstance(design.retarget[-1], Cse):
        said.append(
            "- after an update all CPUs take an IPI. Without a context synchronization event "
            "there is no limit to how long a CPU executes the old instruction, and the old "
            "function's memory may be freed under it."
        )
    elif design.slots:
        said.append(
            "- no IPI follows an update, so there is no limit to how long other CPUs go on "
            "executing the old instruction."
        )
    else:
        said.append(
            "- nothing orders a caller's load of the literal after its other loads: it may see "
            "what was published after an update, and call the old function."
        )
    return "\n\n".join(
        textwrap.fill(one, 72, initial_indent=" " * (one[0] == "-"),
                      subsequent_indent="   " * (one[0] == "-")) for one in said
    )  # fmt: skip


def _diff(before: Tree, after: Tree, name: str) -> Iterator[str]:
    """A file's change as diff -u writes it."""
    old, new = before.read(name), after.read(name)
    yield from difflib.unified_diff(
        (old or "").splitlines(keepends=True),
        (new or "").splitlines(keepends=True),
        "/dev/null" if old is None else f"a/{name}",
        "/dev/null" if new is None else f"b/{name}",
    )


def _counts(before: Tree, after: Tree, name: str) -> tuple[int, int]:
    """How many lines are added and removed."""
    lines = list(_diff(before, after, name))[2:]
    return sum(line[0] == "+" for line in lines), sum(line[0] == "-" for line in lines)
