"""What each instruction does.

Each row of the table at the end names instructions and the function that executes them. The
function adds events and changes the registers and pc, which is already at the next instruction.
"""

from __future__ import annotations

from static_call.isa import a64
from static_call.memory_model.effects import ELR, FLAGS, FULL, PE, Semantics, State
from static_call.memory_model.events import EVERYWHERE
from static_call.memory_model.operands import (
    field,
    holds,
    mask,
    register,
    register_size,
    sign,
    words,
)
from static_call.memory_model.program import SP, Unmodelled
from static_call.memory_model.semantics_arithmetic import ROWS


def _nothing(pe: PE, state: State, insn: a64.Instruction) -> None:
    pass


def _barrier(pe: PE, state: State, insn: a64.Instruction) -> None:
    """DMB, DSB. ISH, OSH and SY are alike among PEs of one inner shareable domain."""
    option = insn["o"]
    if option >> 2 != 1:  # NSH orders only for this PE
        pe.event(state, insn.name.upper(), ("", "ld", "st", "full")[option & 3])


def _isb(pe: PE, state: State, insn: a64.Instruction) -> None:
    pe.event(state, "CSE", "isb")


def _svc(pe: PE, state: State, insn: a64.Instruction) -> None:
    """SVC: an exception, which the thread's handler takes."""
    _refuse_unknown(pe, state, insn)
    pe.exception(state, "SupervisorCall", state.pc - a64.WORD, state.pc)


def _hvc(pe: PE, state: State, insn: a64.Instruction) -> None:
    """HVC, SMC: an exception is taken and returned from."""
    _refuse_unknown(pe, state, insn)
    pe.event(state, "CSE", "entry")
    pe.event(state, "CSE", "return")


def _refuse_unknown(pe: PE, state: State, insn: a64.Instruction) -> None:
    if pe.thread.any:
        raise Unmodelled(f"{state.pc - a64.WORD:#x}: what {insn} does to registers is not known")


def _undefined(pe: PE, state: State, insn: a64.Instruction) -> None:
    """UDF, DCPS, and words that are not instructions: the exception returns to them."""
    at = state.pc - a64.WORD
    pe.exception(state, "UndefinedInstruction", at, at)


def _brk(pe: PE, state: State, insn: a64.Instruction) -> None:
    """BRK: the thread ends, as a debugger has it then."""
    state.pc -= a64.WORD
    state.ended = "Breakpoint"
    state.faults += ((state.ended, state.pc),)


def _eret(pe: PE, state: State, insn: a64.Instruction) -> None:
    """ERET. It is no branch of the kind that makes a control dependency."""
    pe.event(state, "CSE", "return")
    state.pc = state.x[ELR]


def _msr(pe: PE, state: State, insn: a64.Instruction) -> None:
    t = insn["t"]
    if "nzcv" in words(insn):
        state.set(FLAGS, state.x[t] >> 28 & 15, state.dep[t], state.pick[t])
    else:
        state.set(ELR, state.x[t], state.dep[t], state.pick[t])


def _mrs(pe: PE, state: State, insn: a64.Instruction) -> None:
    if "nzcv" not in words(insn):
        raise Unmodelled(f"{state.pc - a64.WORD:#x}: the checker has no semantics for {insn}")
    state.set(insn["t"], state.x[FLAGS] << 28, state.dep[FLAGS], state.pick[FLAGS])


_PAC = {"paciasp": 1, "autiasp": 1, "pacibsp": 2, "autibsp": 2}
"""A number for each key, by the instructions that use it."""


def _pac(pe: PE, state: State, insn: a64.Instruction) -> None:
    """PACIASP, AUTIASP, PACIBSP, AUTIBSP.

    X30 gets a code above its address, which only the same key and the same SP remove. Without
    FEAT_PAuth they are NOPs, which is less strict.
    """
    if not pe.thread.any:
        return
    code = (state.x[SP] << 2 | _PAC[insn.name]) << 48 & FULL
    value = state.x[30]
    plain = value & (1 << 48) - 1
    if insn.name.startswith("aut"):
        value = plain if value == plain | code else value ^ 1 << 62  # faults, or a use of x30 does
    elif value == plain:
        value |= code
    else:
        raise Unmodelled(
            f"{state.pc - a64.WORD:#x}: {insn} of x30, which does not hold a plain address"
        )
    state.set(30, value, state.dep[30], state.pick[30])


