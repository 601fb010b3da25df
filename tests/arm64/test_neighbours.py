"""Static calls of this process among others: interrupts, closed and reused descriptors, replaced
files, an application's own signals, the end of the interpreter."""

from __future__ import annotations

import ctypes
import functools
import gc
import itertools
import mmap
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support import U64, Callers, agree, in_child, writable_code

import static_call
from static_call import StaticCall, StaticCallError
from static_call.design import notation
from static_call.design.trampoline import Trampoline
from static_call.locks import Deadlock
from static_call.places.own_process import OwnProcess, Unproved, maps

ORDER = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))


@pytest.fixture(scope="module")
def callers(programs: Path) -> Callers:
    """The C functions, and the threads that call."""
    return Callers(programs)


@pytest.fixture
def call(callers: Callers) -> Iterator[StaticCall]:
    """A static call whose target is `one`."""
    made = StaticCall("call", callers.one, U64)
    yield made
    made.close()


def host() -> Any:
    """This process; some tests look at its internals."""
    return static_call.host()


# Interrupts


def test_ctrl_c_in_the_constructor(callers: Callers) -> None:
    """After KeyboardInterrupt at any time the name is free, and the memory is used again."""
    armed = False

    def alarm(*_: object) -> None:
        if armed:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, alarm)
    StaticCall("k", callers.one, U64).close()
    places = set()
    interrupted = 0
    deadline = time.monotonic() + 60
    try:
        for number in itertools.count():
            if (number >= 120 and interrupted >= 20) or time.monotonic() > deadline:
                break
            call = None
            try:
                armed = True
                signal.setitimer(signal.ITIMER_REAL, 1e-4 * (1 + number % 40))
                call = StaticCall("k", callers.one, U64)
                armed = False
            except KeyboardInterrupt:
                armed = False
                interrupted += 1
                if call is None and "k" in host().names:
                    # It came when the constructor had returned, and nothing had the result yet.
                    host().names["k"].close()
                    continue
            signal.setitimer(signal.ITIMER_REAL, 0)
            if call is None:
                call = StaticCall("k", callers.two, U64)
                assert call(1) == 2
            places.add(call.address)
            call.close()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupted
    assert len(places) <= 2


@pytest.mark.parametrize("error", [Unproved, UserWarning])
def test_a_warning_that_is_an_error(callers: Callers, error: type[Warning]) -> None:
    """With -W error, a design that claims nothing is refused, and the name is free."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error", error)
        with pytest.raises(Unproved):
            StaticCall("warned", callers.one, U64, design="data-literal")
    assert "warned" not in host().names
    StaticCall("warned", callers.one, U64).close()


def test_a_signal_handler_updates_the_same_static_call(call: StaticCall, callers: Callers) -> None:
    """Within an update it gets Deadlock and never waits for itself; outside it just updates."""
    outcomes: dict[str, int] = {"refused": 0, "done": 0}

    def handler(*_: object) -> None:
        try:
            call.update(callers.three)
            outcomes["done"] += 1
        except Deadlock:
            outcomes["refused"] += 1
        signal.setitimer(signal.ITIMER_REAL, 0.0005 + sum(outcomes.values()) * 17 % 64 * 1e-5)

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.001)
    try:
        deadline = time.monotonic() + 60
        while outcomes["refused"] < 5 and time.monotonic() < deadline:
            call.update(callers.one)
            call.update(callers.two)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert outcomes["refused"]
    agree(call)
    assert callers.call(call.address) in (2, 3)


@pytest.mark.parametrize("step", ["_register", "_try", "function"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_a_place_that_cannot_be_made_leaves_nothing(
    step: str, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """OwnProcess() that is interrupted has no file open and no memory mapped."""

    def fail(*_: object, **__: object) -> None:
        raise error

    gc.collect()
    before = sorted(os.listdir("/proc/self/fd")), code()
    monkeypatch.setattr(OwnProcess, step, fail)
    with pytest.raises(error):
        OwnProcess()
    assert (sorted(os.listdir("/proc/self/fd")), code()) == before


def code() -> list[str]:
    """The ranges of executable memory that no file is mapped to."""
    with open("/proc/self/maps", encoding="utf-8") as file:
        return [line.split()[0] for line in file if "r-xp" in line and len(line.split()) == 5]


# Python functions as targets


class Adder:
    """An object with a method that is a target."""

    def __init__(self, number: int) -> None:
        self.number = number

    def add(self, argument: int) -> int:
        """The sum."""
        return argument + self.number

    def __eq__(self, other: object) -> bool:
        raise AssertionError("a target's == was asked")

    __hash__ = None  # type: ignore[assignment]


def callbacks() -> int:
    """How many callbacks of the prototype there are."""
    gc.collect()
    return sum(isinstance(one, U64) for one in gc.get_objects())


def test_one_callback_for_a_function(call: StaticCall, callers: Callers) -> None:
    """Made once, however often it is the target: functions, methods, partials; release frees it."""
    adders = Adder(3), Adder(4)
    part = functools.partial(int.__add__, 5)
    before = callbacks()
    for _ in range(50):
        call.update(abs)
        assert callers.call(call.address, 6) == 6
        for adder in adders:
            call.update(adder.add)
            assert callers.call(call.address, 6) == 6 + adder.number
        call.update(part)
        assert callers.call(call.address, 6) == 11
    assert callbacks() == before + 4
    call.release()
    assert callbacks() == before + 1
    assert callers.call(call.address, 6) == 11
    call.update(adders[0].add)
    assert callers.call(call.address, 6) == 9


@pytest.mark.guest("user-mode emulation does not tell the rights of anonymous memory")
def test_where_callbacks_are() -> None:
    """libffi's own code for a callback is on a page that is writable and executable in Debian 12
    and 13, and no longer in the release with Python 3.14, as the documentation says; none of this
    package's is."""
    ours = {hex(one.start)[2:] for pool in host()._pools for one in pool.ranges()}
    keep = [U64(lambda argument: argument) for _ in range(3)]
    found = writable_code()
    assert keep
    assert bool(found) == (sys.version_info < (3, 14))
    assert not any(line.split("-")[0] in ours for line in found)


