"""The assembly and the C that a design becomes in a Linux tree.

The templates asm_static_call.h and static_call.c have what every design shares. The rest comes from
the design: the trampoline's words from its items, the transform's steps from what its retarget code
does, in that order. The C carries the design's text in its first comment, so a tree says by itself
what was put into it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from static_call.design import notation
from static_call.design.design import LITERAL, NEW, Contents, Design, Item, Quad
from static_call.design.retarget import Step, steps
from static_call.design.text import pattern
from static_call.errors import StaticCallError
from static_call.isa import a64

_FOLDER = Path(__file__).parent / "templates"
_RETURN0 = "__static_call_return0"
_HINTS = {name: hint for hint, name in a64.HINTS.items() if name in {"bti", *a64.PADS["br x16"]}}
"""What an assembler may only know by a later -march than the kernel asks for, as hints."""
_COLUMN = 72
"""Where the backslashes of a macro stand."""


class Unportable(StaticCallError):
    """A Linux tree cannot have this design."""


def _unportable(design: Design, why: str) -> Unportable:
    return Unportable(f"the design {design.name} cannot be ported: {why}")


def check(design: Design) -> None:
    """Raises Unportable, with the reason, for a design that has no place in the kernel."""
    if len(design.slots) > 1:
        names = ", ".join(slot.title for slot in design.slots)
        raise _unportable(design, f"it has more than one slot ({names}); the kernel patches one")
    if not re.fullmatch(r"[\w.+-]+", design.name, re.ASCII):
        raise _unportable(design, "its name has more than letters, digits and .+-_")
    for item in design.items:
        for form, contents in item.contents.items():
            _check_contents(design, form, contents)
    for label in design.outside:
        _outside(design, label)
    _steps(design)


def _check_contents(design: Design, form: str, contents: Contents) -> None:
    """Refuses what the kernel could not write, or would have to know an address for."""
    if isinstance(contents, Quad):
        if contents.value in design.outside:
            raise _unportable(design, f"{contents} is the address of a literal")
        return
    for operand, symbol in contents.symbols:
        if symbol.name == "target" and (contents.name != "b" or form != "near"):
            raise _unportable(
                design, f"{form}: {contents}: the kernel makes B reach a near target, no more"
            )
        if symbol.name in design.outside and (operand.kind == "@" or form):
            raise _unportable(
                design, f"{contents}: only ADRP and :lo12:, outside of cells, reach .rodata"
            )


def reaches_all(design: Design) -> bool:
    """Whether every target has a form: a module can be out of a branch's reach."""
    return "far" in design.forms or not _has_branch(design)


# The design's text, which the generated C carries.


def text(design: Design) -> str:
    """The design in the notation that notation.read takes, without its comments and claims.

    Two designs are the same to the kernel where this is.
    """
    lines = [f"\t.align\t{design.align.bit_length() - 1}"]
    section = ".text"
    for item in design.items:
        if item.section != section:
            section = item.section
            lines.append(f"\t.section\t{section}")
        name = item.label if item.offset is None else _name(design, item.offset)
        forms: dict[str, list[str]] = {}
        for form, contents in item.contents.items():
            forms.setdefault(_renamed(contents, lambda label: _known(design, label)), []).append(
                form
            )
        body = "".join(forms)
        if "" not in item.contents:
            parts = (f"{', '.join(names)}: {one}" for one, names in forms.items())
            body = f"{{ {' | '.join(parts)} }}".replace("\t", " ")
        lines.append(f"{name and name + ':'}\t{body}")
    lines += ["retarget:", *("\t" + str(step).replace(" ", "\t", 1) for step in design.retarget)]
    return "\n".join(lines) + "\n"


def design_of(source: str) -> Design | None:
    """The design whose text a generated C file carries; None where it carries none.

    Raises NotationError for a text that was changed beyond reading.
    """
    found = re.search(r"^ \* The design (.+):\n \*\n((?: \*.*\n)+?) \*/", source, re.MULTILINE)
    if found is None:
        return None
    lines = (line[2:] for line in found[2].splitlines())
    return notation.read("\n".join(lines), found[1], found[1])


def _known(design: Design, label: str) -> str:
    return _name(design, design.labels[label]) if label in design.labels else label


