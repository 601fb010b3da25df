"""Reads a design's text. docs/designs.md documents the notation.

A design is one page of assembly: the trampoline, with each word that retargeting changes written
as `{ form: contents | form: contents }`, and after the label `retarget:` the code that changes
them. This file knows the notation; text.py and design.py know what it means.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import cache
from io import StringIO

from static_call.design.design import Design
from static_call.design.retarget import Cse
from static_call.design.shape import Shape
from static_call.design.target import FORMS
from static_call.design.text import NEW, PROPERTIES, Contents, Item, Quad, Text
from static_call.errors import StaticCallError
from static_call.isa.instruction import PAGE, BadSyntax, Instruction, Symbol, number
from static_call.isa.sets import SETS
from static_call.records import NamedTuple

SHIPPED = os.path.join(os.path.dirname(__file__), "shipped")
"""The folder with the designs that the package ships."""

MAX_CELLS = 8
"""A retarget gets two registers for each cell, out of x0 to x15."""

MAX_SIZE = PAGE
"""The most bytes of a trampoline: every operand reaches every label."""

_MAX_TEXT = 1 << 16
# Patterns, for re to compile when it first needs them.
_LABEL = r"(?a)\s*([A-Za-z_.$][\w.$]*|[0-9]+):"
_OPERAND = r"(?a)[#-]*([\w.$]+)"


class NotationError(StaticCallError):
    """A design's text cannot be read; the message begins with file, line and column.

    Attributes:
        path: the file.
        line: from 1.
        column: from 1.
    """

    path: str
    line: int
    column: int

    def __init__(self, path: str, line: int, column: int, message: str) -> None:
        super().__init__(f"{path}:{line}:{column}: {message}")
        self.path, self.line, self.column = path, line, column


class UnknownDesign(StaticCallError):
    """No shipped design has this name, and no file has this path."""


class StaleShape(StaticCallError):
    """A shipped design's text was changed without its shape in shapes.py."""


@cache
def shipped() -> tuple[str, ...]:
    """The names of the designs that the package ships."""
    return tuple(sorted(name[:-2] for name in os.listdir(SHIPPED) if name.endswith(".s")))


def load(name: str) -> Design:
    """A shipped design by its name, or a user's own by the path of its file.

    Raises:
        UnknownDesign: there is no such design or file.
        NotationError: its text cannot be read.
    """
    if name in shipped():
        return _load_shipped(name)
    try:
        with open(name, encoding="utf-8", opener=_open) as file:
            text = file.read(_MAX_TEXT)
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a NUL in the name
        if "/" in name or name.endswith(".s"):
            reason = getattr(error, "strerror", None) or "not a text file"
            raise UnknownDesign(f"{name}: {reason}") from None
        known = ", ".join(shipped())
        raise UnknownDesign(f"no design {name!r}: give a file or one of {known}") from None
    if len(text) == _MAX_TEXT:
        raise UnknownDesign(f"{name}: not a design: longer than {_MAX_TEXT} characters")
    return read(text, name, os.path.basename(name).removesuffix(".s"))


def _open(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_NONBLOCK)  # a pipe without a writer is an empty file


@cache
def _load_shipped(name: str) -> Design:
    from static_call.design.shapes import SHAPES

    if shape := SHAPES.get(name):
        return Design(name, shape, lambda: _shipped_text(name, shape))
    said = _shipped_text(name)  # a file that was added, and no shape made yet
    return Design(name, said.shape, lambda: said)


def _shipped_text(name: str, shape: Shape | None = None) -> Text:
    """A shipped design's text. Raises StaleShape where it has another shape than `shape`."""
    with open(os.path.join(SHIPPED, f"{name}.s"), encoding="utf-8") as file:
        said = read_text(file.read(), f"{name}.s")
    if shape not in (None, said.shape):
        raise StaleShape(f"{name}.s was changed, and shapes.py does not say so: make shapes")
    return said


def read(text: str, path: str, name: str) -> Design:
    """The design that a text describes. Raises NotationError, which names the file as `path`."""
    said = read_text(text, path)
    return Design(name, said.shape, lambda: said)


def read_text(text: str, path: str) -> Text:
    """What a text says. Raises NotationError, which names the file as `path`."""
    return _Reader(text, path).read()


