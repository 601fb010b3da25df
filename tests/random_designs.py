"""Random designs. Most are nonsense, and the checker must have an answer for each of them.

A design has 1 to 4 slots, 0 to 3 literals, any of the forms, and a retarget that stores its cells
in some order with some maintenance; then some lines are dropped, doubled or changed.
"""

from __future__ import annotations

from random import Random

FORMS = ("near", "far", "null", "ret0")
BODY = (
    "nop", "nop", "bti c", "bti j", "bti jc", "br x16", "br x17", "br x9", "blr x16", "br x30",
    "ret", "ret x16", "ldr x16, {literal}", "ldr x17, {literal}", "ldr x9, {literal}",
    "ldr w16, {literal}", "cbz x16, {label}", "cbnz x17, {label}", "cbz x0, {label}",
    "tbz w0, #4, {label}", "tbnz x3, #40, {label}", "b.eq {label}", "b {label}", "bl {label}",
    "mov x0, #0", "mov x16, x0", "movz x16, #1, lsl #16", "movk x16, #2", "adr x16, {label}",
    "adr x16, {literal}", "ldr x16, [x16]", "ldp x16, x17, [x16]", "add x16, x16, #4",
    "sub sp, sp, #16", "stp x29, x30, [sp, #-16]!", "ldp x29, x30, [sp], #16", "str x0, [sp]",
    "str x16, [x16]", "str w0, [x17]", "isb", "dmb ish", "dsb ish", "svc #0", "brk #1", "udf #0",
    "paciasp", "autiasp", "hint #40", "mrs x16, ctr_el0", "yield", "orr x16, x16, x17",
)  # fmt: skip
NEAR = (*["b target"] * 8, "nop", "bl target", "tbz x0, #1, target", "cbz x16, target",
        "b.ne target", "adr x16, target", "adrp x16, target", "ldr x16, target")  # fmt: skip
FAR = (*["nop"] * 8, "ldr x16, {literal}", "br x16", "blr x16", "adrp x16, target",
       "add x16, x16, :lo12:target", "b {label}", "adr x16, target", "b target")  # fmt: skip
OTHER = ("nop", "nop", "nop", "b {label}", "b {label}", "b {label}", "ret", "ret", "mov x0, #0",
         "b.eq {label}", "udf #1", "brk #1",
                 "hvc #0", "isb", "bti c", "cbz x16, {label}", "br x16", "bl {label}")  # fmt: skip
STEPS = (
    "dmb ish", "dmb ishst", "dmb ishld", "dsb ish", "dsb ishst", "dsb ishld", "dsb nsh", "isb",
    "cse", "dc cvau, x{a}", "ic ivau, x{a}", "dc cvau, x{v}", "ldr x{v}, [x{a}]",
    "orr x{v}, x{v}, x{a}", "str w{v}, [x{a}]", "str x{v}, [x{a}]", "str w{v}, [x{a}, #4]",
    "stp x{v}, x{v}, [x{a}]", "stp w{v}, w{a}, [x{a}]",
)  # fmt: skip


