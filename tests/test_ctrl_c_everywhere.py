"""KeyboardInterrupt at any moment: a constructor leaves nothing, an update is whole, no lock stays.

A trace function raises it at the k-th moment at which CPython checks for signals, for each k in
turn: where a function is entered, after a call, at the end of a loop's turn.
"""

from __future__ import annotations

import ctypes
import dis
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import static_call
from static_call import RET0, Design, Emulator, StaticCall
from static_call.design.trampoline import Trampoline
from static_call.errors import BadTarget, Closed, NameTaken
from static_call.key import KEY_SIZE, RETURN0
from static_call.locks import Deadlock
from static_call.places.emulator import machine as emulated
from static_call.places.own_process.pool import ARENA, Pool
from static_call.places.protocol import Piece

# What is raised in a generator that is being dropped is lost, as any signal's exception there.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

PACKAGE = str(Path(static_call.__file__).parent)
FILES = tuple(
    os.path.join(PACKAGE, name)
    for name in (
        "calls.py", "key.py", "locks.py", "sharing.py", "targets.py",
        "places/emulator/machine.py", "places/emulator/memory.py", "places/emulator/processor.py",
        "places/own_process/pool.py",
    )
)  # fmt: skip
"""The files whose code is interrupted: those that could leave something undone."""


class Pooled(Emulator):
    """A machine whose trampolines and keys are in a process's pools, at the same addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.text, self.keys, self.literals = Pool(), Pool(), Pool()
        self.arenas: set[int] = set()

    def reserve(
        self,
        design: Design,
        pieces: list[Piece],
        *,
        near: int | None = None,
        at: int | None = None,
    ) -> tuple[Trampoline, int]:
        """As OwnProcess does."""
        outside = {label: self.literals.take(8, 8, into=pieces) for label in design.outside}
        key = self.keys.take(KEY_SIZE, 8, into=pieces)
        entry = self.text.take(design.size, design.align, into=pieces) + design.entry
        for pool in (self.text, self.keys, self.literals):
            for arena in pool.ranges():
                if arena.start not in self.arenas:
                    self.map(arena.start, ARENA, write=pool is self.keys, execute=pool is self.text)
                    self.arenas.add(arena.start)
        return Trampoline(design, entry, outside), key


LOOKS = {dis.opmap[name] for name in ("CALL", "CALL_KW", "CALL_FUNCTION_EX", "JUMP_BACKWARD")
         if name in dis.opmap}  # fmt: skip
"""CPython checks for signals after these instructions, and where a function is entered."""


class Interrupter:
    """Raises KeyboardInterrupt at the k-th moment, counted from `with`."""

    def __init__(self, k: int) -> None:
        self.left, self.raised, self.ended = k, False, False
        self.last: dict[FrameType, int] = {}

    def __enter__(self) -> Interrupter:
        sys.settrace(self._trace)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        sys.settrace(None)
        self.ended = kind is KeyboardInterrupt  # Python drops one in a generator's end
        return self.ended

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename not in FILES:
            return None
        frame.f_trace_opcodes = True
        moment = event == "call"
        if event == "opcode":
            moment = self.last.get(frame) in LOOKS
            self.last[frame] = frame.f_code.co_code[frame.f_lasti]
        if moment:
            self.left -= 1
            if self.left == 0:
                self.raised = True
                raise KeyboardInterrupt
        return self._trace


def moments(do: Callable[[], object]) -> range:
    """All k at which an action can be interrupted."""
    counter = Interrupter(-1)
    with counter:
        do()
    assert counter.left < -10
    return range(1, -counter.left)


@pytest.fixture(params=["emulator", "pools"])
def machine(request: pytest.FixtureRequest) -> Emulator:
    """A machine with one function, `one`, that returns 1, and `two`."""
    made = Emulator() if request.param == "emulator" else Pooled()
    made.function("bti c\nmov x0, #1\nret", name="one")
    made.function("bti c\nmov x0, #2\nret", name="two")
    return made


def free(machine: Emulator, call: StaticCall) -> bool:
    """Whether another thread can update it: nobody has its lock."""
    done: list[bool] = []

    def update() -> None:
        call.update("one")
        done.append(True)

    thread = threading.Thread(target=update, daemon=True)
    thread.start()
    thread.join(20)
    return bool(done)


@pytest.mark.parametrize("design", ["inline-stub", "adrp-stub"])
def test_a_constructor_leaves_nothing(machine: Emulator, design: str) -> None:
    """Its name is free again, and so is the memory of trampoline, key and literal."""

    def make() -> StaticCall:
        return StaticCall("it", "one", design=design, place=machine)

    def make_and_close() -> None:
        make().close()

    make_and_close()
    places: set[tuple[int, int | None]] = set()
    finished = 0
    for k in moments(make):
        machine.names.clear()  # the static call that was made to count
        with Interrupter(k) as interrupter:
            make()
        if not interrupter.raised:
            continue
        if "it" in machine.names:  # it was made: the interrupt came when it was to be returned
            finished += interrupter.ended
            machine.names["it"].close()
        call = make()
        places.add((call.address, call.key))
        assert call(5) == 1
        call.close()
    assert finished <= 3
    if isinstance(machine, Pooled):
        # What was counted is not closed; each piece is used again, the oldest first.
        assert len(places) <= 3


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, SystemExit, UserWarning])
def test_a_constructor_that_fails_for_any_reason_leaves_nothing(
    machine: Emulator, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the place raises: for example, a warning as an error, or that memory is full."""

    def fail(*_: object, **__: object) -> None:
        raise error

    StaticCall("it", "one", place=machine).close()
    for step in ("reserve", "create", "guarded"):
        with monkeypatch.context() as patch:
            patch.setattr(machine, step, fail)
            with pytest.raises(error):
                StaticCall("it", machine.function("mov x0, #1\nret"), place=machine)
        assert machine.names == {}
        call = StaticCall("it", "two", place=machine)
        assert call(5) == 2
        call.close()


