"""The checker's questions as litmus files, for herd7 and litmus7.

In such a file the trampoline is thread P1's code, followed by the targets: X9 says which one was
called. A literal is a variable, loaded through a register that holds its address. A context
synchronisation event (CSE) on every PE becomes a message: P0 asks, P1 has an ISB and answers, and
`filter` keeps the executions in which both heard. It matters at which point of the call P1 answers,
so there is a file for each point: the question's answer is yes in one of them. No file is written
for a point at which no call hears all that it must.

The files ask for a wrong call, by `exists`: properties.py says for which properties. herd7's flag
violates-CMODX-requirements on a live one answers cmodx. atomic and landing have no such form.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from itertools import combinations_with_replacement, product
from typing import NamedTuple

from static_call.check.changes import Change, Unaskable, changes, spell_change
from static_call.check.checker import Checker
from static_call.check.properties import ROWS, Property, named
from static_call.check.questions import Question
from static_call.check.scene import Scene
from static_call.design.design import LITERAL, Design
from static_call.design.retarget import Cse
from static_call.design.text import Item
from static_call.errors import StaticCallError
from static_call.isa import a64
from static_call.isa.a64_more import decode
from static_call.memory_model.litmus import run
from static_call.memory_model.litmus_format import show_instruction, spell
from static_call.memory_model.litmus_reader import read
from static_call.memory_model.litmus_writer import NotExpressible
from static_call.memory_model.model import WEAKEST
from static_call.memory_model.program import DEFAULT, Limits

# Registers that no trampoline and no retarget uses: both threads', P0's, and P1's
_ONE, _ASKED, _ANSWERED, _HEARD, _FLAG = 20, 10, 11, 22, 27
_CODE, _NOP, _READY = 14, 15, 28
_CALLED, _SEEN, _LITERAL, _MADE = 9, 8, 26, 21

_PAGE = 4096

_STEPS = ("str", "dmb", "dsb", "isb", "dc cvau", "ic ivau")
_UNREAD = ("yield", "hint", "mrs", "brk", "hvc", "smc")  # herd7 7.58 does not
_OURS = {*range(8, 16), *range(20, 29)}

KINDS = tuple(row.name for row in ROWS if row.export)
"""The names of the properties that are asked as files."""


class File(NamedTuple):
    """A litmus file.

    Attributes:
        name: Its name without an ending.
        text: Its contents.
    """

    name: str
    text: str


def write(
    designs: Sequence[Design], directory: str, limits: Limits = DEFAULT
) -> tuple[int, list[str]]:
    """Writes the questions on single changes of designs as files.

    Args:
        designs: The designs, no two with the same name.
        directory: The folder for the files; it is created if it does not exist.
        limits: Bounds on the work.

    Returns:
        How many files were written, and the problems: see `questions`.

    Raises:
        OSError: a file cannot be written.
        StaticCallError: see `questions`.
    """
    made = questions(designs, limits)
    os.makedirs(directory, exist_ok=True)
    count = 0
    problems: list[str] = []
    for files, why in made:
        for name, text in files:
            with open(os.path.join(directory, f"{name}.litmus"), "w", encoding="utf-8") as file:
                file.write(text)
        count += len(files)
        problems += why
    return count, problems


def questions(
    designs: Sequence[Design], limits: Limits = DEFAULT
) -> Iterator[tuple[list[File], list[str]]]:
    """The questions on single changes of designs.

    Args:
        designs: The designs, no two with the same name.
        limits: Bounds on the work.

    Returns:
        For each design its files and, if it has questions that cannot be written, or no questions
        at all, a line that says why the first cannot be and how many more cannot.

    Raises:
        StaticCallError: two designs have the same name, so their files would too.
    """
    names = [design.name for design in designs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise StaticCallError(f"two designs are named {twice}: write their files into two folders")
    return (_questions(design, limits) for design in designs)


def _questions(design: Design, limits: Limits) -> tuple[list[File], list[str]]:
    """The same for one design."""
    checker = Checker(limits)
    files: list[File] = []
    not_asked: list[str] = []
    problems: list[str] = []
    for change, kind in product(changes(), KINDS):
        try:
            files += list(question(design, change, kind, checker=checker))
        except Unaskable as error:
            not_asked.append(f"{design.name}+{kind}: {error}")
        except NotExpressible as error:
            problems.append(str(error))
    why, *more = problems or ([] if files else not_asked) or [""]
    return files, [why + (f" (and {len(more)} questions more)" if more else "")] if why else []


def question(
    design: Design,
    change: Change,
    what: Property | str,
    limits: Limits = DEFAULT,
    checker: Checker | None = None,
) -> Iterator[File]:
    """The files of one question. Its answer is yes if it is yes in any of them.

    Args:
        design: The design.
        change: The change of its target.
        what: The property that is asked for, or its name.
        limits: Bounds on the work.
        checker: Remembers what was asked; if given, its bounds apply instead of `limits`.

    Raises:
        NotExpressible: a litmus file has no form for it.
        Unaskable: there is nothing to ask.
    """
    checker = checker or Checker(limits)
    row = named(what) if isinstance(what, str) else what
    name = f"{design.name}+{row.name}+{spell_change(change)}"
    if row.export is None:
        raise NotExpressible(f"{name}: it does not ask for a wrong call")
    asked = row.export(Question(design, change))
    for number, one in enumerate(asked):
        checker.explored(one)
        more = f"+{number}" if len(asked) > 1 else ""
        yield from _Writer(checker.scene(one), name + more).files()


class _Writer:
    """One question's files.

    Attributes:
        init: The lines of the initial state.
        goals: The labels of the change's functions, by address.
        literals: The names of the literals' variables, by address.
        made: The registers in which a cell's ADRP makes an address.
    """

    def __init__(self, scene: Scene, name: str) -> None:
        self.scene, self.name, self.question = scene, name, scene.question
        self.design, self.program = self.question.design, scene.program
        self.init: list[str] = []
        functions = [a for a, text in scene.targets.items() if text in scene.meant]
        self.goals = {address: f"LT{i}" for i, address in enumerate(functions)}
        self.literals = {
            at: f"literal{i}" if i else "literal" for i, at in enumerate(sorted(self.program.data))
        }
        self.made = self.made_by_adrp()
        if 2 * len(self.design.cells) > min(_OURS) or len(self.literals) > 4:
            raise NotExpressible(f"{name}: too many cells for a litmus file")

    def made_by_adrp(self) -> frozenset[int]:
        written = self.scene.plan.registers
        words = [(at, self.program.code[at]) for at in written[::2] if at in self.program.code]
        words += [(at, held) for at, held in zip(written[::2], written[1::2]) if held >> 32 == 0]
        found = (decode(word, at) for at, word in words if at in self.program.code)
        return frozenset(insn["d"] for insn in found if insn.name == "adrp")

    def files(self) -> Iterator[File]:
        count = len(self.program.cse)
        settled = self.question.kind == "settled"  # its caller can answer before it is told
        points = range(1 + settled + sum(map(self.eventful, self.design.items)))
        for chosen in combinations_with_replacement(points, count):
            name = self.name + "".join(f"+cse{point}" for point in chosen)
            text = self.text(name, chosen)
            result = run(read(text, name), WEAKEST)
            if result.positive or result.negative:
                yield File(name, text)

    def eventful(self, item: Item) -> bool:
        """Whether a CSE before it differs from one before the next: a slot, load or branch."""
        if item.offset is None or item.is_literal:
            return False
        held = item.contents.get("")
        return item.cell or (isinstance(held, a64.Instruction) and held.name in ("ldr", "br"))

    def text(self, name: str, chosen: tuple[int, ...]) -> str:
        self.init = [" uint32_t flag=0;"] if self.question.kind == "settled" else []
        self.init += self.literal_values()
        updater, caller = self.updater(), self.caller(chosen)
        self.registers(caller)
        caller = self.needed(updater, caller)
        height = max(len(updater), len(caller))
        columns = ([*column, *[""] * (height - len(column))] for column in (updater, caller))
        rows = [("P0", "P1"), *zip(*columns)]
        wide = max(len(left) for left, _ in rows)
        lines = [f"AArch64 {name}", "Variant=Ifetch", "{", *self.init, "}"]
        lines += [f" {left.ljust(wide)} | {right} ;" for left, right in rows]
        if chosen:
            heard = [f"{t}:X{_HEARD + i}=1" for i in range(len(chosen)) for t in (0, 1)]
            lines.append("filter (" + " /\\ ".join(heard) + ")")
        lines.append(f"exists ({self.condition(chosen)})")
        return "\n".join(lines) + "\n"

    def needed(self, updater: list[str], caller: list[str]) -> list[str]:
        """The caller without labels that nothing names.

        herd7 tries each label for a branch to a loaded address, and those before it as loops.
        """
        code = [line for line in caller if not line.endswith(":")]
        words = {*re.findall(r"\w+", " ".join([*self.init, *updater, *code]))}
        return [line for line in caller if not line.endswith(":") or line[:-1] in words]

    def literal_values(self) -> Iterator[str]:
        for number, (at, name) in enumerate(self.literals.items()):
            held = self.literal(self.program.initial(at, LITERAL))
            # herd7 takes no type for a variable that holds the address of code at the start.
            yield f" {'' if held.startswith('label:') else 'uint64_t '}{name}={held};"
            yield f" 1:X{_LITERAL - number}={name};"

    # The caller, P1

    def handshake(self, chosen: tuple[int, ...], point: int) -> Iterator[str]:
        """The CSEs that the caller has at a point."""
        for number, where in enumerate(chosen):
            if where == point:
                yield f"LDR W{_HEARD + number},[X{_ASKED + 2 * number}]"
                yield from ("DSB SY", "ISB")
                yield f"STR W{_ONE},[X{_ANSWERED + 2 * number}]"

    def caller(self, chosen: tuple[int, ...]) -> list[str]:
        self.init += self.caller_registers(len(chosen))
        lines: list[str] = []
        point = 0
        if self.question.kind == "settled":
            lines += self.handshake(chosen, point)
            point += 1
            lines += [f"LDAR W{_SEEN},[X{_FLAG}]", f"CBZ W{_SEEN},Lnone"]
            lines += ["ISB"] * self.question.isb
        if self.design.entry != min(i.offset or 0 for i in self.design.items if not i.is_literal):
            lines.append(f"B {self.label(self.scene.base + self.design.entry)}")
        paged: dict[int, int] = {}  # registers made by ADRP -> the page
        for item in self.design.items:
            if item.offset is None or item.is_literal:
                continue
            address = self.scene.base + item.offset
            if self.eventful(item):
                lines += self.handshake(chosen, point)
                point += 1
            insn = decode(self.program.code[address], address)
            lines.append(f"{self.label(address)}:")
            if insn.name == "br" and self.made:
                lines += self.branch(insn["n"])
            else:
                lines.append(self.instruction(address, paged))
        return [*lines, *self.ends(), *self.wild(), "Lend:", *self.handshake(chosen, point)]

    def caller_registers(self, cses: int) -> Iterator[str]:
        """The initial state for the caller, and for its messages with the updater."""
        yield from (' 1:X30=label:"P1:Lback";', " 1:X0=119;")
        for number in range(cses):
            yield from (f" uint32_t ask{number}=0;", f" uint32_t answer{number}=0;")
            for t in (0, 1):
                yield f" {t}:X{_ASKED + 2 * number}=ask{number};"
                yield f" {t}:X{_ANSWERED + 2 * number}=answer{number};"
        yield from (f" {t}:X{_ONE}=1;" for t in (0, 1) if cses)
        if self.question.kind == "settled":
            yield from (f" {t}:X{_FLAG}=flag;" for t in (0, 1))

    def ends(self) -> Iterator[str]:
        """Where a call ends: a number in a register for each."""
        for number, (address, label) in enumerate(self.goals.items()):
            yield f"{label}:"
            if address in self.program.code:  # the updater writes it
                yield "B Lold"
            yield from (f"MOV W{_CALLED},#{number + 2}", "B Lend")
        yield from ("Lback:", f"MOV W{_CALLED},#1", "B Lend")
        if self.question.kind == "fresh":
            yield from ("Lold:", f"MOV W{_CALLED},#99", "B Lend")
        if self.question.kind == "settled":
            yield from ("Lnone:", f"MOV W{_CALLED},#100", "B Lend")

    def wild(self) -> Iterator[str]:
        """Where a branch to a register goes that only a cell's instruction would have set.

        Without a label to go to, herd7 tries every label for such a branch, which takes minutes.
        """
        fixed = {
            insn["t" if insn.name == "ldr" else "d"]
            for insn in (item.contents.get("") for item in self.design.items if not item.cell)
            if isinstance(insn, a64.Instruction) and insn.name in ("ldr", "adr", "movz", "orr")
        }
        words = (self.program.code.get(at) for at in self.scene.trampoline[:: a64.WORD])
        branches = [decode(word) for word in words if word is not None]
        registers = sorted({i["n"] for i in branches if i.name == "br"} - fixed - {30, *_OURS})
        for register in registers:
            value = "7" if self.made else 'label:"P1:Lwild"'
            self.init.append(f" 1:X{register}={value};")
        if registers or self.literals:
            yield from ("Lwild:", f"MOV W{_CALLED},#98", "B Lend")

    # Where a cell's ADRP makes an address, all addresses of targets are numbers: herd7 neither
    # computes a label from two parts nor compares one with a number

    def page(self, address: int) -> int:
        """The number that a page has in the file: 4096 times one, two, ..."""
        pages = list(dict.fromkeys(goal & -_PAGE for goal in self.goals))
        if address not in pages or len(pages) > 15:
            raise NotExpressible(f"{self.name}: an ADRP to {address:#x}")
        return _PAGE * (1 + pages.index(address))

    def made_number(self, address: int) -> int:
        """The number of a target."""
        return self.page(address & -_PAGE) + address % _PAGE

    def branch(self, register: int) -> Iterator[str]:
        """A BR to such an address."""
        for goal, label in self.goals.items():
            yield f"MOV X{_MADE},#{self.made_number(goal)}"
            yield from (f"CMP X{register},X{_MADE}", f"B.EQ {label}")
        yield "B Lwild"

    def instruction(self, address: int, paged: dict[int, int]) -> str:
        """An instruction of the trampoline. A literal's address comes from a register."""
        insn = decode(self.program.code[address], address)
        operands = insn.row.operands if insn.row else ()
        if any(insn[o.name] in _OURS for o in operands if o.is_register):
            raise NotExpressible(f"{self.name}: {insn} uses a register that the file needs")
        if insn.name.startswith(("b.", "tb")) or (
            insn.name in ("cbz", "cbnz") and insn["t"] not in (16, 17)
        ):
            raise NotExpressible(f"{self.name}: {insn} depends on what the caller holds")
        if insn.name.startswith("bti"):
            return "NOP"
        if insn.name in _UNREAD:
            raise NotExpressible(f"{self.name}: herd7 does not read {insn}")
        if insn.name == "adrp" and insn["d"] in self.made:
            return f"MOV X{insn['d']},#{self.page(insn['il'])}"
        if insn.name == "adrp":
            paged[insn["d"]] = insn["il"]
            return "NOP"
        if insn.name == "ldr":
            paged_to = paged.get(insn["n"], 0) if "n" in insn else 0
            to = paged_to + insn.get("i")
            if to not in self.literals:
                raise NotExpressible(f"{self.name}: {insn}")
            return f"LDR X{insn['t']},[X{_LITERAL - list(self.literals).index(to)}]"
        relative = [insn[o.name] for o in operands if o.relative]
        text = insn.format(self.label)
        label = self.label(relative[0]) if relative else ""
        return spell(insn, text.removesuffix(label)) + label

    def label(self, address: int) -> str:
        if address in self.goals:
            return self.goals[address]
        if address in self.scene.trampoline:
            return f"L{address - self.scene.base}"
        raise NotExpressible(f"{self.name}: a branch to {self.scene.name(address)}")

    def pointer(self, value: int) -> str:
        known = value in self.goals or value in self.scene.trampoline
        return f'label:"P1:{self.label(value)}"' if known else str(value)

    def literal(self, value: int) -> str:
        """What a literal holds. herd7 leaves out an execution that branches to no code."""
        if self.made and value in self.scene.trampoline:
            raise NotExpressible(f"{self.name}: a literal that leads to {self.scene.name(value)}")
        if self.made:
            return str(self.made_number(value) if value in self.goals else value)
        held = self.pointer(value)
        return held if held.startswith("label:") or self.compared() else 'label:"P1:Lwild"'

    def compared(self) -> bool:
        """Whether the trampoline tests a register, which may have been loaded, for 0."""
        return any(
            decode(word).name in ("cbz", "cbnz")
            for at, word in self.program.code.items() if at in self.scene.trampoline
        )  # fmt: skip

    # The updater, P0

    def updater(self) -> list[str]:
        lines: list[str] = []
        if self.question.kind == "fresh":
            lines = [f"STR W{_NOP},[X{_CODE}]", f"DC CVAU,X{_CODE}", "DSB ISH"]
            lines += [f"IC IVAU,X{_CODE}", "DSB ISH"]
        number = 0
        for insn in self.scene.plan.code[: self.question.stop]:
            if isinstance(insn, Cse):
                # As in the model, it waits for accesses and DCs before it, not for ICs.
                lines += ["DMB SY", f"STR W{_ONE},[X{_ASKED + 2 * number}]"]
                lines += [f"LDR W{_HEARD + number},[X{_ANSWERED + 2 * number}]", "DSB SY"]
                number += 1
            elif insn.name in _STEPS:
                lines.append(spell(insn, str(insn)))
            else:
                raise NotExpressible(f"{self.name}: {insn}")
        return lines + [f"STLR W{_READY},[X{_FLAG}]"] * (self.question.kind == "settled")

    def registers(self, caller: list[str]) -> None:
        """What the updater's registers hold: the cells' addresses and new contents."""
        registers = self.scene.plan.registers
        for k, (cell, address, value) in enumerate(
            zip(self.design.cells, registers[::2], registers[1::2])
        ):
            if cell.is_slot:
                where, held = self.pointer(address), self.word(value, address, caller)
            else:
                where, held = self.literals[address], self.literal(value)
            self.init += [f" 0:X{2 * k}={where};", f" 0:X{2 * k + 1}={held};"]
        if self.question.kind == "fresh":
            target = next(a for a in self.goals if a in self.program.code)
            self.init += [f" 0:X{_CODE}={self.pointer(target)};", f' 0:X{_NOP}=instr:"NOP";']
        if self.question.kind == "settled":
            self.init.append(f" 0:X{_READY}=1;")

    def word(self, word: int, address: int, caller: list[str]) -> str:
        """An instruction as a value: its branch is relative to where it is stored."""
        insn = decode(word, address)
        if insn.name == "adrp":
            return f'instr:"MOV X{insn["d"]},#{self.page(insn["il"])}"'
        if insn.name in _UNREAD:
            raise NotExpressible(f"{self.name}: herd7 does not read {insn}")
        if insn.row is None or (insn.name != "b" and any(o.relative for o in insn.row.operands)):
            raise NotExpressible(f"{self.name}: {insn} as a value")
        if insn.name != "b":
            return f'instr:"{show_instruction(word)}"'
        here, there = (
            sum(not line.endswith(":") for line in caller[: caller.index(f"{self.label(at)}:")])
            for at in (address, insn["i"])
        )
        return f'instr:"B .{a64.WORD * (there - here):+d}"'

    def condition(self, chosen: tuple[int, ...]) -> str:
        """A wrong call: one with none of the right outcomes."""
        if self.question.kind == "fresh":
            return f"1:X{_CALLED}=99"
        names = {self.scene.targets[address]: i + 2 for i, address in enumerate(self.goals)}
        before = [self.scene.current[i] for i, point in enumerate(chosen) if point == 0]
        right = []
        first = -1 if self.question.kind == "settled" else max(before, default=0)
        for goal in dict.fromkeys(self.scene.meant[first:]):
            if goal in ("returns", "returns 0"):
                kept = 119 if goal == "returns" else 0
                right.append(f"1:X{_CALLED}=1 /\\ 1:X0={kept}")
            else:
                right.append(f"1:X{_CALLED}={names[goal]}")
        if self.question.kind == "settled":
            right.append(f"1:X{_CALLED}=100")
        return " /\\ ".join(f"not ({one})" for one in right)
