"""The memory model: verdicts by hand, the need for each axiom, agreement with a naive model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import product
from math import prod
from typing import Any

import litmus_tests
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from naive_model import World

from static_call.isa.a64_more import assemble as word
from static_call.memory_model import model as tables
from static_call.memory_model.combine import combinations
from static_call.memory_model.cycles import forbidden
from static_call.memory_model.executions import INITIAL, Execution, allowed
from static_call.memory_model.explore import explore
from static_call.memory_model.litmus import run
from static_call.memory_model.litmus_format import Test
from static_call.memory_model.litmus_reader import read
from static_call.memory_model.model import AXIOMS, CACHE_TYPES, GLOBAL, INTERNAL, LOCAL, PICK, Model
from static_call.memory_model.program import Limits, Program, Thread, TooBig, Unmodelled

X, Y = 0x20000, 0x20100
CASES = {case.name: case for case in (*litmus_tests.APPLICATION, *litmus_tests.IFETCH)}


@cache
def parsed(name: str) -> Test:
    """A case, read."""
    return read(CASES[name].text, name)


def verdict(name: str, model: Model) -> str:
    """A for allowed, F for forbidden."""
    return "A" if run(parsed(name), model).positive else "F"


def test_names_are_unique() -> None:
    """No case hides another of the same name."""
    assert len(CASES) == len(litmus_tests.APPLICATION) + len(litmus_tests.IFETCH)


@pytest.mark.parametrize(
    "family",
    ["MESSAGE_PASSING", "STORE_BUFFERING", "LOAD_BUFFERING", "TWO_PLUS_TWO_W", "S", "R", "WRC",
     "IRIW", "COHERENCE", "ATOMICS", "DEPENDENCIES", "RESULTS"],
)  # fmt: skip
def test_application_level(family: str) -> None:
    """Classical tests, with every barrier and dependency, come out as the architecture says."""
    cases = getattr(litmus_tests, family)
    wrong = [c.name for c in cases if verdict(c.name, CACHE_TYPES[0]) != c.verdicts[0]]
    assert cases
    assert not wrong


@pytest.mark.parametrize("case", litmus_tests.IFETCH, ids=lambda case: case.name)
def test_instruction_fetch(case: litmus_tests.Case) -> None:
    """Instruction-fetch tests come out as the architecture says, in each cache type."""
    assert "".join(verdict(case.name, model) for model in CACHE_TYPES) == case.verdicts


def test_fetch_does_not_matter_without_modification() -> None:
    """Application-level verdicts are the same in all cache types."""
    for case in litmus_tests.COHERENCE + litmus_tests.S[::5]:
        assert {verdict(case.name, m) for m in CACHE_TYPES} == {case.verdicts[0]}


# Which case, and in which cache type, is forbidden by each row alone.
WITNESSES = {
    "F instr !F": ("data+dmb.st+insn-itself", 0),
    "F po !F": ("data+dmb.st+insn", 0),
    "M po&scl DC": ("code+clean+branch", 0),
    "DC po&scl M|DC": ("LB+dmb+addr-dc-scl", 0),
    "M|F|DC|IC po dsb.full po !F": ("code+clean+branch", 0),
    "used po dsb.ld po !F": ("code+clean+pointer-dsb-isb", 0),
    "W po dsb.st po !F": ("self+dsb.st-isb", 2),
    "R ctrl CSE po _": ("code+clean+pointer-ctrl-isb", 0),
    "R pick-ctrl CSE po _": ("code+clean+flag-csel-isb", 0),
    "R addr M po CSE po _": ("code+clean+flag-addr-isb", 0),
    "R pick-addr M po CSE po _": ("code+clean+flag-csel-addr-isb", 0),
    "_ DSB-ob CSE po _": ("code+clean+pointer-dsb-isb", 0),
    "M po&loc W": ("LB+dmb+lws-dmb.st", 0),
    "R addr M|DC|IC": ("MP+dmb+addr", 0),
    "R data W": ("LB+data+data", 0),
    "R ctrl W|DC|IC": ("LB+ctrl+ctrl", 0),
    "R addr M po W": ("LB+addr+addr-po", 0),
    "R addr M lrs R": ("MP+dmb+addr-rfi-acq", 0),
    "R data W lrs R": ("MP+dmb+data-rfi-acq", 0),
    "R pick-addr W|DC|IC": ("code+dmb+flag-csel-dc-dsb-ic", 0),
    "R pick-data W": ("LB+addr+csel", 0),
    "R pick-ctrl W|DC|IC": ("LB+addr+csel-ctrl", 0),
    "R pick-addr M po W": ("LB+addr+csel-addr-po", 0),
    "R rmw W lrs A|Q": ("MP+dmb+rmw-rfi-acq", 0),
    "M|DC po dmb.full po M|DC": ("SB+dmb+dmb", 0),
    "used po dmb.ld po M": ("MP+dmb+dmb.ld", 0),
    "W po dmb.st po W": ("MP+dmb.st+addr", 0),
    "AL po M": ("SB+swpal", 0),
    "L po A": ("SB+rel-acq+rel-acq", 0),
    "A|Q po M": ("MP+dmb+acqpc", 0),
    "M po L": ("MP+rel+addr", 0),
    "R via R|F lob W": ("S+dmb+csel-rfi-acq", 0),
    "R po&loc R ca&ext W": ("CoRR", 0),
    "F po F IC-after IC DSB-ob _": ("two-words-clean", 0),
    "F po F ca W": ("again", 2),
    "W rf&ext R sca? R": ("MP+dmb+addr", 0),
    "M ca&ext W sca? W": ("MP+dmb+addr", 0),
    "W rf F": ("data+dmb.st+insn", 0),
    "DC DC-after W": ("code+dmb+flag-dmb-dc-dsb-ic", 0),
    "F IC-after IC": ("code+clean+pointer-ctrl-isb", 0),
    "IC IC-after F ca W DC-after DC": ("self+clean-isb", 0),
    "IC IC-after F ca W": ("self+dsb-ic-dsb-isb", 1),
    "F ca W": ("self+dsb-isb", 2),
    "coRW1": ("CoRW1", 0),
    "coWW": ("CoWW", 0),
    "coWR": ("CoWR-other", 0),
    "atomic": ("LDADD+LDADD", 0),
}

# Rows that Arm lists and that the others imply for the events there are here: a write to which an
# atomic's read is ordered comes after it in coherence anyway, whole or in part; and of two ways
# round, one that the others contradict leaves the other one implied.
IMPLIED = {"M po&loc W sca W", "R rmw W", "W DC-after DC", "IC IC-after F"}
SHOOTDOWN = {"M|DC po sync", "sync po _"}  # see test_cse_everywhere


def test_every_row_has_a_witness() -> None:
    """No row is left out of the next test."""
    rows = {rule.walk for rule in (*LOCAL, *PICK, *GLOBAL)} | {*INTERNAL}
    assert rows == {*WITNESSES} | IMPLIED | SHOOTDOWN


@pytest.mark.parametrize("row", WITNESSES)
def test_every_row_is_needed(row: str) -> None:
    """Without the row, its witness becomes allowed."""
    name, cache_type = WITNESSES[row]
    model = CACHE_TYPES[cache_type]
    assert verdict(name, model) == "F"
    assert verdict(name, replace(model, without=frozenset({row}))) == "A"


@pytest.mark.parametrize("axiom", [name for name in AXIOMS if name != "shootdown"])
def test_every_axiom_is_needed(axiom: str) -> None:
    """Without all rows of a name, the witnesses of these rows become allowed."""
    rows = {r.walk for r in (*LOCAL, *PICK, *GLOBAL) if r.name == axiom} | ({axiom} & {*INTERNAL})
    for row in rows & {*WITNESSES}:
        name, cache_type = WITNESSES[row]
        model = replace(CACHE_TYPES[cache_type], without=frozenset({axiom}))
        assert verdict(name, model) == "A", row


def test_no_such_cache_type() -> None:
    """DIC without IDC is refused."""
    with pytest.raises(ValueError, match="IDC"):
        Model(dic=True)


# A CSE on every PE


def assemble(at: int, *lines: str) -> dict[int, int]:
    """Words by address."""
    return {at + 4 * i: word(line, at + 4 * i) for i, line in enumerate(lines)}


UPDATER, CALLER, CODE, POINTER = 0x1000, 0x2000, 0x3000, 0x8000


def published_by_pointer(*publish: str) -> Program:
    """P0 writes code, then a pointer to it; P1 goes where the pointer says. ISB is everywhere."""
    code = assemble(UPDATER, "str w0, [x1]", *publish, "str x1, [x3]")
    code |= assemble(CALLER, "ldr x5, [x3]", "br x5", "nop", "nop")
    code |= assemble(CODE, f"b {CODE + 8:#x}", "mov w9, #1", "nop")
    cse = tuple(at for at, held in code.items() if at < CALLER and held == word("isb"))
    p0 = Thread(UPDATER, {0: word("nop"), 1: CODE, 3: POINTER})
    p1 = Thread(CALLER, {3: POINTER}, frozenset({CODE + 8, CALLER + 8}))
    return Program(code, {POINTER: (CALLER + 8).to_bytes(8, "little")}, (p0, p1), cse)


def stale(execution: Execution) -> bool:
    """P1 followed the pointer and ran the old code."""
    p1 = execution.paths[1]
    return p1.registers[5] == CODE and p1.registers[9] == 0


CLEAN = ("dc cvau, x1", "dsb ish", "ic ivau, x1", "dsb ish")


@pytest.mark.parametrize("model", CACHE_TYPES)
def test_cse_everywhere(model: Model) -> None:
    """Code published by a pointer is fresh if every PE had a CSE in between, and only then."""
    assert any(map(stale, allowed(published_by_pointer(*CLEAN), model)))
    assert not any(map(stale, allowed(published_by_pointer(*CLEAN, "isb"), model)))
    # Before the IC is complete it is of no use: what asks for it has a DMB, which waits for no IC.
    early = ("dc cvau, x1", "dsb ish", "ic ivau, x1", "isb", "dsb ish")
    assert any(map(stale, allowed(published_by_pointer(*early), model))) == (not model.dic)
    # After the store but before it can be fetched, it is too early.
    assert any(map(stale, allowed(published_by_pointer("isb", *CLEAN), model))) == (not model.dic)


@pytest.mark.parametrize("row", [*sorted(SHOOTDOWN), "shootdown"])
def test_shootdown_is_needed(row: str) -> None:
    """The rule for a CSE on every PE, and each of its rows, is needed for that."""
    model = Model(without=frozenset({row}))
    assert any(map(stale, allowed(published_by_pointer(*CLEAN, "isb"), model)))


def test_cse_is_taken_once_by_each() -> None:
    """Every PE but the sender takes each CSE once."""
    for paths in combinations(explore(published_by_pointer(*CLEAN, "isb"))):
        tags = [[e.tag for e in path.events if e.kind == "CSE"] for path in paths]
        assert tags == [["sent", "done"], ["taken"]]


# Why not


def test_cycle_names_its_axioms() -> None:
    """The reason why MP+dmb.st+addr is forbidden is the cycle that everyone draws."""
    refused = [
        r for r in forbidden(parsed("MP+dmb.st+addr").program)
        if r.execution.paths[1].registers[5] == 1 and r.execution.paths[1].registers[7] == 0
    ]  # fmt: skip
    assert len(refused) == 1
    (cycle,) = refused[0].cycles
    events = refused[0].execution.events
    assert {edge.axiom for edge in cycle} == {"bob", "Exp-obs", "dob"}
    assert all(a.target == b.source for a, b in zip(cycle, (*cycle[1:], cycle[0])))
    barrier = next(edge for edge in cycle if edge.axiom == "bob")
    assert [(events[i].kind, events[i].tag) for i in barrier.through] == [("DMB", "st")]


def test_internal_cycles() -> None:
    """What the internal axioms forbid is named after them."""
    for name in ("coRW1", "coWW", "coWR", "atomic"):
        refused = forbidden(parsed(WITNESSES[name][0]).program)
        assert any(edge.axiom == name for r in refused for c in r.cycles for edge in c)


@pytest.mark.parametrize("case", litmus_tests.IFETCH[::3], ids=lambda case: case.name)
def test_allowed_and_forbidden_are_all(case: litmus_tests.Case) -> None:
    """A candidate is allowed or refused, never both; refused ones have cycles."""
    program = parsed(case.name).program

    def key(execution: Execution) -> object:
        # ids of paths are those of one exploration
        return tuple(map(id, execution.paths)), *map(
            tuple, (execution.rf.items(), execution.co.items())
        )

    for model in CACHE_TYPES:
        explored = explore(program)
        yes = {key(e) for e in allowed(explored, model)}
        no = {key(r.execution): r.cycles for r in forbidden(explored, model)}
        assert not yes & no.keys()
        assert all(no.values())


# What the program's parameters change


def two(updater: list[str], caller: list[str], slot: str = "nop", **options: Any) -> Program:
    """P0 and P1; x1 is x for both, x12 and x13 two words of code, w11 what `slot` encodes."""
    code = assemble(CODE, f"b {CODE + 8:#x}", f"b {CODE + 8:#x}", "ret")
    code |= assemble(UPDATER, *updater) | assemble(CALLER, *caller)
    registers = {0: 1, 1: X, 11: word(slot), 12: CODE, 13: CODE + 4}
    return Program(code, {}, (Thread(UPDATER, registers), Thread(CALLER, registers)), **options)


def test_lse2() -> None:
    """A pair of 16 aligned bytes is torn without FEAT_LSE2 and whole with it."""
    for offset, lse2, torn in ((0, False, True), (0, True, False), (8, True, True)):
        pair = f"[x1, #{offset}]"
        program = two([f"stp x0, x0, {pair}"], [f"ldp x5, x6, {pair}"], lse2=lse2)
        seen = {(e.paths[1].registers[5], e.paths[1].registers[6]) for e in allowed(program)}
        assert seen == {(0, 0), (1, 1)} | ({(0, 1), (1, 0)} if torn else set())


def test_unaligned_stores_tear() -> None:
    """A 64-bit store that is not aligned is seen byte by byte, with FEAT_LSE2 only across 16."""
    for offset, lse2, torn in ((4, False, True), (4, True, False), (12, True, True)):
        program = two([f"stur x0, [x1, #{offset}]"], [f"ldur x5, [x1, #{offset}]"], lse2=lse2)
        events = explore(program).paths[0][0].events
        assert (sum(e.kind == "W" for e in events) == 8) == torn


def test_cache_lines() -> None:
    """Maintenance reaches the words of its line: by default that is the word addressed."""
    maintain = ["dc cvau, x13", "dsb ish", "ic ivau, x13", "dsb ish", "isb"]
    lines = ["str w11, [x12]", *maintain, f"bl {CODE:#x}"]
    for line, reached in ((4, False), (8, True), (64, True)):
        program = two(lines, ["nop"], line=line)
        stale_ones = [e for e in allowed(program) if e.rf[fetch_of(e)] == INITIAL]
        assert bool(stale_ones) != reached


def fetch_of(execution: Execution) -> int:
    """The fetch event of an execution that has one."""
    return next(i for i, event in enumerate(execution.events) if event.kind == "F")


@pytest.mark.parametrize(
    ("slot", "every", "newer", "present"),
    [("nop", False, False, False), ("b 0x8", False, False, False), ("bl 0x8", False, False, False),
     ("ret", True, True, True), ("bti c", True, True, True), ("cbz x0, 0x8", True, False, False),
     ("mov w9, #1", True, True, True), ("udf #7", True, True, False)],
)  # fmt: skip
def test_modification_while_it_may_execute(
    slot: str, every: bool, newer: bool, present: bool
) -> None:
    """A modification is flagged where one of the two instructions is off the edition's list."""
    program = two(["str w11, [x12]"], [f"bl {CODE:#x}"], slot)
    for edition, flagged in (("every", every), ("newer", newer), ("present", present)):
        executions = list(allowed(program, Model(edition=edition)))
        assert any(e.conflicts for e in executions) == flagged
        assert any(e.conflicts_by(edition) for e in allowed(program)) == flagged
    assert any(e.conflicts for e in allowed(program)) == present  # the default


