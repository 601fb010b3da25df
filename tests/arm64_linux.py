"""The arm64 environments that tests run in: Debian's root directory and kernel, cached.

Two ways to run arm64 programs here, an arm64 Python among them:

- user-mode emulation (qemu-aarch64): fast; this host's kernel does the system calls. It gets wrong
  what goes past the translator: a write through /proc/self/mem, what another CPU fetches;
- a guest (qemu-system-aarch64) with an arm64 Linux kernel and two CPUs: slower, and real but for
  the CPUs.

Both use one root directory: Debian's packages, unpacked. Nothing here needs an arm64 package system
on this host.

    python tests/arm64_linux.py         builds what is not in the cache, and says where it is
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import guest

SUITE = "bookworm"
PACKAGES = ("python3", "busybox-static", "python3-cffi", "python3-pytest", "python3-pytest-timeout")
KERNEL = "linux-image-arm64"
"""Debian's name for its newest arm64 kernel."""

UNUSED = ("doc", "man", "locale")
"""Folders of /usr/share that no test reads."""

TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "qemu-aarch64": "qemu-user",
    guest.QEMU: guest.PACKAGES,
}
"""What is needed of this host: programs and their Debian packages."""

PYTHON = "usr/bin/python3.11"
DONE = "static-call: the job's exit status is "

INIT = """\
#!/bin/busybox sh
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
busybox mount -t devtmpfs dev /dev
busybox mkdir /dev/shm
busybox mount -t tmpfs shm /dev/shm
export PATH=/usr/bin:/bin:/usr/sbin:/sbin HOME=/tmp LANG=C.UTF-8
busybox sh /job
echo "@DONE@$?"
busybox poweroff -f
"""


class Unavailable(Exception):
    """An environment cannot be made here: the message says what is missing."""


def cache() -> Path:
    """The folder that all environments are in."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "static-call", "arm64")


def root() -> Path:
    """The root directory: Python with pytest and cffi, busybox and the C library, all compiled."""
    return _cached("root", _make_root, SUITE, *PACKAGES, *UNUSED)


def image() -> Path:
    """The root directory as an initramfs."""
    packages = root()
    return _cached("image", lambda to: guest.initramfs(to, packages), packages.name)


def kernel() -> Path:
    """Debian's newest arm64 kernel, when it was fetched."""
    return _cached("kernel", _make_kernel, SUITE, KERNEL)


