"""Litmus tests written as files that herd7 and litmus7 take."""

from __future__ import annotations

from collections.abc import Mapping

from static_call.errors import StaticCallError
from static_call.isa import a64
from static_call.memory_model.explore import explore
from static_call.memory_model.instructions import decode
from static_call.memory_model.litmus import TRUE, Register, Test, show_instruction, spell
from static_call.memory_model.program import SP
from static_call.memory_model.semantics import register_size


class NotExpressible(StaticCallError):
    """A program has something that a litmus file has no form for."""


def write(test: Test) -> str:
    """The test as a litmus file, which litmus.read takes back and herd7 and litmus7 run.

    Code that is no thread's own stands in the last thread's column, behind its end. A literal load
    becomes a load through a register that nothing else uses, which orders the same.

    Raises NotExpressible: for a CSE on every PE, data that is no variable, a branch from one
    column into another.
    """
    return _Writer(test).text()


class _Writer:
    def __init__(self, test: Test) -> None:
        self.test, self.program = test, test.program
        if self.program.cse:
            raise NotExpressible(f"{test.name}: a context synchronisation event on every PE")
        self.names = {address: label for label, address in test.labels.items()}
        self.pointers: dict[tuple[int, int], int] = {}  # (thread, address) -> register
        explored = explore(self.program)
        self.sizes: dict[int, int] = {}
        for event in (e for paths in explored.paths for path in paths for e in path.events):
            if event.kind in "RW":
                self.sizes[event.address] = max(event.size, self.sizes.get(event.address, 0))

    def text(self) -> str:
        test = self.test
        columns = self.columns()
        cells = {title: self.cells(thread, spans) for title, (thread, spans) in columns.items()}
        height = max(map(len, cells.values()))
        rows = [
            [*cells],
            *zip(*([*column, *[""] * (height - len(column))] for column in cells.values())),
        ]
        widths = [max(len(row[i]) for row in rows) for i in range(len(cells))]
        lines = [f"AArch64 {test.name}"]
        lines += [f"{key}={value}" for key, value in {"Variant": "ifetch", **self.info()}.items()]
        lines += ["{", *self.initial(), "}"]
        lines += [
            " " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " ;"
            for row in rows
        ]
        if test.locations:
            lines.append(f"locations [{' '.join(f'{place};' for place in test.locations)}]")
        if test.only != TRUE:
            lines.append(f"filter ({test.only})")
        lines.append(f"{test.quantifier} ({test.condition})")
        return "\n".join(lines) + "\n"

    def info(self) -> dict[str, str]:
        spelt = {"cachetype": "CacheType", "variant": "Variant", "stable": "Stable"}
        return {
            spelt[key]: value
            for key, value in self.test.info.items()
            if key in ("cachetype", "stable")
        }

    def columns(self) -> dict[str, tuple[int, list[list[int]]]]:
        """For each column's title its thread and the runs of addresses in it."""
        spans: list[list[int]] = []
        for address in sorted(self.program.code):
            if spans and spans[-1][-1] + a64.WORD == address:
                spans[-1].append(address)
            else:
                spans.append([address])
        left = spans[:]
        columns: dict[str, tuple[int, list[list[int]]]] = {}
        handlers: dict[str, tuple[int, list[list[int]]]] = {}
        for i, thread in enumerate(self.program.threads):
            own = [span for span in left if span[0] == thread.entry]
            left = [span for span in left if span not in own]
            columns[f"P{i}"] = i, own
            if thread.handler is not None:
                handlers[f"P{i}.F"] = i, [span for span in left if span[0] == thread.handler]
                left = [span for span in left if span[0] != thread.handler]
        columns[f"P{len(columns) - 1}"][1].extend(left)
        return columns | handlers

    def cells(self, thread: int, spans: list[list[int]]) -> list[str]:
        inside = {address for span in spans for address in span}
        inside |= {span[-1] + a64.WORD for span in spans}
        program = self.program
        wanted = set(self.names)
        for owner in program.threads:
            wanted |= {value for value in owner.registers.values() if value in inside}
        for span in spans:
            for address in span:
                insn = decode(program.code[address], address)
                to = self.target(insn)
                if to is not None and to in inside:
                    wanted.add(to)
                elif to is not None and not self.data(insn):
                    raise NotExpressible(
                        f"{self.test.name}: the branch at {address:#x} leaves its thread's code"
                    )
        labels = {}
        for address in sorted(wanted & inside):
            name = self.names.get(address, "")
            if not name.startswith(f"P{thread}:"):
                name = self.names[address] = f"P{thread}:L{address & 0xFFFFFF:x}"
            labels[address] = name.partition(":")[2]
        end = "Lend" if len(spans) > 1 else ""
        cells: list[str] = []
        for number, span in enumerate(spans):
            for address in span:
                if address in labels:
                    cells.append(f"{labels[address]}:")
                cells.append(self.instruction(address, thread, labels))
            after = span[-1] + a64.WORD
            if after in labels:
                cells.append(f"{labels[after]}:")
            if end and number < len(spans) - 1:
                cells.append(f"B {end}")
        return [*cells, f"{end}:"] if end else cells

    def target(self, insn: a64.Instruction) -> int | None:
        for operand in insn.row.operands if insn.row else ():
            if operand.kind in ("@", "@@"):
                return insn[operand.name]
        return None

    def data(self, insn: a64.Instruction) -> bool:
        return insn.name in ("ldr", "adr", "adrp")

    def instruction(self, address: int, thread: int, labels: Mapping[int, str]) -> str:
        insn = decode(self.program.code[address], address)
        to = self.target(insn)
        if to is not None and to not in labels and self.data(insn):
            if insn.name == "adrp":
                raise NotExpressible(f"{self.test.name}: the adrp at {address:#x}")
            register = self.pointer(thread, to)
            if insn.name == "adr":
                return f"MOV X{insn['d']},X{register}"
            width = "X" if register_size(insn) == 8 else "W"
            return f"LDR {width}{insn['t']},[X{register}]"
        if to is not None:
            text = insn.format(lambda at: labels[at])
            label = labels[to]
            return spell(insn, text.removesuffix(label)) + label
        return spell(insn, insn.format())

    def pointer(self, thread: int, address: int) -> int:
        """A register of the thread that nothing uses, which shall hold the address."""
        key = thread, address
        if key not in self.pointers:
            used = set(self.program.threads[thread].registers)
            used |= {r for (t, _), r in self.pointers.items() if t == thread}
            for at, word in self.program.code.items():
                insn = decode(word, at)
                for operand in insn.row.operands if insn.row else ():
                    if operand.kind in ("x:", "w:", "s:"):
                        used.add(insn[operand.name])
            free = [r for r in range(29, -1, -1) if r not in used]
            if not free:
                raise NotExpressible(f"{self.test.name}: no register is free in P{thread}")
            self.pointers[key] = free[0]
        return self.pointers[key]

    def initial(self) -> list[str]:
        lines = []
        for variable in self.test.variables.values():
            size = variable.size
            if not variable.count:
                size = self.sizes.get(variable.address, size)
            kind = f"uint{8 * size}_t"
            held = [
                self.program.initial(variable.address + i * size, size)
                for i in range(max(variable.count, 1))
            ]
            if variable.count:
                values = ",".join(map(str, held))
                lines.append(f" {kind} {variable.name}[{variable.count}]={{{values}}};")
            else:
                lines.append(f" {kind} {variable.name}={self.value(held[0])};")
        known = {
            v.address + i for v in self.test.variables.values() for i in range(8 * max(v.count, 1))
        }
        if any(address not in known for address in self.program.data):
            raise NotExpressible(f"{self.test.name}: data that is no variable")
        for i, thread in enumerate(self.program.threads):
            for number, value in sorted(thread.registers.items()):
                name = "SP" if number == SP else f"X{number}"
                if Register(i, number) in self.test.shown_as:
                    lines.append(f' {i}:{name}=instr:"{show_instruction(value)}";')
                elif value:
                    lines.append(f" {i}:{name}={self.value(value)};")
        for (thread_number, address), number in self.pointers.items():
            lines.append(f" {thread_number}:X{number}={self.value(address)};")
        return lines

    def value(self, value: int) -> str:
        if value in self.names:
            return self.names[value]
        for variable in self.test.variables.values():
            if variable.address == value:
                return variable.name
        return hex(value) if value > 9 else str(value)