def rewriting(*updaters: list[str]) -> Iterator[tuple[Execution, set[int]]]:
    """Updaters that store w10, "mov w9, #1", and w11, a NOP, where the former is and is called.

    Gives each execution with the writes that break the rule by the present text, as the numbers of
    the updaters' stores in program order.
    """
    code = assemble(CODE, "mov w9, #1", "ret") | assemble(CALLER, f"bl {CODE:#x}")
    threads = []
    for number, lines in enumerate(updaters):
        at = UPDATER + 0x40 * number
        code |= assemble(at, *lines)
        threads.append(Thread(at, {10: word("mov w9, #1"), 11: word("nop"), 12: CODE}))
    for execution in allowed(Program(code, {}, (*threads, Thread(CALLER)))):
        stores = [i for i, event in enumerate(execution.events) if event.kind == "W"]
        yield execution, {stores.index(one.write) for one in execution.conflicts}


MOV, NOP = "str w10, [x12]", "str w11, [x12]"


def test_a_store_of_the_value_that_is_there_modifies_nothing_by_the_present_text() -> None:
    """Known issue D25021 of issue M.a; by the older texts it modifies."""
    found = list(rewriting([MOV]))
    assert not any(broken for _, broken in found)
    assert any(e.conflicts_by("every") for e, _ in found)
    assert any(e.conflicts_by("newer") for e, _ in found)


