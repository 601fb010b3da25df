"""Static calls for arm64: function pointers that cost a direct branch, retargeted live.

    from static_call import StaticCall

    call = StaticCall("policy", first)   # a trampoline that branches to `first`
    call.update(second)                  # from now on calls go to `second`

This is the whole public interface. Each name is imported when it is first used, since some imports
are slow.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as typing has it, without its import
if TYPE_CHECKING:
    from static_call.calls import StaticCall as StaticCall
    from static_call.design.design import Design as Design
    from static_call.design.notation import NotationError as NotationError
    from static_call.design.notation import UnknownDesign as UnknownDesign
    from static_call.design.notation import load as load
    from static_call.design.target import RET0 as RET0
    from static_call.design.target import Unreachable as Unreachable
    from static_call.design.target import Unsupported as Unsupported
    from static_call.design.trampoline import BadRetarget as BadRetarget
    from static_call.design.trampoline import NotATrampoline as NotATrampoline
    from static_call.elf.errors import ElfError as ElfError
    from static_call.errors import BadTarget as BadTarget
    from static_call.errors import Closed as Closed
    from static_call.errors import MissingPart as MissingPart
    from static_call.errors import NameTaken as NameTaken
    from static_call.errors import StaticCallError as StaticCallError
    from static_call.image_calls import NoSuchCall as NoSuchCall
    from static_call.isa.instruction import Misaligned as Misaligned
    from static_call.isa.instruction import OutOfRange as OutOfRange
    from static_call.locks import Deadlock as Deadlock
    from static_call.places.emulator import Emulator as Emulator
    from static_call.places.emulator import EmulatorFault as EmulatorFault
    from static_call.places.emulator import OutOfBounds as OutOfBounds
    from static_call.places.emulator.elf import EmulatedElf as EmulatedElf
    from static_call.places.function import Function as Function
    from static_call.places.host import host as host
    from static_call.places.host import loaded as loaded
    from static_call.places.own_process import NotHere as NotHere
    from static_call.places.own_process import OwnProcess as OwnProcess
    from static_call.places.own_process import Unproved as Unproved
    from static_call.places.own_process import UpdateFailed as UpdateFailed
    from static_call.places.own_process.loaded_object import LoadedObject as LoadedObject
    from static_call.places.own_process.own_code import Unperformable as Unperformable
    from static_call.places.own_process.pool import NoRoom as NoRoom
    from static_call.places.own_process.synchronize import NotSynchronized as NotSynchronized

__all__ = [
    "RET0", "BadRetarget", "BadTarget", "Closed", "Deadlock", "Design", "ElfError", "EmulatedElf",
    "Emulator", "EmulatorFault", "Function", "LoadedObject", "Misaligned", "MissingPart",
    "NameTaken", "NoRoom", "NoSuchCall", "NotATrampoline", "NotHere", "NotSynchronized",
    "NotationError", "OutOfBounds", "OutOfRange", "OwnProcess", "StaticCall", "StaticCallError",
    "UnknownDesign", "Unperformable", "Unproved", "Unreachable", "Unsupported", "UpdateFailed",
    "host", "load", "loaded",
]  # fmt: skip

_HOMES = {
    "design.design": ("Design",),
    "design.target": ("RET0", "Unreachable", "Unsupported"),
    "design.notation": ("NotationError", "UnknownDesign", "load"),
    "design.trampoline": ("BadRetarget", "NotATrampoline"),
    "elf.errors": ("ElfError",),
    "errors": ("BadTarget", "Closed", "MissingPart", "NameTaken", "StaticCallError"),
    "image_calls": ("NoSuchCall",),
    "isa.instruction": ("Misaligned", "OutOfRange"),
    "locks": ("Deadlock",),
    "places.emulator": ("Emulator", "EmulatorFault", "OutOfBounds"),
    "places.emulator.elf": ("EmulatedElf",),
    "places.function": ("Function",),
    "places.host": ("StaticCall", "host", "loaded"),  # StaticCall with its default place
    "places.own_process": ("NotHere", "OwnProcess", "Unproved", "UpdateFailed"),
    "places.own_process.loaded_object": ("LoadedObject",),
    "places.own_process.own_code": ("Unperformable",),
    "places.own_process.pool": ("NoRoom",),
    "places.own_process.synchronize": ("NotSynchronized",),
}
"""The modules of this package that the public names are in."""


def __getattr__(name: str) -> object:
    from importlib import import_module

    for home, names in _HOMES.items():
        if name in names:
            value: object = getattr(import_module(f"static_call.{home}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'static_call' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, *(name for name in globals() if name.startswith("__"))]