def _maintain(pe: PE, state: State, insn: a64.Instruction) -> None:
    """DC CVAU, IC IVAU."""
    kind = insn.name[:2].upper()
    pe.event(state, kind, "", state.x[insn["t"]], 0, addr=insn["t"])


def _ic_ialluis(pe: PE, state: State, insn: a64.Instruction) -> None:
    """IC IALLUIS: like IC IVAU of every line, on every PE of the inner shareable domain."""
    pe.event(state, "IC", "", 0, EVERYWHERE)


def _b(pe: PE, state: State, insn: a64.Instruction) -> None:
    if insn.name == "bl":
        state.set(30, state.pc, 0, 0)
    state.pc = insn["i"]


def _br(pe: PE, state: State, insn: a64.Instruction) -> None:
    """BR, BLR, RET. What the address depends on has a control dependency to all that follows."""
    n = field(insn, "n", 30)
    target = state.x[n]
    state.branch_on(n)
    if insn.name == "blr":
        state.set(30, state.pc, 0, 0)
    state.pc = target


def _branch_on(pe: PE, state: State, register: int, taken: bool, target: int) -> None:
    state.branch_on(register)
    if pe.either(state, register, taken):
        state.pc = target


def _b_cond(pe: PE, state: State, insn: a64.Instruction) -> None:
    condition = insn.name.partition(".")[2]
    if condition in ("al", "nv"):
        state.pc = insn["i"]
    else:
        taken = holds(condition, state.x[FLAGS])
        _branch_on(pe, state, FLAGS, taken, insn["i"])


def _cbz(pe: PE, state: State, insn: a64.Instruction) -> None:
    value = state.x[insn["t"]] & mask(register_size(insn))
    _branch_on(pe, state, insn["t"], (value == 0) == (insn.name == "cbz"), insn["i"])


def _compare_and_branch(pe: PE, state: State, insn: a64.Instruction) -> None:
    """CB, CBB and CBH (FEAT_CMPBR)."""
    kind, condition = insn.name[:-2], insn.name[-2:]
    bits = {"cb": 8 * register_size(insn), "cbb": 8, "cbh": 16}[kind]
    t, m = insn["t"], field(insn, "m", 31)
    left, right = state.x[t] & (1 << bits) - 1, state.x[m] & (1 << bits) - 1
    if "m" not in insn:
        right = insn["n"]
    if condition in ("gt", "ge", "lt"):
        left, right = sign(left, bits), sign(right, bits)
    holds = {
        "gt": left > right, "ge": left >= right, "lt": left < right, "hi": left > right,
        "hs": left >= right, "lo": left < right, "eq": left == right, "ne": left != right,
    }[condition]  # fmt: skip
    state.branch_on(t)
    state.branch_on(m)
    unknown = m if pe.unknown(state, m) else t
    if pe.either(state, unknown, holds):
        state.pc = insn["i"]


def _tbz(pe: PE, state: State, insn: a64.Instruction) -> None:
    bit = insn["hb"] if "hb" in insn else insn["b"]  # a row may join the two fields
    zero = not state.x[insn["t"]] >> bit & 1
    _branch_on(pe, state, insn["t"], zero == (insn.name == "tbz"), insn["i"])


def _address(state: State, insn: a64.Instruction) -> tuple[int, int, int]:
    """A load's or store's address, and the registers that it comes from. Writes the base back."""
    if "n" not in insn:
        return insn["i"], 31, 31
    n, marks = register(insn, "n"), words(insn)
    base = state.x[n]
    if n == SP and base % 16:
        raise Unmodelled(f"{insn} with an SP of {base:#x}: it must be a multiple of 16")
    if "m" in insn:
        m = insn["m"]
        offset = state.x[m]
        if "sxtw" in marks or "uxtw" in marks:
            offset = sign(offset, 32) if "sxtw" in marks else offset & mask(4)
        offset <<= next((int(word[1:]) for word in marks if word[0] == "#"), 0)
        return base + offset & FULL, n, m
    offset = field(insn, "i", 0)
    address = base + offset & FULL
    if "]!" in marks:
        state.x[n] = address
    elif "i" in insn and insn.row is not None and insn.row.tokens[-1] != "]":
        state.x[n], address = address, base
    return address, n, 31