def _name(design: Design, offset: int) -> str:
    """One name for a place that may have several, or a number; "" for one that has none."""
    names = sorted(label for label, at in design.labels.items() if at == offset)
    if "entry" in names:
        return "entry"
    return next((name for name in names if "@" not in name), f"at{offset}" if names else "")


def _renamed(contents: Contents, name: Callable[[str], str]) -> str:
    """Contents as assembly, with other names for its labels."""
    if isinstance(contents, Quad):
        value = contents.value
        return f".quad\t{name(value) if isinstance(value, str) else hex(value)}"
    fields = dict(contents.fields)
    for operand, symbol in contents.symbols:
        fields[operand.name] = a64.Symbol(name(symbol.name), symbol.lo12)
    return str(a64.Instruction(contents.row, fields, contents.word)).replace(" ", "\t", 1)


# The trampoline: asm/static_call.h.


def trampoline(design: Design) -> str:
    """The text of arch/arm64/include/asm/static_call.h."""
    slots = iter(_parameters(design))
    params = {id(item): next(slots) for item in design.cells}
    body = [
        '.pushsection\t.static_call.text, \\"ax\\"',
        f".align\t{_align(design).bit_length() - 1}",
        '.irp\ttramp, " STATIC_CALL_TRAMP_STR(name) "',
        ".globl\t\\\\tramp",
        ".type\t\\\\tramp, %function",
    ]
    lines = ["\t" + one for one in body]
    numbers = _numbers(design)
    apart: list[str] = []
    for index, item in enumerate(design.items):
        number = numbers.get(index)
        lead = f"{number}:" if number else ""
        if item.cell:
            quad = ".quad\t" if item.is_literal else ""
            code = f'{quad}" {params[id(item)]} "'
        else:
            code = _hint(_numbered(design, item.contents[""], index))
        if item.offset is None:
            apart += ['\t.pushsection\t.rodata, \\"a\\"', "\t.align\t3", f"{lead}\t{code}",
                      "\t.popsection"]  # fmt: skip
            continue
        if item.offset == design.entry:
            lines.append("\\\\tramp:")
        lines.append(f"{lead}\t{code}")
    lines += ["\t.size\t\\\\tramp, . - \\\\tramp", "\t.endr", "\t.popsection", *apart]
    names = ", ".join(["name", *params.values()])
    macros = [f"#define __ARCH_DEFINE_STATIC_CALL_TRAMP({names})", "\tasm("]
    macros += [f'\t    "{line}\\n"' for line in lines]
    macros[-1] += ")"
    first = "near" if "near" in design.forms else "far"
    return _fill(
        "asm_static_call.h",
        name=design.name,
        trampoline=_macro(macros),
        define=_macro(_define(design, "", first, "func")),
        null=_macro(_define(design, "NULL_", "null", "")),
        ret0=_macro(_define(design, "RET0_", "ret0", "")),
    )


def _define(design: Design, kind: str, form: str, func: str) -> list[str]:
    """ARCH_DEFINE_STATIC_CALL_TRAMP, its _NULL_ or its _RET0_ sister."""
    head = f"#define ARCH_DEFINE_STATIC_CALL_{kind}TRAMP({', '.join(filter(None, ['name', func]))})"
    if form not in design.forms:
        return [head, f"\tARCH_DEFINE_STATIC_CALL_TRAMP(name, {_RETURN0})"]
    arguments = ["name"]
    for index, item in enumerate(design.items):
        if item.cell:
            contents = item.holds(form) or item.contents.get(NEW) or _nothing(item)
            argument = _numbered(design, contents, index).removeprefix(".quad\t")
            arguments.append(f'"{argument}"'.replace('target"', '" #func').replace('"" ', ""))
    return [head, f"\t__ARCH_DEFINE_STATIC_CALL_TRAMP({', '.join(arguments)})"]


def _nothing(item: Item) -> Contents:
    """What a cell holds that no form has written yet."""
    return Quad(0) if item.is_literal else a64.decode(0)


def _parameters(design: Design) -> Iterator[str]:
    """The cells' names in C: slot, literal; literal0, literal1, ... where there are several."""
    literals = len(design.cells) - len(design.slots)
    count = 0
    for item in design.cells:
        if item.is_slot:
            yield "slot"
        else:
            yield f"literal{count}" if literals > 1 else "literal"
            count += 1


