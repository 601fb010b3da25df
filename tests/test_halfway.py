"""Every state that a retarget can be stopped in, in files: listed as it is, and set from there.

The patcher may die after any store. One file for each design has a trampoline for every change
from a form to a form and every number of stores that were made of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from elf_files import assemble
from toolchain import run

from static_call.cli.main import main
from static_call.design import notation
from static_call.design.design import Design
from static_call.design.target import RET0, Target
from static_call.design.trampoline import Trampoline
from static_call.elf.image import Image
from static_call.key import RETURN0
from static_call.places.elf_file import ElfFile

FAR = 0x20000000  # beyond 128 MiB from the code
SPACE = 64  # bytes for a trampoline


@dataclass
class State:
    """A trampoline that was stopped: `done` stores of the retarget from `old` to `new`."""

    name: str
    old: str
    new: str
    done: int


def goals(design: Design) -> list[str]:
    """What a design's trampolines can be made to call, by a word of the command line."""
    forms = {
        "near": ["near1", "near2"],
        "far": ["far1", "far2"],
        "null": ["null"],
        "ret0": ["ret0"],
    }
    return [goal for form in design.forms for goal in forms[form]]


def states(design: Design) -> Iterator[State]:
    """All of a design's; more stores than a retarget has are as many as it has."""
    for old in goals(design):
        for new in goals(design):
            for done in range(len(design.cells) + 1):
                yield State(f"{old}_{new}_{done}", old, new, done)


def build(folder: Path, design: Design, every: list[State]) -> Path:
    """The file, with the trampolines as they were stopped; keys hold the new target, as is first.

    The bytes are a design's own, which the tests of designs hold against the assembler.
    """
    lines = [".text", ".balign 64"]
    for one in every:
        lines += [
f".skip {design.entry}", f".globl __SCT__{one.name}", f"__SCT__{one.name}:",
            f".skip {SPACE - design.entry}",
            ".data", ".balign 8", f".globl __SCK__{one.name}", f"__SCK__{one.name}: .quad 0, 0, 0",
            f"literal_{one.name}: .quad 0", ".text",
        ]  # fmt: skip
    for name in ("near1", "near2", RETURN0):
        lines += [f".globl {name}", f".type {name}, %function", f"{name}: bti c", "ret"]
    lines += ['.section .far, "ax"']
    for name in ("far1", "far2"):  # on two pages, so that an ADRP and an ADD can be torn apart
        lines += [
            ".balign 4096",
            "nop",
            f".skip {4 * len(lines) % 64}",
            f".globl {name}",
            f".type {name}, %function",
            f"{name}: bti c",
            "ret",
        ]
    far = f"--section-start=.far={FAR:#x}"
    path = assemble(folder, design.name, "\n".join(lines) + "\n", "-e0", far)
    with Image.open(path) as image:
        place = ElfFile(image)

        def target(word: str) -> Target:
            return {"null": None, "ret0": RET0}[word] if word in ("null", "ret0") else (
                image.names.symbol(word).value
            )  # fmt: skip

        for one in every:
            entry = image.names.symbol(f"__SCT__{one.name}").value
            literal = image.names.symbol(f"literal_{one.name}").value
            trampoline = Trampoline(design, entry, dict.fromkeys(design.outside, literal))
            for at, data in trampoline.assemble(target(one.old)):
                place.write(at, data)
            plan = trampoline.plan(target(one.new), place.read)
            stores = [step for step in plan.steps if step.op == "store"]
            for step in stores[: one.done]:
                place.write(step.address, step.value.to_bytes(step.size, "little"))
            new = target(one.new)
            key = image.names.symbol(RETURN0).value if new is RET0 else new
            assert key is None or isinstance(key, int)
            place.write(
                image.names.symbol(f"__SCK__{one.name}").value, (key or 0).to_bytes(8, "little")
            )
        place.commit()
    return path


@pytest.fixture(params=notation.shipped())
def design(request: pytest.FixtureRequest) -> Design:
    """A shipped design."""
    return notation.load(request.param)


def words_of(path: Path) -> Callable[[int], int]:
    """Reads words of the file's code and data, as objdump prints them."""
    text = run("aarch64-linux-gnu-objdump", "-s", "-j", ".text", "-j", ".data", path).stdout
    words: dict[int, int] = {}
    for line in text.splitlines():
        if match := re.match(r" ([0-9a-f]{6,}) ((?:[0-9a-f]{8} ?){1,4})", line):
            at = int(match[1], 16)
            for index, word in enumerate(match[2].split()):
                words[at + 4 * index] = int.from_bytes(bytes.fromhex(word), "little")
    return words.__getitem__


def calls_of(path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, object]]:
    """What list --json says, by name."""
    assert main(["list", "--json", str(path)]) == 0
    return {one["name"]: one for one in json.loads(capsys.readouterr().out)["static_calls"]}


def test_every_state_is_listed_as_it_is(
    design: Design, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The slot's form is the one whose word is there, the literals' values those in the file."""
    every = list(states(design))
    path = build(tmp_path, design, every)
    assert main(["list", str(path)]) == 0
    rows = capsys.readouterr().out.splitlines()[1:]
    assert len(rows) == len(every)
    found = calls_of(path, capsys)
    word = words_of(path)
    for one in every:
        call = found[one.name]
        assert call["design"] == design.name, one
        literals = call["literals"]
        assert isinstance(literals, dict)
        for label, value in literals.items():
            entry = call["address"]
            assert isinstance(entry, int)
            at = (
                entry - design.entry + design.labels[label]
                if label in design.labels
                else _symbol(path, f"literal_{one.name}")
            )
            assert value == word(at) | word(at + 4) << 32
        stores = len(design.cells)
        if one.done in (0, stores):  # not started, or finished
            word_of = one.old if one.done == 0 else one.new
            target = call["target"]
            if word_of in ("null", "ret0"):
                assert target is None
                assert call["form"] == word_of
            else:
                assert isinstance(target, dict)
                assert target["symbol"] == word_of
            assert call["unfinished"] is False
        assert main(["show", str(path), one.name]) == 0
        shown = capsys.readouterr().out
        assert f"{call['form']}, target " in shown
        assert ("not finished" in shown) == call["unfinished"]


def _symbol(path: Path, name: str) -> int:
    with Image.open(path) as image:
        return image.names.symbol(name).value


def test_every_state_can_be_set_from(
    design: Design, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """To each target; printed, listed and in the keys is what was asked, and all is finished."""
    every = list(states(design))
    path = build(tmp_path, design, every)
    for goal in dict.fromkeys((*goals(design), "null", "ret0")):  # by a function, without a form
        output = tmp_path / f"to_{goal}"
        changes = [f"{one.name}={goal}" for one in reversed(every)]
        assert main(["set", str(path), *changes, "-o", str(output)]) == 0
        printed = capsys.readouterr().out.splitlines()
        assert [line.partition(" = ")[0] for line in printed] == [one.name for one in every][::-1]
        assert {line.partition(" = ")[2].split()[0] for line in printed} == {goal}
        found = calls_of(output, capsys)
        assert not any(call["unfinished"] for call in found.values())
        word = words_of(output)
        key = 0 if goal == "null" else _symbol(path, RETURN0 if goal == "ret0" else goal)
        for one in every:
            at = _symbol(path, f"__SCK__{one.name}") if one is every[0] else None
            assert at is None or word(at) | word(at + 4) << 32 == key
            keys = found[one.name]["key"]
            assert isinstance(keys, dict)
            assert keys["value"] == key