def test_whether_a_store_rewrites_is_a_matter_of_the_execution() -> None:
    """Another updater's store may come before it in coherence order: then it modifies."""
    for execution, broken in rewriting([MOV], [NOP]):
        order = next(order for order in execution.co.values() if order)
        first = execution.events[order[0]].value
        fetched = execution.events[fetch_of(execution)].value
        # MOV, NOP: only the NOP modifies. NOP, MOV: both do. A fetch that is ordered with a write
        # (it sees that one, or one that comes before it in program order) does not break the rule.
        assert broken <= ({1} if first == word("mov w9, #1") else {0, 1})
        if fetched == word("mov w9, #1") and execution.rf[fetch_of(execution)] == INITIAL:
            assert broken == ({1} if first == word("mov w9, #1") else {0, 1})


def test_the_predecessor_counts_and_not_what_is_fetched() -> None:
    """MOV, NOP, MOV: the last store modifies, though the MOV of before may be fetched. MOV, NOP,
    NOP: it does not. There the cat file of herdtools7 2cb4da421 says the opposite, since it
    compares with the fetched value; D25021's words compare with the write before in coherence
    order."""
    for lines, expected in (([NOP, MOV], {0, 1}), ([NOP, NOP], {0}), ([MOV, NOP], {1})):
        old = [b for e, b in rewriting(lines) if e.rf[fetch_of(e)] == INITIAL]
        assert old
        assert all(broken == expected for broken in old)


