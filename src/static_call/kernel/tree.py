"""A Linux source tree: its version and its files, which are replaced whole."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from copy import copy

from static_call.errors import StaticCallError


class NotATree(StaticCallError):
    """A folder is not a Linux source tree."""


class Tree:
    """A Linux source tree.

    Attributes:
        path: its folder.
        version: its version, as its Makefile gives it: "6.12.117".
        changes: new texts by file, None for a file to be removed. `read` returns them even before
            `write` has written them.
    """

    version: str

    def __init__(self, path: str) -> None:
        """The tree in a folder. Raises NotATree if the folder does not have one."""
        self.path = path
        self.changes: dict[str, str | None] = {}
        makefile = self.read("Makefile") if os.path.isdir(path) else None
        number = r"^VERSION = (\d+)\nPATCHLEVEL = (\d+)\nSUBLEVEL = (\d+)\nEXTRAVERSION =(.*)$"
        found = re.search(number, makefile or "", re.MULTILINE)
        if found is None or self.read("arch/arm64/Kconfig") is None:
            what = "Makefile with a kernel's version" if found is None else "arch/arm64/Kconfig"
            raise NotATree(f"{path}: not a Linux source tree: no {what}")
        self.version = f"{found[1]}.{found[2]}.{found[3]}{found[4].strip()}"

    def read(self, name: str) -> str | None:
        """A file's text; None if there is no such file. Raises NotATree if it isn't text."""
        if name in self.changes:
            return self.changes[name]
        try:
            with open(os.path.join(self.path, name), encoding="utf-8", newline="") as file:
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except UnicodeDecodeError:
            raise NotATree(f"{os.path.join(self.path, name)}: not a text file") from None

    def but(self, changes: Mapping[str, str | None]) -> Tree:
        """The same tree with more changes."""
        tree = copy(self)
        tree.changes = self.changes | dict(changes)
        return tree

    def write(self) -> None:
        """Writes the changes to the files: all of them or, if that fails, none.

        Raises NotATree for a file that is a symbolic link, and OSError.
        """
        for name in self.changes:
            if os.path.islink(os.path.join(self.path, name)):
                raise NotATree(f"{os.path.join(self.path, name)}: a symbolic link: port its target")
        changes, self.changes = self.changes, {}
        before = {name: self.read(name) for name in changes}
        done: list[str] = []
        try:
            for name, text in changes.items():
                done.append(name)
                self._replace(name, text)
        except BaseException:
            for name in done:
                with suppress(OSError):
                    self._replace(name, before[name])
            raise

    def _replace(self, name: str, text: str | None) -> None:
        path = os.path.join(self.path, name)
        if text is None:
            with suppress(FileNotFoundError):
                os.unlink(path)
            return
        handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".static-call.")
        try:
            with open(handle, "w", encoding="utf-8", newline="") as file:
                file.write(text)
            exists = os.path.exists(path)
            like = os.stat(path if exists else os.path.dirname(path))
            os.chmod(temporary, like.st_mode & 0o7777 if exists else 0o644)
            with suppress(PermissionError):
                os.chown(temporary, like.st_uid, like.st_gid)
            os.replace(temporary, path)
        except BaseException as error:
            with suppress(OSError):
                os.unlink(temporary)
            if isinstance(error, OSError) and error.errno:
                error.filename = path
            raise
