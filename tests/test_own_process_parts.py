"""What a process's static calls are made of, as far as it runs on any Linux."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import mmap
import os
import threading
import time
from pathlib import Path

import pytest

from static_call import RET0, Emulator, StaticCall, StaticCallError
from static_call.design.retarget import Retarget
from static_call.errors import BadTarget, Closed, NameTaken
from static_call.key import KeyStore
from static_call.places.descriptors import Held
from static_call.places.own_process import foreign, maps, memory
from static_call.places.own_process.maps import Mapping
from static_call.places.own_process.pool import ARENA, REACH, NoRoom, Piece, Pool

LIBC = ctypes.CDLL(None)
INT_INT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)
MIB = 1 << 20


def mapping(start: int, end: int) -> Mapping:
    """A mapping of code."""
    return Mapping(start, end, "r-xp", 0, "")


def test_mappings_are_those_of_proc() -> None:
    """A page that is mapped shows with its rights; addresses in it are found to be no code."""
    with mmap.mmap(-1, mmap.PAGESIZE) as page:
        address = ctypes.addressof(ctypes.c_char.from_buffer(page))
        known = maps.mappings()
        (found,) = [one for one in known if address in one]
        assert found.permissions.startswith("rw-")
        assert not maps.executable(known, address)
    code = foreign.address(LIBC.abs)
    assert maps.executable(known, code)
    assert not maps.executable(known, 0)
    assert not maps.executable(known, known[-1].end)


@pytest.mark.parametrize(
    ("taken", "near", "expected"),
    [
        ([], 0x4000_0000, 0x4000_0000),
        ([(0x4000_0000, 0x4001_0000)], 0x4000_0000, 0x3FF0_0000),
        ([(0x3000_0000, 0x4000_0000)], 0x3FF0_0000, 0x4000_0000),
        ([(0x3000_0000, 0x4000_8000)], 0x3FF0_0000, 0x4010_0000),
        ([(0x10000, 0x1_0000_0000)], 0x4000_0000, None),
        ([(0x3900_0000, 0x4000_0000), (0x4000_8000, 0x4700_0000)], 0x4000_0000, 0x4700_0000),
    ],
)
def test_room_is_the_closest_gap(
    taken: list[tuple[int, int]], near: int, expected: int | None
) -> None:
    """The closest aligned MiB, wholly within reach; None where there is none. Derived by hand."""
    assert maps.room([mapping(*one) for one in taken], MIB, near, REACH) == expected


def test_a_pool_gives_each_piece_once() -> None:
    """Pieces are aligned, do not overlap, and are in reach of where they should be."""
    near = foreign.address(LIBC.abs)
    pool = Pool(executable=True)
    pieces = [
        (pool.take(size, align, near, into=[]), size, align)
        for size, align in [(40, 8), (24, 16)] * 50
    ]
    for address, size, align in pieces:
        assert address % align == 0
        assert abs(address - near) + size < 1 << 27
    for (a, size, _), (b, other, _) in itertools.combinations(pieces, 2):
        assert a + size <= b or b + other <= a
    known = maps.mappings()
    assert all(maps.executable(known, address) for address, _, _ in pieces)
    assert not any("w" in one.permissions for one in known if pieces[0][0] in one)


def test_a_pool_uses_the_oldest_first_again() -> None:
    """What was given back comes again, the oldest first, before new memory; by size."""
    pool = Pool(writable=True)
    pieces: list[Piece] = []
    a, b = (pool.take(40, 8, into=pieces) for _ in range(2))
    for piece in reversed(pieces):
        piece.give()
    assert pool.take(24, 8, into=[]) not in (a, b)
    assert [pool.take(40, 8, into=[]) for _ in range(2)] == [b, a]
    for piece in pieces:
        piece.give()  # once more, when it is another one's
    assert pool.take(40, 8, into=[]) not in (a, b)


def test_a_pool_gets_more_arenas() -> None:
    """When an arena is used up there is another one; what is bigger than one is refused."""
    pool = Pool(writable=True)
    first, second = (pool.take(ARENA, 8, into=[]) for _ in range(2))
    assert abs(first - second) >= ARENA
    assert len(list(pool.ranges())) == 2
    with pytest.raises(NoRoom, match="more than an arena"):
        pool.take(ARENA + 8, 8, into=[])


def test_a_pool_without_room_where_it_should_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is out of reach shares an arena, and what is given back there is used again."""
    near = 1 << 36  # where nothing is: the kernel maps from the top down
    pool, pieces = Pool(), list[Piece]()
    with monkeypatch.context() as full:
        full.setattr(maps, "room", lambda *_: None)
        first = pool.take(64, 64, near, into=pieces)
        second = pool.take(64, 64, near, into=[])
        assert len(list(pool.ranges())) == 1
        assert second == first + 64
        pieces[0].give()
        assert pool.take(64, 64, near, into=[]) == first
    assert abs(pool.take(64, 64, near, into=[]) - near) < 1 << 27  # once there is room