def test_a_store_of_less_than_an_instruction_modifies_it() -> None:
    """The rule is about instructions; half of one, even with the value that is there, breaks it."""
    assert any(broken for _, broken in rewriting(["strh w10, [x12]"]))


# Bounds and what cannot be run


def test_limits() -> None:
    """An endless loop is cut, and too many paths are an error that names the bound.

    The iterations of `b .` depend on nothing that was read, so that --steps bounds them.
    """
    loop = Program(assemble(0, "b 0x0"), {}, (Thread(0),))
    explored = explore(loop)
    assert explored.cut == ("--steps",)
    assert explored.paths == ((),)
    straight = Program(assemble(0, *["nop"] * 9), {}, (Thread(0),))
    assert explore(straight, Limits(steps=8)).cut == ("--steps",)
    assert explore(straight, Limits(steps=9)).cut == ()
    with pytest.raises(TooBig, match=r"raise --paths"):
        explore(parsed("CoRR").program, Limits(paths=1))
    for bound in ("combinations", "executions"):
        with pytest.raises(TooBig, match=rf"raise --{bound}"):
            list(allowed(explore(parsed("CoRR").program, Limits(**{bound: 1}))))


def test_unmodelled() -> None:
    """An instruction without semantics is named with its address."""
    program = Program(assemble(0x40, "mrs x0, ctr_el0"), {}, (Thread(0x40),))
    with pytest.raises(Unmodelled, match=r"0x40: .*mrs"):
        explore(program)