@pytest.mark.parametrize("typed", [False, True, ctypes.c_void_p])
def test_a_static_call_is_an_argument(typed: Any) -> None:
    """C functions of ctypes take it as a pointer: untyped, by its prototype, as a void pointer."""
    call = StaticCall("order", lambda a, b: a[0] - b[0], ORDER)
    library = ctypes.CDLL(None)
    if typed:
        last = ORDER if typed is True else typed
        library.qsort.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, last]
    numbers = (ctypes.c_int * 5)(3, 1, 5, 2, 4)
    size, item = ctypes.c_size_t(5), ctypes.c_size_t(4)
    library.qsort(numbers, size, item, call)
    assert list(numbers) == [1, 2, 3, 4, 5]
    call.update(lambda a, b: b[0] - a[0])
    library.qsort(numbers, size, item, call)
    assert list(numbers) == [5, 4, 3, 2, 1]
    call.close()
    with pytest.raises(ctypes.ArgumentError, match="closed"):
        library.qsort(numbers, size, item, call)


def test_a_static_call_without_a_prototype_is_an_argument(callers: Callers) -> None:
    """It is a void pointer then, with all its bits; cffi takes its address."""
    call = StaticCall("bare", callers.two)
    library = ctypes.CDLL(callers.library._name)
    library.call_once.restype = ctypes.c_uint64
    assert library.call_once(call, ctypes.c_uint64(1)) == 2
    cffi = pytest.importorskip("cffi")
    assert cffi.FFI().cast("uint64_t(*)(uint64_t)", call.address)(1) == 2
    call.close()


# File descriptors


def test_no_descriptor_is_a_standard_one() -> None:
    """In a process without stdin, stdout and stderr, the memory's descriptor gets other numbers."""

    def child() -> str:
        os.closerange(0, 3)
        place = OwnProcess()
        call = StaticCall("it", "labs", place=place)
        call.update("llabs")
        low = []
        for name in range(3):
            with suppress(OSError):
                low.append(os.readlink(f"/proc/self/fd/{name}"))
        return f"{place.fd() >= 3} {low} {call(7)}"

    assert in_child(child) == "True [] 7"


def test_others_close_the_descriptor_or_take_its_number(
    call: StaticCall, callers: Callers, tmp_path: Path
) -> None:
    """It is opened again; the file that is at its number now is left alone."""

    def child() -> str:
        file = tmp_path / "theirs"
        for number, target in enumerate((callers.two, callers.three, callers.one) * 3):
            fd = host().fd()
            if number % 3 == 0:
                os.closerange(fd, fd + 1)
            elif number % 3 == 1:
                theirs = os.open(file, os.O_RDWR | os.O_CREAT)
                os.dup2(theirs, fd)
                os.close(theirs)
            call.update(target)
            agree(call)
        assert file.stat().st_size == 0
        return str(callers.call(call.address))

    assert in_child(child) == "1"


# Files


def objects(path: str) -> list[Any]:
    """What loaded() has of a file, by the path that the maps have."""
    return [one for one in static_call.loaded() if one.path.startswith(path.split("\n")[0])]