def test_a_pool_without_memory_says_so() -> None:
    """Where the kernel gives none, NoRoom has its reason."""
    pid = os.fork()
    if not pid:
        import resource

        status = 1
        try:
            resource.setrlimit(resource.RLIMIT_AS, (MIB, MIB))
            Pool().take(8, 8, into=[])
        except NoRoom as error:
            status = 0 if "Cannot allocate memory" in str(error) else 2
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0


def test_addresses_of_ctypes_functions() -> None:
    """A library's function is where dlsym says; a callback is where C would call it."""
    LIBC.dlsym.restype = ctypes.c_void_p
    LIBC.dlsym.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    assert foreign.pointer(LIBC.abs, None)[0] == LIBC.dlsym(None, b"abs")
    callback = INT_INT(lambda x: x + 1)
    address, alive = foreign.pointer(callback, INT_INT)
    assert INT_INT(address)(4) == 5
    assert alive is callback


def test_a_python_function_becomes_a_callback() -> None:
    """With a prototype any callable is a target; the callback that keeps it alive comes back."""
    address, alive = foreign.pointer(lambda x: 2 * x, INT_INT)
    assert INT_INT(address)(21) == 42
    assert isinstance(alive, INT_INT)


@pytest.mark.parametrize(
    ("target", "prototype", "text"),
    [
        (lambda x: x, None, "needs a prototype"),
        ("x".join, None, "needs a prototype"),
        (3.5, INT_INT, "not an address, a function"),
        (INT_INT(), INT_INT, "null pointer; to call nothing, pass None"),
        (ctypes.CFUNCTYPE(None)(lambda: None), INT_INT, "prototype"),
        (ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 1), INT_INT, "prototype"),
        (ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_int)(lambda x: x), INT_INT, "64 bits"),
        (ctypes.CFUNCTYPE(ctypes.c_float, ctypes.c_int)(lambda x: x), INT_INT, "float"),
        (ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int)(max), INT_INT, "prototype"),
    ],
)
def test_what_is_no_target(target: object, prototype: type | None, text: str) -> None:
    """What is not a function, or has another prototype, is refused with the reason."""
    with pytest.raises(BadTarget, match=text):
        foreign.pointer(target, prototype)


@pytest.mark.parametrize(
    "prototype",
    [
        ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint),
        ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int32),
    ],
)
def test_prototypes_fit_by_size_and_kind(prototype: type) -> None:
    """Signedness is not a part of how a value is passed."""
    foreign.pointer(prototype(int), INT_INT)
    foreign.pointer(LIBC.abs, ctypes.CFUNCTYPE(ctypes.c_long))  # nobody said what abs takes


def test_the_same_interface_on_an_emulated_machine() -> None:
    """StaticCall(name, target, prototype) makes one in a place; update, call, close."""
    machine = Emulator()
    f = machine.function("bti c\nadd x0, x0, #1\nret")
    call = StaticCall("policy", f, INT_INT, place=machine)
    assert (call(3), call(-2), call.form) == (4, -1, "near")  # a C int has a sign
    call.update(RET0)
    assert call(3) == 0
    with pytest.raises(BadTarget, match="is not an address, a function of its place"):
        call.update(LIBC.abs)
    assert call.target is RET0