def _index(design: Design, label: str) -> int:
    """Which item a label stands at."""
    for index, item in enumerate(design.items):
        at = item.label == label if item.offset is None else item.offset == design.labels.get(label)
        if at:
            return index
    raise AssertionError(label)


def _apart(design: Design, index: int) -> tuple[bool, int]:
    """Where an item stands in the macro: what is in another section comes last."""
    return design.items[index].offset is None, index


def _numbers(design: Design) -> dict[int, int]:
    """The local labels, 1 and on, of the items that others name."""
    used = set()
    for item in design.items:
        for contents in item.contents.values():
            values = [contents.value] if isinstance(contents, Quad) else [
                symbol.name for _, symbol in contents.symbols]  # fmt: skip
            used |= {_index(design, v) for v in values if isinstance(v, str) and v != "target"}
    return {index: number for number, index in enumerate(sorted(used), 1)}


def _numbered(design: Design, contents: Contents, index: int) -> str:
    """Contents of the item `index` as assembly with local labels."""
    numbers = _numbers(design)

    def name(label: str) -> str:
        if label == "target":
            return label
        at = _index(design, label)
        behind = _apart(design, at) > _apart(design, index)
        return f"{numbers[at]}{'f' if behind else 'b'}"

    return _renamed(contents, name)


def _hint(line: str) -> str:
    plain = line.replace("\t", " ")
    return f"hint\t{_HINTS[plain]} /* {plain} */" if plain in _HINTS else line


def _align(design: Design) -> int:
    """The trampoline's alignment, in bytes.

    The design's; more where an ADRP could lie in the last 8 bytes of a page, since the module
    loader replaces one that does by ADR or a branch, for Cortex-A53's erratum 843419.
    """
    adrps = [
        item.offset
        for item in design.items
        for contents in item.contents.values()
        if item.offset is not None and not isinstance(contents, Quad) and contents.name == "adrp"
    ]
    align = design.align
    while align < a64.PAGE and any(
        (at + offset) % a64.PAGE >= a64.PAGE - 8
        for at in range(0, a64.PAGE, align)
        for offset in adrps
    ):
        align *= 2
    return align


