"""Static calls for arm64: function pointers that cost a direct branch, retargeted live.

What a user needs stands here; it is imported when it is first used, since some of it is heavy.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as typing has it, without its import
if TYPE_CHECKING:
    from static_call.calls import StaticCall as StaticCall
    from static_call.design.design import RET0 as RET0
    from static_call.design.design import Design as Design
    from static_call.design.notation import load as load
    from static_call.errors import StaticCallError as StaticCallError
    from static_call.places.emulator import Emulator as Emulator
    from static_call.places.host import host as host
    from static_call.places.host import loaded as loaded
    from static_call.places.own_process import OwnProcess as OwnProcess

_HOMES = {
    "RET0": "static_call.design.design",
    "Design": "static_call.design.design",
    "Emulator": "static_call.places.emulator",
    "StaticCall": "static_call.calls",
    "StaticCallError": "static_call.errors",
    "OwnProcess": "static_call.places.own_process",
    "host": "static_call.places.host",
    "load": "static_call.design.notation",
    "loaded": "static_call.places.host",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'static_call' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
