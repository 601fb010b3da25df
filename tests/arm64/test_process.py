"""Static calls of this process: forks, concurrent updates, signals, the pool, synchronize()."""

from __future__ import annotations

import ctypes
import errno
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from patience import patient
from support import U64, Callers, agree, deny, in_child

import static_call
from static_call import RET0, StaticCall, StaticCallError
from static_call.places.own_process import OwnProcess, own_code
from static_call.places.own_process.pool import NoRoom

MEMBARRIER = 283
"""Its system call's number (include/uapi/asm-generic/unistd.h)."""


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


def test_fork(call: StaticCall, callers: Callers) -> None:
    """A child's update is the child's, and the parent's is the parent's; both work."""

    def child() -> str:
        call.update(callers.two)
        agree(call)
        again = callers.call(call.address)
        call.update(callers.three)
        return f"{again} {callers.call(call.address)} {call.target == address(callers.three)}"

    assert in_child(child) == "2 3 True"
    assert callers.call(call.address) == 1
    agree(call)

    read, write = os.pipe()
    child_pid = os.fork()
    if not child_pid:
        os.read(read, 1)
        os._exit(callers.call(call.address))
    call.update(callers.two)
    os.write(write, b"x")
    _, status = os.waitpid(child_pid, 0)
    os.close(read)
    os.close(write)
    assert (os.waitstatus_to_exitcode(status), callers.call(call.address)) == (1, 2)


def test_fork_while_another_thread_updates(call: StaticCall, callers: Callers) -> None:
    """A lock that a thread of the parent held at the fork does not stop the child."""
    stop = threading.Event()

    def update() -> None:
        while not stop.is_set():
            call.update(callers.one)
            call.update(callers.two)

    thread = threading.Thread(target=update)
    thread.start()

    def child() -> str:
        assert callers.call(call.address) in (1, 2)
        call.update(callers.three)
        agree(call)
        return str(callers.call(call.address))

    try:
        assert [in_child(child) for _ in range(6)] == ["3"] * 6
    finally:
        stop.set()
        thread.join()
    agree(call)


def test_child_is_killed_while_it_updates(call: StaticCall, callers: Callers) -> None:
    """A child that dies in the middle of an update leaves the parent's static call alone."""
    for _ in range(10):
        child = os.fork()
        if not child:
            while True:
                call.update(callers.two)
                call.update(callers.three)
        time.sleep(0.01)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert callers.call(call.address) == 1
    call.update(callers.two)
    assert callers.call(call.address) == 2
    agree(call)


def _child_of_multiprocessing(queue: Any, call: StaticCall, callers: Callers) -> None:
    call.update(callers.three)
    queue.put(callers.call(call.address))


def test_multiprocessing(call: StaticCall, callers: Callers) -> None:
    """A process that multiprocessing forks can update too."""
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    process = context.Process(target=_child_of_multiprocessing, args=(queue, call, callers))
    process.start()
    process.join(20)
    assert process.exitcode == 0
    assert (queue.get(), callers.call(call.address)) == (3, 1)


@pytest.mark.parametrize("threads", [2, 4])
def test_concurrent_updates(call: StaticCall, callers: Callers, threads: int) -> None:
    """Updates of one static call by several threads: key, slot and literal agree in the end."""
    host: Any = static_call.host()
    far = host.function("bti c\nmov x0, #3\nret", near=call.address - (1 << 30))
    targets = [callers.one, callers.two, far, None, RET0]
    failed: list[BaseException] = []

    def update(start: int) -> None:
        try:
            for number in range(20):
                call.update(targets[(start + number) % len(targets)])
        except BaseException as error:
            failed.append(error)

    with callers.running(call.address, 2) as seen:
        updaters = [threading.Thread(target=update, args=(start,)) for start in range(threads)]
        for thread in updaters:
            thread.start()
        for thread in updaters:
            thread.join()
        agree(call)
    assert not failed
    assert seen["wrong"] == 0


def test_update_in_a_signal_handler(call: StaticCall, callers: Callers) -> None:
    """A Python signal handler may update another static call, at any moment of an update."""
    other = StaticCall("handled", callers.one, U64)
    targets = [callers.two, callers.three, None, RET0]
    results = [2, 3, 1000, 0]
    done = 0

    def handler(*_: object) -> None:
        nonlocal done
        other.update(targets[done % 4])
        done += 1
        signal.setitimer(signal.ITIMER_REAL, 0.0005 + done * 17 % 64 * 1e-5)

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.001)
    try:
        deadline = time.monotonic() + patient(20)
        number = 0
        while done < 100 and time.monotonic() < deadline:
            call.update(targets[number % 4])
            assert callers.call(call.address) == results[number % 4]
            number += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert done >= 100
    assert callers.call(other.address) == results[(done - 1) % 4]
    agree(call)
    agree(other)


