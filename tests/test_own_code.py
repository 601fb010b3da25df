"""The machine code that retargets in a process, run by unicorn, with a kernel that is a hook."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import unicorn
from unicorn import arm64_const as arm64
from unicorn.unicorn import Uc

from static_call import RET0
from static_call.design import notation
from static_call.design.design import Design
from static_call.design.retarget import Retarget
from static_call.design.target import Target
from static_call.design.trampoline import Trampoline
from static_call.isa import a64
from static_call.places.own_process import own_code

BASE, FAR = 0x1000_0000, 0x40_0000_0000
CODE, TEXT, DATA, STACK, PARAMETERS = (BASE + 0x10000 * n for n in range(5))
KEY, LOCK, FD, THREAD = DATA + 0x1000, DATA + 0x1010, 7, 4321
NEAR, ELSEWHERE = TEXT + 0x8000, TEXT + 0x9000
RETURN = 0xFFFF_F000
BARRIERS = ("dmb", "dsb", "dc cvau", "ic ivau", "isb")
TARGETS: dict[str, Target] = {"near": NEAR, "far": FAR, "null": None, "ret0": RET0}
DESIGNS = [name for name in notation.shipped() if name not in ("literal-before-entry", "adrp-add")]
CASES = [
    (name, before, after)
    for name in DESIGNS
    for before, after in itertools.permutations(notation.load(name).forms, 2)
]


class Machine:
    """One arm64 PE; pwrite64 and membarrier are noted in `seen`, and the n-th store can fail."""

    def __init__(self, design: Design, form: str, *, fail: int | None = None, error: int = 5):
        self.uc: Any = Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
        self.uc.ctl_set_cpu_model(arm64.UC_CPU_ARM64_MAX)
        for start in (CODE, TEXT, DATA, STACK, PARAMETERS):
            self.uc.mem_map(start, 0x10000)
        self.seen: list[str] = []
        self.fail, self.error, self.stores = fail, error, 0
        self.trampoline = Trampoline(
            design,
            TEXT + design.entry,
            {label: DATA + 8 * n for n, label in enumerate(design.outside)},
        )
        for address, piece in self.trampoline.assemble(TARGETS[form]):
            self.uc.mem_write(address, piece)
        self.uc.hook_add(unicorn.UC_HOOK_INTR, self._kernel)
        self.uc.hook_add(unicorn.UC_HOOK_CODE, self._instruction)

    def read(self, address: int, size: int) -> bytes:
        """Memory."""
        return bytes(self.uc.mem_read(address, size))

    def word(self, address: int) -> int:
        """8 bytes of memory."""
        return int.from_bytes(self.read(address, 8), "little")

    def run(self, plan: Retarget, code: bytes, *, owner: int = 0) -> int:
        """Runs the machine code for a plan; the result is signed."""
        words = [FD, LOCK, owner, THREAD, KEY, NEAR, plan.keep, 99, 0, *[0] * 5]
        words += plan.registers
        for number, word in enumerate(words):
            self.uc.mem_write(PARAMETERS + 8 * number, word.to_bytes(8, "little"))
        self.uc.mem_write(CODE, code)
        kept = {number: 0x1111 * number for number in range(19, 30)}
        for number, value in kept.items():
            self.uc.reg_write(self._x(number), value)
        self.uc.reg_write(arm64.UC_ARM64_REG_SP, STACK + 0x8000)
        self.uc.reg_write(arm64.UC_ARM64_REG_LR, RETURN)
        self.uc.reg_write(arm64.UC_ARM64_REG_X0, PARAMETERS)
        self.uc.emu_start(CODE, RETURN, count=1000)
        assert self.uc.reg_read(arm64.UC_ARM64_REG_PC) == RETURN
        assert self.uc.reg_read(arm64.UC_ARM64_REG_SP) == STACK + 0x8000
        for number, value in kept.items():  # AAPCS64 6.1.1: x19 to x29 are the caller's
            assert self.uc.reg_read(self._x(number)) == value
        result: int = self.uc.reg_read(arm64.UC_ARM64_REG_X0)
        return result - (1 << 64) if result >> 63 else result

    @staticmethod
    def _x(number: int) -> int:
        names = {29: "X29", 30: "X30"}
        value: int = getattr(arm64, f"UC_ARM64_REG_{names.get(number, f'X{number}')}")
        return value

    def _kernel(self, uc: Any, number: int, _data: object) -> None:
        assert number == 2, "not a system call"
        x = [uc.reg_read(self._x(n)) for n in range(9)]
        if x[8] == 283:  # membarrier, include/uapi/asm-generic/unistd.h
            assert x[0] in (32, 64)  # PRIVATE_EXPEDITED_SYNC_CORE, and to register for it
            assert x[1:3] == [0, 0]  # no flags
            self.seen.append("cse" if x[0] == 32 else "register")
            result = 0
        else:
            assert (x[8], x[0]) == (68, FD)  # pwrite64
            if self.stores == self.fail:
                result = -self.error
            else:
                data = self.read(x[1], x[2])
                uc.mem_write(x[3], data)
                value = int.from_bytes(data, "little")
                self.seen.append(f"store {x[2]} bytes at {x[3]:#x}: {value:#0{2 * x[2] + 2}x}")
                self.stores += 1
                result = x[2]
        uc.reg_write(arm64.UC_ARM64_REG_X0, result & (1 << 64) - 1)

    def _instruction(self, uc: Any, address: int, _size: int, _data: object) -> None:
        insn = a64.decode(int.from_bytes(self.read(address, 4), "little"))
        if insn.name in BARRIERS:
            line = "t" in insn
            where = f" {uc.reg_read(self._x(insn['t'])):#x}" if line else ""
            self.seen.append(f"{insn.name}{where}" if line else str(insn))


@pytest.mark.parametrize(("name", "before", "after"), CASES)
def test_what_runs_is_what_the_design_says(name: str, before: str, after: str) -> None:
    """Stores, barriers, maintenance and cse are the design's, in its order, whatever the change."""
    design = notation.load(name)
    machine = Machine(design, before)
    plan = machine.trampoline.plan(TARGETS[after], machine.read)
    assert machine.run(plan, own_code.retarget(plan.code, name)) == 0
    assert machine.seen == [str(step) for step in plan.steps]
    assert machine.trampoline.state(machine.read).form == after
    assert (machine.word(KEY), machine.word(LOCK) & 0xFFFF_FFFF) == (NEAR, 0)