# Against the naive model


def outcomes(program: Program, model: Model) -> tuple[Counter[object], Counter[object]]:
    """The allowed executions, as the fast and as the naive model have them."""
    explored = explore(program)
    fast: Counter[object] = Counter()
    for e in allowed(explored, model):
        rf = frozenset((None if w == INITIAL else w, r) for r, w in e.rf.items())
        co = frozenset(
            (order[i], order[j])
            for order in e.co.values()
            for i in range(len(order))
            for j in range(i + 1, len(order))
        )
        fast[tuple(map(id, e.paths)), rf, co, frozenset(e.dc), frozenset(e.ic)] += 1
    naive: Counter[object] = Counter()
    for paths in product(*explored.paths):
        for found in World(program, paths, model.idc, model.dic).executions():
            naive[tuple(map(id, paths)), *found] += 1
    return fast, naive


@pytest.mark.parametrize("case", litmus_tests.IFETCH, ids=lambda case: case.name)
def test_naive_agrees_on_instruction_fetch(case: litmus_tests.Case) -> None:
    """Both models have the same executions, in each cache type."""
    for model in CACHE_TYPES:
        fast, naive = outcomes(parsed(case.name).program, model)
        assert fast == naive


def test_naive_agrees_on_application_level() -> None:
    """Both models have the same executions of classical tests."""
    for case in (
        litmus_tests.APPLICATION[::9] + litmus_tests.COHERENCE + litmus_tests.ATOMICS
        + litmus_tests.DEPENDENCIES
    ):  # fmt: skip
        fast, naive = outcomes(parsed(case.name).program, CACHE_TYPES[0])
        assert fast == naive, case.name


