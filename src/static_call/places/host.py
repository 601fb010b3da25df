"""The default place: this process on arm64 Linux, an emulated machine elsewhere.

It is chosen only here. `from static_call import StaticCall` imports this module.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from static_call.calls import StaticCall as StaticCall
from static_call.locks import Lock

if TYPE_CHECKING:
    from static_call.places.emulator import Emulator
    from static_call.places.own_process import OwnProcess
    from static_call.places.own_process.loaded_object import LoadedObject


_lock = Lock()  # a cache alone would let two threads make one each


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

    Args:
        designs: Files with your own designs that they may have.

    Raises:
        NotHere: This is not an arm64 computer, or for the reasons that host() has.
    """
    from static_call.places.own_process import NotHere, OwnProcess

    place = host()
    if not isinstance(place, OwnProcess):
        raise NotHere("this process does not run arm64 code: load files into an Emulator")
    return place.loaded(designs)


def host() -> OwnProcess | Emulator:
    """This process on arm64 Linux; elsewhere an emulated machine, with the same interface.

    It always returns the same place, and never emulates on arm64 Linux unless asked to.

    Raises:
        NotHere: The kernel or the configuration of an arm64 Linux lacks what the process needs.
    """
    with _lock:
        return _host()


@cache
def _host() -> OwnProcess | Emulator:
    if is_arm64_linux():
        from static_call.places.own_process import OwnProcess

        return OwnProcess()
    from static_call.places.emulator import Emulator

    return Emulator()


StaticCall.default_place = host
