"""static-call designs: the trampoline designs, as a table or each in full."""

from __future__ import annotations

import argparse
from contextlib import suppress

from static_call.cli.output import print_json, table
from static_call.errors import StaticCallError

TYPE_CHECKING = False  # as typing has it, whose import would take a tenth of the start-up
if TYPE_CHECKING:
    from static_call.design.design import Cost, Design

SUMMARY = "list trampoline designs, or show one"
DESCRIPTION = """\
Without an argument it prints a table of the designs that come with static-
call, with the instructions that a call executes beyond a direct call in each
form of the trampoline. With arguments it prints each design in full: its
sources, its code, its retarget and its cost. DESIGN is a name from the table,
or a file in the notation of docs/designs.md."""
EXAMPLE = """\
$ static-call designs
$ static-call designs inline-stub"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    parser.add_argument(
        "design", nargs="*", metavar="DESIGN", help="the name of a design, or a file that has one"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Prints a table of the designs, or the ones named in full."""
    from static_call.design import notation
    from static_call.design.target import FORMS

    designs = [notation.load(name) for name in options.design or notation.shipped()]
    costs = [_costs(design) for design in designs]
    if options.json:
        print_json(
            [
                {
                    "name": design.name,
                    "summary": design.summary,
                    "isa": design.isa.name,
                    "sources": list(design.sources),
                    "size": design.size,
                    "align": design.align,
                    "forms": {
                        form: {
                            "instructions": cost.instructions,
                            "loads": cost.loads,
                            "taken": cost.taken,
                            "indirect": cost.indirect,
                        }
                        for form, cost in its_costs.items()
                    },
                }
                for design, its_costs in zip(designs, costs)
            ]
        )
        return 0
    if options.design:
        for design in designs:
            _print_design(design)
        return 0
    rows = [
        [
            design.name,
            design.size,
            *(_cost(design, its_costs, form) for form in FORMS),
            design.summary.partition(": ")[2] or design.summary,
        ]
        for design, its_costs in zip(designs, costs)
    ]
    table(rows, ["design", "bytes", *FORMS, "what it is"])
    print("\nUnder each form: instructions that a call executes beyond a direct call.")
    return 0


def _patches(design: Design) -> str:
    """Which instructions it patches, and which of them no edition of the instruction set's manual,
    or only newer ones, allow to be patched live."""
    held = {insn.name.upper(): insn for insn in design.patched}
    if not held:
        return "patches no instruction"
    text = f"patches {', '.join(held)}"
    cmodx = design.isa.cmodx
    _, *newer = cmodx.editions
    for edition in (*newer, None):
        says = "by no edition" if edition is None else f"first by {cmodx.editions[edition]}"
        if names := ", ".join(n for n, insn in held.items() if cmodx.first([insn]) == edition):
            text += f"; {names} may be modified while it may execute {says} ({cmodx.rule})"
    return text


def _cost(design: Design, costs: dict[str, Cost], form: str) -> object:
    """Instructions of a form; "-" where there is no such form, "?" where that is not known."""
    return costs[form].instructions if form in costs else "?" if form in design.forms else "-"


def _costs(design: Design) -> dict[str, Cost]:
    """What a call costs in each form, except forms whose code cannot be followed."""
    costs = {}
    for form in design.forms:
        with suppress(StaticCallError):
            costs[form] = design.cost(form)
    return costs


def _print_design(design: Design) -> None:
    print(f"{design.name}: {design.summary}")
    for source in design.sources:
        print(f"  source: {source}")
    print(f"  {design.size} bytes, aligned to {design.align}, entered at byte {design.entry}")
    print(f"  {_patches(design)}\n")
    for item, text in design.listing():
        where = f"{item.offset:4}" if item.offset is not None else f"{item.section:>4}"
        label = f"{item.title}:" if item.label else ""
        print(f"  {where}  {label:<9}{text}")
    print("\n  retarget:")
    for step in design.retarget:
        print(f"        {step}")
    print()
    table(
        [
            [form, cost.instructions, cost.loads, cost.taken, cost.indirect]
            for form, cost in _costs(design).items()
        ],
        ["form", "instructions", "loads", "taken branches", "indirect"],
    )
