"""Reads a design's text. docs/designs.md documents the notation.

A design is one page of assembly: the trampoline, with each word that retargeting changes written
as `{ form: contents | form: contents }`, and behind the label `retarget:` the code that changes
them. This file knows how that is written down; what it means stands in design.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from static_call import a64
from static_call.design import FORMS, Contents, Design, Item, Quad
from static_call.errors import StaticCallError
from static_call.retarget import RETARGET, Cse

_NAME = r"[A-Za-z_.$][\w.$]*"
_LABEL = re.compile(rf"\s*({_NAME}|\d+):")
_DIRECTIVES = (".isa", ".source", ".align", ".section")
SHIPPED = Path(__file__).parent / "designs"
"""The folder with the designs that the package ships."""


class NotationError(StaticCallError):
    """A design's text cannot be read: file, line and column (from 1), and what was expected."""

    def __init__(self, path: str, line: int, column: int, message: str) -> None:
        super().__init__(f"{path}:{line}:{column}: {message}")
        self.path, self.line, self.column = path, line, column


class UnknownDesign(StaticCallError):
    """No shipped design has this name, and no file has this path."""


def shipped() -> list[str]:
    """The names of the designs that the package ships."""
    return sorted(path.stem for path in SHIPPED.glob("*.s"))


def load(name: str) -> Design:
    """A shipped design by its name, or a user's own by the path of its file.

    Raises UnknownDesign, or NotationError for a text that cannot be read.
    """
    path = SHIPPED / f"{name}.s" if name in shipped() else Path(name)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        if "/" in name or name.endswith(".s"):
            reason = getattr(error, "strerror", None) or "not a text file"
            raise UnknownDesign(f"{name}: {reason}") from None
        known = ", ".join(shipped())
        raise UnknownDesign(f"no design {name!r}: give a file or one of {known}") from None
    shown = name if path == Path(name) else f"{name}.s"
    return read(text, shown, path.stem)


def read(text: str, path: str, name: str) -> Design:
    """The design that a text is. Raises NotationError, which says `path` for the file."""
    return _Reader(text, path, name).design()


