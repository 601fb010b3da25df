"""The place for static calls on this computer: its own process, or an emulated machine."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from static_call.places.emulator.machine import Emulator
    from static_call.places.own_process.loaded_object import LoadedObject
    from static_call.places.own_process.process import OwnProcess


_lock = threading.RLock()  # a cache alone would let two threads make one each


def is_arm64_linux() -> bool:
    """Whether this process runs arm64 code under Linux (user-mode emulation counts)."""
    return (
        sys.platform == "linux"
        and os.uname().machine == "aarch64"
        and sys.byteorder == "little"
        and sys.maxsize > 1 << 32
    )


def loaded(designs: Sequence[str] = ()) -> list[LoadedObject]:
    """The program and the libraries of this process that have static calls.

    designs  files with designs of one's own that they may have
    Raises own_process.NotHere, on another computer than an arm64 one too.
    """
    from static_call.places.own_process.process import NotHere, OwnProcess

    place = host()
    if not isinstance(place, OwnProcess):
        raise NotHere("this process runs no arm64 code: load files into an Emulator")
    return place.loaded(designs)


def host() -> OwnProcess | Emulator:
    """This process on arm64 Linux; elsewhere an emulated machine, with the same interface.

    The same one each time. Raises own_process.NotHere on an arm64 Linux whose kernel or
    configuration lacks what the process needs: it never emulates unasked there.
    """
    with _lock:
        return _host()


@cache
def _host() -> OwnProcess | Emulator:
    if is_arm64_linux():
        from static_call.places.own_process.process import OwnProcess

        return OwnProcess()
    from static_call.places.emulator.machine import Emulator

    return Emulator()