def _ldr(pe: PE, state: State, insn: a64.Instruction) -> None:
    """LDR, LDUR, LDAR, LDAPR, LDXR, LDAXR, those of bytes and halfwords, and with a sign."""
    size = _access_size(insn)
    signed = insn.name.rstrip("bhw").endswith("s")
    name = insn.name.rstrip("sbhw") if signed else insn.name.rstrip("bh")
    address, base, index = _address(state, insn)
    tag = {"ldar": "A", "ldaxr": "A", "ldapr": "Q", "ldapur": "Q"}.get(name, "")
    pe.mark(state)
    if name in ("ldxr", "ldaxr"):
        state.exclusive = address, size, len(state.events)
    [(value, dep, pick)] = pe.load(state, address, size, base=base, index=index, tag=tag)
    if signed:
        value = sign(value, 8 * size) & mask(register_size(insn))
    state.set(insn["t"], value, dep, pick)


def _str(pe: PE, state: State, insn: a64.Instruction) -> None:
    """STR, STUR, STLR, STLUR, and those of bytes and halfwords."""
    size = _access_size(insn)
    value = state.x[insn["t"]] & mask(size)
    data = insn["t"]
    address, base, index = _address(state, insn)
    tag = "L" if insn.name.startswith("stl") else ""
    pe.store(state, address, size, value, base=base, index=index, data=data, tag=tag)


def _stxr(pe: PE, state: State, insn: a64.Instruction) -> None:
    """STXR, STLXR, STXP, STLXP: if the monitor is set it may succeed or fail, else it fails."""
    size = _access_size(insn)
    t, n = insn["t"], register(insn, "n")
    u = field(insn, "u", 31)
    elements = 2 if "u" in insn else 1
    monitor, state.exclusive = state.exclusive, None
    address = state.x[n]
    possible = monitor is not None and monitor[:2] == (address, size * elements)
    pe.mark(state)
    failed = pe.choices.pick([0, 1] if possible else [1])
    state.decided += possible
    if not failed and monitor is not None:
        tag = "LX" if insn.name.startswith("stl") else "X"
        value = state.x[t] & mask(size) | (state.x[u] & mask(size)) << 8 * size
        pe.store(
            state, address, size, value, base=n, data=t, data2=u, elements=elements, single=True,
            tag=tag, rmw=monitor[2],
        )  # fmt: skip
    state.set(insn["s"], failed, 0, 0)


def _clrex(pe: PE, state: State, insn: a64.Instruction) -> None:
    state.exclusive = None


def _ldp(pe: PE, state: State, insn: a64.Instruction) -> None:
    """LDP, LDXP, LDAXP."""
    size = 4 if insn.name == "ldpsw" else register_size(insn)
    address, base, _ = _address(state, insn)
    pe.mark(state)
    exclusive = insn.name in ("ldxp", "ldaxp")
    if exclusive:
        state.exclusive = address, 2 * size, len(state.events)
    tag = "A" if insn.name == "ldaxp" else ""
    first, second = pe.load(state, address, size, base=base, elements=2, single=exclusive, tag=tag)
    state.set(insn["t"], *first)
    state.set(insn["u"], *second)


def _stp(pe: PE, state: State, insn: a64.Instruction) -> None:
    size = register_size(insn)
    t, u = insn["t"], insn["u"]
    value = state.x[t] & mask(size) | (state.x[u] & mask(size)) << 8 * size
    address, base, _ = _address(state, insn)
    pe.store(state, address, size, value, base=base, data=t, data2=u, elements=2)


_ATOMICS = (
    "cas", "swp", "ldadd", "ldclr", "ldeor", "ldset", "ldsmax", "ldsmin", "ldumax", "ldumin",
)  # fmt: skip


def _ldpsw(pe: PE, state: State, insn: a64.Instruction) -> None:
    _ldp(pe, state, insn)
    for target in (insn["t"], insn["u"]):
        if target != 31:
            state.x[target] = sign(state.x[target], 32) & FULL