def python(
    *arguments: str | Path, environment: Mapping[str, str] | None = None, seconds: float = 120
) -> subprocess.CompletedProcess[str]:
    """Runs the arm64 Python under user-mode emulation, with additions to this environment."""
    command = [*user_mode(), str(root() / PYTHON), *map(str, arguments)]
    return subprocess.run(
        command,
        env=os.environ | (environment or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=seconds,
    )


def user_mode() -> list[str]:
    """The command that runs an arm64 program with the root directory's C library."""
    return ["qemu-aarch64", "-cpu", "max,pauth-impdef=on", "-L", str(root())]


def in_guest(
    job: str,
    files: Mapping[str, bytes | Path],
    folder: Path,
    *,
    parallel: bool = False,
    seconds: float = 300,
) -> str:
    """Runs a shell script in the guest, and returns what the console shows.

    job       commands for busybox's sh; its PATH has Python
    files     what is added to the root directory, as in `guest.initramfs`
    folder    where the initramfs of this run is written
    parallel  each of the two CPUs is a thread of this host; else they take turns. QEMU before 8.1
              (deba78709a, "accel/tcg: Always lock pages before translation") may in parallel go on
              with a translation of code that another CPU changed while it was made
    seconds   after which the guest is killed

    Raises guest.GuestError where the guest does not run to its end, or the job fails.
    """
    init = INIT.replace("@DONE@", DONE).encode()
    own: dict[str, bytes | Path] = {"/init": init, "/job": job.encode(), "/tmp/.here": b""}
    own |= {f"/{empty}/.here": b"" for empty in ("proc", "sys")}
    initrd = guest.initramfs(folder / "initramfs", own, files, archives=[image()])
    # loglevel: the kernel's messages would stand in the middle of the job's.
    console = guest.boot(
        kernel(),
        initrd,
        append="quiet loglevel=1",
        seconds=seconds,
        extra=("-accel", f"tcg,thread={'multi' if parallel else 'single'}"),
    )
    output, done, status = console.rpartition(DONE)
    if not done or status.split()[0] != "0":
        tail = "\n".join(console.splitlines()[-guest.TAIL :])
        raise guest.GuestError(f"the guest's job failed\n{tail}")
    return output


def _cached(name: str, make: Callable[[Path], object], *parts: str) -> Path:
    """What `make` makes at the path it is given, from the cache if it is there.

    The key is made of what it is made from, and of this file's revision of how. Whoever comes
    second waits; what has its name is whole.
    """
    key = hashlib.sha256("\0".join((REVISION, *parts)).encode()).hexdigest()[:12]
    target = cache() / f"{name}-{key}"
    if target.exists():
        return target
    cache().mkdir(parents=True, exist_ok=True)
    with _locked(cache() / f"{name}.lock"):
        if not target.exists():
            for program, package in TOOLS.items():
                if shutil.which(program) is None:
                    raise Unavailable(f"{program} is missing: apt-get install {package}")
            new = target.with_name(f"{target.name}.new")
            _remove(new)
            make(new)
            new.rename(target)
    return target


REVISION = "1"
"""Of the ways below to make an environment: another one makes all of them anew."""


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _make_root(target: Path) -> None:
    unused = [f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in UNUSED]
    target.mkdir()
    _extract(PACKAGES, target, ["--exclude=./dev/*"], unused)
    # Debian's packages bring no compiled Python. By hash and not by time: files in an initramfs
    # have none.
    libraries = [str(target / "usr/lib" / part) for part in ("python3.11", "python3/dist-packages")]
    _run(
        *("qemu-aarch64", "-L", str(target), str(target / PYTHON), "-m", "compileall", "-q"),
        *("-x", "idlelib|lib2to3|tkinter|pydoc_data|ensurepip|distutils"),
        *("-s", str(target), "-p", "/", "--invalidation-mode", "unchecked-hash", *libraries),
    )


def _make_kernel(target: Path) -> None:
    folder = target.with_name(f"{target.name}.files")
    _remove(folder)
    folder.mkdir()
    _extract([KERNEL], folder, ["--wildcards", "./boot/vmlinuz-*"], [])
    (found,) = folder.glob("boot/vmlinuz-*")
    found.rename(target)
    _remove(folder)


def _extract(
    packages: Sequence[str], target: Path, tar: Sequence[str], options: Sequence[str]
) -> None:
    """Unpacks arm64 packages, and what they depend on, into a directory."""
    archive = target.with_name(f"{target.name}.tar")
    _run(
        *("mmdebstrap", "--quiet", "--variant=extract", "--arch=arm64", "--format=tar", *options),
        *(f"--include={','.join(packages)}", SUITE, str(archive)),
    )
    _run("tar", "-xf", str(archive), "-C", str(target), "--no-same-owner", *tar)
    archive.unlink()


def _run(*command: str) -> None:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(str(error)) from None
    if done.returncode:
        raise Unavailable(f"{command[0]}: exit status {done.returncode}\n{done.stderr[-2000:]}")


def main() -> None:
    """Builds what is not there. What cannot be built is no error: it is said, and tests skip."""
    for make in (root, image, kernel):
        start = time.monotonic()
        try:
            path = make()
        except Unavailable as error:
            print(f"no arm64 {make.__name__}, so what needs it is skipped: {error}")
            return
        if (seconds := time.monotonic() - start) > 1:
            print(f"built the arm64 {make.__name__} in {seconds:.0f} s: {path}")


if __name__ == "__main__":
    main()
