"""Litmus tests written as files that herd7 and litmus7 take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from static_call.errors import StaticCallError
from static_call.isa import a64
from static_call.isa.a64_more import decode
from static_call.memory_model.explore import explore
from static_call.memory_model.litmus_format import (
    TRUE,
    Register,
    Test,
    Variable,
    show_instruction,
    spell,
)
from static_call.memory_model.litmus_types import INT, Type
from static_call.memory_model.operands import register_size


class NotExpressible(StaticCallError):
    """A program has something that a litmus file has no form for."""


def write(test: Test) -> str:
    """The test as a litmus file, which litmus_reader.read reads and herd7 and litmus7 run.

    Code that belongs to no thread goes into the last thread's column, after that thread's end. A
    load of a literal becomes a load through a register that nothing else uses, which has the same
    order.

    Raises:
        NotExpressible: the test has a CSE on every PE, data that is not a variable, or a branch
            from one column into another.
    """
    return _Writer(test).text()


class _Writer:
    def __init__(self, test: Test) -> None:
        self._test, self._program = test, test.program
        if self._program.cse:
            raise NotExpressible(f"{test.name}: a context synchronisation event on every PE")
        self._names = {address: label for label, address in test.labels.items()}
        self._pointers: dict[tuple[int, int], int] = {}  # (thread, address) -> register
        explored = explore(self._program)
        self._sizes: dict[int, int] = {}
        for event in (e for paths in explored.paths for path in paths for e in path.events):
            if event.kind in "RW":
                self._sizes[event.address] = max(event.size, self._sizes.get(event.address, 0))

    def text(self) -> str:
        test = self._test
        columns = self._columns()
        cells = {title: self._cells(thread, spans) for title, (thread, spans) in columns.items()}
        height = max(map(len, cells.values()))
        rows = [
            [*cells],
            *zip(*([*column, *[""] * (height - len(column))] for column in cells.values())),
        ]
        widths = [max(len(row[i]) for row in rows) for i in range(len(cells))]
        lines = [f"AArch64 {test.name}"]
        lines += [f"{key}={value}" for key, value in {"Variant": "ifetch", **self._info()}.items()]
        lines += ["{", *self._initial(), "}"]
        lines += [
            " " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " ;"
            for row in rows
        ]
        if test.locations:
            lines.append(f"locations [{' '.join(f'{location};' for location in test.locations)}]")
        if test.only != TRUE:
            lines.append(f"filter ({test.only})")
        lines.append(f"{test.quantifier} ({test.condition})")
        return "\n".join(lines) + "\n"

    def _info(self) -> dict[str, str]:
        spelt = {"cachetype": "CacheType", "variant": "Variant", "stable": "Stable"}
        return {
            spelt[key]: value
            for key, value in self._test.info.items()
            if key in ("cachetype", "stable")
        }

    def _columns(self) -> dict[str, tuple[int, list[list[int]]]]:
        """For each column's title, its thread and the runs of addresses in it."""
        spans: list[list[int]] = []
        for address in sorted(self._program.code):
            if spans and spans[-1][-1] + a64.WORD == address:
                spans[-1].append(address)
            else:
                spans.append([address])
        left = spans[:]
        columns: dict[str, tuple[int, list[list[int]]]] = {}
        handlers: dict[str, tuple[int, list[list[int]]]] = {}
        for i, thread in enumerate(self._program.threads):
            own = [span for span in left if span[0] == thread.entry]
            left = [span for span in left if span not in own]
            columns[f"P{i}"] = i, own
            if thread.handler is not None:
                handlers[f"P{i}.F"] = i, [span for span in left if span[0] == thread.handler]
                left = [span for span in left if span[0] != thread.handler]
        columns[f"P{len(columns) - 1}"][1].extend(left)
        return columns | handlers

    def _cells(self, thread: int, spans: list[list[int]]) -> list[str]:
        """A column: runs of code. After each but the last comes a branch past the others."""
        labels = self._labels(thread, spans)
        end = "Lend" if len(spans) > 1 else ""
        cells: list[str] = []
        for number, span in enumerate(spans):
            for address in span:
                if address in labels:
                    cells.append(f"{labels[address]}:")
                cells.append(self._instruction(address, thread, labels))
            after = span[-1] + a64.WORD
            if after in labels:
                cells.append(f"{labels[after]}:")
            if end and number < len(spans) - 1:
                cells.append(f"B {end}")
        return [*cells, f"{end}:"] if end else cells

    def _labels(self, thread: int, spans: list[list[int]]) -> dict[int, str]:
        """The labels that a column needs, by address."""
        inside = {address for span in spans for address in span}
        inside |= {span[-1] + a64.WORD for span in spans}
        wanted = set(self._names)
        for owner in self._program.threads:
            wanted |= {value for value in owner.registers.values() if value in inside}
        for address in (address for span in spans for address in span):
            insn = decode(self._program.code[address], address)
            to = self._target(insn)
            if to is not None and to in inside:
                wanted.add(to)
            elif to is not None and not self._data(insn):
                raise NotExpressible(
                    f"{self._test.name}: the branch at {address:#x} leaves its thread's code"
                )
        labels = {}
        for address in sorted(wanted & inside):
            name = self._names.get(address, "")
            if not name.startswith(f"P{thread}:"):
                name = self._names[address] = f"P{thread}:L{address & 0xFFFFFF:x}"
            labels[address] = name.partition(":")[2]
        return labels

    def _target(self, insn: a64.Instruction) -> int | None:
        """The address that an instruction branches to or reads, if it names one."""
        for operand in insn.row.operands if insn.row else ():
            if operand.kind in ("@", "@@"):
                return insn[operand.name]
        return None

    def _data(self, insn: a64.Instruction) -> bool:
        """Whether such an address is of data."""
        return insn.name in ("ldr", "adr", "adrp")

    def _instruction(self, address: int, thread: int, labels: Mapping[int, str]) -> str:
        insn = decode(self._program.code[address], address)
        to = self._target(insn)
        if to is not None and to not in labels and self._data(insn):
            if insn.name == "adrp":
                raise NotExpressible(f"{self._test.name}: the adrp at {address:#x}")
            register = self._pointer(thread, to)
            if insn.name == "adr":
                return f"MOV X{insn['d']},X{register}"
            width = "X" if register_size(insn) == 8 else "W"
            return f"LDR {width}{insn['t']},[X{register}]"
        if to is not None:
            text = insn.format(lambda at: labels[at])
            label = labels[to]
            return spell(insn, text.removesuffix(label)) + label
        return spell(insn, insn.format())

    def _pointer(self, thread: int, address: int) -> int:
        """A register of the thread that nothing else uses, to hold the address."""
        key = thread, address
        if key not in self._pointers:
            used = set(self._program.threads[thread].registers)
            used |= {r for (t, _), r in self._pointers.items() if t == thread}
            for at, word in self._program.code.items():
                insn = decode(word, at)
                for operand in insn.row.operands if insn.row else ():
                    if operand.kind in ("x:", "w:", "s:"):
                        used.add(insn[operand.name])
            free = [r for r in range(29, -1, -1) if r not in used]
            if not free:
                raise NotExpressible(f"{self._test.name}: no register is free in P{thread}")
            self._pointers[key] = free[0]
        return self._pointers[key]

    def _initial(self) -> Iterator[str]:
        for variable in self._test.variables.values():
            yield self._variable(variable)
        known = {
            v.address + i for v in self._test.variables.values() for i in range(8 * max(v.count, 1))
        }
        if any(address not in known for address in self._program.data):
            raise NotExpressible(f"{self._test.name}: data that is not a variable")
        types = dict(self._test.types)
        for i, thread in enumerate(self._program.threads):
            for number, value in sorted(thread.registers.items()):
                register = Register(i, number)
                kind = types.pop(register, INT)
                named = f"{'' if kind == INT or kind.instruction else f'{kind} '}{register}"
                if register in self._test.shown_as:
                    yield f' {register}=instr:"{show_instruction(value)}";'
                elif value:
                    yield f" {named}={self._value(value)};"
                elif kind != INT:
                    yield f" {named};"
        for register, kind in types.items():
            if kind != INT and register not in self._test.shown_as:
                yield f" {kind} {register};"
        for (thread_number, address), number in self._pointers.items():
            yield f" {thread_number}:X{number}={self._value(address)};"

    def _variable(self, variable: Variable) -> str:
        size = variable.size
        if not variable.count and not variable.signed:
            size = self._sizes.get(variable.address, size)
        kind = str(Type(size, variable.signed))
        held = [
            self._program.initial(variable.address + i * size, size)
            for i in range(max(variable.count, 1))
        ]
        if variable.count:
            return f" {kind} {variable.name}[{variable.count}]={{{','.join(map(str, held))}}};"
        return f" {kind} {variable.name}={self._value(held[0])};"

    def _value(self, value: int) -> str:
        if value in self._names:
            return self._names[value]
        for variable in self._test.variables.values():
            if variable.address == value:
                return variable.name
        return hex(value) if value > 9 else str(value)
