"""Litmus files for AArch64, as herd7 and litmus7 take them: read and run.

A test is read into a Program and a condition on its final state. What is read: the header with its
KEY=VALUE lines (CacheType counts), the initial state (registers, variables, arrays; label and
instruction values), the threads as columns with their labels and fault handlers (P0.F), and
`locations`, `filter`, `exists`, `~exists`, `forall`. The report has herd7's form.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from static_call.errors import StaticCallError
from static_call.isa import a64
from static_call.memory_model.executions import Execution, allowed
from static_call.memory_model.explore import explore
from static_call.memory_model.instructions import assemble, decode
from static_call.memory_model.model import Model
from static_call.memory_model.program import DEFAULT, SP, Limits, Program, Thread

_CODE, _COLUMN = 0x100000, 0x1000  # each column starts at a multiple
_DATA, _VARIABLE = 0x800000, 0x100  # and each variable
_ELEMENTS = 0x1000  # of an array, at most
_MASK = (1 << 64) - 1


class LitmusError(StaticCallError):
    """A litmus file cannot be read; the text starts with its name and line."""


@dataclass(frozen=True, slots=True)
class Register:
    """A thread's register in a condition."""

    thread: int
    number: int

    def __str__(self) -> str:
        return f"{self.thread}:X{self.number}"


@dataclass(frozen=True, slots=True)
class Variable:
    """A place in memory in a condition: `size` bytes, `count` of them for a whole array."""

    name: str
    address: int
    size: int = 8
    count: int = 0

    def __str__(self) -> str:
        return self.name if self.count else f"[{self.name}]"


Place = Register | Variable


@dataclass(frozen=True, slots=True)
class Equal:
    """A place holds a value; `text` is the value as it was written."""

    place: Place
    value: int
    text: str

    def __str__(self) -> str:
        return f"{self.place}={self.text}"


@dataclass(frozen=True, slots=True)
class Fault:
    """A thread ended in a fault, at the address if one is given."""

    thread: int
    address: int | None
    kind: str
    text: str

    def __str__(self) -> str:
        return f"fault({self.text})"


@dataclass(frozen=True, slots=True)
class Logic:
    """`and`, `or`, `not` of conditions; `and` of none is true, `or` of none is false."""

    operator: str
    parts: tuple[Condition, ...] = ()

    def __str__(self) -> str:
        if not self.parts:
            return "true" if self.operator == "and" else "false"
        if self.operator == "not":
            return f"not ({self.parts[0]})"
        sign = " /\\ " if self.operator == "and" else " \\/ "
        return sign.join(
            f"({part})" if isinstance(part, Logic) and part.operator in ("and", "or") else str(part)
            for part in self.parts
        )


Condition = Equal | Fault | Logic
TRUE = Logic("and")

QUANTIFIERS = {"exists": "Allowed", "~exists": "Forbidden", "forall": "Required"}
"""What herd7 calls a test with such a condition."""


@dataclass(frozen=True)
class Test:
    """A litmus test.

    info        the KEY=VALUE lines of its header
    labels      the addresses of labels, as "P0:L0"
    variables   its variables by name
    quantifier  see QUANTIFIERS
    only        executions whose final state does not satisfy it are left out (filter)
    locations   what to show besides what the condition names
    shown_as    places whose value is shown as an instruction
    """

    __test__ = False  # for pytest

    name: str
    program: Program
    quantifier: str = "forall"
    condition: Condition = TRUE
    only: Condition = TRUE
    locations: tuple[Place, ...] = ()
    info: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, int] = field(default_factory=dict)
    variables: Mapping[str, Variable] = field(default_factory=dict)
    shown_as: frozenset[Place] = frozenset()

    @property
    def model(self) -> Model:
        """The model for the header's CacheType. DIC there stands for both: it needs IDC."""
        kinds = set(_cache_types(self.info.get("cachetype", "")))
        return Model(idc=bool(kinds & {"IDC", "DIC"}), dic="DIC" in kinds)

    @property
    def observed(self) -> tuple[Place, ...]:
        """What a final state consists of, registers first."""
        places = {*self.locations, *_places(self.condition)}
        return tuple(sorted(places, key=_sort_key))