def test_a_retarget_to_old_code_asks_for_membarrier_first() -> None:
    """Without a leading cse, that there is a membarrier for the last step is known at first."""
    design = notation.load("inline-stub")
    machine = Machine(design, "near")
    plan = machine.trampoline.plan(FAR, machine.read, fresh=False)
    machine.run(plan, own_code.retarget(plan.code, "inline-stub"))
    assert machine.seen == ["register", *map(str, plan.steps)]
    assert machine.seen[1] != "cse"


def test_the_default_is_these_steps() -> None:
    """The default's steps near to near, by hand from FACTS: literal, slot, maintenance, cse."""
    machine = Machine(notation.load("inline-stub"), "far")
    plan = machine.trampoline.plan(NEAR, machine.read)
    machine.run(plan, own_code.retarget(plan.code, "inline-stub"))
    slot, literal = TEXT + 4, TEXT + 16
    branch = 0x1400_0000 | (NEAR - slot) >> 2
    assert machine.seen == [
        "cse", f"store 8 bytes at {literal:#x}: {NEAR:#018x}", "dmb ishst",
        f"store 4 bytes at {slot:#x}: {branch:#010x}", f"dc cvau {slot:#x}", "dsb ish",
        f"ic ivau {slot:#x}", "dsb ish", "cse",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "fail", "done"),
    [
        ("near", FAR, 0, False),
        ("near", FAR, 1, False),  # the slot's branch is still there
        ("far", NEAR, 0, False),
        ("far", NEAR, 1, True),  # the slot is a NOP, so the literal is what counts
        ("null", FAR, 1, False),
    ],
)
def test_a_refused_store(before: str, after: int, fail: int, done: bool) -> None:
    """The errno comes back with the stores made; the key says what calls then go to."""
    machine = Machine(notation.load("inline-stub"), before, fail=fail, error=13)
    machine.uc.mem_write(KEY, ELSEWHERE.to_bytes(8, "little"))
    plan = machine.trampoline.plan(after, machine.read)
    assert machine.run(plan, own_code.retarget(plan.code, "inline-stub")) == -13
    assert machine.word(PARAMETERS + 8 * own_code.PARAMETERS.index("stores")) == fail
    assert machine.word(KEY) == (NEAR if done else ELSEWHERE)
    assert machine.word(LOCK) & 0xFFFF_FFFF == 0
    # Every prefix is a trampoline.
    target = machine.trampoline.state(machine.read).target
    assert target == (after if done else TARGETS[before])


def test_a_short_store_is_an_input_output_error() -> None:
    """A pwrite that wrote less than asked is EIO."""
    machine = Machine(notation.load("inline-stub"), "near", fail=0, error=-2)  # 2 bytes written
    plan = machine.trampoline.plan(FAR, machine.read)
    assert machine.run(plan, own_code.retarget(plan.code, "inline-stub")) == -5


@pytest.mark.parametrize(("held_by", "owner", "result"), [(77, 0, 1), (77, 77, 0), (0, 77, 1)])
def test_the_lock(held_by: int, owner: int, result: int) -> None:
    """It is taken only from whom the caller says; else nothing is done, and its owner is told."""
    machine = Machine(notation.load("inline-stub"), "near")
    machine.uc.mem_write(LOCK, held_by.to_bytes(4, "little"))
    plan = machine.trampoline.plan(FAR, machine.read)
    assert machine.run(plan, own_code.retarget(plan.code, "inline-stub"), owner=owner) == result
    assert bool(machine.seen) == (result == 0)
    if result:
        assert machine.word(PARAMETERS + 8 * own_code.PARAMETERS.index("owner")) == held_by
        assert machine.word(LOCK) & 0xFFFF_FFFF == held_by


def test_a_store_of_16_bytes_is_refused() -> None:
    """No kernel stores 16 bytes at once for a process."""
    with pytest.raises(own_code.Unperformable, match="16 bytes at once"):
        own_code.retarget(notation.load("literal-before-entry").retarget, "it")
