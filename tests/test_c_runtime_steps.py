"""The steps of static_call.c against those of the designs' texts, and what a failing step leaves.

The linked program's machine code runs on an emulated CPU, under a kernel of a few lines: every
store to code, barrier, maintenance and membarrier that it executes is written down.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from toolchain import CLANG, GCC, Compiler
from unicorn import UC_HOOK_CODE
from unicorn import arm64_const as arm64

from static_call.design.target import RET0, Target
from static_call.isa import a64
from static_call.isa.isa import Step
from static_call.places.emulator import Emulator

HERE = Path(__file__).parent / "guest_c"
INCLUDE = Path(__file__).parents[1] / "src" / "static_call" / "include"

SVC = 2  # QEMU's number of the exception
OPENAT, CLOSE, LSEEK, PWRITE = 56, 57, 62, 68
SIGPROCMASK, GETPID, GETTID, MADVISE, MEMBARRIER = 135, 172, 178, 233, 283
SYNC_CORE, REGISTER = 32, 64
ALL = (1 << 64) - 1
OLD_CODE, UNSETTLED = 1, 2
THREAD = 4711
CSE = Step("cse")


class Called(NamedTuple):
    """A system call: its number, and the key, its lock and the blocked signals at that time."""

    number: int
    first: int
    func: int
    lock: int
    blocked: int


class Machine(Emulator):
    """An emulated process that has loaded the program."""

    def __init__(self, program: Path) -> None:
        self.blocked = 0x1234
        self.registered = False
        self.position = 0
        self.steps: list[Step] = []
        self.calls: list[Called] = []
        self.fails: Callable[[int], int] = lambda _: 0
        super().__init__()
        self.program = self.load(str(program))
        for segment in self.program.image.segments:
            if segment.executable:
                self._watch(segment.address + self.program.bias, segment.file_size)

    @cached_property
    def op(self) -> Any:
        """The program's static call."""
        return self.program.static_call("op")

    @cached_property
    def key(self) -> int:
        """The address of its key."""
        return self.program.resolve("__SCK__op")

    def word(self, address: int, size: int = 8) -> int:
        """A word of memory."""
        return int.from_bytes(self.read(address, size), "little")

    def update(self, target: int, flags: int = 0) -> int:
        """Runs the program's static_call_update(); `steps` and `calls` are what it did."""
        self.steps, self.calls = [], []
        return self.call(self.program.resolve("update"), target, flags) & 0xFFFFFFFF

    def _watch(self, address: int, size: int) -> None:
        """Notes the barriers and the maintenance that are executed of some code."""
        code = self.read(address, size)
        for at in range(0, size, 4):
            # System instructions begin with D5: few are worth a closer look.
            if code[at + 3] == 0xD5:
                insn = a64.decode(int.from_bytes(code[at : at + 4], "little"), address + at)
                if insn.name in ("dmb", "dsb", "isb", "dc cvau", "ic ivau"):
                    at_insn = address + at
                    self.uc.hook_add(UC_HOOK_CODE, self._on_instruction, begin=at_insn, end=at_insn)

    def _on_instruction(self, _uc: Any, address: int, _size: int, _data: object) -> None:
        insn = a64.decode(self.word(address, 4), address)
        if insn.name in ("dc cvau", "ic ivau"):
            register = getattr(arm64, f"UC_ARM64_REG_X{insn['t']}")
            self.steps.append(Step(insn.name, self.uc.reg_read(register)))
        else:
            self.steps.append(Step(str(insn)))

    def _on_exception(self, uc: Any, number: int, data: object) -> None:
        if number != SVC:
            super()._on_exception(uc, number, data)
            return
        x = [uc.reg_read(getattr(arm64, f"UC_ARM64_REG_X{n}")) for n in range(9)]
        key = self.key
        self.calls.append(
            Called(x[8], x[0], self.word(key), self.word(key + 16, 4), self.blocked)
        )  # fmt: skip
        result = -self.fails(len(self.calls) - 1) or self._system_call(x)
        uc.reg_write(arm64.UC_ARM64_REG_X0, result & ALL)

    def _system_call(self, x: list[int]) -> int:
        match x[8]:
            case 56:  # openat
                return 5
            case 68:  # pwrite64
                self.write(x[3], self.read(x[1], x[2]))
                self.steps.append(Step("store", x[3], self.word(x[3], x[2]), x[2]))
                return x[2]
            case 62:  # lseek
                self.position = x[1] if x[2] == 0 else self.position
                return self.position
            case 135:  # rt_sigprocmask
                new = self.word(x[1])
                if x[2]:
                    self.write(x[2], self.blocked.to_bytes(8, "little"))
                self.blocked = new
            case 178:  # gettid
                return THREAD
            case 172:  # getpid
                return THREAD
            case 283 if x[0] == SYNC_CORE:
                if not self.registered:
                    return -errno.EPERM
                self.steps.append(CSE)
            case 283 if x[0] == REGISTER:
                self.registered = True
            case 57 | 233:  # close, madvise
                return 0
            case number:
                raise AssertionError(f"system call {number}")
        return 0


BUILDS = list(itertools.product((GCC, CLANG), ("O0", "O2"), ("", "pie")))