_FENCES = ("dmb ish", "dmb ishst", "dmb ishld", "dsb ish", "dsb ishst", "dsb ishld", "isb")
_FREE = (
    "str w0, [x1]", "str w0, [x3]", "str w2, [x1]", "ldr w5, [x1]", "ldr w6, [x3]", "ldar w5, [x3]",
    "stlr w0, [x3]", "ldapr w6, [x1]", "swpal w0, w7, [x1]", "ldadd w0, w5, [x3]", "stadd w0, [x1]",
    "cas w5, w0, [x3]", "eor w8, w5, w5", "ldr w7, [x1, w8, sxtw]", "str w0, [x3, w8, sxtw]",
    "str w5, [x3]", "cmp w5, #1", "csel w9, w0, w2, eq", "str w9, [x1]", "ldxr w5, [x1]",
    "stxr w10, w2, [x1]", "dc cvau, x1", "ic ivau, x1", "str w11, [x12]", "dc cvau, x12",
    "ic ivau, x12", "str x2, [x14]", "ldr w6, [x14, #4]", "ldr x5, [x14]",
)  # fmt: skip
_BRANCHES = ("cbnz w5, {}", "tbz w6, #0, {}", "b.eq {}")
_lines = st.lists(st.sampled_from(_FREE + _FENCES + _BRANCHES), min_size=1, max_size=3)


def build(first: list[str], second: list[str], calls: int) -> Program:
    """Two threads over x (x1), y (x3), 8 bytes of x at x14, and a word of code at x12.

    The second starts with that word, a B over one instruction, `calls` times.
    """
    slot = 0x3000
    code = assemble(slot, f"b {slot + 8:#x}", "mov w13, #1", "ret")
    for at, lines in ((0x1000, first), (0x2000, [*[f"bl {slot:#x}"] * calls, *second])):
        for i, line in enumerate(lines):
            code |= assemble(at + 4 * i, line.format(hex(at + 4 * i + 4)))
    registers = {0: 1, 2: 2, 1: X, 3: Y, 11: word("nop"), 12: slot, 14: X}
    return Program(code, {}, (Thread(0x1000, registers), Thread(0x2000, registers)))


_programs = st.builds(build, _lines, _lines, st.integers(0, 2))


@settings(max_examples=800, deadline=None, derandomize=True)
@given(_programs, st.sampled_from(CACHE_TYPES))
def test_naive_agrees_on_random_programs(program: Program, model: Model) -> None:
    """Both models have the same executions of random small programs."""
    # The naive model tries everything: leave it what it can do.
    explored = explore(program)
    assume(sum(World(program, p, False, False).tries() for p in product(*explored.paths)) < 300)
    fast, naive = outcomes(program, model)
    assert fast == naive


def finals(program: Program, model: Model) -> set[object]:
    """The final states."""
    return {
        (*(path.registers for path in e.paths), e.final(X, 8), e.final(Y, 4))
        for e in allowed(program, model, every=False)
    }


@settings(max_examples=150, deadline=None, derandomize=True)
@given(_programs)
def test_stronger_caches_add_nothing(program: Program) -> None:
    """What a weaker cache type forbids, a stronger one forbids too."""
    weak, middle, strong = (finals(program, model) for model in CACHE_TYPES)
    assert strong <= middle <= weak


@settings(max_examples=200, deadline=None, derandomize=True)
@given(_lines, _lines, st.integers(0, 2), st.sampled_from(_FENCES), st.integers(0, 8),
       st.sampled_from(CACHE_TYPES))  # fmt: skip
def test_fences_add_nothing(
    first: list[str], second: list[str], calls: int, fence: str, at: int, model: Model
) -> None:
    """A program with one more fence has no new outcome."""
    before = finals(build(first, second, calls), model)
    more_first, more_second = first[:], second[:]
    if at <= len(first):
        more_first.insert(at, fence)
    else:
        more_second.insert(at - len(first) - 1, fence)
    after = finals(build(more_first, more_second, calls), model)
    assert after <= before


