"""The interface that is the same everywhere: in a process on arm64, emulated elsewhere."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Iterator

import pytest
from static_call import RET0, StaticCall, StaticCallError, host
from static_call.design import Target

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


@pytest.mark.parametrize("target", [0, True, -8, 1 << 64, 0x1002, 2.5, "no_such_function_anywhere"])
def test_what_is_no_target_changes_nothing(name: str, target: object) -> None:
    """A bad target is refused in one line, and the static call calls what it called."""
    call = StaticCall(name, RET0)
    with pytest.raises(StaticCallError) as refused:
        call.update(target)
    assert "\n" not in str(refused.value)
    assert (call(3), call.target) == (0, RET0)