@pytest.fixture(scope="module", params=BUILDS, ids=lambda one: f"{one[0]}-{one[1]}-static{one[2]}")
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program with inline-stub, and with adrp-stub as a position-independent one."""
    compiler: Compiler
    compiler, level, pie = request.param
    path = tmp_path_factory.mktemp("steps") / "steps"
    kind = ("-static-pie", "-fPIE") if pie else ("-static", "-no-pie", "-fno-pie")
    compiler(
        f"-{level}", *kind, f"-I{INCLUDE}", HERE / "steps.c", INCLUDE / "static_call.c", "-o", path
    )
    return path


@pytest.fixture
def machine(program: Path) -> Machine:
    """A process that has not updated yet."""
    return Machine(program)


def targets(machine: Machine) -> list[tuple[Target, int]]:
    """Targets of all forms, at the edges of a branch's reach too, and what C gives for each."""
    slot = machine.op.address + 4
    reach = 1 << 27
    addresses = [
        machine.program.resolve("first"),
        machine.program.resolve("second"),
        slot + reach - 4,
        slot + reach,
        slot - reach & ALL,
        slot - reach - 4 & ALL,
        slot + (1 << 34),
        0xFFFF_FFFF_F000,
    ]
    return [
        *((address, address) for address in addresses if address < 1 << 48),
        (None, 0),
        (RET0, machine.program.resolve("__static_call_return0")),
    ]


def expected(machine: Machine, target: Target, flags: int) -> list[Step]:
    """The steps of the design's text, without what the flags give up."""
    call = machine.op
    plan = call.trampoline.plan(target, machine.read, fresh=not flags & OLD_CODE)
    steps = list(plan.steps)
    assert steps[-1] == CSE
    return steps[:-1] if flags & UNSETTLED else steps


def test_designs(machine: Machine) -> None:
    """Position-independent programs have adrp-stub, the others inline-stub."""
    pie = machine.program.image.position_independent
    assert machine.op.design.name == ("adrp-stub" if pie else "inline-stub")


def test_steps_are_the_designs(machine: Machine) -> None:
    """Every transition takes the steps of the design's text, in their order: addresses, values."""
    assert machine.update(machine.program.resolve("second")) == 0
    every = targets(machine)
    for (old, given), (new, wanted) in itertools.product(every, repeat=2):
        assert machine.update(given) == 0
        assert machine.op.state.target == old
        for flags in range(4) if new == every[0][0] else (0,):
            steps = expected(machine, new, flags)
            assert machine.update(wanted, flags) == 0
            assert machine.steps == steps, (old, new, flags)
        state = machine.op.state
        assert (state.target, state.agrees) == (new, True)


def test_the_first_one_checks_writes(machine: Machine) -> None:
    """First of all it checks that written code runs; then it registers for membarrier."""
    target = machine.program.resolve("second")
    steps = expected(machine, target, 0)
    assert machine.update(target) == 0
    tried = machine.steps[: -len(steps)]
    slot = machine.program.resolve("__static_call_version") + 4
    assert tried == [
        Step("store", slot, 0xD503201F, 4), Step("dc cvau", slot), Step("dsb ish"),
        Step("ic ivau", slot), Step("dsb ish"), Step("isb"),
    ]  # fmt: skip
    assert machine.steps[len(tried) :] == steps


def test_key_lock_and_signals(machine: Machine) -> None:
    """The key is new before the first store; the lock has the thread's id and signals are blocked
    all the while, and afterwards everything is as it was."""
    second = machine.program.resolve("second")
    assert machine.update(second) == 0
    for target, given in targets(machine):
        before = machine.word(machine.key)
        assert machine.update(given) == 0
        after = machine.op.address if target is None else given
        assert machine.word(machine.key) == after
        stores = [one for one in machine.calls if one.number == PWRITE]
        assert [(one.func, one.lock) for one in stores] == [(after, THREAD)] * 2
        first, *others, last = [one for one in machine.calls if one.number != GETTID]
        assert (first.number, last.number) == (SIGPROCMASK, SIGPROCMASK)
        assert first.func == before
        assert {one.blocked for one in others} == {ALL}
        assert (machine.blocked, machine.word(machine.key + 16, 4)) == (0x1234, 0)


@pytest.mark.parametrize("flags", [0, OLD_CODE, OLD_CODE | UNSETTLED])
@pytest.mark.parametrize("warm", [False, True])
def test_a_failing_system_call(machine: Machine, warm: bool, flags: int) -> None:
    """Whichever step fails: its errno is returned, or it does not matter; the trampoline works; the
    key says what it calls; and nothing has changed unless the literal could be written."""
    near, near2, *_, far, null, ret0 = every = targets(machine)
    for (_, given), (new, wanted) in itertools.pairwise((near, near2, far, null, ret0, far, near)):
        failing = 0
        for failing in itertools.count():
            machine.fails = lambda _: 0
            assert machine.update(given) == 0
            if not warm:
                machine.call(machine.program.resolve("static_call_close"))
            before = machine.op.state
            old = machine.word(machine.key)
            machine.fails = lambda count, failing=failing: (  # type: ignore[misc]
                errno.ENOMEM if count == failing else 0
            )
            error = machine.update(wanted, flags)
            if failing >= len(machine.calls):
                break
            number = machine.calls[failing].number
            state = machine.op.state
            stores = [step for step in machine.steps if step.size == 8 or step.size == 4]
            assert machine.word(machine.key + 16, 4) == 0
            if error == 0:
                assert number in (SIGPROCMASK, MADVISE, CLOSE, GETTID, LSEEK), number
                assert state.target == new
            else:
                assert error == errno.ENOMEM
                assert number in (OPENAT, LSEEK, PWRITE, MEMBARRIER)
                if not stores:
                    assert (state, machine.word(machine.key)) == (before, old)
            func = machine.word(machine.key)
            calls_what = {None: machine.op.address, RET0: every[-1][1]}
            assert func == calls_what.get(state.target, state.target)
            machine.blocked = 0x1234
        assert failing >= 5