def _cache_types(text: str) -> list[str]:
    return re.findall(r"\w+", text.upper())


def _places(condition: Condition) -> Iterator[Place]:
    if isinstance(condition, Equal):
        yield condition.place
    elif isinstance(condition, Logic):
        for part in condition.parts:
            yield from _places(part)


def _faults(condition: Condition) -> Iterator[Fault]:
    if isinstance(condition, Fault):
        yield condition
    elif isinstance(condition, Logic):
        for part in condition.parts:
            yield from _faults(part)


def _sort_key(place: Place) -> tuple[int, int, int, str]:
    if isinstance(place, Register):
        return 0, place.thread, place.number, ""
    return 1, 0, 0, place.name


# Reading

_QUANTIFIER = re.compile(r"(~\s*exists|not\s+exists|exists|forall|locations|filter|final)\b")
_TYPES = re.compile(r"(?:u?int(?:8|16|32|64)?(?:_t)?|ins_t|label_t|char|long)\b\s*(\*?)\s*")
_REGISTER = re.compile(r"(\d+):\s*(?:[XWxw](\d+)|SP|sp)")
_SIZES = {"8": 1, "16": 2, "32": 4, "64": 8}


def read(text: str, name: str = "<text>") -> Test:
    """The test that a litmus file holds. Raises LitmusError, which names `name` and the line."""
    return _Reader(text, name).read()


