"""What static calls from Python cost: runs in an arm64 Python, as bench/process.py starts it.

    in_python.py start                      imports the package, makes the first static call
    in_python.py update LIBRARY             updates, calls, and the memory that static calls take
    in_python.py many LIBRARY NUMBER        makes NUMBER static calls and updates each once

Prints lines of a name and a number.
"""

import sys
import time

START = time.perf_counter()

ROUNDS, UPDATES = 21, 50


def start() -> None:
    """Milliseconds until the package is imported, and until a static call has been called."""
    import static_call

    call = static_call.StaticCall  # imported when it is first used
    imported = time.perf_counter()
    first = call("first", "labs")
    assert first(7) == 7
    ready = time.perf_counter()
    print("import_ms", 1e3 * (imported - START))
    print("first_ms", 1e3 * (ready - START))


def update(library: str) -> None:
    """Microseconds of an update, of a call, and of the same calls without a static call."""
    import ctypes
    import statistics
    from collections.abc import Callable

    from static_call import StaticCall

    prototype = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64)
    loaded = ctypes.CDLL(library)
    one, two = (prototype((name, loaded)) for name in ("one", "two"))
    address = ctypes.cast(two, ctypes.c_void_p).value
    call = StaticCall("measured", one, prototype)

    def updates() -> None:
        call.update(two)
        call.update(one)

    def updates_of_old_code() -> None:
        call.update(two, fresh=False)
        call.update(one, fresh=False)

    def updates_by_address() -> None:
        call.update(address)
        call.update(address)

    ways: dict[str, Callable[[], object]] = {
        "update_us": updates,
        "update_old_code_us": updates_of_old_code,
        "update_by_address_us": updates_by_address,
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(ROUNDS + 1):
        for name, run in ways.items():
            before = time.perf_counter()
            for _ in range(UPDATES // 2):
                run()
            if turn:
                taken[name].append(1e6 * (time.perf_counter() - before) / UPDATES)
    for name, times in taken.items():
        print(name, statistics.median(times))


def many(library: str, number: int) -> None:
    """Seconds and bytes for many static calls, each made and updated once."""
    import ctypes

    from static_call import StaticCall

    prototype = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64)
    loaded = ctypes.CDLL(library)
    one, two = (prototype((name, loaded)) for name in ("one", "two"))
    StaticCall("first", one, prototype).update(two)
    before, start = resident(), time.perf_counter()
    calls = [StaticCall(f"call_{n}", one, prototype) for n in range(number)]
    made = time.perf_counter()
    for call in calls:
        call.update(two)
    print("many", number)
    print("many_made_s", made - start)
    print("many_updated_s", time.perf_counter() - made)
    print("many_bytes", (resident() - before) / number)
    assert all(call(1) == 2 for call in calls[:: number // 100])


def resident() -> int:
    """This process's resident memory in bytes."""
    with open("/proc/self/status", encoding="ascii") as file:
        (line,) = (line for line in file if line.startswith("VmRSS:"))
    return int(line.split()[1]) << 10


if __name__ == "__main__":
    if sys.argv[1] == "start":
        start()
    elif sys.argv[1] == "update":
        update(sys.argv[2])
    else:
        many(sys.argv[2], int(sys.argv[3]))