class _Reader:
    """One pass over the lines; the labels are looked up at the end."""

    def __init__(self, text: str, path: str, name: str) -> None:
        self.path, self.name = path, name
        self.lines = text.splitlines()
        self.line = 0
        self.about: list[str] = []
        self.sources: list[str] = []
        self.align: int | None = None
        self.section = ".text"
        self.size = 0
        self.labels: dict[str, int] = {}  # in .text: the offset
        self.outside: list[str] = []  # in other sections
        self.numbered: list[tuple[str, int, str]] = []  # 1:, the line, its name among the labels
        self.pending: list[str] = []
        self.items: list[Item] = []
        self.uses: list[tuple[int, int, str]] = []  # line, column, label
        self.retarget: list[a64.Instruction | Cse] = []
        self.in_retarget = False

    def fail(self, message: str, column: int = 0, line: int | None = None) -> NotationError:
        return NotationError(self.path, line or self.line, column + 1, message)

    def design(self) -> Design:
        for self.line, raw in enumerate(self.lines, 1):
            code, comment, text = raw.partition("//")
            if comment and not code.strip() and not self.items and not self.pending:
                self.about.append(text.removeprefix(" ").rstrip())
            self.read_line(code.rstrip())
        self.line = max(len(self.lines), 1)
        self.check()
        align = self.align or max((item.size for item in self.items), default=a64.WORD)
        return Design(
            name=self.name,
            about="\n".join(self.about).strip(),
            isa="a64",
            sources=tuple(self.sources),
            align=align,
            size=self.size,
            entry=self.labels.get("entry", self.first_instruction()),
            labels=self.labels,
            outside=tuple(self.outside),
            items=tuple(self.items),
            retarget=tuple(self.retarget),
        )

    def read_line(self, code: str) -> None:
        column = 0
        while match := _LABEL.match(code, column):
            self.define(match[1], match.start(1))
            column = match.end()
        body = code[column:]
        column += len(body) - len(body.lstrip())
        body = body.strip()
        if not body:
            return
        if self.in_retarget:
            self.retarget.append(self.read_step(body, column))
        elif body.split()[0].lower() in _DIRECTIVES:
            self.read_directive(body, column)
        else:
            self.add(dict(self.read_contents(body, column)), body.startswith("{"), column)

    def define(self, label: str, column: int) -> None:
        if label == "retarget":
            self.in_retarget = True
        elif self.in_retarget:
            raise self.fail("no labels behind retarget: its code runs straight through", column)
        elif label.isdigit():
            # 1: may stand many times; each use names the nearest, so each gets a name of its own.
            self.pending.append(f"{label}@{self.line}")
            self.numbered.append((label, self.line, f"{label}@{self.line}"))
        elif label in self.labels or label in self.outside or label in self.pending:
            raise self.fail(f"the label {label} stands twice", column)
        elif label == "target":
            raise self.fail("target is the function called: no label may have that name", column)
        else:
            self.pending.append(label)

    def read_directive(self, body: str, column: int) -> None:
        directive, _, argument = body.partition(" ")
        argument = argument.strip()
        column += len(body) - len(argument)
        match directive.lower():
            case ".isa":
                if argument != "a64":
                    raise self.fail(f"expected a64, not {argument or 'nothing'}", column)
            case ".source":
                self.sources.append(argument.strip('"'))
            case ".align":
                if self.items:
                    raise self.fail("expected .align before the first instruction", column)
                if not re.fullmatch(r"[2-9]|1[0-2]", argument):
                    raise self.fail("expected a power of two, 2 (4 bytes) to 12", column)
                self.align = 1 << int(argument)
            case ".section":
                if not re.fullmatch(_NAME, argument):
                    raise self.fail("expected a section's name", column)
                self.section = argument

    def read_contents(self, body: str, column: int) -> Iterator[tuple[str, Contents]]:
        """The contents by form; by "" where they are the same in every form."""
        if not body.startswith("{"):
            yield "", self.read_one(body, column)
            return
        if not body.endswith("}"):
            raise self.fail("expected }", column + len(body))
        seen: set[str] = set()
        start = 1
        for part in body[1:-1].split("|"):
            match = re.match(r"\s*(\w+(?:\s*,\s*\w+)*)\s*:\s*", part)
            if match is None:
                raise self.fail("expected a form and a colon", column + start)
            contents = self.read_one(part[match.end() :].rstrip(), column + start + match.end())
            for form in re.split(r"\s*,\s*", match[1]):
                where = column + start + part.index(form)
                if form not in FORMS:
                    raise self.fail(f"expected a form ({', '.join(FORMS)}), not {form}", where)
                if form in seen:
                    raise self.fail(f"the form {form} stands twice", where)
                seen.add(form)
                yield form, contents
            start += len(part) + 1

    def read_one(self, text: str, column: int) -> Contents:
        if match := re.match(r"\.quad\b\s*", text):
            value = text[match.end() :]
            if re.fullmatch(r"0x[0-9a-fA-F]+|\d+", value):
                return Quad(int(value, 0))
            if re.fullmatch(rf"{_NAME}|\d+[bf]", value):
                return Quad(self.use(value, column + match.end()))
            raise self.fail("expected a number or a label", column + match.end())
        instruction = self.read_instruction(text, column)
        fields = dict(instruction.fields)
        for operand, symbol in instruction.symbols:
            name = self.use(symbol.name, column + text.rfind(symbol.name))
            fields[operand.name] = a64.Symbol(name, symbol.lo12)
        return a64.Instruction(instruction.row, fields)

    def read_instruction(self, text: str, column: int) -> a64.Instruction:
        try:
            return a64.parse(text)
        except a64.BadSyntax as error:
            raise self.fail(str(error), column + error.column) from None

    def read_step(self, body: str, column: int) -> a64.Instruction | Cse:
        if body.lower() == "cse":
            return Cse()
        instruction = self.read_instruction(body, column)
        if instruction.name not in RETARGET or instruction.symbols:
            raise self.fail(
                f"expected cse or one of {', '.join(RETARGET)}, on registers and numbers", column
            )
        return instruction

    def use(self, label: str, column: int) -> str:
        """Notes that a label is used; a numbered one becomes the name of the nearest."""
        if label[0].isdigit():
            number, forward = label[:-1], label[-1] == "f"
            if not forward:
                found = [name for other, _, name in self.numbered if other == number]
                if not found:
                    raise self.fail(f"no {number}: before this", column)
                return found[-1]
            for line in range(self.line, len(self.lines)):
                if re.match(rf"\s*{number}:", self.lines[line]):
                    return f"{number}@{line + 1}"
            raise self.fail(f"no {number}: behind this", column)
        self.uses.append((self.line, column, label))
        return label

    def add(self, contents: dict[str, Contents], cell: bool, column: int) -> None:
        """One more word or literal, where the section now stands."""
        sizes = {8 if isinstance(one, Quad) else a64.WORD for one in contents.values()}
        if len(sizes) != 1:
            raise self.fail("a literal and an instruction cannot share a place", column)
        if cell and not self.pending:
            raise self.fail(
                "expected a label before {: what retargeting changes has a name", column
            )
        size = sizes.pop()
        label = next((name for name in self.pending if "@" not in name), "")
        label = label or (self.pending[0] if self.pending else "")
        if self.section == ".text":
            self.labels.update(dict.fromkeys(self.pending, self.size))
            self.items.append(Item(label, self.size, size, cell, contents))
            self.size += size
        else:
            if not cell or size != 8:
                raise self.fail(f"expected a literal of several forms in {self.section}", column)
            self.outside.append(label)
            self.items.append(Item(label, None, size, cell, contents, self.section))
        self.pending.clear()

    def first_instruction(self) -> int:
        return next(
            (i.offset for i in self.items if i.size == a64.WORD and i.offset is not None), 0
        )

    def check(self) -> None:
        """What can only be said at the end."""
        forms = {form for item in self.items for form in item.contents}
        if not any(item.size == a64.WORD for item in self.items):
            raise self.fail("expected an instruction")
        if not forms & {"near", "far"}:
            raise self.fail("expected a cell with a near or a far form: nothing reaches target")
        if self.pending:
            raise self.fail(f"nothing stands at the label {self.pending[0]}")
        if not self.retarget:
            raise self.fail("expected retarget: and the code that changes the cells")
        cells = sum(item.cell for item in self.items)
        if cells > 8:
            raise self.fail(f"{cells} cells: the registers x0 to x15 hold eight")
        for line, column, label in self.uses:
            if label != "target" and label not in self.labels and label not in self.outside:
                raise self.fail(f"no label {label}", column, line)
