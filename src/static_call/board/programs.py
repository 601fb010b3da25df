"""A litmus test as rows of C tables, which questions.c runs: its words, registers and variables.

The words are the test's own, with these differences. None of them lets a run end as no execution of
the test can: so an outcome that the model forbids is never due to them.

- A thread's code starts with `ldr x30, [sp, #104]`, the test's X30, and ends in a jump back.
- Code is written through another address than it is executed from, since no memory is both. So a
  store to code and the DC of it use a register that holds that address; the IC and whatever else
  uses a code address have the one that is executed.
- A load that waits for another thread is repeated, in code after the thread's, until it is not 0.
  How often at most differs from run to run. Such a load is one that a CBZ tests, or one that
  `filter` wants and a DSB follows. herd7 tries all orders and keeps those in which the load came
  late enough; a machine would hardly ever get there. A run without its loads of 0 is a run of the
  test: to delete reads, and what depends on them, takes orders away and adds none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from static_call.errors import StaticCallError
from static_call.isa import a64
from static_call.isa.a64_more import assemble, decode
from static_call.memory_model.explore import explore
from static_call.memory_model.litmus_format import (
    Condition,
    Equal,
    Location,
    Logic,
    Register,
    Test,
    Variable,
    faults_of,
    locations_of,
)
from static_call.memory_model.program import SP

MOST_THREADS, MOST_WATCHED = 4, 16
"""As board.h has them."""

_BASE = {"str": "n", "strb": "n", "strh": "n", "stlr": "n", "stp": "n", "dc cvau": "t"}
"""What writes memory or cleans a cache, and which of its operands holds the address."""

_RUN = {
    *_BASE, "ic ivau", "ldr", "ldrb", "ldrh", "ldp", "ldar", "nop", "isb", "dmb", "dsb", "b", "bl",
    "br", "blr", "ret", "cbz", "cbnz", "tbz", "tbnz", "movz", "movk", "movn", "mov", "orr", "eor",
    "and", "add", "sub", "cmp", "subs", "adr", "udf",
}  # fmt: skip
"""The instructions that every arm64 CPU has, and that do a program no harm."""

_PREFIXES = ("b.", "bti")


class NotRunnable(StaticCallError):
    """A board cannot run a test: the message says why."""


class Value(NamedTuple):
    """A value in a C table.

    Attributes:
        kind: NUMBER, CODE, ALIAS, DATA or WAITS, as in board.h.
        of: The thread or the variable.
        number: The number, or the byte in it.
    """

    kind: str
    of: int
    number: int

    def __str__(self) -> str:
        return f"{{{self.kind}, {self.of}, {self.number:#x}u}}"


class Code(NamedTuple):
    """A thread.

    Attributes:
        words: What it executes.
        registers: Those that do not start as 0.
        address: By which outcomes name its first word.
    """

    words: tuple[int, ...]
    registers: tuple[tuple[int, Value], ...]
    address: int


class Row(NamedTuple):
    """A test, ready to be run.

    Attributes:
        test: The test.
        threads: Its threads.
        variables: The values that its variables start with.
        watched: What an outcome consists of.
    """

    test: Test
    threads: tuple[Code, ...]
    variables: tuple[tuple[Variable, Value], ...]
    watched: tuple[Location, ...]

    @property
    def digest(self) -> str:
        """A short hash of all that a board runs and counts: equal for equal rows."""
        return hashlib.sha256(self.text("question").encode()).hexdigest()[:16]

    def text(self, name: str) -> str:
        """The C arrays of the row, their names starting with `name`, and then its fields."""
        lines: list[str] = []
        threads: list[str] = []
        for i, thread in enumerate(self.threads):
            words = ", ".join(f"{word:#010x}" for word in thread.words)
            sets = ", ".join(f"{{{number}, {value}}}" for number, value in thread.registers)
            lines.append(f"static const uint32_t {name}_words{i}[] = {{{words}}};")
            lines.append(
                f"static const struct set {name}_sets{i}[] = {{{sets or '{0, {0, 0, 0}}'}}};"
            )
            threads.append(
                f"{{{name}_words{i}, {name}_sets{i}, {len(thread.words)}, "
                f"{len(thread.registers)}, {thread.address:#x}}}"
            )
        variables = [f"{{{v.size}, {value}, {v.address:#x}}}" for v, value in self.variables]
        numbers = {variable.name: i for i, (variable, _) in enumerate(self.variables)}
        watched = [
            f"{{{to.thread}, {to.number}}}"
            if isinstance(to, Register)
            else f"{{-1, {numbers[to.name]}}}"
            for to in self.watched
        ]
        for kind, rows in (("thread", threads), ("variable", variables), ("watched", watched)):
            empty = "{0, {0, 0, 0}, 0}" if kind == "variable" else "{0, 0}"
            lines.append(
                f"static const struct {kind} {name}_{kind}s[] = {{{', '.join(rows) or empty}}};"
            )
        counts = f"{len(threads)}, {len(variables)}, {len(watched)}"
        lines.append(f"/* {name}_threads, {name}_variables, {name}_watcheds, {counts} */")
        return "\n".join(lines) + "\n"


def table(rows: Sequence[Row], made_by: str, errata: Sequence[tuple[int, int, str]]) -> str:
    """The file table.c.

    Args:
        rows: The tests, at least one.
        made_by: What wrote it.
        errata: MIDR_EL1, the mask of the bits that count, and the erratum's number.
    """
    parts = [
        "// SPDX-License-Identifier: MIT\n"
        f"/* {len(rows)} questions, in the order of the folder litmus. Generated: don't edit. */\n"
        '#include "board.h"\n',
    ]
    entries: list[str] = []
    for i, row in enumerate(rows):
        name = f"q{i}"
        parts.append(f"/* {row.test.name} */\n{row.text(name)}")
        counts = f"{len(row.threads)}, {len(row.variables)}, {len(row.watched)}"
        entries.append(
            f'\t{{"{row.test.name}", "{row.digest}",\n'
            f"\t {name}_threads, {name}_variables, {name}_watcheds, {counts}}},"
        )
    affected = [f'\t{{{midr:#x}, {mask:#x}, "{number}"}},' for midr, mask, number in errata]
    parts.append(
        "\n".join(
            [
                f'const char made_by[] = "{made_by}";',
                "const struct question questions[] = {",
                *entries,
                "};",
                f"const int question_count = {len(rows)};",
                "const struct erratum errata[] = {",
                *affected,
                "};",
                f"const int erratum_count = {len(errata)};",
            ]
        )
        + "\n"
    )
    return "\n".join(parts)


def row(test: Test) -> Row:
    """A test as a board runs it.

    Raises:
        NotRunnable: a board cannot run it.
        TooBig: a bound was exceeded.
        Unmodelled: an instruction has no semantics.
    """
    return _Maker(test).row()


class _Maker:
    """Makes one test's row."""

    def __init__(self, test: Test) -> None:
        self.test, self.program = test, test.program
        self.entries = [thread.entry for thread in self.program.threads]
        self.variables = list(test.variables.values())
        self.paths = explore(self.program).paths

    def fail(self, why: str) -> NotRunnable:
        return NotRunnable(f"{self.test.name}: {why}")

    def row(self) -> Row:
        watched = tuple(dict.fromkeys([*self.test.observed, *locations_of(self.test.only)]))
        if any(faults_of(self.test.condition)):
            raise self.fail("it asks for a fault")
        if len(self.entries) > MOST_THREADS or len(watched) > MOST_WATCHED:
            raise self.fail(f"more than {MOST_THREADS} threads or {MOST_WATCHED} locations")
        if any(v.count for v in self.variables):
            raise self.fail("it has an array")
        for location in watched:
            if location in self.test.shown_as:
                raise self.fail(f"{location} is shown as an instruction")
            if isinstance(location, Register):
                if location.number == SP:
                    raise self.fail("it asks for SP, which the program needs")
            elif location not in self.variables:
                raise self.fail(f"{location} is not a whole variable")
        held = {v.address for v in self.variables}
        if not self.program.data.keys() <= held:
            raise self.fail("it has data that is not a variable")
        return Row(
            self.test,
            tuple(self.code(i) for i in range(len(self.entries))),
            tuple((v, self.value(self.program.initial(v.address, v.size))) for v in self.variables),
            watched,
        )

    def column(self, thread: int) -> list[int]:
        """The words of a thread, which have no gap."""
        words: list[int] = []
        while (at := self.entries[thread] + a64.WORD * len(words)) in self.program.code:
            words.append(self.program.code[at])
        return words

    def value(self, value: int) -> Value:
        """A value of the test: an address in code or data is one that depends on the instance."""
        for thread, entry in enumerate(self.entries):
            if entry <= value <= entry + a64.WORD * len(self.column(thread)):
                return Value("CODE", thread, value - entry + a64.WORD)
        for number, variable in enumerate(self.variables):
            if variable.address <= value < variable.address + variable.size:
                return Value("DATA", number, value - variable.address)
        return Value("NUMBER", 0, value)

    def code(self, thread: int) -> Code:
        own = self.program.threads[thread]
        if own.handler is not None or SP in own.registers or own.any:
            raise self.fail(f"P{thread} has a handler, or a value of SP, which the program needs")
        entry, words = self.entries[thread], self.column(thread)
        insns = [decode(word, entry + a64.WORD * i) for i, word in enumerate(words)]
        for insn in insns:
            if insn.name not in _RUN and not insn.name.startswith(_PREFIXES):
                raise self.fail(f"{insn} is not among the instructions that a board runs")
        if sum(map(len, map(self.column, range(len(self.entries))))) != len(self.program.code):
            raise self.fail("it has code that is in no thread")
        registers = {n: self.value(value) for n, value in own.registers.items() if value}
        self.check_writers(thread, {n for n, value in registers.items() if value.kind == "CODE"})
        self.use_alias(thread, insns, words, registers)
        body = [assemble("ldr x30, [sp, #104]"), *words]
        body += map(assemble, ("str x30, [sp, #104]", "ldr x30, [sp, #112]", "br x30"))
        for at in self.waits(thread, insns):
            self.add_wait(body, at, insns, registers)
        return Code(tuple(body), tuple(sorted(registers.items())), entry - a64.WORD)

    def check_writers(self, thread: int, code: set[int]) -> None:
        """Refuses a store or a DC of code whose address was not in its register from the start."""
        first, last = min(self.program.code), max(self.program.code)
        for path in self.paths[thread]:
            insns = [decode(executed.word) for executed in path.trace]
            for number, event in enumerate(path.events):
                if event.kind in ("W", "DC") and first <= event.address <= last:
                    insn = insns[sum(one.first <= number for one in path.trace) - 1]
                    if insn.name not in _BASE or insn[_BASE[insn.name]] not in code:
                        raise self.fail(f"{insn} writes code by an address that is computed")
            bases = {insn[_BASE[insn.name]] for insn in insns if insn.name in _BASE} & code
            if changed := bases & {number for insn in insns for number in _written(insn)}:
                raise self.fail(f"P{thread} changes X{min(changed)}, the address of code it writes")

    def use_alias(
        self, thread: int, insns: list[a64.Instruction], words: list[int],
        registers: dict[int, Value],
    ) -> None:  # fmt: skip
        """Makes stores to code, and DCs, use the address by which it is written."""
        alias: dict[int, int] = {}
        for i, insn in enumerate(insns):
            field = _BASE.get(insn.name)
            base = insn.get(field) if field else 31
            if field is None or base not in registers or registers[base].kind != "CODE":
                continue
            if self.entries[thread] + a64.WORD * i in self.modified():
                raise self.fail(f"{insn} is modified")
            if base not in alias:
                alias[base] = self.free(insns, registers)
                registers[alias[base]] = registers[base]._replace(kind="ALIAS")
            fields = {**insn.fields, field: alias[base]}
            words[i] = a64.Instruction(insn.row, fields).encode(self.entries[thread] + a64.WORD * i)

    def free(self, insns: Sequence[a64.Instruction], registers: dict[int, Value]) -> int:
        """A register that the thread neither uses nor shows."""
        used = {*registers, 30, 31} | {n for insn in insns for n in _registers(insn)}
        used |= {n for v in self.stored() for n in _registers(decode(v))}
        for location in (*self.test.observed, *locations_of(self.test.only)):
            if isinstance(location, Register):
                used.add(location.number)
        for number in range(29, -1, -1):
            if number not in used and number != 18:
                return number
        raise self.fail("no register is free")

    def stored(self) -> set[int]:
        """The words that are written over code."""
        return {
            event.value
            for paths in self.paths for path in paths for event in path.events
            if event.kind == "W" and event.address in self.program.code
        }  # fmt: skip

    def modified(self) -> set[int]:
        """The addresses of the words that are written."""
        return {
            event.address & -a64.WORD
            for paths in self.paths for path in paths for event in path.events
            if event.kind == "W" and event.address & -a64.WORD in self.program.code
        }  # fmt: skip

    # Loads that wait

    def waits(self, thread: int, insns: Sequence[a64.Instruction]) -> Iterator[int]:
        """The numbers of the loads that wait for another thread."""
        wanted = {
            part.location.number
            for part in _all_of(self.test.only)
            if isinstance(part.location, Register) and part.location.thread == thread and part.value
        }
        modified = self.modified()
        for i, (insn, after) in enumerate(pairwise(insns)):
            tested = after.name == "cbz" and after.get("t") == insn.get("t")
            filtered = after.name == "dsb" and insn.get("t") in wanted
            at = self.entries[thread] + a64.WORD * i
            simple = insn.name in ("ldr", "ldar") and not insn.get("i") and insn.get("t") != 31
            simple = simple and "n" in insn and "m" not in insn
            fixed = not {at, at + a64.WORD} & modified
            if simple and fixed and (tested or filtered) and self.is_flag(thread, insn):
                yield i

    def is_flag(self, thread: int, insn: a64.Instruction) -> bool:
        """Whether a load reads a variable that starts as 0, by a register that is never changed."""
        address = self.program.threads[thread].registers.get(insn["n"])
        if insn["n"] == insn["t"] or address is None:
            return False
        return any(v.address == address for v in self.variables) and not self.program.initial(
            address, 4
        )

    def add_wait(
        self, body: list[int], number: int, insns: Sequence[a64.Instruction],
        registers: dict[int, Value],
    ) -> None:  # fmt: skip
        """Moves a load to the end, into a loop."""
        load = insns[number]
        waiting = [n for n, value in registers.items() if value.kind == "WAITS"]
        count = waiting[0] if waiting else self.free(insns, registers)
        at, start = number + 1, len(body)  # numbers of words
        body[at] = assemble(f"b {a64.WORD * start:#x}", a64.WORD * at)
        wide = "x" if load.size == 8 else "w"
        registers[count] = Value("WAITS", 0, 0)
        body.append(load.encode())
        for text, to in (
            (f"cbnz {wide}{load['t']}, ", at + 1),
            (f"cbz x{count}, ", at + 1),
            (f"sub x{count}, x{count}, #1", None),
            ("b ", start),
        ):
            where = f"{a64.WORD * to:#x}" if to is not None else ""
            body.append(assemble(text + where, a64.WORD * len(body)))


def _registers(insn: a64.Instruction) -> Iterator[int]:
    """The general registers that an instruction names."""
    for operand in insn.row.operands if insn.row else ():
        if operand.is_register:
            yield insn.get(operand.name)


def _written(insn: a64.Instruction) -> Iterator[int]:
    """The general registers that an instruction may write: more rather than fewer."""
    if insn.name in _BASE or insn.name.startswith(("cb", "tb", "ic ", "br", "blr", "ret", "cmp")):
        if insn.name == "blr":
            yield 30
        return
    base = insn.get("n") if "n" in insn else 31
    for number in _registers(insn):
        if number != base or insn.get("d") == base or insn.get("t") == base:
            yield number


def _all_of(condition: Condition) -> Iterator[Equal]:
    """The equalities that all have to hold."""
    if isinstance(condition, Equal):
        yield condition
    elif isinstance(condition, Logic) and condition.operator == "and":
        for part in condition.parts:
            yield from _all_of(part)
