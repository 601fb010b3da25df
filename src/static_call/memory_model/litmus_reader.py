"""Reads litmus files for AArch64, as herd7 and litmus7 take them.

What is read: the header with its KEY=VALUE lines (CacheType counts), the initial state (registers,
variables, arrays, with their types; label and instruction values), the threads as columns with
their labels and fault handlers (P0.F), and `locations`, `filter`, `exists`, `~exists`, `forall`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from static_call.isa import a64
from static_call.isa.a64_more import assemble
from static_call.memory_model import litmus_unmodelled
from static_call.memory_model.litmus_condition import ConditionReader
from static_call.memory_model.litmus_format import Location, Register, Test, cache_types
from static_call.memory_model.litmus_types import POINTER, declared
from static_call.memory_model.litmus_values import Names, elements
from static_call.memory_model.program import Program, Thread

_CODE, _COLUMN = 0x100000, 0x1000  # columns start at multiples of the second number
_UDF = 0xFFFF  # words up to this one are UDF; as values they are numbers
_QUANTIFIER = re.compile(r"(~\s*exists|not\s+exists|exists|forall|locations|filter|final)\b")


def read(text: str, name: str = "<text>") -> Test:
    """The test that a litmus file holds.

    Args:
        text: The file's contents.
        name: What an error calls it.

    Raises:
        LitmusError: it cannot be read. The message starts with `name` and the line.
    """
    return _Reader(text, name).read()


class _Reader(Names):
    def __init__(self, text: str, file: str) -> None:
        super().__init__(text, file)
        self.text = self.without_comments()
        self.info: dict[str, str] = {}
        self.code: dict[int, int] = {}
        self.data: dict[int, bytes] = {}
        self.registers: dict[int, dict[int, int]] = {}

    def without_comments(self) -> str:
        """The text, its (* comments *) blank, line by line. They may contain comments."""
        opened: list[int] = []
        letters = list(self.text)
        for match in re.finditer(r"\(\*|\*\)", self.text):
            if match[0] == "(*":
                opened.append(match.start())
            elif opened:
                start, end = opened.pop(), match.end()
                letters[start:end] = re.sub(r"[^\n]", " ", self.text[start:end])
        if opened:
            raise self.fail("a comment that nothing closes", opened[0])
        return "".join(letters)

    def read(self) -> Test:
        name = self.header()
        match = re.compile(r'(?:"[^"\n]*"|[^{])*').match(self.text, self.at)
        assert match is not None
        opening = match.end()
        if opening == len(self.text):
            raise self.fail("expected { and the initial state")
        self.keys(self.at, opening)
        closing = self.matching(opening)
        rows, tail = self.rows(closing + 1)
        threads = self.assemble(rows)
        self.threads = len(threads)
        self.initial(opening + 1, closing)
        program = Program(
            self.code,
            self.data,
            tuple(
                replace(thread, registers=self.registers.get(i, {}))
                for i, thread in enumerate(threads)
            ),
        )
        condition = ConditionReader(self, tail)
        condition.read()
        return Test(
            name, program, condition.quantifier or "forall", condition.condition, condition.only,
            tuple(condition.locations), self.info, self.labels, self.variables,
            frozenset(self.shown_as), self.types,
            frozenset(word for word in (*self.words, *self.code.values()) if word > _UDF),
        )  # fmt: skip

    def header(self) -> str:
        match = re.compile(r"\s*(\S+)[ \t]+(\S[^\n]*)").match(self.text)
        if match is None or match[1] != "AArch64":
            raise self.fail("expected AArch64 and the test's name")
        self.at = match.end()
        return match[2].strip()

    def keys(self, start: int, end: int) -> None:
        line = re.compile(r"^[ \t]*([A-Za-z_][\w-]*)[ \t]*=(.*)$", re.MULTILINE)
        for match in line.finditer(self.text, start, end):
            self.at = match.start()
            self.info[match[1].lower()] = match[2].strip()
            if what := litmus_unmodelled.key(match[1].lower()):
                raise self.fail(f"{match[1]}: {what} are not modelled")
            if match[1].lower() == "variant":
                for name in re.split(r"[\s,]+", match[2].strip()):
                    if what := litmus_unmodelled.variant(name):
                        raise self.fail(f"{match[0].strip()}: {what}: not modelled")
                names = re.split(r"[\s,]+", match[2].lower())
                if "exs" in names and "eis" not in names:
                    raise self.fail(
                        f"{match[0].strip()}: ExS without EIS: Arm's text says that an exception's "
                        "entry is then not a context synchronisation event, herd7 that it is"
                    )
            if match[1].lower() == "cachetype":
                for kind in cache_types(match[2]):
                    if kind not in ("IDC", "DIC"):
                        raise self.fail(
                            f"expected a CacheType of IDC and DIC, not {kind}", match.start()
                        )

    def matching(self, opening: int) -> int:
        depth = 0
        for at in range(opening, len(self.text)):
            depth += {"{": 1, "}": -1}.get(self.text[at], 0)
            if depth == 0:
                return at
        raise self.fail("expected } at the end of the initial state", opening)

    # The threads

    def rows(self, start: int) -> tuple[list[list[tuple[str, int]]], int]:
        """The program's rows as cells with their offset in the text, and where they end."""
        rows: list[list[tuple[str, int]]] = []
        at = start
        while True:
            skip = re.compile(r"\s*").match(self.text, at)
            assert skip is not None
            at = skip.end()
            end = self.text.find(";", at)
            if end < 0 or _QUANTIFIER.match(self.text, at):
                if end < 0 and at < len(self.text) and not _QUANTIFIER.match(self.text, at):
                    raise self.fail("expected ; at the end of the row", at)
                return rows, at
            cells = []
            for cell in self.text[at:end].split("|"):
                cells.append((cell.strip(), at + len(cell) - len(cell.lstrip())))
                at += len(cell) + 1
            rows.append(cells)
            at = end + 1

    def assemble(self, rows: list[list[tuple[str, int]]]) -> list[Thread]:
        """Assembles the columns. Labels are read first, as a branch may go to a later one."""
        if not rows:
            raise self.fail("expected the threads, as columns P0 | P1 | ...")
        lines: list[tuple[str, int, int, int]] = []  # instruction, offset in text, thread, address
        entries: dict[int, int] = {}
        handlers: dict[int, int] = {}
        address = _CODE
        for column, (title, at) in enumerate(rows[0]):
            match = re.fullmatch(r"P(\d+)(\.F)?(?::\S+)?", title)
            if match is None:
                raise self.fail(f"expected a thread's name, not {title!r}", at)
            thread, addresses = int(match[1]), handlers if match[2] else entries
            if thread in addresses:
                raise self.fail(f"a second column {title}", at)
            addresses[thread] = address
            for row in rows[1:]:
                cell, at = row[column] if column < len(row) else ("", 0)
                cell, at = self.without_labels(cell, at, thread, address)
                if cell:
                    lines.append((cell, at, thread, address))
                    address += a64.WORD
            address = (address // _COLUMN + 1) * _COLUMN
        if sorted(entries) != list(range(len(entries))) or not handlers.keys() <= entries.keys():
            raise self.fail("expected threads P0, P1, ... without gaps", rows[0][0][1])
        for row in rows:
            for cell, at in row[len(rows[0]) :]:
                if cell:
                    raise self.fail(f"{cell} is after the last column", at)
        for cell, at, thread, address in lines:
            self.code[address] = self.instruction(cell, at, f"P{thread}:", address)
        return [Thread(entries[i], handler=handlers.get(i)) for i in range(len(entries))]

    def without_labels(self, cell: str, at: int, thread: int, address: int) -> tuple[str, int]:
        """The rest of a cell and its offset, after the labels before it were noted."""
        while match := re.match(r"([A-Za-z_.$][\w.$]*)\s*:\s*", cell):
            label = f"P{thread}:{match[1]}"
            if label in self.labels:
                raise self.fail(f"a second label {label}", at)
            self.labels[label] = address
            cell, at = cell[match.end() :], at + match.end()
        return cell, at

    def instruction(self, text: str, at: int, thread: str, address: int) -> int:
        """The word of an instruction at an address. It may name labels of its thread only."""
        own = {
            label.removeprefix(thread): to
            for label, to in self.labels.items()
            if label.startswith(thread)
        }
        text = re.sub(r"\.([+-])\s*(\d+)\b", lambda m: hex(address + int(m[1] + m[2])), text)
        text = re.sub(r"\bXSP\b", "sp", text, flags=re.IGNORECASE)
        text = re.sub(r"(?i)\b(LS[LR]|ASR|ROR|[SU]XT[BHWX])\s+(\d)", r"\1 #\2", text)
        if what := litmus_unmodelled.instruction(text):
            raise self.fail(f"{text}: {what} are not modelled", at)
        try:
            return assemble(text, address, own)
        except KeyError as error:
            raise self.fail(f"{text}: no label {error.args[0]} in this thread", at) from None
        except a64.A64Error as error:
            raise self.fail(f"{text}: {error}", at) from None

    # The initial state

    def initial(self, start: int, end: int) -> None:
        """Reads the initial state: first which locations there are, then what they hold."""
        declared = []
        at = start
        for entry in _split(self.text[start:end], ";"):
            text = entry.strip()
            if text:
                self.at = at + len(entry) - len(entry.lstrip())
                declared.append((self.at, *self.declaration(text)))
            at += len(entry) + 1
        given: set[Location] = set()
        for at, location, value in declared:
            self.at = at
            if value and location in given:
                raise self.fail(f"a second value of {location}")
            if value:
                given.add(location)
                self.assign(location, value)

    def declaration(self, text: str) -> tuple[Location, str]:
        """The register or variable of an entry of the initial state, and its value as written."""
        left, equals, right = (part.strip() for part in text.partition("="))
        if equals and not right:
            raise self.fail("expected a value after =")
        if what := litmus_unmodelled.value(text):
            raise self.fail(f"{text}: {what} are not modelled")
        try:
            kind, left = declared(left)
        except ValueError as error:
            raise self.fail(f"{error} is not a type that can be read") from None
        if register := self.register(left):
            if (kind and kind.instruction) or right.startswith("instr:"):
                self.shown_as.add(register)
            if kind and self.types.setdefault(register, kind) != kind:
                raise self.fail(f"a second type of {register}")
            return register, right
        if match := re.fullmatch(r"[\[*]?([A-Za-z_][\w.]*)\]?\s*(?:\[(\d+)\])?", left):
            count = int(match[2]) if match[2] else len(elements(right))
            if kind is None and re.match(r"&?[A-Za-z_]|P?\d+:", right):
                kind = POINTER  # or the word of an instruction
            return self.variable(match[1], kind, count), right
        raise self.fail(f"expected a register or a variable, not {left!r}")

    def assign(self, location: Location, text: str) -> None:
        if isinstance(location, Register):
            self.registers.setdefault(location.thread, {})[location.number] = self.value(text)
            return
        for i, value in enumerate(self.values(location, text)):
            held = value.to_bytes(location.size, "little")
            self.data[location.address + i * location.size] = held


def _split(text: str, separator: str) -> Iterator[str]:
    """The parts of a text between separators, those in quotes not counted."""
    start, quoted = 0, False
    for at, letter in enumerate(text):
        quoted ^= letter == '"'
        if letter == separator and not quoted:
            yield text[start:at]
            start = at + 1
    yield text[start:]
