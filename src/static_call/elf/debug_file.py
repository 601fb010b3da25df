"""The file with the symbols of a stripped one, found and checked as gdb does.

The build-id leads to `DIRECTORY/.build-id/xx/yyy.debug`. The section .gnu_debuglink has a name and
a CRC-32: a file of that name is looked for beside the stripped one, in the folder `.debug` there,
and in the same folder below DIRECTORY (GDB's manual, "Debugging Information in Separate Files").
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from static_call.elf.errors import ElfError, WrongDebugFile
from static_call.elf.headers import Section
from static_call.elf.image import Image

DIRECTORIES = ("/usr/lib/debug",)
"""Where distributions put these files."""

_PIECE = 1 << 20  # bytes that are read at once
_ALLOC, _NOBITS = 2, 8  # SHF_ALLOC, SHT_NOBITS


def attach(image: Image, path: str | os.PathLike[str] | None = None) -> None:
    """Lets an image use the symbols of another file.

    Args:
        image: the image.
        path: the file. If None, and the image is stripped, its debug file is looked for.

    Raises:
        OSError: the file cannot be opened.
        WrongDebugFile: it has no symbols, or another file's.
        ElfError: see Image.open.
    """
    if path is not None:
        debug = Image.open(path, symbols_only=True)
        if debug.names.stripped:
            raise WrongDebugFile(f"{debug.path}: has no symbol table")
        if why := _differs(image, debug):
            raise WrongDebugFile(f"{debug.path}: not the symbols of {image.path}: {why}")
        image.use_symbols_of(debug)
    elif image.linked and image.names.stripped:
        try:
            if (found := find(image)) is not None:
                image.use_symbols_of(found)
        except ElfError:  # it is damaged, maybe where nothing else looks
            return


def find(image: Image, directories: Sequence[str] | None = None) -> Image | None:
    """The file with the symbols of a stripped file, if a matching one is found.

    Args:
        image: the stripped file.
        directories: where to look besides the file's own folder; DIRECTORIES if None.
    """
    for path in _candidates(image, DIRECTORIES if directories is None else directories):
        try:
            if os.path.samestat(os.stat(path), image.stat):
                continue
            debug = Image.open(path, symbols_only=True)
            if not debug.names.stripped and not _differs(image, debug):
                return debug
        except (OSError, ElfError):
            continue
    return None


def _candidates(image: Image, directories: Sequence[str]) -> Iterator[str]:
    folder = os.path.dirname(os.path.realpath(image.path))
    if build := image.build_id.hex():
        for directory in directories:
            yield os.path.join(directory, ".build-id", build[:2], build[2:] + ".debug")
    name, _ = _link(image)
    if name:
        yield os.path.join(folder, name)
        yield os.path.join(folder, ".debug", name)
        for directory in directories:
            yield os.path.join(directory, folder.lstrip("/"), name)


def _link(image: Image) -> tuple[str, int]:
    """The name and the CRC-32 in .gnu_debuglink; "" and 0 if there is no usable one."""
    name, end, rest = image.headers.contents(".gnu_debuglink").partition(b"\0")
    at = -(len(name) + 1) % 4  # the CRC is aligned
    if not end or b"/" in name or name in (b".", b"..") or len(rest) < at + 4:
        return "", 0
    return os.fsdecode(name), int.from_bytes(rest[at : at + 4], image.order)


def _differs(image: Image, debug: Image) -> str:
    """Why a file does not have the symbols of an image; "" where it does.

    The build-ids are compared; without them, the CRC in .gnu_debuglink and the file's. Without
    either, the file must be the whole program, and the same in everything that is loaded: a file
    of symbols alone may be from an older build, with other addresses in sections of the same sizes.
    """
    ours, theirs = image.build_id, debug.build_id
    if ours or theirs:
        named = [one.hex() or "none" for one in (theirs, ours)]
        return "" if ours == theirs else f"its build-id is {named[0]}, not {named[1]}"
    name, crc = _link(image)
    if name:
        found = _crc(debug)
        return "" if found == crc else f"its CRC is {found:#010x}, not {crc:#010x}"
    loaded = [[one for one in each.sections if one.flags & _ALLOC] for each in (image, debug)]
    placed = [[(one.address, one.size) for one in each] for each in loaded]
    if placed[0] != placed[1] or not placed[0]:
        return "neither has a build-id, and their sections are elsewhere"
    pairs = [pair for pair in zip(*loaded) if pair[0].type != _NOBITS]
    if any(theirs.type == _NOBITS for _, theirs in pairs):
        return (
            "nothing says that they are: link with -Wl,--build-id, or name the file with "
            "objcopy --add-gnu-debuglink"
        )
    same = all(
        one == other
        for ours, theirs in pairs
        for one, other in zip(_pieces(image, ours), _pieces(debug, theirs), strict=True)
    )
    if same:
        return ""
    return (
        "neither has a build-id, and they differ in what is loaded: if it was set since, name the "
        "file with objcopy --add-gnu-debuglink"
    )


def _pieces(image: Image, section: Section) -> Iterator[bytes]:
    """What the file holds of a section."""
    for at in range(section.offset, section.offset + section.size, _PIECE):
        size = min(_PIECE, section.offset + section.size - at)
        yield os.pread(image.fileno(), size, at) if at < image.stat.st_size else b""


def _crc(image: Image) -> int:
    """The CRC-32 of a whole file."""
    import zlib

    crc = 0
    for at in range(0, image.stat.st_size, _PIECE):
        crc = zlib.crc32(os.pread(image.fileno(), _PIECE, at), crc)
    return crc