class _Reader:
    def __init__(self, text: str, file: str) -> None:
        self.file = file
        self.text = text
        self.text = self.without_comments()
        self.info: dict[str, str] = {}
        self.variables: dict[str, Variable] = {}
        self.labels: dict[str, int] = {}
        self.code: dict[int, int] = {}
        self.data: dict[int, bytes] = {}
        self.registers: dict[int, dict[int, int]] = {}
        self.shown_as: set[Place] = set()
        self.threads = 0
        self.free = _DATA
        self.at = 0

    def fail(self, message: str, at: int | None = None) -> LitmusError:
        line = self.text.count("\n", 0, self.at if at is None else at) + 1
        return LitmusError(f"{self.file}:{line}: {message}")

    def without_comments(self) -> str:
        """The text with (* comments, which may stand in each other *) blank, line by line."""
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
        condition = _ConditionReader(self, tail)
        condition.read()
        return Test(
            name, program, condition.quantifier or "forall", condition.condition, condition.only,
            tuple(condition.locations), self.info, self.labels, self.variables,
            frozenset(self.shown_as),
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
            self.info[match[1].lower()] = match[2].strip()
            if match[1].lower() == "cachetype":
                for kind in _cache_types(match[2]):
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
        """The program's rows as cells with their place in the text, and where they end."""
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
        if not rows:
            raise self.fail("expected the threads, as columns P0 | P1 | ...")
        lines: list[
            tuple[str, int, int, int]
        ] = []  # instruction, place in the text, thread, address
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
                while match := re.match(r"([A-Za-z_.$][\w.$]*)\s*:\s*", cell):
                    label = f"P{thread}:{match[1]}"
                    if label in self.labels:
                        raise self.fail(f"a second label {label}", at)
                    self.labels[label] = address
                    cell, at = cell[match.end() :], at + match.end()
                if cell:
                    lines.append((cell, at, thread, address))
                    address += a64.WORD
            address = (address // _COLUMN + 1) * _COLUMN
        if sorted(entries) != list(range(len(entries))) or not handlers.keys() <= entries.keys():
            raise self.fail("expected threads P0, P1, ... without gaps", rows[0][0][1])
        for row in rows:
            for cell, at in row[len(rows[0]) :]:
                if cell:
                    raise self.fail(f"{cell} stands behind the last column", at)
        for cell, at, thread, address in lines:
            self.code[address] = self.instruction(cell, at, f"P{thread}:", address)
        return [Thread(entries[i], handler=handlers.get(i)) for i in range(len(entries))]

    def instruction(self, text: str, at: int, thread: str, address: int) -> int:
        """The word of an instruction at an address; its labels are its thread's."""
        own = {
            label.removeprefix(thread): to
            for label, to in self.labels.items()
            if label.startswith(thread)
        }
        text = re.sub(r"\.([+-])\s*(\d+)\b", lambda m: hex(address + int(m[1] + m[2])), text)
        text = re.sub(r"\bXSP\b", "sp", text, flags=re.IGNORECASE)
        try:
            return assemble(text, address, own)
        except KeyError as error:
            raise self.fail(f"{text}: no label {error.args[0]} in this thread", at) from None
        except a64.A64Error as error:
            raise self.fail(f"{text}: {error}", at) from None

    # The initial state

    def initial(self, start: int, end: int) -> None:
        """Reads the initial state: first what there is, then what it holds."""
        declared = []
        at = start
        for entry in _split(self.text[start:end], ";"):
            text = entry.strip()
            if text:
                self.at = at + len(entry) - len(entry.lstrip())
                declared.append((self.at, *self.declaration(text)))
            at += len(entry) + 1
        given: set[Place] = set()
        for at, place, value in declared:
            self.at = at
            if value and place in given:
                raise self.fail(f"a second value of {place}")
            if value:
                given.add(place)
                self.assign(place, value)

    def declaration(self, text: str) -> tuple[Place, str]:
        """The register or variable of an entry of the initial state, and its value as written."""
        left, equals, right = (part.strip() for part in text.partition("="))
        if equals and not right:
            raise self.fail("expected a value behind =")
        size, instruction = 0, False
        if match := _TYPES.match(left):
            left = left[match.end() :]
            bits = re.search(r"\d+", match[0])
            size = 8 if match[1] else _SIZES[bits[0]] if bits else 4
            instruction = match[0].startswith("ins_t") and not match[1]
        if register := self.register(left):
            if instruction or right.startswith("instr:"):
                self.shown_as.add(register)
            return register, right
        if match := re.fullmatch(r"\[?([A-Za-z_][\w.]*)\]?\s*(?:\[(\d+)\])?", left):
            count = int(match[2]) if match[2] else len(_elements(right))
            return self.variable(match[1], size, count), right
        raise self.fail(f"expected a register or a variable, not {left!r}")

    def assign(self, place: Place, text: str) -> None:
        if isinstance(place, Register):
            self.registers.setdefault(place.thread, {})[place.number] = self.value(text)
            return
        for i, value in enumerate(self.values(place, text)):
            held = value.to_bytes(place.size, "little")
            self.data[place.address + i * place.size] = held

    def values(self, variable: Variable, text: str) -> list[int]:
        """A variable's value, or an array's, as written: what each element holds."""
        texts = _elements(text) if variable.count else [text]
        if variable.count and not text.startswith("{"):
            raise self.fail(f"{variable.name} is an array: expected {{...}}, not {text}")
        if len(texts) > max(variable.count, 1):
            raise self.fail(f"{len(texts)} values for the {variable.count} of {variable.name}")
        values = []
        bits = 8 * variable.size
        for one in texts:
            value = self.value(one)
            if value >> bits and value >> bits - 1 != _MASK >> bits - 1:  # nor a negative number
                raise self.fail(f"{one} does not fit into {variable.name}, {variable.size} bytes")
            values.append(value & (1 << bits) - 1)
        return values

    def register(self, text: str) -> Register | None:
        """The register that a text names, if it has the form of one's name."""
        match = _REGISTER.fullmatch(text)
        if match is None:
            return None
        if match[2] and int(match[2]) > 30:
            raise self.fail(f"no register {text}: there are X0 to X30 and SP")
        return Register(int(match[1]), int(match[2]) if match[2] else SP)

    def thread(self, number: int) -> int:
        """The thread's number, which a condition must find; initial values of others do nothing."""
        if number >= self.threads:
            raise self.fail(f"no thread P{number}")
        return number

    def variable(self, name: str, size: int = 0, count: int = 0) -> Variable:
        """A variable; a new one where there is none of that name yet, of 8 bytes by default."""
        known = self.variables.get(name)
        if known is None:
            known = self.variables[name] = Variable(name, self.free, size or 8, count)
            if count > _ELEMENTS:
                raise self.fail(f"{name} has more than {_ELEMENTS} elements")
            self.free += (known.size * max(count, 1) // _VARIABLE + 1) * _VARIABLE
        elif size not in (0, known.size) or count not in (0, known.count):
            raise self.fail(f"a second {name} of another size")
        return known

    def element(self, variable: Variable, index: str) -> Variable:
        if not re.fullmatch(r"[0-9]{1,9}", index) or int(index) >= variable.count:
            raise self.fail(f"no element {variable.name}[{index}]")
        at = variable.address + int(index) * variable.size
        return Variable(f"{variable.name}[{int(index)}]", at, variable.size)

    def value(self, text: str) -> int:
        """A value of the initial state or of a condition."""
        text = text.strip()
        if re.fullmatch(r"[+-]?(0[xX][0-9a-fA-F]+|0[bB][01]+|\d+)[uUlL]*", text):
            text = text.rstrip("uUlL")
            number = int(text, 0) if not re.fullmatch(r"[+-]?0\d+", text) else int(text)
            if not -(1 << 63) <= number <= _MASK:
                raise self.fail(f"{text} has more than 64 bits")
            return number & _MASK
        if match := re.fullmatch(r'(?:instr:)?\s*"([^"]*)"', text):
            return self.word(match[1])
        if match := re.fullmatch(
            r'label:\s*"?(P\d+:[\w.$]+)"?|(\d+:|P\d+:)([A-Za-z_.$][\w.$]*)', text
        ):
            label = match[1] or f"P{match[2].strip('P:')}:{match[3]}"
            if label not in self.labels:
                raise self.fail(f"no label {label}")
            return self.labels[label]
        if text.upper() in ("NOP", "RET", "ISB"):
            return self.word(text)
        if match := re.fullmatch(r"&?([A-Za-z_][\w.]*)(?:\s*\+\s*(\d+))?(?:\[(\d+)\])?", text):
            variable = self.variable(match[1])
            if match[3]:
                variable = self.element(variable, match[3])
            return variable.address + int(match[2] or 0)
        raise self.fail(f"expected a value, not {text!r}")

    def word(self, text: str) -> int:
        """The word of an instruction that is a value: its branches are relative to itself."""
        plain = re.sub(r"\.\s*([+-])\s*(\d+)\b", lambda m: str(int(m[1] + m[2])), text)
        try:
            return assemble(plain)
        except KeyError as error:
            raise self.fail(f"{text}: {error.args[0]} must be .+N in a value") from None
        except a64.A64Error as error:
            raise self.fail(f"{text}: {error}") from None


class _ConditionReader:
    """Reads what stands behind the threads."""

    _TOKEN = re.compile(
        r'\s*(/\\|\\/|=>|<>|!=|==|instr:\s*"[^"]*"|label:\s*"[^"]*"|"[^"]*"'
        r"|\d+:[A-Za-z_.$][\w.$]*|P\d+:[\w.$]+|-?0[xX][0-9a-fA-F]+|-?\d+|~|&"
        r"|[A-Za-z_][\w.]*|[][(){};,=*]|\S)"
    )

    def __init__(self, reader: _Reader, start: int) -> None:
        self.reader = reader
        self.tokens = [
            (match[1], match.start(1)) for match in self._TOKEN.finditer(reader.text, start)
        ]
        self.at = 0
        self.quantifier = ""
        self.condition: Condition = TRUE
        self.only: Condition = TRUE
        self.locations: list[Place] = []

    def peek(self) -> str:
        return self.tokens[self.at][0] if self.at < len(self.tokens) else ""

    def next(self) -> str:
        token = self.peek()
        place = self.tokens[self.at][1] if token else len(self.reader.text)
        self.reader.at = place
        self.at += 1
        return token

    def expect(self, token: str) -> None:
        if (found := self.next()) != token:
            raise self.reader.fail(f"expected {token} instead of {found or 'the end'}")

    def read(self) -> None:
        while self.peek():
            word = self.next()
            if word == "locations":
                self.read_locations()
            elif word == "filter":
                if self.only != TRUE:
                    raise self.reader.fail("a second filter")
                self.only = self.either()
            elif word in ("exists", "forall") or (word in ("~", "not") and self.peek() == "exists"):
                if self.quantifier:
                    raise self.reader.fail("a second condition")
                if word in ("~", "not"):
                    self.next()
                    word = "~exists"
                self.quantifier, self.condition = word, self.either()
            elif word != ";":
                raise self.reader.fail(
                    f"expected exists, ~exists, forall, locations or filter, not {word}"
                )

    def read_locations(self) -> None:
        self.expect("[")
        while self.peek() not in ("]", ""):
            if self.peek() in (";", ","):
                self.next()
            else:
                self.locations.append(self.place())
                if re.fullmatch(r"u?int\d*_t|ins_t|\*", self.peek()):
                    self.next()
        self.expect("]")

    def either(self) -> Condition:
        parts = [self.both()]
        while self.peek() in ("\\/", "=>"):
            if self.next() == "=>":
                return Logic("or", (Logic("not", (parts[-1],)), self.either()))
            parts.append(self.both())
        return parts[0] if len(parts) == 1 else Logic("or", tuple(parts))

    def both(self) -> Condition:
        parts = [self.one()]
        while self.peek() == "/\\":
            self.next()
            parts.append(self.one())
        return parts[0] if len(parts) == 1 else Logic("and", tuple(parts))

    def one(self) -> Condition:
        token = self.peek()
        if token in ("~", "not"):
            self.next()
            return Logic("not", (self.one(),))
        if token == "(":
            self.next()
            inner = self.either()
            self.expect(")")
            return inner
        if token in ("true", "false"):
            self.next()
            return Logic("and" if token == "true" else "or")
        if token == "fault":
            return self.fault()
        place = self.place()
        sign = self.next()
        if sign not in ("=", "==", "!=", "<>"):
            raise self.reader.fail(f"expected = instead of {sign or 'the end'}")
        text = self.next()
        while text.startswith("{") and not text.endswith("}"):
            if not self.peek():
                raise self.reader.fail("expected } at the end of the array")
            text += self.next()
        if isinstance(place, Variable):
            value = _joined(self.reader.values(place, text))
        else:
            value = self.reader.value(text)
        if text.startswith(("instr:", '"')) or text.upper() == "NOP":
            self.reader.shown_as.add(place)
        equal = Equal(place, value, text)
        return equal if sign in ("=", "==") else Logic("not", (equal,))

    def fault(self) -> Condition:
        self.next()
        self.expect("(")
        words = []
        while self.peek() not in (")", ""):
            words.append(self.next())
        self.expect(")")
        match = re.fullmatch(r"(?:label:)?\"?P?(\d+)(:[\w.$]+)?\"?", words[0]) if words else None
        if match is None:
            raise self.reader.fail("expected fault(P0) or fault(P0:L0, KIND)")
        address = self.reader.labels.get(f"P{match[1]}{match[2]}") if match[2] else None
        if match[2] and address is None:
            raise self.reader.fail(f"no label P{match[1]}{match[2]}")
        names = [word for word in words[1:] if re.fullmatch(r"[A-Za-z]\w*", word)]
        return Fault(
            self.reader.thread(int(match[1])), address, names[-1] if names else "", "".join(words)
        )

    def place(self) -> Place:
        token = self.next()
        reader = self.reader
        if token in ("[", "*"):
            inner = self.next()
            if token == "[":
                self.expect("]")
            if inner.startswith("P") and inner in reader.labels:
                return Variable(inner, reader.labels[inner], 4)
            token = inner
        if register := reader.register(token):
            reader.thread(register.thread)
            return register
        if token in reader.labels:
            return Variable(token, reader.labels[token], 4)
        if re.fullmatch(r"[A-Za-z_][\w.]*", token):
            variable = reader.variable(token)
            if self.peek() == "[":
                self.next()
                variable = reader.element(variable, self.next())
                self.expect("]")
            return variable
        raise reader.fail(f"expected a register or a variable, not {token or 'the end'}")


def _elements(text: str) -> list[str]:
    """The elements of an array's value; none where the text is no array's."""
    if not text.startswith("{"):
        return []
    return [part.strip() for part in text.strip("{}").split(",") if part.strip()]


def _joined(values: Iterable[int]) -> int:
    """An array's elements as one number, 64 bits each, the first one highest."""
    number = 0
    for value in values:
        number = number << 64 | value
    return number


def _split(text: str, separator: str) -> Iterator[str]:
    """The parts of a text between separators that stand in no quotes."""
    start, quoted = 0, False
    for at, letter in enumerate(text):
        quoted ^= letter == '"'
        if letter == separator and not quoted:
            yield text[start:at]
            start = at + 1
    yield text[start:]


# Running


@dataclass(frozen=True, slots=True)
class Result:
    """What a test came to.

    states    the final states, as herd7 prints them, sorted
    positive  executions that satisfy the condition's inside, `negative`: that don't
    flags     as herd7 names them
    cut       the bounds that paths were left out for: --unroll, --steps
    """

    test: Test
    states: tuple[str, ...]
    positive: int
    negative: int
    flags: tuple[str, ...]
    cut: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether the condition with its quantifier is true."""
        match self.test.quantifier:
            case "exists":
                return self.positive > 0
            case "~exists":
                return self.positive == 0
        return self.negative == 0

    @property
    def decided(self) -> bool:
        """Whether what was left out cannot change `holds`."""
        return not self.cut or self.holds == (self.test.quantifier == "exists")

    @property
    def observation(self) -> str:
        """Never, Sometimes or Always."""
        return "Never" if not self.positive else "Sometimes" if self.negative else "Always"

    def __str__(self) -> str:
        test = self.test
        witnesses = self.positive, self.negative
        if test.quantifier == "~exists":
            witnesses = self.negative, self.positive
        condition = str(test.condition)
        return "\n".join(
            [
                f"Test {test.name} {QUANTIFIERS[test.quantifier]}",
                f"States {len(self.states)}",
                *self.states,
                ("Ok" if self.holds else "No") if self.decided else "Undecided",
                "Witnesses",
                f"Positive: {witnesses[0]} Negative: {witnesses[1]}",
                *(f"Flag {flag}" for flag in self.flags),
                *(f"Cut: longer paths than {bound} allows are left out" for bound in self.cut),
                f"Condition {test.quantifier} ({condition})",
                f"Observation {test.name} {self.observation} {self.positive} {self.negative}",
            ]
        )


Tick = Callable[[], None]
"""Called now and then while a test runs."""


def run(
    test: Test, model: Model | None = None, limits: Limits = DEFAULT, tick: Tick | None = None
) -> Result:
    """Runs a test under its own model, or another. Raises what explore and allowed do."""
    model = model or test.model
    explored = explore(test.program, limits)
    observed = test.observed
    faults = tuple(dict.fromkeys(_faults(test.condition)))
    states: dict[tuple[int, ...], str] = {}
    counts = [0, 0]
    flags: set[str] = set()
    for number, execution in enumerate(allowed(explored, model)):
        if tick and not number % 256:
            tick()
        if not _satisfied(test.only, execution):
            continue
        state = tuple(_held(place, execution) for place in observed)
        seen = tuple(_faulted(fault, execution) for fault in faults)
        if (*state, *seen) not in states:
            states[*state, *seen] = _state(test, observed, state, faults, seen)
        counts[not _satisfied(test.condition, execution)] += 1
        flags.update(_flags(test.program, execution))
    lines = tuple(states[key] for key in sorted(states))
    return Result(test, lines, counts[0], counts[1], tuple(sorted(flags)), explored.cut)


def _held(place: Place, execution: Execution) -> int:
    """A place's final value."""
    if isinstance(place, Register):
        return execution.paths[place.thread].registers[place.number]
    places = range(place.address, place.address + max(place.count, 1) * place.size, place.size)
    return _joined(execution.final(address, place.size) for address in places)


def _faulted(fault: Fault, execution: Execution) -> bool:
    path = execution.paths[fault.thread]
    kinds = (fault.kind, "") if fault.kind else (path.fault,)
    return bool(path.fault) and path.fault in kinds and fault.address in (None, path.pc)


def _satisfied(condition: Condition, execution: Execution) -> bool:
    if isinstance(condition, Equal):
        held, value = _held(condition.place, execution), condition.value
        # A negative number stands for itself in 32 bits as well.
        return held == value or (value >> 32 == 0xFFFFFFFF and held == value & 0xFFFFFFFF)
    if isinstance(condition, Fault):
        return _faulted(condition, execution)
    parts = (_satisfied(part, execution) for part in condition.parts)
    if condition.operator == "not":
        return not next(parts)
    return all(parts) if condition.operator == "and" else any(parts)


def _flags(program: Program, execution: Execution) -> Iterator[str]:
    if execution.conflicts:
        yield "violates-CMODX-requirements"
    modified = {
        address
        for event in execution.events
        if event.kind == "W"
        for address in range(event.address & -a64.WORD, event.address + event.size, a64.WORD)
        if address in program.code
    }
    if len(modified) > 1:
        yield "Assuming-no-two-modified-instructions-are-on-the-same-cache-line"


def _state(
    test: Test, observed: Sequence[Place], values: Sequence[int], faults: Sequence[Fault],
    seen: Sequence[bool],
) -> str:  # fmt: skip
    parts = []
    for place, value in zip(observed, values):
        if isinstance(place, Variable) and place.count:
            elements = [value >> 64 * i & _MASK for i in reversed(range(place.count))]
            parts.append(f"{place}={{{','.join(_show(test, place, v) for v in elements)}}};")
        else:
            parts.append(f"{place}={_show(test, place, value)};")
    parts += [f"{'' if hit else '~'}{fault};" for fault, hit in zip(faults, seen)]
    return " ".join(parts)


def _show(test: Test, place: Place, value: int) -> str:
    """A value as herd7 prints it: a label, a variable, an instruction, or a number."""
    if place in test.shown_as or (
        isinstance(place, Variable) and place.address in test.program.code
    ):
        return f'instr:"{show_instruction(value)}"'
    for label, address in test.labels.items():
        if address == value:
            return f'label:"{label}"'
    for variable in test.variables.values():
        if variable.address == value:
            return variable.name
    return str(value)


def show_instruction(word: int) -> str:
    """An instruction in herd7's spelling: capitals, decimal numbers, branches as .+N."""
    insn = decode(word)
    return spell(insn, insn.format(lambda to: f".{(to + (1 << 63)) % (1 << 64) - (1 << 63):+d}"))


def spell(insn: a64.Instruction, text: str) -> str:
    """An instruction's text, with its addresses named already, in herd7's spelling."""
    if insn.name == "orr" and insn["n"] == 31 and "s" not in insn:
        text = re.sub(r"orr (\w+), \w+, ", r"mov \1, ", text)
    if insn.name == "movz" and "," not in text.partition("#")[2]:
        text = text.replace("movz", "mov")
    text = re.sub(r"0x[0-9a-f]+", lambda m: str(int(m[0], 16)), text)
    return re.sub(r", ", ",", text).upper()