NAMES = ("plain.so", "two words.so", "gone (deleted)", "line\nfeed.so", "carriage\rreturn.so",
         "back\\012slash.so")  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_file_names(programs: Path, tmp_path: Path, name: str) -> None:
    """A file is found, whatever its name is."""
    path = tmp_path / name
    shutil.copy(programs / "library.so", path)
    loaded: Any = ctypes.CDLL(str(path))
    loaded.call_policy.restype = ctypes.c_uint64
    (one,) = objects(str(path))
    assert (one.unreadable, len(one.static_calls)) == ("", 3)
    one["policy"].update("library_two")
    assert loaded.call_policy(ctypes.c_uint64(50)) == 2
    one["policy"].update("library_one")
    unload(loaded)


def unload(library: Any) -> None:
    """Unloads a library."""
    close = ctypes.CDLL(None).dlclose
    close.argtypes = [ctypes.c_void_p]
    assert close(library._handle) == 0


@pytest.mark.parametrize("way", ["deleted", "replaced", "another with the suffix", "in place"])
def test_a_file_that_is_another_by_now(programs: Path, tmp_path: Path, way: str) -> None:
    """The mapped file is read, or reported as unreadable: the other file is never read."""
    path, other = tmp_path / "library.so", tmp_path / "other"
    shutil.copy(programs / "library.so", path)
    shutil.copy(programs / "callers.so", other)
    loaded: Any = ctypes.CDLL(str(path))
    loaded.call_policy.restype = ctypes.c_uint64
    if way == "in place":
        contents = bytearray(path.read_bytes())
        with path.open("r+b") as file:  # the same inode; no page of memory is of it any more
            at = contents.index(b"\0library_two\0")
            loaded.call_policy(ctypes.c_uint64(1))
            file.seek(at)
            file.write(b"\0library_2wo\0")
    elif way == "replaced":
        other.rename(path)
    else:
        path.unlink()
        if way == "another with the suffix":
            other.rename(f"{path} (deleted)")
    (one,) = objects(str(path))
    if one.unreadable:
        assert way in one.unreadable or way in ("another with the suffix", "in place")
        assert not one.static_calls
        with pytest.raises(StaticCallError, match=r"deleted|changed|another file"):
            one["policy"]
    else:
        try:
            one["policy"].update("library_two")
            expected = 2
        except StaticCallError:
            expected = 1
        assert loaded.call_policy(ctypes.c_uint64(50)) == expected
        agree(one["policy"])
        one["policy"].update("library_one")
    unload(loaded)