def _macro(lines: Sequence[str]) -> str:
    """Lines of a macro's definition, with their backslashes."""
    padded = []
    for line in lines[:-1]:
        width = len(line.expandtabs(8))
        padded.append(line + "\t" * max(1, -(-(_COLUMN - width) // 8)) + "\\")
    return "\n".join([*padded, lines[-1]])


# The transform: arch/arm64/kernel/static_call.c.


class _Outside(NamedTuple):
    """How a literal in another section is found.

    adrp, low  offsets of the ADRP, and of the instruction that has the low 12 bits
    unit       bytes that those count
    """

    adrp: int
    low: int
    unit: int


def _outside(design: Design, label: str) -> _Outside:
    adrp = low = None
    unit = 1
    for item in design.items:
        contents = item.contents.get("")
        if contents is None or isinstance(contents, Quad) or item.offset is None:
            continue
        for operand, symbol in contents.symbols:
            if symbol.name == label and operand.kind == "@@":
                adrp = item.offset
            elif symbol.name == label and symbol.lo12:
                low, unit = item.offset, operand.unit
    if adrp is None or low is None:
        raise _unportable(design, f"no ADRP and low 12 bits say where {label} is")
    return _Outside(adrp, low, unit)


class _Step(NamedTuple):
    """A step of the retarget: what it is, of which cell, and how the design writes it."""

    op: str
    cell: int
    line: str


def _steps(design: Design) -> list[_Step]:
    """The retarget's steps, by running it on numbers that say which cell they belong to."""
    spans = {}
    registers: list[int] = []
    for number, item in enumerate(design.cells):
        base = 1 << 32 if item.offset is not None else 1 << 40
        address = base + (item.offset if item.offset is not None else 16 * number)
        value = (0x5A5A0000 + number) | (0 if item.is_slot else 0xA5A5 << 48)
        spans[address] = number, item.size, value
        registers += [address, value]
    found = []
    lines = [str(insn) for insn in design.retarget if str(insn).split()[0] not in ("ldr", "orr")]
    for line, step in zip(lines, _taken(design, registers)):
        cell = -1
        if step.op == "store":
            cell, size, value = spans.get(step.address, (-1, 0, 0))
            if step.size > LITERAL:
                raise _unportable(design, f"{line} stores {step.size} bytes at once")
            if (size, value) != (step.size, step.value):
                raise _unportable(design, f"{line} does not store the contents of one cell")
        elif step.op in ("dc cvau", "ic ivau"):
            cell = next((n for at, (n, size, _) in spans.items()
                         if at <= step.address < at + size), -1)  # fmt: skip
            if cell < 0:
                raise _unportable(design, f"{line} is not about a cell")
        found.append(_Step(step.op, cell, line))
    return found


def _taken(design: Design, registers: Sequence[int]) -> tuple[Step, ...]:
    """What the retarget does with cells that hold nothing yet."""
    return steps(design.retarget, registers, lambda _, size: bytes(size), design.isa)


def transform(design: Design, patching: str) -> str:
    """The text of arch/arm64/kernel/static_call.c.

    patching  the header that declares aarch64_insn_write()
    """
    lines = (" *" + (line and " " * (line[0] != "\t")) + line for line in text(design).splitlines())
    return _fill(
        "static_call.c",
        name=design.name,
        text="\n".join(lines),
        patching=patching,
        words="\n".join(_words(design)),
        slots=_slots(design),
        finders="".join(_finders(design)),
        helpers="".join(_helpers(design)),
        cells="\n".join(_variables(design)),
        forms="\n".join(_forms(design)),
        steps="\n".join(_performed(design)),
    )


def _fill(template: str, **parts: str) -> str:
    source = (_FOLDER / template).read_text(encoding="utf-8")
    return re.sub(r"@(\w+)@", lambda found: parts[found[1]], source)


def _at(design: Design, offset: int) -> str:
    """An offset in the trampoline as C, from what it is entered at."""
    distance = offset - design.entry
    return f"{'-' if distance < 0 else '+'} {abs(distance):#x}"


def _words(design: Design) -> Iterator[str]:
    """The rows of fixed_words."""
    for item in design.items:
        contents = item.contents.get("")
        if item.offset is not None and isinstance(contents, a64.Instruction):
            mask, word, _ = pattern(contents, item.offset, design.labels)
            offset = _at(design, item.offset).replace("+ ", "").replace("- ", "-")
            line = _renamed(contents, lambda label: _known(design, label)).replace("\t", " ")
            yield f"\t{{ {offset}, {mask:#010x}, {word:#010x} }},\t/* {line} */"


def _word(design: Design, item: Item, contents: a64.Instruction) -> int:
    """A word that is the same wherever the trampoline is."""
    assert item.offset is not None
    return contents.bind(design.labels).encode(item.offset)


def _is_branch(contents: Contents | None) -> bool:
    """Whether contents are B to the target."""
    return isinstance(contents, a64.Instruction) and any(
        symbol.name == "target" for _, symbol in contents.symbols
    )


def _has_branch(design: Design) -> bool:
    return any(_is_branch(slot.holds("near")) for slot in design.slots)


def _slots(design: Design) -> str:
    """The rest of is_trampoline(): whether the slot holds what it may hold."""
    if not design.slots:
        return "\treturn true;"
    (slot,) = design.slots
    assert slot.offset is not None
    tests = ["aarch64_insn_is_b(word)"]
    for contents in slot.contents.values():
        assert isinstance(contents, a64.Instruction)
        if contents.name != "b":
            tests.append(f"word == {_word(design, slot, contents):#010x} /* {contents} */")
    read = f"\tif (aarch64_insn_read(tramp {_at(design, slot.offset)}, &word))\n\t\treturn false;\n"
    return read + "\treturn " + " ||\n\t       ".join(dict.fromkeys(tests)) + ";"


def _finders(design: Design) -> Iterator[str]:
    """The functions that find literals in other sections."""
    names = dict(zip((id(item) for item in design.cells), _parameters(design)))
    for item in design.cells:
        if item.offset is None:
            where = _outside(design, item.label)
            yield _fill(
                "literal.c",
                literal=names[id(item)],
                adrp=_at(design, where.adrp),
                low=_at(design, where.low),
                unit=str(where.unit),
            )


def _helpers(design: Design) -> Iterator[str]:
    if _has_branch(design):
        yield (_FOLDER / "in_reach.c").read_text(encoding="utf-8")
    if any(step.op == "cse" for step in _steps(design)):
        yield (_FOLDER / "sync_all_cpus.c").read_text(encoding="utf-8")


def _variables(design: Design) -> Iterator[str]:
    for item, name in zip(design.cells, _parameters(design)):
        where = f" = tramp {_at(design, item.offset)}" if item.offset is not None else ""
        yield f"\tvoid *{name}{where};"
    for name in _parameters(design):
        yield f"\tu32 {_contents_of(name)};" if name == "slot" else f"\tu64 {_contents_of(name)};"


def _contents_of(name: str) -> str:
    """The variable with a cell's new contents."""
    return "insn" if name == "slot" else name.replace("literal", "value")


def _forms(design: Design) -> Iterator[str]:
    """Decides on the form, and with it what the cells are to hold."""
    for item, name in zip(design.cells, _parameters(design)):
        if item.offset is None:
            yield f"\t{name} = {name}_of(tramp);"
    if "null" not in design.forms:
        yield f"\tif (!func)\n\t\tfunc = {_RETURN0};"
    arms = [
        (condition, list(_fill_cells(design, form)))
        for form, condition in (
            ("null", "!func"),
            ("ret0", f"func == {_RETURN0}"),
            ("near", "in_reach(slot, func)" if _has_branch(design) else ""),
            ("far", ""),
        )
        if form in design.forms
    ]
    if all(condition for condition, _ in arms):
        warn = '\t\tWARN_ONCE(1, "%pS is out of reach of %pS\\n", func, tramp);'
        arms.append(("", [warn, "\t\tgoto out;"]))
    arms = arms[: [bool(condition) for condition, _ in arms].index(False) + 1]
    if len(arms) == 1:
        yield from (line.removeprefix("\t") for line in arms[0][1])
        return
    brace = any(len(lines) > 1 for _, lines in arms)
    for number, (condition, lines) in enumerate(arms):
        head = f"if ({condition})" if condition else ""
        if number:
            head = ("} " if brace else "") + ("else " + head).rstrip()
        yield f"\t{head}{' {' if brace else ''}"
        yield from lines
    if brace:
        yield "\t}"


def _fill_cells(design: Design, form: str) -> Iterator[str]:
    """The assignments of a form."""
    for item, name in zip(design.cells, _parameters(design)):
        contents = item.holds(form)
        to = f"\t\t{_contents_of(name)} ="
        if contents is None:
            old = "le32_to_cpup(slot)" if name == "slot" else f"READ_ONCE(*(u64 *){name})"
            yield f"{to} {old};"
        elif isinstance(contents, Quad):
            value = contents.value
            if value == "target":
                yield f"{to} (u64)func;"
            elif isinstance(value, str):
                at = design.labels[value]
                yield f"{to} (u64)tramp {_at(design, at)};\t/* {_name(design, at)} */"
            else:
                yield f"{to} {value:#x};"
        elif _is_branch(contents):
            yield f"{to} aarch64_insn_gen_branch_imm((unsigned long)slot,"
            yield "\t\t\t\t\t\t   (unsigned long)func,"
            yield "\t\t\t\t\t\t   AARCH64_INSN_BRANCH_NOLINK);"
        else:
            line = _renamed(contents, lambda label: _known(design, label)).replace("\t", " ")
            yield f"{to} {_word(design, item, contents):#010x};\t/* {line} */"


def _performed(design: Design) -> Iterator[str]:
    """The steps in C: one statement for each, whatever stands next to it."""
    cells = list(zip(design.cells, _parameters(design)))
    for step in _steps(design):
        yield f"\t/* {step.line} */"
        name = cells[step.cell][1]
        size = cells[step.cell][0].size
        span = f"(unsigned long){name}, (unsigned long){name} + {size}"
        match step.op:
            case "store":
                write = "aarch64_insn_write" + ("" if name == "slot" else "_literal_u64")
                yield f"\tif (WARN_ON_ONCE({write}({name}, {_contents_of(name)})))"
                yield "\t\tgoto out;"
            case "dc cvau":
                yield f"\tdcache_clean_pou({span});"
            case "ic ivau":
                yield f"\ticache_inval_pou({span});"
            case "cse":
                yield "\tsync_all_cpus();"
            case "isb":
                yield "\tisb();"
            case barrier:
                kind, option = barrier.split()
                yield f"\t{kind}({option});"