def test_an_address_is_free_again() -> None:
    """A static call that was to be at an address, and was refused or closed, has left it."""
    machine = Emulator()
    f = machine.function("bti c\nmov x0, #1\nret")
    for design in ("inline-stub", "adrp-stub"):
        for _ in range(2):
            with pytest.raises(BadTarget):
                machine.static_call("it", 0x1234_0000, at=0x5000_0000, design=design)
            call = machine.static_call("it", f, at=0x5000_0000, design=design)
            assert (call.address, call(3)) == (0x5000_0000, 1)
            with pytest.raises(static_call.StaticCallError, match="memory already"):
                machine.static_call("other", f, at=0x5000_0000, design=design)
            assert call(3) == 1
            call.close()
    with pytest.raises(static_call.StaticCallError):
        machine.function("no such instruction", at=0x6000_0000)
    assert machine.function("ret", at=0x6000_0000)(3) == 3


@pytest.mark.parametrize("target", ["two", None, RET0])
def test_an_update_is_whole(machine: Emulator, target: Any) -> None:
    """A call goes to the old target or to the new one, as the key says; the lock is free."""
    call = StaticCall("it", "one", place=machine)
    new = {"two": 2, None: 5, RET0: 0}[target]

    def update() -> None:
        call.update(target)

    for k in moments(update):
        call.update("one")
        before = [rights for *_, rights in machine.uc.mem_regions()]
        with Interrupter(k):
            update()
        assert call(5) in (1, new)
        assert call.key is not None
        key = int.from_bytes(machine.read(call.key, 8), "little")
        expected = call.target
        if expected is None:
            expected = call.address
        elif expected is RET0:
            expected = machine.resolve(RETURN0)
        assert key == expected
        assert [rights for *_, rights in machine.uc.mem_regions()] == before
    assert free(machine, call)