def test_another_device_of_the_same_inode(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under overlayfs: the file is accepted if memory, code included, is the same as in it."""
    path = tmp_path / "library.so"
    shutil.copy(programs / "library.so", path)
    loaded: Any = ctypes.CDLL(str(path))
    loaded.call_policy.restype = ctypes.c_uint64
    mappings = maps.mappings
    monkeypatch.setattr(
        maps, "mappings", lambda: [one._replace(device="ff:ff") for one in mappings()]
    )
    (one,) = objects(str(path))
    one["policy"].update("library_two")
    assert loaded.call_policy(ctypes.c_uint64(50)) == 2
    (one,) = objects(str(path))
    assert one["policy"].target == _address(loaded.library_two)
    one["policy"].update("library_one")
    at = _address(loaded.library_two) + 4
    before = host().read(at, 4)
    host()._store(at, bytes(4))
    (one,) = objects(str(path))
    assert "instructions" in one.unreadable
    host()._store(at, before)
    unload(loaded)


def test_a_library_that_is_loaded_twice(programs: Path) -> None:
    """Each of the two has its own static calls (dlmopen)."""
    libc = ctypes.CDLL(None)
    libc.dlmopen.restype = ctypes.c_void_p
    path = str(programs / "library.so")
    first: Any = ctypes.CDLL(path)
    handle = libc.dlmopen(ctypes.c_long(-1), path.encode(), 2)  # LM_ID_NEWLM, RTLD_NOW
    if not handle:
        pytest.skip("there is no dlmopen here")
    second: Any = ctypes.CDLL(path, handle=handle)
    for library in (first, second):
        library.call_policy.restype = ctypes.c_uint64
    both = objects(path)
    assert len({one.bias for one in both}) == len(both) == 2
    one = next(one for one in both if one["policy"].target == _address(first.library_one))
    one["policy"].update("library_two")
    assert first.call_policy(ctypes.c_uint64(1)) == 2
    assert second.call_policy(ctypes.c_uint64(1)) == 1
    one["policy"].update("library_one")


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def test_what_is_no_key_is_not_written(programs: Path, tmp_path: Path) -> None:
    """A file whose symbol for the key names another variable: refused, nothing is changed."""
    from elftools_free import move_symbol

    path = tmp_path / "library.so"
    path.write_bytes(move_symbol((programs / "library.so").read_bytes(), b"__SCK__policy", 8))
    loaded: Any = ctypes.CDLL(str(path))
    loaded.call_policy.restype = ctypes.c_uint64
    found = [one for one in static_call.loaded() if one.path == str(path)]
    for one in found:
        with pytest.raises(StaticCallError, match=r"not its key|not in a writable segment"):
            one["policy"].update("library_two")
    assert found
    assert loaded.call_policy(ctypes.c_uint64(1)) == 1
    unload(loaded)


@pytest.mark.guest("this host's /proc/self/mem is another's")
def test_text_that_is_mapped_shared(callers: Callers, tmp_path: Path) -> None:
    """The kernel does not write to it: refused in one line, nothing is changed."""
    design = notation.load("inline-stub")
    file = tmp_path / "text"
    file.write_bytes(bytes(mmap.PAGESIZE))
    with file.open("r+b") as opened:
        writable = mmap.mmap(opened.fileno(), mmap.PAGESIZE)
        text = mmap.mmap(
            opened.fileno(), mmap.PAGESIZE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_EXEC
        )
    libc = ctypes.CDLL(None)
    start = next(
        int(line.split("-")[0], 16)
        for line in Path("/proc/self/maps").read_text().splitlines()
        if line.endswith(str(file)) and "r-xs" in line
    )
    assert libc
    trampoline = Trampoline(design, start, {})
    for at, piece in trampoline.assemble(_address(callers.one)):
        writable[at - start : at - start + len(piece)] = piece
    call = StaticCall.found("shared", trampoline, host(), None)
    assert callers.call(start) == 1
    with pytest.raises(StaticCallError, match="mapped shared") as refused:
        call.update(callers.two)
    assert "nothing was changed" in str(refused.value)
    assert callers.call(start) == 1
    text.close()
    writable.close()


# An application's signals


@pytest.mark.guest("user-mode emulation has its own threads")
def test_synchronize_takes_nothing_of_the_applications(callers: Callers, call: StaticCall) -> None:
    """A handler, an ignored signal, a thread in sigwait and queued signals are as they were."""

    def child() -> str:
        last = signal.SIGRTMAX
        got: list[int] = []
        signal.signal(last, lambda number, _: got.append(number))
        signal.signal(last - 1, signal.SIG_IGN)
        waited: list[int] = []
        signal.pthread_sigmask(signal.SIG_BLOCK, {last - 2, last - 3})
        waiting = threading.Thread(target=lambda: waited.append(signal.sigwait({last - 2})))
        waiting.start()
        os.kill(os.getpid(), last - 3)  # is pending from now on
        with callers.running(call.address, 2):
            host().synchronize(120)
        assert host()._asker._number not in range(last - 3, last + 1)
        assert (waited, got) == ([], [])
        assert signal.getsignal(last - 1) == signal.SIG_IGN
        assert last - 3 in signal.sigpending()
        signal.pthread_kill(waiting.ident or 0, last - 2)
        waiting.join(20)
        os.kill(os.getpid(), last)
        time.sleep(0.01)
        return f"{waited == [last - 2]} {got == [last]}"

    assert in_child(child, seconds=200) == "True True"


@pytest.mark.guest("user-mode emulation has its own threads")
def test_synchronize_asks_all_at_once(callers: Callers, call: StaticCall) -> None:
    """Many threads that run, and one that answers late: the late answer does no harm."""
    with callers.running(call.address, 6):
        with suppress(StaticCallError):
            host().synchronize(0)
        host().synchronize(120)
    host().synchronize(120)


# The interpreter


@pytest.mark.guest("under user-mode emulation a program of arm64 cannot be started")
@pytest.mark.parametrize("flags", [[], ["-X", "faulthandler"], ["-W", "error"]])
def test_updates_until_the_interpreter_ends(programs: Path, flags: list[str]) -> None:
    """A daemon thread that updates while Python ends, and updates at exit, crash nothing."""
    program = (
        "import atexit, threading, time\n"
        "from static_call import StaticCall\n"
        "call = StaticCall('it', 'labs')\n"
        "def run():\n"
        "    while True:\n"
        "        call.update('labs'); call.update('llabs')\n"
        "threading.Thread(target=run, daemon=True).start()\n"
        "atexit.register(lambda: print(call.update('labs'), call(5)))\n"
        "time.sleep(0.2)\n"
    )
    done = subprocess.run(
        [sys.executable, *flags, "-c", program], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "None 5\n", "")


def test_a_static_call_that_nobody_has_lives_on(callers: Callers) -> None:
    """C code may have its address: it stays, is found by its name, and can be closed."""
    address = StaticCall("left", callers.two, U64).address
    gc.collect()
    assert callers.call(address) == 2
    left = host().names["left"]
    assert left.address == address
    left.close()
