"""Static calls of this process: what they can be given to call, and who calls them."""

from __future__ import annotations

import ctypes
import gc
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from patience import patient
from support import U64, Callers, agree, mapping, writable_code

import static_call
from static_call import RET0, StaticCall

FAR = 1 << 30
"""Bytes: beyond the ±128 MiB of a direct branch."""


@pytest.fixture(scope="module")
def callers(programs: Path) -> Callers:
    """The C functions, and the threads that call."""
    return Callers(programs)


@pytest.fixture
def make() -> Iterator[Callable[..., StaticCall]]:
    """Makes static calls, which are closed at the end."""
    made: list[StaticCall] = []

    def make(target: object, prototype: Any = U64, **options: Any) -> StaticCall:
        made.append(StaticCall(f"call_{len(made)}", target, prototype, **options))
        return made[-1]

    yield make
    for call in made:
        call.close()


Make = Callable[..., StaticCall]


def test_the_host_is_this_process() -> None:
    """On arm64 Linux host() is the process itself, one object, and no emulated machine."""
    StaticCall("of the host", None, U64).close()
    assert type(static_call.host()).__name__ == "OwnProcess"
    assert static_call.host() is static_call.host()


def test_function_of_a_library(make: Make, callers: Callers) -> None:
    """A ctypes function is called from Python and from C, by a direct branch; another one next."""
    call = make(callers.one)
    assert (call(7), callers.call(call.address), call.form) == (1, 1, "near")
    call.update(callers.two)
    assert (call(7), callers.call(call.address), call.form) == (2, 2, "near")
    assert call.target == ctypes.cast(callers.two, ctypes.c_void_p).value
    agree(call)


def test_far_target(make: Make, callers: Callers) -> None:
    """A target beyond a direct branch is called through the literal, and near again after that."""
    call = make(callers.one)
    host: Any = static_call.host()
    far = host.function("bti c\nmov x0, #3\nret", near=call.address - FAR)
    assert abs(far.address - call.address) > 1 << 27
    call.update(far)
    assert (call(7), callers.call(call.address), call.form) == (3, 3, "far")
    agree(call)
    call.update(callers.two)
    assert (call(7), call.form) == (2, "near")
    agree(call)


def test_nothing_and_zero(make: Make, callers: Callers) -> None:
    """None returns at once, so that x0 is still the argument; RET0 returns 0."""
    call = make(None)
    assert (call(77), callers.call(call.address, 78), call.form, call.target) == (
        77, 78, "null", None,
    )  # fmt: skip
    agree(call)
    call.update(RET0)
    assert (call(77), callers.call(call.address, 78), call.form) == (0, 0, "ret0")
    assert call.target is RET0
    agree(call)
    call.update(callers.one)
    assert (call(77), callers.call(call.address, 78)) == (1, 1)


def test_address_and_name(make: Make, callers: Callers) -> None:
    """An address is called directly; a name is what the dynamic linker finds."""
    call = make(ctypes.cast(callers.three, ctypes.c_void_p).value)
    assert call(7) == 3
    libc = ctypes.CDLL(None)
    call.update("labs")
    assert call.target == ctypes.cast(libc.labs, ctypes.c_void_p).value
    assert call((1 << 64) - 5) == 5


def test_callback_is_kept_alive(make: Make, callers: Callers) -> None:
    """A callback that nothing else refers to can be called from C; release() drops it."""

    def seven(argument: int) -> int:
        return argument + 7

    callback = U64(seven)
    gone = weakref.ref(seven)
    call = make(callback)
    del callback, seven
    gc.collect()
    assert callers.call(call.address, 1) == 8
    call.update(callers.one)
    gc.collect()
    assert gone() is not None, "a thread may still be calling it"
    call.release()
    gc.collect()
    assert gone() is None
    assert callers.call(call.address, 1) == 1


def test_python_function_with_a_prototype(make: Make, callers: Callers) -> None:
    """A Python function becomes a callback of the static call's prototype."""
    call = make(lambda argument: argument * 2)
    assert (call(21), callers.call(call.address, 50)) == (42, 100)
    call.update(lambda argument: argument * 3)
    assert (call(21), callers.call(call.address, 50)) == (63, 150)


def test_cffi(make: Make, callers: Callers, programs: Path) -> None:
    """cffi's functions and callbacks are targets, kept alive too."""
    cffi = pytest.importorskip("cffi")
    ffi = cffi.FFI()
    ffi.cdef("uint64_t one(uint64_t); uint64_t two(uint64_t);")
    library = ffi.dlopen(str(programs / "callers.so"))
    call = make(ffi.addressof(library, "two"))
    assert (call(7), callers.call(call.address), call.form) == (2, 2, "near")
    call.update(ffi.callback("uint64_t(uint64_t)", lambda argument: argument + 5))
    gc.collect()
    assert (call(7), callers.call(call.address, 100)) == (12, 105)
    call.update(library.one)
    assert call(7) == 1
    agree(call)


def test_comparator_of_qsort(make: Make) -> None:
    """The C library has a pointer once, and what it calls is swapped without its knowledge."""
    order = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int)
    )
    call = make(lambda a, b: a[0] - b[0], order)
    qsort = ctypes.CDLL(None).qsort
    qsort.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p]
    qsort.restype = None
    numbers = (ctypes.c_int * 6)(3, 1, 2, 6, 5, 4)
    qsort(numbers, 6, 4, call.address)
    assert list(numbers) == [1, 2, 3, 4, 5, 6]
    call.update(lambda a, b: b[0] - a[0])
    qsort(numbers, 6, 4, call.address)
    assert list(numbers) == [6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("design", ["inline-stub", "adrp-stub"])
def test_updates_while_threads_call(make: Make, callers: Callers, design: str, fresh: bool) -> None:
    """Every concurrent call goes to one of the targets; all forms and targets are met."""
    call = make(callers.one, design=design)
    host: Any = static_call.host()
    far = host.function("bti c\nmov x0, #3\nret", near=call.address - FAR)
    expected = [(callers.one, 1), (callers.two, 2), (far, 3), (None, 1000), (RET0, 0)]
    deadline = time.monotonic() + patient(30)
    rounds = 0
    with callers.running(call.address) as seen:
        while rounds < 10 or (len(+Counter(callers.seen())) < 5 and time.monotonic() < deadline):
            for target, result in expected:
                call.update(target, fresh=fresh)
                assert callers.call(call.address) == result
            rounds += 1
    assert seen.pop("wrong") == 0
    assert all(seen.values()), seen
    agree(call)


def test_no_page_is_writable_and_executable(make: Make, callers: Callers) -> None:
    """Neither the pool nor a library's text is writable, before, during and after updates."""
    others = writable_code()  # closures of callbacks, by libffi, in tests before
    call = make(callers.one)
    target = ctypes.cast(callers.one, ctypes.c_void_p).value or 0
    before = [mapping(call.address), mapping(target)]
    assert [rights for rights, _ in before] == ["r-xp", "r-xp"]
    with callers.running(call.address):
        for function in (callers.two, None, RET0, callers.one):
            call.update(function)
            assert writable_code() == others
    assert [mapping(call.address), mapping(target)] == before