def test_a_static_call_is_open_or_closed(machine: Emulator) -> None:
    """An interrupted close() has not begun, or was done to its end."""

    def make() -> StaticCall:
        return StaticCall("it", "one", place=machine)

    counted = make()
    places = set()
    for k in moments(counted.close):
        call = make()
        places.add(call.address)
        with Interrupter(k):
            call.close()
        if "it" in machine.names:
            call.update("two")
            assert call(5) == 2
            call.close()
        with pytest.raises(Closed):
            call.update(None)
        assert machine.names == {}
    if isinstance(machine, Pooled):
        assert len(places) <= 2


def test_an_interrupted_release_keeps_what_is_called(machine: Emulator) -> None:
    """The present target stays alive, and the lock is free."""
    call = StaticCall("it", machine.function("bti c\nmov x0, #1\nret"), place=machine)
    for k in moments(call.release):
        with Interrupter(k):
            call.release()
        assert call(5) == 1
    assert free(machine, call)


def test_a_machine_that_was_interrupted_runs_on() -> None:
    """A call that KeyboardInterrupt ended does not affect the next one."""
    machine = Emulator()
    f = machine.function("bti c\nadd x0, x0, #1\nret")
    for k in moments(lambda: f(3)):
        with Interrupter(k):
            f(3)
        assert f(4) == 5
    for k in moments(Emulator)[::20]:
        with Interrupter(k):
            Emulator()
    assert f(4) == 5


# The thread itself comes back: in a signal handler, a finalizer, a property of a target


class Meddler:
    """A target whose address, when it is asked for, does something first."""

    def __init__(self, address: int, do: Callable[[], object]) -> None:
        self._address, self.do = address, do

    @property
    def address(self) -> int:
        """The address."""
        self.do()
        return self._address

    def __eq__(self, other: object) -> bool:
        raise AssertionError("a target's == was asked")

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("do", ["update", "close", "release"])
def test_an_update_inside_an_update_is_refused(machine: Emulator, do: str) -> None:
    """Of the same static call, in the same thread: Deadlock at once; afterwards it works."""
    call = StaticCall("it", "one", place=machine)
    actions: dict[str, Callable[[], object]] = {
        "update": lambda: call.update("one"), "close": call.close, "release": call.release,
    }  # fmt: skip
    with pytest.raises(Deadlock, match="in an update of it already"):
        call.update(Meddler(machine.resolve("two"), actions[do]))
    assert call(5) == 1
    call.update(Meddler(machine.resolve("two"), lambda: None))
    assert call(5) == 2
    assert free(machine, call)


def test_an_update_of_another_static_call_inside_an_update(machine: Emulator) -> None:
    """That is another lock."""
    call, other = (StaticCall(name, "one", place=machine) for name in ("it", "other"))
    call.update(Meddler(machine.resolve("two"), lambda: other.update("two")))
    assert (call(5), other(5)) == (2, 2)


def test_targets_are_told_apart_by_identity(machine: Emulator) -> None:
    """Not by ==, which may raise, or have no hash."""
    call = StaticCall("it", "one", place=machine)
    targets = [Meddler(machine.resolve(name), lambda: None) for name in ("one", "two")]
    for _ in range(3):
        for target, result in zip(targets, (1, 2)):
            call.update(target)
            assert call(5) == result


def test_a_name_is_taken_once(machine: Emulator) -> None:
    """A refused second one takes nothing from the first."""
    call = StaticCall("it", "one", place=machine)
    with pytest.raises(NameTaken):
        StaticCall("it", "two", place=machine)
    assert (machine.names["it"], call(5)) == (call, 1)


def test_c_code_of_this_process_cannot_call_into_a_machine() -> None:
    """ctypes is given the reason, not a pointer into an emulated machine."""
    machine = Emulator()
    call = StaticCall("it", machine.function("ret"), place=machine)
    with pytest.raises(ctypes.ArgumentError, match="is not in this process"):
        ctypes.CDLL(None).labs(call)


def test_what_is_interrupted_here_is_what_there_is() -> None:
    """The files are the package's own, with the names that code objects have."""
    assert emulated.__file__ in FILES
    assert all(map(os.path.exists, FILES))