def test_pool_is_used_again(callers: Callers) -> None:
    """What was closed is used again: a second round takes no new room and leaves no stale code."""
    number = 100

    def round_(target: object, result: int) -> set[int]:
        made = [StaticCall(f"many_{n}", target, U64) for n in range(number)]
        assert all(callers.call(one.address) == result for one in made)
        addresses = {one.address for one in made}
        for one in made:
            one.close()
        return addresses

    first = round_(callers.one, 1)
    assert len(first) == number
    assert round_(callers.two, 2) == first


@pytest.mark.guest("user-mode emulation does not limit the address space")
def test_pool_is_exhausted_and_refilled(callers: Callers) -> None:
    """Without memory a static call is refused; once another is closed, there is room."""

    def child() -> str:
        host: Any = static_call.host()
        StaticCall("before", callers.one, U64)  # there is room for keys
        with open("/proc/self/statm", encoding="ascii") as file:
            size = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + (6 << 20), resource.RLIM_INFINITY))
        made: list[StaticCall] = []

        def fill() -> None:
            for number in range(1 << 10):
                with suppress(NoRoom):  # Python may have given memory back
                    fill_the_rest(1 << 10)
                made.append(StaticCall(f"exhausting_{number}", callers.one, U64))

        def fill_the_rest(piece: int) -> None:
            while True:
                host._text.take(piece, 8, into=[])

        for piece in (1 << 16, 1 << 10):
            with pytest.raises(NoRoom):
                fill_the_rest(piece)
        with pytest.raises(NoRoom) as refused:
            fill()
        # Python itself needs memory too; the pool takes what was given back first.
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        given = {one.address for one in made[::2]}
        for one in made[::2]:
            one.close()
        again = [StaticCall(f"again_{n}", callers.two, U64) for n in range(len(given))]
        assert {one.address for one in again} == given
        assert all(callers.call(one.address) == 2 for one in again)
        assert all(callers.call(one.address) == 1 for one in made[1::2])
        assert again
        return str(refused.value)

    assert in_child(child).startswith("no memory for the pool of trampolines")


@pytest.mark.guest("user-mode emulation has its own threads")
def test_synchronize(call: StaticCall, callers: Callers) -> None:
    """synchronize() returns while threads call, and while others wait in the kernel."""
    host: Any = static_call.host()
    read, write = os.pipe()
    waiting = threading.Thread(target=os.read, args=(read, 1))
    waiting.start()
    try:
        with callers.running(call.address, 3) as seen:
            for number in range(2):
                call.update([callers.one, callers.two][number % 2])
                host.synchronize(120)
    finally:
        os.write(write, b"x")
        waiting.join()
    assert seen["wrong"] == 0


@pytest.mark.guest("user-mode emulation has its own threads")
def test_synchronize_leaves_no_signal_taken() -> None:
    """A thread that did not answer has no effect later: there are more calls than signals."""
    host: Any = static_call.host()
    flag = bytearray(8)
    spin = host.function("bti c\nagain: ldr x1, [x0]\ncbz x1, again\nret")
    started = threading.Event()

    def run() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        started.set()
        host.call(spin.address, flag)

    thread = threading.Thread(target=run)
    thread.start()
    started.wait()
    time.sleep(0.05)
    try:
        for _ in range(3):
            with pytest.raises(StaticCallError, match="did not say where it is"):
                host.synchronize(0.2)
    finally:
        flag[0] = 1
        thread.join()
    for _ in range(40):
        host.synchronize(60)


@pytest.mark.guest("user-mode emulation has its own threads")
@pytest.mark.parametrize("name", ["spinning", "blocking every signal"])
def test_synchronize_finds_a_thread_inside(callers: Callers, name: str) -> None:
    """A thread that stays in the pool's code, or cannot be asked, is named and not passed over."""
    host: Any = static_call.host()
    flag = bytearray(8)
    inside = host._text.take(16, 16, into=[])  # as if it were a trampoline
    host._store(inside, own_code.assemble("bti c\nagain: ldr x1, [x0]\ncbz x1, again\nret"))
    thread_id: list[int] = []

    def run() -> None:
        if name != "spinning":
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        thread_id.append(threading.get_native_id())
        host.call(inside, flag)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        while not thread_id:
            time.sleep(0.001)
        time.sleep(0.01)
        with pytest.raises(StaticCallError, match=rf"thread {thread_id[0]} "):
            host.synchronize(0.3)
    finally:
        flag[0] = 1
        thread.join()
    host.synchronize(60)