class _Line(NamedTuple):
    """A line of the text, with columns from 0: its labels, its body and where that starts."""

    number: int
    labels: list[tuple[str, int]]
    body: str
    column: int
    comment: str


def _split(number: int, text: str) -> _Line:
    code, slashes, comment = text.partition("//")
    labels = []
    start = 0
    label = re.compile(_LABEL)
    while match := label.match(code, start):
        labels.append((match[1], match.start(1)))
        start = match.end()
    column = len(code) - len(code[start:].lstrip())
    if code[column : column + 8].rstrip().lower() == ".source":  # takes the line as it is
        code, slashes, comment = text, "", ""
    return _Line(number, labels, code[column:].rstrip(), column, slashes + comment.rstrip())


class _Reader:
    """Takes the lines one by one. Labels may be used before they are defined: see `check`."""

    def __init__(self, text: str, path: str) -> None:
        self.path = path
        self.lines = [_split(n, line) for n, line in enumerate(StringIO(text, newline=None), 1)]
        self.numeric = [
            (label, line.number)
            for line in self.lines
            for label, _ in line.labels
            if label.isdigit()
        ]
        self.line = 1
        self.sources: list[str] = []
        self.claims: list[str] = []
        self.isa = next(iter(SETS.values()))
        self.align = self.isa.word
        self.section = ".text"
        self.size = 0
        self.labels: dict[str, int] = {}  # in .text: the offset
        self.outside: list[str] = []  # in other sections
        self.pending: dict[str, tuple[int, int]] = {}  # labels of what comes next: line and column
        self.uses: list[tuple[str, int, int]] = []  # a label, line and column
        self.items: list[Item] = []
        self.retarget: list[Instruction | Cse] | None = None
        self.written: set[int] = set()  # registers that the retarget has set so far

    def fail(self, message: str, column: int = 0, line: int = 0) -> NotationError:
        return NotationError(self.path, line or self.line, column + 1, message)

    def read(self) -> Text:
        for line in self.lines:
            self.line = line.number
            for label, column in line.labels:
                self.define(label, column)
            if line.body:
                self.read_body(line.body, line.column)
        self.check()
        return Text(
            about=self.about(),
            set=self.isa.name,
            sources=tuple(self.sources),
            claims=tuple(dict.fromkeys(self.claims)),
            align=max(self.align, *(item.size for item in self.items)),
            labels=self.labels,
            items=tuple(self.items),
            retarget=tuple(self.retarget or ()),
        )

    def about(self) -> str:
        """The comment that the text begins with."""
        comments = []
        for line in self.lines:
            if line.labels or line.body:
                break
            comments.append(line.comment.removeprefix("//").removeprefix(" "))
        return "\n".join(comments).strip()

    def define(self, label: str, column: int) -> None:
        twice = self.fail(f"the label {label} is defined twice", column)
        if label == "retarget":
            if self.retarget is not None:
                raise twice
            self.retarget = []
        elif self.retarget is not None:
            raise self.fail("no labels after retarget: its code runs straight through", column)
        elif label == "target":
            raise self.fail("target is the function called: no label may have that name", column)
        elif label in self.labels or label in self.outside or label in self.pending:
            raise twice
        else:
            self.pending[self.numbered(label, self.line)] = self.line, column

    def numbered(self, label: str, line: int) -> str:
        """The label; there may be many 1:, so each gets its own name."""
        return f"{label}@{line}" if label.isdigit() else label

    def use(self, label: str, column: int, forms: list[str]) -> str:
        """Notes that a label is used, and names it; 1f and 1b are the next and the last 1:."""
        if label == "target" and (not forms or not {"near", "far"}.issuperset(forms)):
            raise self.fail("target is for the near and far forms of cells only", column)
        if label[0].isdigit():
            number, after = label[:-1], label[-1] == "f"
            lines = [
                line
                for label, line in self.numeric
                if label == number and (line > self.line) == after
            ]
            if not lines:
                raise self.fail(f"no {number}: {'after' if after else 'before'} this", column)
            label = self.numbered(number, lines[0 if after else -1])
        self.uses.append((label, self.line, column))
        return label

    def read_body(self, body: str, column: int) -> None:
        """What comes after the labels of a line."""
        word = body.split()[0].lower()
        if self.retarget is not None:
            self.retarget.append(self.read_step(body, column))
        elif word.startswith(".") and word != self.isa.literal:
            self.read_directive(body, column)
        elif body.startswith("{"):
            self.add(self.read_cell(body, column), True, column)
        else:
            self.add({"": self.read_contents(body, column, [])}, False, column)

    def read_directive(self, body: str, column: int) -> None:
        directive = body.split()[0]
        argument = body[len(directive) :].strip()
        where = column + len(body) - len(argument)
        match directive.lower():
            case ".isa":
                if argument not in SETS:
                    known = " or ".join(SETS)
                    raise self.fail(f"expected {known}, not {argument or 'nothing'}", where)
                if self.items and SETS[argument] != self.isa:
                    raise self.fail("expected .isa before the first instruction", column)
                self.isa = SETS[argument]
            case ".source":
                if not argument:
                    raise self.fail("expected where the design comes from", where)
                self.sources.append(argument)
            case ".align":
                if self.items:
                    raise self.fail("expected .align before the first instruction", column)
                if not re.fullmatch(r"[2-9]|1[0-2]", argument):
                    raise self.fail("expected a power of two, 2 (4 bytes) to 12", where)
                self.align = 1 << int(argument)
            case ".claims":
                for name in argument.split():
                    if name not in PROPERTIES:
                        known = ", ".join(PROPERTIES)
                        raise self.fail(
                            f"expected properties ({known}), not {name!r}",
                            where + argument.index(name),
                        )
                if not argument:
                    raise self.fail("expected what the design claims", where)
                self.claims += argument.split()
            case ".section":
                if not re.fullmatch(r"[\w.$-]+", argument, re.ASCII):
                    raise self.fail("expected a section's name", where)
                self.section = argument
            case _:
                known = ".isa, .source, .align, .claims or .section"
                raise self.fail(f"{directive} is not a directive: expected {known}", column)

    def read_cell(self, body: str, column: int) -> dict[str, Contents]:
        """The contents by form, from `{ form, form: contents | form: contents }`."""
        inside, closed, rest = body[1:].partition("}")
        if not closed:
            raise self.fail("expected }", column + len(body))
        if rest:
            where = column + len(body) - len(rest.lstrip())
            raise self.fail("expected the end of the line", where)
        found: dict[str, Contents] = {}
        start = column + 1
        for part in inside.split("|"):
            names, colon, text = part.partition(":")
            if not colon:
                raise self.fail("expected a form and a colon", start + _indent(part))
            forms = []
            for name in names.split(","):
                form, where = name.strip(), start + _indent(name)
                if form not in (*FORMS, NEW):
                    raise self.fail(f"expected a form ({', '.join(FORMS)}), not {form!r}", where)
                if form in found or form in forms:
                    raise self.fail(f"the form {form} is given twice", where)
                forms.append(form)
                start += len(name) + 1
            contents = self.read_contents(text.strip(), start + _indent(text), forms)
            found |= dict.fromkeys(forms, contents)
            start += len(text) + 1
        return found

    def read_contents(self, text: str, column: int, forms: list[str]) -> Contents:
        """An instruction or a literal, in these forms of a cell."""
        directive = self.isa.literal
        end = len(directive)
        if text[: end + 1].rstrip().lower() == directive:
            return self.read_quad(text[end:].strip(), column + end + _indent(text[end:]), forms)
        insn = self.read_instruction(text, column)
        assert insn.row is not None
        fields = dict(insn.fields)
        for operand in insn.row.operands:
            value = fields[operand.name]
            if isinstance(value, Symbol):
                at = [
                    match.start() for match in re.finditer(_OPERAND, text) if match[1] == value.name
                ]
                name = self.use(value.name, column + at[-1], forms)
                fields[operand.name] = Symbol(name, value.lo12)
            elif operand.relative:
                at = [match.start() for match in re.finditer(_OPERAND, text)]
                raise self.fail(
                    "expected a label: a trampoline has no fixed address", column + at[-1]
                )
        return Instruction(insn.row, fields)

    def read_quad(self, value: str, column: int, forms: list[str]) -> Quad:
        held = number(value)
        if held is not None and held & ~self.isa.addresses == 0:
            return Quad(held, self.isa.literal)
        if held is None and re.fullmatch(r"[A-Za-z_.$][\w.$]*|[0-9]+[bf]", value, re.ASCII):
            return Quad(self.use(value, column, forms), self.isa.literal)
        raise self.fail(f"expected a {8 * self.isa.pointer}-bit number or a label", column)

    def read_instruction(self, text: str, column: int) -> Instruction:
        try:
            return self.isa.parse(text)
        except BadSyntax as error:
            raise self.fail(str(error), column + error.column) from None

    def read_step(self, body: str, column: int) -> Instruction | Cse:
        """One line after `retarget:`."""
        if body.lower() == "cse":
            return Cse()
        insn = self.read_instruction(body, column)
        patcher = self.isa.patcher
        if insn.name not in patcher.instructions or not patcher.allowed(insn):
            known = ", ".join(patcher.instructions)
            raise self.fail(f"expected cse or one of {known}, on registers and numbers", column)
        cells = sum(item.cell for item in self.items)
        given = patcher.registers[: 2 * cells]
        for name, register in patcher.uses(insn, False):
            if register not in {*range(len(given)), *self.written}:
                raise self.fail(
                    f"{name} holds nothing: the {cells} cells are in {_span(given)}", column
                )
        for name, register in patcher.uses(insn, True):
            if register < 0:
                ours = _span(patcher.registers)
                raise self.fail(f"{name} is not the retarget's: expected {ours}", column)
            self.written.add(register)
        return insn

    def add(self, contents: dict[str, Contents], cell: bool, column: int) -> None:
        """One more word or literal, at the end of the section so far."""
        literals = {isinstance(one, Quad) for one in contents.values()}
        if len(literals) > 1:
            raise self.fail("a literal and an instruction cannot share a cell", column)
        is_literal = literals.pop()
        size = self.isa.pointer if is_literal else self.isa.word
        inside = self.section == ".text"
        if cell and not self.pending:
            raise self.fail(
                "expected a label before {: what retargeting changes has a name", column
            )
        most = min(MAX_CELLS, len(self.isa.patcher.registers) // 2)
        if cell and sum(item.cell for item in self.items) == most:
            raise self.fail(f"expected at most {most} cells", column)
        if cell and inside and self.size % size:
            raise self.fail(
                f"expected a literal at a multiple of {size} bytes, not {self.size}", column
            )
        if not inside and not (cell and is_literal and len(self.pending) == 1):
            raise self.fail(f"expected one label and a literal in braces in {self.section}", column)
        label = min(self.pending, key=lambda name: "@" in name, default="")
        self.items.append(
            Item(label, self.size if inside else None, size, cell, contents, self.section)
        )
        if inside:
            self.labels |= dict.fromkeys(self.pending, self.size)
            self.size += size
        else:
            self.outside.append(label)
        if self.size > MAX_SIZE:
            raise self.fail(f"expected at most {MAX_SIZE} bytes", column)
        self.pending.clear()

    def check(self) -> None:
        """Checks what is known only at the end."""
        for label, (line, column) in self.pending.items():
            raise self.fail(f"nothing is at the label {label.partition('@')[0]}", column, line)
        for label, line, column in self.uses:
            if label not in ("target", *self.labels, *self.outside):
                raise self.fail(f"no label {label}", column, line)
        code = [item.offset for item in self.items if not item.is_literal]
        if not code:
            raise self.fail("expected an instruction")
        if self.labels.get("entry", code[0]) not in code:
            raise self.fail("expected an instruction at the label entry")
        if not {form for item in self.items for form in item.contents} & {"near", "far"}:
            raise self.fail("expected a cell with a near or a far form: nothing reaches target")
        if not self.retarget:
            raise self.fail("expected retarget: and the code that changes the cells")


def _indent(text: str) -> int:
    """How many blanks a text begins with."""
    return len(text) - len(text.lstrip())


def _span(registers: Sequence[str]) -> str:
    """Registers in words, by the first and the last."""
    return f"{registers[0]} to {registers[-1]}" if registers else "none"
