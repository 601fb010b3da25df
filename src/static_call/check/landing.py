"""Whether indirect branches land on landing pads."""

from __future__ import annotations

from collections.abc import Iterator

from static_call.check.checker import Checker, Says
from static_call.check.layout import RETURN
from static_call.check.questions import Question
from static_call.check.scene import Scene
from static_call.isa import a64
from static_call.isa.a64_more import decode
from static_call.memory_model.events import Path
from static_call.memory_model.model import Model

_ENTRY = a64.PADS["blr"] & a64.PADS["br x16"]
_FUNCTION = {"bti c", "paciasp"}


def landings(checker: Checker, question: Question, model: Model) -> Iterator[Says]:
    """The indirect branches that do not land on a pad, with the word that was fetched there.

    The caller's own branch is one of them: it may be through a pointer (BLR) or a veneer (BR X16).
    A function outside is assumed to begin with what compilers put there, `bti c` or `paciasp`,
    which accepts BLR, and BR through X16 and X17. No pad is assumed after the caller's call, the
    address that RET returns to.
    """
    scene = checker.scene(question)
    wrong: dict[str, list[Path]] = {}
    for path in checker.explored(question).paths[1]:
        for says in _unpadded(scene, path):
            wrong.setdefault(says, []).append(path)
    for says, paths in wrong.items():
        if execution := checker.with_caller(question, model, paths):
            yield says, execution


def _unpadded(scene: Scene, path: Path) -> Iterator[str]:
    """Where a caller's path does not land on a pad."""
    words = [decode(done.word, done.address) for done in path.trace]
    if words and words[0].name not in _ENTRY:
        first = words[0].format(scene.name)
        yield f"a call lands on {first} at {scene.name(path.trace[0].address)}"
    for number, insn in enumerate(words):
        pads = a64.pads(insn)
        if pads is None:
            continue
        last = number == len(words) - 1
        to = path.pc if last else path.trace[number + 1].address
        if to in scene.trampoline:
            pad = decode(scene.program.code.get(to, 0), to) if last else words[number + 1]
            if pad.name not in pads:
                yield f"{insn} lands on {pad.format(scene.name)} at {scene.name(to)}"
        elif to == RETURN:
            yield f"{insn} lands behind the caller's call, where no pad is assumed"
        elif _FUNCTION - pads:
            yield f"{insn} lands on {scene.name(to)}: a bti c takes BR by X16 and X17 only"