def _ldiapp(pe: PE, state: State, insn: a64.Instruction) -> None:
    """LDIAPP (FEAT_LRCPC3): two loads, both AcquirePC, in this order."""
    size = register_size(insn)
    base = register(insn, "n")
    address = state.x[base]
    for at, target in ((address, insn["t"]), (address + size, insn["u"])):
        [(value, dep, pick)] = pe.load(state, at & FULL, size, base=base, tag="Q")
        state.set(target, value, dep, pick)
        state.step += 1  # what comes first is ordered before the second as in program order
    if words(insn)[-1] != "]":
        state.x[base] = address + 2 * size & FULL


def _stilp(pe: PE, state: State, insn: a64.Instruction) -> None:
    """STILP (FEAT_LRCPC3): two stores, both Release, in this order."""
    size = register_size(insn)
    base = register(insn, "n")
    if "]!" in words(insn):
        state.x[base] = state.x[base] - 2 * size & FULL
    address = state.x[base]
    for at, data in ((address, insn["t"]), (address + size, insn["u"])):
        value = state.x[data] & mask(size)
        pe.store(state, at & FULL, size, value, base=base, data=data, tag="L")
        state.step += 1


def _atomic(pe: PE, state: State, insn: a64.Instruction) -> None:
    """CAS, SWP, LDADD, LDCLR, LDEOR, LDSET, LDSMAX, LDSMIN, LDUMAX, LDUMIN."""
    size = _access_size(insn)
    s, t, n = insn["s"], insn["t"], register(insn, "n")
    cas = insn.name.startswith("cas")
    name = insn.name.rstrip("bh")
    operation = next(name[:length] for length in (3, 5, 6) if name[:length] in _ATOMICS)
    order = name[len(operation) :]
    unused = (s if cas else t) == 31
    tag = ("A" if "a" in order and not unused else "") + ("N" if unused else "")
    pe.mark(state)
    first = len(state.events)
    [(old, dep, pick)] = pe.load(state, state.x[n], size, base=n, tag=tag)
    operand = state.x[s] & mask(size)
    new = {
        "cas": state.x[t], "swp": operand, "ldadd": old + operand, "ldclr": old & ~operand,
        "ldeor": old ^ operand, "ldset": old | operand,
        "ldumax": max(old, operand), "ldumin": min(old, operand),
        "ldsmax": max(old, operand, key=lambda number: sign(number, 8 * size)),
        "ldsmin": min(old, operand, key=lambda number: sign(number, 8 * size)),
    }[operation] & mask(size)  # fmt: skip
    if cas and old != operand:
        _write_back(pe, state, insn, old, first, (0, pick))
    else:
        uses = {"cas": (0, pick), "swp": (0, 0)}.get(operation, (dep, pick))
        pe.store(
            state, state.x[n], size, new, base=n, data=t if cas else s,
            chooser=s if cas else 31, tag="L" if "l" in order else "", rmw=first, uses=uses,
        )  # fmt: skip
    if cas and old == operand:
        dep, pick = _compared(pe, state, (s,), dep, pick)
    state.set(s if cas else t, old, dep, pick)


def _write_back(
    pe: PE, state: State, insn: a64.Instruction, old: int, first: int, uses: tuple[int, int]
) -> None:
    """A CAS that fails may write what it read (Arm ARM, CAS)."""
    if not pe.choices.pick((0, 1)):
        return
    pair = insn.name.startswith("casp")
    size = register_size(insn) if pair else _access_size(insn)
    n, s = register(insn, "n"), insn["s"]
    order = insn.name[4 if pair else 3 :]
    pe.store(
        state, state.x[n], size, old, base=n, data=31, elements=1 + pair, chooser=s,
        chooser2=s + 1 if pair else 31, tag="L" if "l" in order else "", uses=uses,
        rmw=-1 if pair else first, own=(1 << len(state.events)) - (1 << first) if pair else 0,
    )  # fmt: skip


