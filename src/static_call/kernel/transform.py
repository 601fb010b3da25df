"""The C that retargets a design's trampolines in a Linux tree: arch/arm64/kernel/static_call.c."""

from __future__ import annotations

from collections.abc import Iterator

from static_call.design.design import Design
from static_call.design.text import Item, Quad, pattern
from static_call.isa import a64
from static_call.kernel.code import (
    RETURN0,
    fill,
    has_branch,
    is_branch,
    known,
    name_at,
    parameters,
    renamed,
    retarget_steps,
    text,
    where_outside,
)


def transform(design: Design, patching: str) -> str:
    """The text of arch/arm64/kernel/static_call.c.

    Args:
        design: the design.
        patching: the header that declares aarch64_insn_write().
    """
    lines = (" *" + (line and " " * (line[0] != "\t")) + line for line in text(design).splitlines())
    return fill(
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


def _at(design: Design, offset: int) -> str:
    """An offset in the trampoline as C, counted from its entry."""
    distance = offset - design.entry
    return f"{'-' if distance < 0 else '+'} {abs(distance):#x}"


def _words(design: Design) -> Iterator[str]:
    """The rows of fixed_words."""
    for item in design.items:
        contents = item.contents.get("")
        if item.offset is not None and isinstance(contents, a64.Instruction):
            mask, word, _ = pattern(contents, item.offset, design.labels)
            offset = _at(design, item.offset).replace("+ ", "").replace("- ", "-")
            line = renamed(contents, lambda label: known(design, label)).replace("\t", " ")
            yield f"\t{{ {offset}, {mask:#010x}, {word:#010x} }},\t/* {line} */"


def _word(design: Design, item: Item, contents: a64.Instruction) -> int:
    """A word that is the same wherever the trampoline is."""
    assert item.offset is not None
    return contents.bind(design.labels).encode(item.offset)


def _slots(design: Design) -> str:
    """The rest of is_trampoline(): whether the slot holds one of its possible contents."""
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
    names = dict(zip((id(item) for item in design.cells), parameters(design)))
    for item in design.cells:
        if item.offset is None:
            where = where_outside(design, item.label)
            yield fill(
                "literal.c",
                literal=names[id(item)],
                adrp=_at(design, where.adrp),
                low=_at(design, where.low),
                unit=str(where.unit),
            )


def _helpers(design: Design) -> Iterator[str]:
    if has_branch(design):
        yield fill("in_reach.c")
    if any(step.op == "cse" for step in retarget_steps(design)):
        yield fill("sync_all_cpus.c")


def _variables(design: Design) -> Iterator[str]:
    for item, name in zip(design.cells, parameters(design)):
        where = f" = tramp {_at(design, item.offset)}" if item.offset is not None else ""
        yield f"\tvoid *{name}{where};"
    for name in parameters(design):
        yield f"\tu32 {_contents_of(name)};" if name == "slot" else f"\tu64 {_contents_of(name)};"


def _contents_of(name: str) -> str:
    """The variable with a cell's new contents."""
    return "insn" if name == "slot" else name.replace("literal", "value")


def _forms(design: Design) -> Iterator[str]:
    """The code that decides on the form, and so on the new contents of the cells."""
    for item, name in zip(design.cells, parameters(design)):
        if item.offset is None:
            yield f"\t{name} = {name}_of(tramp);"
    if "null" not in design.forms:
        yield f"\tif (!func)\n\t\tfunc = {RETURN0};"
    arms = [
        (condition, list(_fill_cells(design, form)))
        for form, condition in (
            ("null", "!func"),
            ("ret0", f"func == {RETURN0}"),
            ("near", "in_reach(slot, func)" if has_branch(design) else ""),
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
    for item, name in zip(design.cells, parameters(design)):
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
                yield f"{to} (u64)tramp {_at(design, at)};\t/* {name_at(design, at)} */"
            else:
                yield f"{to} {value:#x};"
        elif is_branch(contents):
            yield f"{to} aarch64_insn_gen_branch_imm((unsigned long)slot,"
            yield "\t\t\t\t\t\t   (unsigned long)func,"
            yield "\t\t\t\t\t\t   AARCH64_INSN_BRANCH_NOLINK);"
        else:
            line = renamed(contents, lambda label: known(design, label)).replace("\t", " ")
            yield f"{to} {_word(design, item, contents):#010x};\t/* {line} */"


def _performed(design: Design) -> Iterator[str]:
    """The steps in C: one statement for each, independent of the others."""
    cells = list(zip(design.cells, parameters(design)))
    for step in retarget_steps(design):
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