def test_a_name_is_taken_until_it_is_closed() -> None:
    """Two static calls of a place have different names; a closed one frees its name."""
    machine = Emulator()
    f = machine.function("ret")
    call = StaticCall("policy", f, place=machine)
    with pytest.raises(NameTaken, match="there is a static call policy already"):
        StaticCall("policy", f, place=machine)
    call.close()
    with pytest.raises(Closed, match="policy is closed"):
        call.update(f)
    assert repr(call) == "<static call policy: closed>"
    again = StaticCall("policy", f, place=machine)
    assert again.target == f.address
    with pytest.raises(Closed):
        call.close()
    assert again.target == f.address


def test_a_failed_static_call_takes_no_name() -> None:
    """A static call whose target is refused does not exist: its name is free."""
    machine = Emulator()
    with pytest.raises(StaticCallError, match="not in executable memory"):
        StaticCall("policy", 0x1234_0000, place=machine)
    assert machine.names == {}


def test_host_is_an_emulated_machine_elsewhere() -> None:
    """host() is the same place each time: on another computer than an arm64 one, an emulator."""
    from static_call import host
    from static_call.places.host import is_arm64_linux

    assert host() is host()
    assert isinstance(host(), Emulator) != is_arm64_linux()


def test_a_cpu_on_which_stores_may_be_torn_is_refused() -> None:
    """HWCAP2_MOPS, bit 43 (Linux, arch/arm64/include/uapi/asm/hwcap.h): said with the way out."""
    memory.check_capabilities(~(1 << 43))
    with pytest.raises(memory.NotHere, match=r"FEAT_MOPS.*arm64\.nomops"):
        memory.check_capabilities(1 << 43)


def test_lines_of_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fields of a line as the kernel writes it: device and inode, and any path."""
    line = "ffff0000-ffff1000 r-xp 00002000 fe:01 1234                       /a b (deleted)\n"
    monkeypatch.setattr(maps, "_lines", lambda _: [line, "1000-2000 rw-p 00000000 00:00 0 \n"])
    code, data = maps.mappings()
    assert code == (0xFFFF0000, 0xFFFF1000, "r-xp", 0x2000, "/a b (deleted)", "fe:01", 1234)
    assert code.file == ("fe:01", 1234, "/a b (deleted)")
    assert data == (0x1000, 0x2000, "rw-p", 0, "", "00:00", 0)


@pytest.mark.parametrize("closed", [(), (0,), (1, 2), (0, 1, 2)])
def test_a_held_file_is_never_a_standard_one(tmp_path: Path, closed: tuple[int, ...]) -> None:
    """Whichever of the three are closed: it is above them, they stay closed, an exec ends it."""
    file = tmp_path / "file"
    file.touch()

    def child() -> bool:
        for fd in closed:
            os.close(fd)
        before = open_descriptors()
        held = Held(str(file))
        fd = held.fileno()
        assert fd >= 3
        assert not os.get_inheritable(fd)
        assert open_descriptors() == {*before, fd}
        assert held.fileno() == fd
        os.close(fd)  # somebody else does
        other = os.open(file.parent, os.O_RDONLY)
        assert os.path.samestat(os.fstat(held.fileno()), os.stat(file))
        held.close()
        assert open_descriptors() == {*before, other}
        return True

    pid = os.fork()
    if not pid:
        status = 1
        try:
            status = 0 if child() else 2
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0


def open_descriptors() -> set[int]:
    """The numbers of this process's open files below 64."""
    found = set()
    for fd in range(64):
        with contextlib.suppress(OSError):
            os.fstat(fd)
            found.add(fd)
    return found


def test_one_lock_whatever_a_place_has() -> None:
    """StaticCalls of one trampoline wait for each other, in any place; of two places they don't."""

    class Slow(Emulator):
        inside = most = 0

        def perform(self, retarget: Retarget, key: KeyStore | None = None) -> None:
            self.inside += 1
            self.most = max(self.most, self.inside)
            time.sleep(0.001)
            super().perform(retarget, key)
            self.inside -= 1

    machine = Slow()
    f = machine.function("bti c\nret")
    made = machine.static_call("it", f)
    found = [StaticCall.found("it", made.trampoline, machine, made.key) for _ in range(3)]

    def update(call: StaticCall) -> None:
        for _ in range(10):
            call.update(None)
            call.update(f)

    threads = [threading.Thread(target=update, args=(one,)) for one in (made, *found)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert machine.most == 1
    assert machine.shared.of(made.address) is not Emulator().shared.of(made.address)