def _casp(pe: PE, state: State, insn: a64.Instruction) -> None:
    """CASP: two single-copy atomic accesses, as herd7 7.58 has them.

    Where it fails and writes back, they are no atomic pairs there; but it writes after it reads, or
    values would come from nowhere.
    """
    size = register_size(insn)
    s, t, n = insn["s"], insn["t"], register(insn, "n")
    order = insn.name[len("casp") :]
    pe.mark(state)
    first = len(state.events)
    parts = pe.load(state, state.x[n], size, base=n, elements=2, tag="A" if "a" in order else "")
    low, high = parts
    dep, pick = low.dep | high.dep, low.pick | high.pick
    if all(part.value == state.x[s + i] & mask(size) for i, part in enumerate(parts)):
        value = state.x[t] & mask(size) | (state.x[t + 1] & mask(size)) << 8 * size
        pe.store(
            state, state.x[n], size, value, base=n, data=t, data2=t + 1, elements=2, both=True,
            chooser=s, chooser2=s + 1, tag="L" if "l" in order else "", rmw=first, uses=(0, pick),
        )  # fmt: skip
        dep, pick = _compared(pe, state, (s, s + 1), dep, pick)
    else:
        old = low.value | high.value << 8 * size
        _write_back(pe, state, insn, old, first, (0, pick))
    for i, part in enumerate(parts):
        state.set(s + i, part.value, dep, pick)


def _compared(
    pe: PE, state: State, registers: tuple[int, ...], dep: int, pick: int
) -> tuple[int, int]:
    """What the result of a CAS that succeeded comes from: its dep and its pick.

    It may be what the registers held, and then memory only picked it; or what was read. The first
    orders less, unless what the registers held depends on something.
    """
    held = picked = 0
    for s in registers:
        held |= state.dep[s]
        picked |= state.pick[s]
    if not held | picked or pe.choices.pick((1, 0)):
        return held, picked | pick
    return dep, pick


def _access_size(insn: a64.Instruction) -> int:
    """The bytes that a load or store of one register accesses."""
    if insn.name.endswith("sw"):
        return 4
    return {"b": 1, "h": 2}.get(insn.name[-1]) or register_size(insn)


_ROWS: tuple[tuple[str, str, Semantics], ...] = (
    # names, the endings that each may have, and what they do
    ("nop|yield|bti|bti c|bti j|bti jc|csdb|esb", "", _nothing),
    ("|".join(_PAC), "", _pac),
    ("dmb|dsb", "", _barrier),
    ("isb", "", _isb),
    ("svc", "", _svc),
    ("hvc|smc", "", _hvc),
    ("udf|unknown|dcps1|dcps2|dcps3", "", _undefined),
    ("brk", "", _brk),
    ("eret", "", _eret),
    ("msr", "", _msr),
    ("mrs", "", _mrs),
    ("dc cvau|ic ivau", "", _maintain),
    ("ic ialluis", "", _ic_ialluis),
    ("dc cvac|dc civac", "", _nothing),  # the model has no rule for them: they order nothing
    ("b|bl", "", _b),
    ("br|blr|ret", "", _br),
    *((f"b.{condition}|bc.{condition}", "", _b_cond) for condition in a64.CONDITIONS),
    ("cbz|cbnz", "", _cbz),
    ("cb|cbb|cbh", "gt|ge|hi|hs|eq|ne", _compare_and_branch),
    ("cb", "lt|lo", _compare_and_branch),
    ("tbz|tbnz", "", _tbz),
    ("ldr|ldur|ldar|ldapr|ldapur|ldxr|ldaxr", "|b|h", _ldr),
    ("ldr|ldur|ldapur", "sb|sh|sw", _ldr),
    ("str|stur|stlr|stlur", "|b|h", _str),
    ("stxr|stlxr", "|b|h", _stxr),
    ("stxp|stlxp", "", _stxr),
    ("clrex", "", _clrex),
    ("ldp|ldxp|ldaxp", "", _ldp),
    ("ldpsw", "", _ldpsw),
    ("ldiapp", "", _ldiapp),
    ("stp", "", _stp),
    ("casp", "|a|l|al", _casp),
    ("stilp", "", _stilp),
    *(("|".join(_ATOMICS), f"{size}|a{size}|l{size}|al{size}", _atomic) for size in ("", "b", "h")),
)

SEMANTICS: dict[str, Semantics] = {
    name + ending: semantics
    for names, endings, semantics in (*_ROWS, *ROWS)
    for name in names.split("|")
    for ending in endings.split("|")
}
"""What each instruction does, by its name in the instruction set's table."""
