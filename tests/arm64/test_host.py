"""The interface that is the same everywhere: in a process on arm64, emulated elsewhere."""

from __future__ import annotations

import ctypes
import itertools
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from static_call import RET0, StaticCall, StaticCallError, host
from static_call.design.target import Target
from static_call.errors import BadTarget, NameTaken

INT_INT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)
DESIGNS = ["inline-stub", "adrp-stub", "local-stub", "data-literal", "slot-inline-literal"]


@pytest.fixture(scope="module")
def targets() -> dict[str, tuple[Target, int]]:
    """What is called, and its result for the argument 3."""
    one = host().function("bti c\nadd x0, x0, #1\nret")
    hundred = host().function("bti c\nadd x0, x0, #100\nret")
    return {
        "one": (one.address, 4),
        "hundred": (hundred.address, 103),
        "none": (None, 3),
        "ret0": (RET0, 0),
    }


@pytest.fixture
def name(request: pytest.FixtureRequest) -> Iterator[str]:
    """A name of a static call, which is closed afterwards."""
    name = str(request.node.name)
    yield name
    if name in host().names:
        host().names[name].close()


@pytest.mark.parametrize("design", DESIGNS)
def test_every_change(name: str, design: str, targets: dict[str, tuple[Target, int]]) -> None:
    """From every target to every other one: the call goes there, and says so."""
    call = StaticCall(name, design=design)
    for before, after in itertools.permutations(targets, 2):
        for which in (before, after):
            target, result = targets[which]
            call.update(target)
            assert call(3) == result
            assert call.target == target


def test_a_prototype(name: str) -> None:
    """With a prototype a C int has 32 bits and a sign."""
    call = StaticCall(name, host().function("bti c\nadd x0, x0, #1\nret"), INT_INT)
    assert (call(3), call(-2)) == (4, -1)


def test_near_and_far_are_told(name: str) -> None:
    """The form is near for a target within a direct branch."""
    call = StaticCall(name, host().function("bti c\nret"))
    assert call.form == "near"
    call.update(None)
    assert (call.form, call.target) == ("null", None)


def test_names_are_taken_and_given_back(name: str) -> None:
    """A second static call of the name is refused until the first is closed."""
    StaticCall(name)
    with pytest.raises(StaticCallError, match="already"):
        StaticCall(name)
    host().names[name].close()
    assert StaticCall(name)(7) == 7


def test_one_of_several_threads_gets_a_name(name: str) -> None:
    """If threads define the same name at the same time, one succeeds and the others are refused."""
    made: list[StaticCall] = []
    refused: list[NameTaken] = []
    ready = threading.Barrier(4)

    def define() -> None:
        ready.wait()
        try:
            made.append(StaticCall(name))
        except NameTaken as error:
            refused.append(error)

    threads = [threading.Thread(target=define) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(made), len(refused)) == (1, 3)


@pytest.mark.parametrize("prototype", [int, 3, ctypes.c_int, INT_INT()])
def test_what_is_no_prototype(name: str, prototype: Any) -> None:
    """A prototype is a type that ctypes.CFUNCTYPE made."""
    with pytest.raises(BadTarget, match="not a prototype"):
        StaticCall(name, None, prototype)
    assert name not in host().names


def test_ret0_is_for_results_in_x0(name: str) -> None:
    """A floating-point result is in another register, which RET0 does not touch."""
    real = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)
    with pytest.raises(BadTarget, match="RET0 returns 0 in x0"):
        StaticCall(name, RET0, real)


@pytest.mark.parametrize("target", [0, True, -8, 1 << 64, 0x1002, 2.5, "no_such_function_anywhere"])
def test_what_is_no_target_changes_nothing(name: str, target: object) -> None:
    """A bad target is refused in one line, and the static call keeps its target."""
    call = StaticCall(name, RET0)
    with pytest.raises(StaticCallError) as refused:
        call.update(target)
    assert "\n" not in str(refused.value)
    assert (call(3), call.target) == (0, RET0)