def test_tables_are_data() -> None:
    """Every name in the tables is known: walks alternate known sets and relations."""
    for rule in (*LOCAL, *PICK, *GLOBAL):
        assert len(rule.steps) % 2 == 1
        assert rule.name in tables.AXIOMS


# Where threads have much to choose from


def program(*threads: list[str]) -> Program:
    """The threads with the registers of `build`."""
    code: dict[int, int] = {}
    for number, lines in enumerate(threads):
        at = 0x1000 * (1 + number)
        for i, line in enumerate(lines):
            code |= assemble(at + 4 * i, line.format(hex(at + 4 * i + 4)))
    registers = {0: 1, 2: 2, 1: X, 3: Y, 14: X}
    return Program(
        code, {}, tuple(Thread(0x1000 * (1 + i), registers) for i in range(len(threads)))
    )


@pytest.mark.parametrize(
    ("threads", "each", "line", "count"),
    [(2, 2, "ldadd w0, {}, [x1]", 6), (3, 2, "ldadd w0, {}, [x1]", 90),
     (5, 1, "ldadd w0, {}, [x1]", 120), (4, 1, "swp w2, {}, [x1]", 24),
     (2, 5, "str w2, [x1]", 252), (3, 3, "str w2, [x1]", 1680)],
)  # fmt: skip
def test_one_execution_for_each_order(threads: int, each: int, line: str, count: int) -> None:
    """Writes to one location have as many executions as there are orders of them that keep each
    thread's own: a multinomial coefficient. Each atomic reads the write before it."""
    lines = [line.format(f"w{5 + i}") for i in range(each)]
    found = list(allowed(program(*[lines] * threads)))
    assert len(found) == count
    for execution in found:
        (order,) = execution.co.values()
        before = dict(zip(order, (INITIAL, *order)))
        pairs = execution.shape.rmw
        assert all(execution.rf[r] == before[w] for r, w in pairs)


def test_growth_is_bounded() -> None:
    """What cannot be searched in the number of steps allowed is refused, with the option named."""
    lines = ["ldadd w0, w5, [x1]", "ldadd w0, w6, [x1]"]
    explored = explore(program(lines, lines, lines), Limits(combinations=200))
    with pytest.raises(TooBig, match=r"^81 x 81 x 81 paths .* 200 steps: raise --combinations$"):
        list(allowed(explored))


_ATOMICS = (
    "str w0, [x1]", "str w2, [x1]", "ldr w5, [x1]", "ldr w6, [x1]", "ldar w7, [x1]",
    "stlr w2, [x1]", "ldadd w0, w5, [x1]", "swp w2, w6, [x1]", "ldeor w0, w5, [x1]",
    "cas w5, w2, [x1]", "cas w0, w2, [x1]", "ldxr w5, [x1]", "stxr w10, w2, [x1]", "ldr x5, [x14]",
    "str x2, [x14]", "ldrh w6, [x1]", "strb w0, [x1]", "str w0, [x3]", "ldr w7, [x3]", "dmb ish",
    "str w5, [x3]",
)  # fmt: skip
_few = st.lists(st.sampled_from(_ATOMICS), min_size=1, max_size=3)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(_few, min_size=2, max_size=4))
def test_naive_agrees_on_one_location(threads: list[list[str]]) -> None:
    """Both models have the same executions of threads that use the same few locations."""
    what = program(*threads)
    explored = explore(what)
    assume(prod(map(len, explored.paths)) < 2000)
    assume(sum(World(what, p, False, False).tries() for p in product(*explored.paths)) < 1000)
    fast, naive = outcomes(what, CACHE_TYPES[0])
    assert fast == naive


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(_few, min_size=2, max_size=3), st.sampled_from(AXIOMS))
def test_axioms_only_forbid(threads: list[list[str]], axiom: str) -> None:
    """A model without an axiom allows all that the whole model does: so the combinations that it
    leaves out for all axioms are left out for nothing less."""
    what = program(*threads)
    explored = explore(what)
    assume(prod(map(len, explored.paths)) < 2000)

    def keys(model: Model) -> set[object]:
        return {
            (tuple(map(id, e.paths)), tuple(e.rf.items()), tuple(e.co.items()))
            for e in allowed(explored, model)
        }

    assert keys(Model()) <= keys(Model(without=frozenset({axiom})))
