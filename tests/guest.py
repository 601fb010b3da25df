"""An arm64 Linux guest: an initramfs made of files, booted in QEMU.

The machine is emulated: what it shows about order and caches is QEMU's, which keeps no caches. Its
kernel is real, and so are its threads: each CPU is a thread of this host.
"""

from __future__ import annotations

import gzip
import os
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

TAIL = 40
"""Lines of the console that an error shows."""


class GuestError(Exception):
    """A guest that did not run to its end: the message says why and shows the console's tail."""


class _Entry(NamedTuple):
    """A file of an initramfs: its name without a leading `/`, st_mode, contents and device."""

    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def initramfs(
    target: Path, *parts: Path | Mapping[str, bytes | Path], archives: Iterable[Path] = ()
) -> Path:
    """Makes the initramfs `target` and returns it: compressed where its name ends in `.gz`.

    parts     directories, which become the root with all that is in them, and mappings of names
              such as "/init" to bytes or to a file of this host; a later part wins. Given bytes,
              a file is executable; a file of this host keeps its mode
    archives  initramfs images made before, uncompressed or not: these come first

    All belongs to root. /dev/console is always there, and so are the directories of all names:
    name a file by its real path, as a directory would replace a symbolic link like /lib of Debian.
    """
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as file:
        try:
            for archive in archives:
                with archive.open("rb") as image:
                    shutil.copyfileobj(image, file)
                file.write(bytes(-file.tell() % 4))  # the next one starts on such a boundary
            if target.suffix == ".gz":
                with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1, mtime=0) as packed:
                    packed.writelines(_cpio(_entries(parts)))
            else:
                file.writelines(_cpio(_entries(parts)))
            os.chmod(file.name, 0o644)
            os.replace(file.name, target)
        except BaseException:
            os.unlink(file.name)
            raise
    return target


def _entries(parts: Iterable[Path | Mapping[str, bytes | Path]]) -> Iterator[_Entry]:
    """All files, each after the directories that it is in."""
    made: set[str] = set()

    def parents(name: str) -> Iterator[_Entry]:
        for folder in reversed(Path(name).parents):
            if (path := str(folder)) != "." and path not in made:
                made.add(path)
                yield _Entry(path, stat.S_IFDIR | 0o755)

    yield from parents("dev/console")
    yield _Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    for part in parts:
        if isinstance(part, Path):
            for path in sorted(part.rglob("*")):
                made.add(name := str(path.relative_to(part)))
                yield _of_host(name, path, follow=False)
        else:
            for name, contents in part.items():
                name = name.lstrip("/")
                yield from parents(name)
                if isinstance(contents, bytes):
                    yield _Entry(name, stat.S_IFREG | 0o755, contents)
                else:
                    yield _of_host(name, contents, follow=True)


def _of_host(name: str, path: Path, *, follow: bool) -> _Entry:
    """A file of this host under its name in the guest."""
    found = path.stat() if follow else path.lstat()
    if stat.S_ISREG(found.st_mode):
        return _Entry(name, found.st_mode, path.read_bytes())
    if stat.S_ISLNK(found.st_mode):
        return _Entry(name, found.st_mode, os.readlink(path).encode())
    return _Entry(name, found.st_mode, device=(os.major(found.st_rdev), os.minor(found.st_rdev)))


def _cpio(entries: Iterable[_Entry]) -> Iterator[bytes]:
    """A cpio archive in the newc format: Documentation/driver-api/early-userspace/buffer-format."""
    for inode, entry in enumerate(entries, 1):
        yield from _file(inode, entry)
    yield from _file(0, _Entry("TRAILER!!!", 0))


def _file(inode: int, entry: _Entry) -> Iterator[bytes]:
    name = entry.name.encode() + b"\0"
    # c_ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
    fields = [inode, entry.mode, 0, 0, 1, 0, len(entry.data), 0, 0, *entry.device, len(name), 0]
    header = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    yield header + bytes(-len(header) % 4)
    yield entry.data + bytes(-len(entry.data) % 4)


def boot(
    kernel: Path,
    initrd: Path,
    *,
    qemu: Sequence[str],
    cpu: str,
    append: str = "",
    smp: int = 2,
    memory: int = 2048,
    seconds: float = 300,
    extra: Sequence[str] = (),
) -> str:
    """Boots a kernel and returns the console's text, once the guest has powered off or panicked.

    qemu     the command that starts qemu-system-aarch64
    cpu      the CPUs' model, by QEMU's name
    append   words for the kernel's command line, after the console and `panic=-1`
    smp      CPUs
    memory   MiB
    seconds  after which QEMU is killed, and GuestError raised
    extra    more arguments for QEMU
    """
    command = [
        *(*qemu, "-M", "virt", "-cpu", cpu, "-smp", str(smp), "-m", str(memory)),
        *("-display", "none", "-monitor", "none", "-serial", "stdio", "-net", "none"),
        *("-no-reboot", "-kernel", str(kernel), "-initrd", str(initrd)),
        *("-append", f"console=ttyAMA0 panic=-1 {append}".strip(), *extra),
    ]
    # A session of its own, so that a terminal's interrupt reaches Python first and not QEMU.
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            output, own = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            output, _ = process.communicate()
            late = f"the guest was still running after {seconds:g} s: killed"
            raise GuestError(_with_tail(late, output)) from None
        except BaseException:
            process.send_signal(signal.SIGKILL)
            raise
    if process.returncode:
        raise GuestError(
            _with_tail(f"QEMU: exit status {process.returncode}\n{_text(own)}", output)
        )
    return _text(output)


def _text(console: bytes) -> str:
    return console.decode(errors="replace").replace("\r\n", "\n")


def _with_tail(message: str, console: bytes) -> str:
    lines = _text(console).splitlines()
    return "\n".join([message, *lines[-TAIL:]])
