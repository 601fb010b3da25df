"""The emulated machine, and what is loaded into it."""

from static_call.places.emulator.machine import Emulator as Emulator
from static_call.places.emulator.machine import EmulatorFault as EmulatorFault
from static_call.places.emulator.machine import Function as Function
from static_call.places.emulator.machine import OutOfBounds as OutOfBounds
