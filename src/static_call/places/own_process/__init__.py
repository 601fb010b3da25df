"""This process, on arm64 Linux, with the program and the libraries that are loaded into it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from static_call.places.own_process.memory import NotHere as NotHere
from static_call.places.own_process.memory import UpdateFailed as UpdateFailed
from static_call.places.own_process.process import Process
from static_call.places.own_process.process import Unproved as Unproved

if TYPE_CHECKING:
    from static_call.places.own_process.loaded_object import LoadedObject, Trampolines


class OwnProcess(Process):
    """This process: static calls that its threads call while they are retargeted.

    OwnProcess(weak=True) accepts that an update causes no context synchronisation event on other
    CPUs if the kernel has no membarrier: see Process.
    """

    def loaded(self, designs: Sequence[str] = ()) -> list[LoadedObject]:
        """The program and the libraries of this process that have static calls.

        Args:
            designs: Files with your own designs that they may have.
        """
        from static_call.places.own_process.loaded_object import loaded

        return loaded(self, designs)

    def synchronize(self, seconds: float = 10.0) -> None:
        """Returns when no thread is in a trampoline, on its way to a former target.

        places/own_process/synchronize.py says what it cannot know.

        Args:
            seconds: How long it may take.

        Raises:
            NotSynchronized: It could not be found out where some thread is.
            NotHere: This is user-mode emulation.
        """
        if self.translated:
            raise NotHere("user-mode emulation has its own threads, which cannot be asked")
        self._asker.synchronize([*self._text.ranges(), *self._trampolines.ranges()], seconds)

    @cached_property
    def _trampolines(self) -> Trampolines:
        from static_call.places.own_process.loaded_object import Trampolines

        return Trampolines(self)