@pytest.mark.guest("user-mode emulation has no seccomp filters")
@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EPERM, errno.EINVAL])
def test_kernel_without_membarrier(callers: Callers, error: int) -> None:
    """An old kernel, or a filter: refused with a remedy, which keeps what promises it can."""

    def child() -> str:
        deny(MEMBARRIER, error)
        with pytest.raises(StaticCallError) as refused:
            OwnProcess()
        place = OwnProcess(weak=True)
        call = StaticCall("weak", callers.one, U64, place=place)
        for target, result in ((callers.two, 2), (None, 1000), (RET0, 0), (callers.one, 1)):
            call.update(target)
            assert callers.call(call.address) == result
            agree(call)
        return str(refused.value)

    text = in_child(child)
    assert text.startswith("membarrier")
    assert os.strerror(error) in text
    assert "weak=True" in text


@pytest.mark.guest("user-mode emulation has no seccomp filters")
def test_membarrier_is_denied_later(call: StaticCall, callers: Callers) -> None:
    """An update whose first step fails changes nothing: neither the key nor the trampoline."""

    def child() -> str:
        deny(MEMBARRIER, errno.EPERM)
        with pytest.raises(StaticCallError) as refused:
            call.update(callers.two)
        assert callers.call(call.address) == 1
        assert call.target == address(callers.one)
        agree(call)
        return str(refused.value)

    text = in_child(child)
    assert os.strerror(errno.EPERM) in text
    assert "nothing was changed" in text


@pytest.mark.guest("this host's /proc/self/mem is another's")
def test_writes_are_denied_later(call: StaticCall, callers: Callers) -> None:
    """The same where the kernel refuses the write itself."""

    def child() -> str:
        deny(68, errno.EIO)  # pwrite64
        with pytest.raises(StaticCallError) as refused:
            call.update(callers.two)
        assert callers.call(call.address) == 1
        assert call.target == address(callers.one)
        return str(refused.value)

    text = in_child(child)
    assert os.strerror(errno.EIO) in text
    assert "nothing was changed" in text


@pytest.mark.guest("user-mode emulation opens files of its own")
def test_no_file_may_be_opened() -> None:
    """If /proc/self/mem cannot be opened because no file descriptor is left, the error says so."""

    def child() -> str:
        used = max(map(int, os.listdir("/proc/self/fd"))) + 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (used, used))
        while True:
            try:
                os.dup(0)
            except OSError:
                break
        OwnProcess()
        return "made"

    text = in_child(child)
    assert text.startswith("NotHere: ")
    assert "/proc/thread-self/mem" in text
    assert os.strerror(errno.EMFILE) in text


@pytest.mark.guest("it takes root's rights to give them up")
def test_no_permission() -> None:
    """A process that may not open its own /proc/self/mem: another user's, and not dumpable."""

    def child() -> str:
        libc = ctypes.CDLL(None)
        os.setuid(1000)
        libc.prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE
        OwnProcess()
        return "made"

    text = in_child(child)
    assert text.startswith("NotHere: ")
    assert os.strerror(errno.EACCES) in text


@pytest.mark.guest("it takes root's rights to unmount")
def test_proc_is_not_mounted() -> None:
    """Without /proc nothing can be written: this is reported at once, with the remedy."""
    program = (
        "import ctypes\n"
        "libc = ctypes.CDLL(None)\n"
        "assert libc.unshare(0x20000) == 0\n"  # CLONE_NEWNS
        "assert libc.mount(b'none', b'/', None, 0x44000, None) == 0\n"  # MS_PRIVATE | MS_REC
        "assert libc.umount2(b'/proc', 2) == 0\n"  # MNT_DETACH
        "import static_call\n"
        "try: static_call.host()\n"
        "except static_call.StaticCallError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=patient(30)
    )
    assert done.returncode == 0, done.stderr
    assert "/proc" in done.stdout
    assert "mount /proc" in done.stdout


