"""This process, on arm64 Linux."""

from static_call.places.own_process.process import NotHere as NotHere
from static_call.places.own_process.process import OwnProcess as OwnProcess
from static_call.places.own_process.process import Unproved as Unproved
from static_call.places.own_process.process import UpdateFailed as UpdateFailed