class _Writer:
    def __init__(self, random: Random) -> None:
        self.random = random
        self.slots = [f"slot{i}" for i in range(random.randint(1, 4))]
        self.literals = [f"lit{i}" for i in range(random.randint(0, 3))]
        self.stubs = [f"stub{i}" for i in range(random.randint(0, 2))]
        self.used = random.sample(FORMS, random.randint(1, 4))
        if not self.literals and random.random() < 0.8:
            self.used = [form for form in self.used if form != "far"]
        if not {"near", "far"} & {*self.used}:
            self.used.append("near")

    def fill(self, text: str) -> str:
        literal = self.random.choice(self.literals or self.slots)
        label = self.random.choice([*self.slots, *self.stubs * 3])
        return text.format(literal=literal, label=label)

    def cell(self, of: dict[str, tuple[str, ...]]) -> str:
        forms = [form for form in self.used if self.random.random() < 0.95] or self.used[:1]
        parts = [f"{form}: {self.fill(self.random.choice(of[form]))}" for form in forms]
        return "{ " + " | ".join(parts) + " }"

    def slot(self) -> str:
        return self.cell({"near": NEAR, "far": FAR, "null": OTHER, "ret0": OTHER})

    def literal(self) -> str:
        stubs = tuple(f".quad {stub}" for stub in self.stubs)
        target, other = (".quad target",) * 3 + stubs, (".quad 0", ".quad 1", *stubs)
        return self.cell({"near": target, "far": target, "null": other, "ret0": other})

    def lines(self) -> list[str]:
        random = self.random
        lines = [f".align {random.choice((2, 3, 3, 4, 5, 12))}"]
        if random.random() < 0.5:
            names = ("live", "cmodx", "fresh", "settled", "prefix", "atomic", "landing")
            lines.append(".claims " + " ".join(random.sample(names, random.randint(1, 7))))
        body = ["bti c"] if random.random() < 0.7 else []
        if random.random() < 0.2:
            body.append("entry: nop")
        body += [f"{name}: {self.slot()}" for name in self.slots]
        for _ in range(random.choice((0, 0, 1, 1, 2, 3))):
            body.insert(random.randint(0, len(body)), self.fill(random.choice(BODY)))
        if self.literals and random.random() < 0.8:
            body += [f"ldr x16, {self.literals[0]}", "br x16"]
        inline = [name for name in self.literals if random.random() < 0.7]
        if inline and len(body) % 2 and random.random() < 0.95:
            body.append("nop")
        body += [f"{name}: {self.literal()}" for name in inline]
        for name in self.stubs:
            pads = random.choice((["bti c"], ["bti c", "mov x0, #0"], ["nop"], []))
            body += [f"{name}: " + "\n".join([*pads, "ret"])]
        lines += body
        for name in self.literals:
            if name not in inline:
                lines += [".section .data", f"{name}: {self.literal()}"]
        return [*lines, "retarget:", *self.retarget(inline)]

    def retarget(self, inline: list[str]) -> list[str]:
        random = self.random
        outside = [name for name in self.literals if name not in inline]
        cells = [*self.slots, *inline, *outside]
        number = {name: k for k, name in enumerate(cells)}
        order = random.sample(cells, len(cells))
        if random.random() < 0.6:  # literals first, as most designs have it
            order.sort(key=lambda name: name.startswith("slot"))
        steps = ["cse"] * (random.random() < 0.4)
        for name in order:
            k = number[name]
            width = "w" if name.startswith("slot") else "x"
            steps.append(f"str {width}{2 * k + 1}, [x{2 * k}]")
            if random.random() < 0.3:
                steps.append(random.choice(STEPS[:6]))
        slots = [2 * number[name] for name in self.slots]
        if random.random() < 0.7:
            steps += [f"dc cvau, x{x}" for x in slots] + ["dsb ish"]
            steps += [f"ic ivau, x{x}" for x in slots] + ["dsb ish"]
        steps += ["cse"] * (random.random() < 0.6)
        for _ in range(random.choice((0, 0, 0, 1, 2, 3))):
            at = random.randrange(len(steps)) if steps else 0
            k = random.randrange(len(cells) + 1)
            step = random.choice(STEPS).format(a=2 * k, v=2 * k + 1)
            match random.randrange(5):
                case 0 if steps:
                    del steps[at]
                case 1 if steps:
                    steps.insert(at, steps[at])
                case 2 if len(steps) > 1:
                    other = random.randrange(len(steps))
                    steps[at], steps[other] = steps[other], steps[at]
                case _:
                    steps.insert(at, step)
        return steps


def text(random: Random) -> str:
    """A design's text."""
    return "\n".join(_Writer(random).lines()) + "\n"


def without_line(design: str, random: Random) -> str | None:
    """The text without one barrier or one step of maintenance of its retarget, if it has any."""
    body, label, code = design.partition("retarget:\n")
    lines = code.splitlines()
    found = [i for i, line in enumerate(lines) if line.split()[0] in ("dmb", "dsb", "dc", "ic")]
    if not found:
        return None
    del lines[random.choice(found)]
    return body + label + "\n".join(lines) + "\n"


def renamed(design: str) -> str:
    """The text with other names for its labels, and the forms of its cells the other way round."""
    for old, new in (("slot", "word"), ("lit", "address"), ("stub", "tail")):
        for i in range(4):
            design = design.replace(f"{old}{i}", f"{new}_{i}")
    lines = []
    for line in design.splitlines():
        before, brace, cell = line.partition("{ ")
        if brace:
            line = before + brace + " | ".join(reversed(cell[:-2].split(" | "))) + " }"
        lines.append(line)
    return "\n".join(lines) + "\n"