def test_target_without_a_landing_pad(call: StaticCall) -> None:
    """Where the CPU has FEAT_BTI, code in a guarded page needs a landing pad; nothing changes."""
    host: Any = static_call.host()
    bad = host.function("mov x0, #3\nret")
    good = host.function("bti c\nmov x0, #3\nret")
    if not host.guarded(bad.address):
        pytest.skip("in the guest only: pages are not guarded")
    for far in (False, True):
        if far:
            bad = host.function("mov x0, #3\nret", near=call.address - (1 << 30))
        with pytest.raises(StaticCallError, match="landing pad"):
            call.update(bad)
    assert call(7) == 1
    call.update(good)
    assert call(7) == 3


Bad = Callable[[StaticCall, Callers], object]
BAD: dict[str, tuple[Bad, str]] = {
    "unmapped": (lambda *_: 0x10000, "not in executable memory"),
    "kernel": (lambda *_: 0xFFFF_8000_0800_0000, "not in executable memory"),
    "misaligned": (lambda _, callers: address(callers.two) + 2, "not aligned to 4"),
    "zero": (lambda *_: 0, "not an address"),
    "true": (lambda *_: True, "not an address"),
    "negative": (lambda *_: -4, "not an address"),
    "large": (lambda *_: 1 << 64, "not an address"),
    "its own trampoline": (lambda call, _: call.address, "own trampoline"),
    "inside its own trampoline": (lambda call, _: call.address + 8, "own trampoline"),
    "null pointer": (lambda *_: U64(), "null pointer"),
    "no function": (lambda *_: [], "not an address, a function"),
    "number": (lambda *_: 1.5, "not an address, a function"),
    "no symbol": (lambda *_: "no_such_function", "no_such_function"),
    "too many arguments": (
        lambda *_: ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64)(max),
        "prototype",
    ),
    "too few arguments": (lambda *_: ctypes.CFUNCTYPE(ctypes.c_uint64)(int), "prototype"),
    "another result": (
        lambda *_: ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_uint64)(float),
        "prototype",
    ),
    "another size": (
        lambda *_: ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint32)(int),
        "prototype",
    ),
}


@pytest.mark.guest("user-mode emulation does not tell the rights of anonymous memory")
def test_data_is_no_target(call: StaticCall, callers: Callers) -> None:
    """Memory that is mapped but not executable is refused, before anything was changed."""
    with pytest.raises(StaticCallError, match="not in executable memory"):
        call.update(call.key)
    assert callers.call(call.address) == 1


@pytest.mark.parametrize("name", BAD)
def test_bad_target(call: StaticCall, callers: Callers, name: str) -> None:
    """A target that cannot be called is refused in one line, before anything was changed."""
    make, text = BAD[name]
    before = [call.place.read(one, 48) for one in (call.address, call.key or 0)]
    with pytest.raises(StaticCallError, match=text) as refused:
        call.update(make(call, callers))
    assert "\n" not in str(refused.value)
    assert [call.place.read(one, 48) for one in (call.address, call.key or 0)] == before
    assert callers.call(call.address) == 1
    if "own trampoline" not in text:
        with pytest.raises(StaticCallError):
            StaticCall("never", make(call, callers), U64)
        StaticCall("never", None, U64).close()


def test_python_function_without_a_prototype(callers: Callers) -> None:
    """Only a prototype can make a callback out of a Python function."""
    call = StaticCall("bare", callers.one)
    with pytest.raises(StaticCallError, match="prototype"):
        call.update(lambda: 1)
    call.close()


def test_name_is_taken(call: StaticCall, callers: Callers) -> None:
    """Only one static call can have a name; once that is closed, the name is free."""
    with pytest.raises(StaticCallError, match="call"):
        StaticCall("call", callers.two, U64)
    assert callers.call(call.address) == 1
    other = StaticCall("other", callers.two, U64)
    other.close()
    StaticCall("other", callers.two, U64).close()


def test_closed(callers: Callers) -> None:
    """A static call that was closed cannot be used."""
    call = StaticCall("closed", callers.one, U64)
    call.close()
    for use in (lambda: call.update(None), lambda: call(1), lambda: call.address, call.close):
        with pytest.raises(StaticCallError, match="closed"):
            use()


def test_not_synchronised_in_user_mode_emulation() -> None:
    """Where threads cannot be asked, synchronize() says so and does not just return."""
    host: Any = static_call.host()
    if not host.translated:
        host.synchronize(60)
        return
    with pytest.raises(StaticCallError, match="emulation"):
        host.synchronize()


def address(function: Any) -> int:
    """The address of a ctypes function."""
    return ctypes.cast(function, ctypes.c_void_p).value or 0
