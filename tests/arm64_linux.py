"""The arm64 environments that tests run in: QEMU, Debian's root directory and kernels, cached.

Two ways to run arm64 programs here, an arm64 Python among them:

- user-mode emulation (qemu-aarch64): fast; this host's kernel does the system calls. QEMU 7.2,
  which Debian stable had until 2025, gets wrong what its translator does not see: a write through
  /proc/self/mem, what another CPU fetches;
- a guest (qemu-system-aarch64) with an arm64 Linux kernel and as many CPUs as asked for: slower,
  and real but for the CPUs.

Both use one root directory: Debian's packages, unpacked. The guest's QEMU is in the cache too, as
the installed one may be too old to be trusted. Nothing here needs root, or an arm64 package system
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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import guest
from debian import Packages, say
from debian import Unavailable as Unavailable
from patience import patient

RELEASE = "bookworm"
"""Of the QEMU in the cache, and of what it is linked with."""

PYTHONS = {"3.11": RELEASE, "3.13": "trixie", "3.14": "forky"}
"""The Pythons that Debian has for arm64, with pytest and cffi, by the releases that have them."""

VERSION = os.environ.get("STATIC_CALL_TEST_PYTHON", "3.11")
"""The Python that tests run with; tests/newer_pythons.py asks for the others."""

UNUSED = tuple(f"./usr/share/{folder}/*" for folder in ("doc", "man", "locale"))
"""What no test reads."""

ROOT = Packages(
    ("python3", "busybox-static", "python3-cffi", "python3-pytest", "python3-pytest-timeout"),
    (PYTHONS[VERSION],),
    "arm64",
    omit=("./dev/*", *UNUSED),
)
QEMU = Packages(
    ("qemu-system-arm", "qemu-user"),
    (RELEASE, f"{RELEASE}-backports"),
    omit=(*UNUSED, "./usr/bin/qemu-[!as]*", "./usr/bin/qemu-alpha", "./usr/bin/qemu-sparc*"),
)
"""QEMU 10. Before 8.1 (deba78709a, "accel/tcg: Always lock pages before translation") a CPU with a
thread of its own may go on with a translation of code that another one changed while it was made:
then calls are stale that no arm64 CPU would make stale."""

KERNEL = Packages(
    ("linux-image-arm64",), (RELEASE,), "arm64", only="^linux-(image|binary)-", omit=UNUSED
)
KERNEL_NEW = Packages(
    ("linux-image-arm64",),
    ("trixie", "trixie-backports"),
    "arm64",
    only="^linux-(image|binary)-",
    omit=UNUSED,
)

PYTHON = f"usr/bin/python{VERSION}"
CPU = "max,pauth-impdef=on"
"""QEMU's model of a CPU with all features that it knows, pointers signed in a way that is fast."""

CPU_WITHOUT_MOPS = "neoverse-n2,pauth-impdef=on"
"""One that has FEAT_BTI and no FEAT_MOPS, which `max` cannot be without. The guest's kernel does
not use it with `arm64.nomops` on its command line; user-mode emulation needs such a CPU."""

MAY_WRITE = "proc_mem.force_override=always"
"""For the command line of a kernel that else lets only a tracer write code through /proc/PID/mem:
7.3's default, CONFIG_PROC_MEM_FORCE_PTRACE. A write gives EIO there."""

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


def cache() -> Path:
    """The folder that all environments are in."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "static-call", "arm64")


def root() -> Path:
    """The root directory: Python with pytest and cffi, busybox and the C library, all compiled."""
    return _cached("root", _make_root, *ROOT.key())


def image() -> Path:
    """The root directory as an initramfs."""
    packages = root()
    return _cached("image", lambda to: guest.initramfs(to, packages), packages.name)


def emulator() -> Path:
    """The folder of QEMU 10, with all that it needs."""
    return unpacked("qemu", QEMU)


def unpacked(name: str, packages: Packages) -> Path:
    """A folder with packages, by a name that says what it is."""
    return _cached(name, packages.unpack, *packages.key())


def with_its_libraries(folder: Path, program: str, *libraries: Path) -> list[str]:
    """The command that runs a program of unpacked packages of this host's architecture.

    Args:
        folder: Where they are unpacked, with the C library of their release.
        program: Its name in usr/bin.
        libraries: Other folders that have libraries it needs.
    """
    (loader,) = folder.glob("usr/lib/*/ld-linux-*.so.*")
    path = ":".join(map(str, (loader.parent, *libraries)))
    return [str(loader), "--library-path", path, str(folder / "usr/bin" / program)]


def qemu(program: str = "qemu-system-aarch64") -> list[str]:
    """The command that runs a program of QEMU 10, with libraries and files of its own."""
    folder = emulator()
    run = with_its_libraries(folder, program)
    command = ["env", f"QEMU_MODULE_DIR={Path(run[0]).parent}/qemu", *run]
    return [*command, "-L", str(folder / "usr/share/qemu")] if "system" in program else command


def kernel() -> Path:
    """Debian's 6.1 for arm64, in the version that was the newest when it was fetched."""
    return _cached("kernel", lambda to: _make_kernel(to, KERNEL), *KERNEL.key())


def kernel_new() -> Path:
    """The newest arm64 kernel that Debian has for an older release: 7.3 or later.

    On a CPU with FEAT_MOPS its memcpy() is CPYP, CPYM and CPYE; not with `arm64.nomops` on its
    command line. It does not let a process write its own code: see MAY_WRITE.
    """
    return _cached("kernel-new", lambda to: _make_kernel(to, KERNEL_NEW), *KERNEL_NEW.key())


def python(
    *arguments: str | Path,
    environment: Mapping[str, str] | None = None,
    seconds: float = 120,
    new: bool = False,
    cpu: str = CPU,
) -> subprocess.CompletedProcess[str]:
    """Runs the arm64 Python under user-mode emulation, with additions to this environment.

    new, cpu  as for `user_mode`
    """
    command = [*user_mode(new=new, cpu=cpu), str(root() / PYTHON), *map(str, arguments)]
    return subprocess.run(
        command,
        env=os.environ | (environment or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=patient(seconds),
    )


def user_mode(*, new: bool = False, cpu: str = CPU) -> list[str]:
    """The command that runs an arm64 program with the root directory's C library.

    new  by the cache's QEMU; else by the one that is installed
    cpu  the CPUs' model, by QEMU's name
    """
    program = "qemu-aarch64"
    return [*(qemu(program) if new else [program]), "-cpu", cpu, "-L", str(root())]


def in_guest(
    job: str,
    files: Mapping[str, bytes | Path],
    folder: Path,
    *,
    parallel: bool = False,
    cpus: int = 2,
    cpu: str = CPU,
    kernel: Callable[[], Path] = kernel,
    append: str = "",
    seconds: float = 300,
) -> str:
    """Runs a shell script in the guest, and returns what the console shows.

    job       commands for busybox's sh; its PATH has Python
    files     what is added to the root directory, as in `guest.initramfs`
    folder    where the initramfs of this run is written
    parallel  each CPU is a thread of this host; else one thread runs them in turns
    cpus      how many there are
    cpu       their model, by its name for QEMU
    kernel    what makes the kernel: `kernel` or `kernel_new`
    append    words for the kernel's command line, such as `arm64.nomops`
    seconds   after which the guest is killed, on the developers' machine: see patience.py

    Raises guest.GuestError where the guest does not run to its end, or the job fails.
    """
    init = INIT.replace("@DONE@", DONE).encode()
    own: dict[str, bytes | Path] = {"/init": init, "/job": job.encode(), "/tmp/.here": b""}
    own |= {f"/{empty}/.here": b"" for empty in ("proc", "sys")}
    initrd = guest.initramfs(folder / "initramfs", own, files, archives=[image()])
    # loglevel: the kernel's messages would be mixed with the job's.
    console = guest.boot(
        kernel(),
        initrd,
        qemu=qemu(),
        cpu=cpu,
        smp=cpus,
        append=f"quiet loglevel=1 {append}",
        seconds=patient(seconds),
        extra=("-accel", f"tcg,thread={'multi' if parallel else 'single'}"),
    )
    output, done, status = console.rpartition(DONE)
    if not done or status.split()[0] != "0":
        tail = "\n".join(console.splitlines()[-guest.TAIL :])
        raise guest.GuestError(f"the guest's job failed\n{tail}")
    return output


def _cached(name: str, make: Callable[[Path], object], *parts: str) -> Path:
    """What `make` makes at the path it is given, from the cache if it is there.

    The key is made from the inputs and this file's revision of how to build it. A second process
    waits; what has the final name is complete.
    """
    key = hashlib.sha256("\0".join((REVISION, *parts)).encode()).hexdigest()[:12]
    target = cache() / f"{name}-{key}"
    if target.exists():
        return target
    cache().mkdir(parents=True, exist_ok=True)
    with _locked(cache() / f"{name}.lock"):
        if not target.exists():
            new = target.with_name(f"{target.name}.new")
            _remove(new)
            make(new)
            new.rename(target)
    return target


REVISION = "2"
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
    ROOT.unpack(target)
    # Debian's packages bring no compiled Python. By hash and not by time: files in an initramfs
    # have none.
    libraries = [
        str(target / "usr/lib" / part) for part in (f"python{VERSION}", "python3/dist-packages")
    ]
    _run(
        *(*qemu("qemu-aarch64"), "-L", str(target), str(target / PYTHON), "-m", "compileall", "-q"),
        *("-x", "idlelib|lib2to3|tkinter|pydoc_data|ensurepip|distutils"),
        *("-s", str(target), "-p", "/", "--invalidation-mode", "unchecked-hash", *libraries),
    )


def _make_kernel(target: Path, packages: Packages) -> None:
    folder = target.with_name(f"{target.name}.files")
    _remove(folder)
    packages.unpack(folder)
    # Up to 6.12 it is in /boot, after that with its modules.
    (found,) = (*folder.glob("boot/vmlinuz-*"), *folder.glob("usr/lib/modules/*/vmlinuz"))
    found.rename(target)
    _remove(folder)


def _run(*command: str) -> None:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=patient(300)
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(str(error)) from None
    if done.returncode:
        raise Unavailable(f"{command[0]}: exit status {done.returncode}\n{done.stderr[-2000:]}")


def main() -> None:
    """Builds what is missing. What cannot be built is reported, not an error: its tests skip."""
    for make in (emulator, root, image, kernel, kernel_new):
        start = time.monotonic()
        try:
            path = make()
        except Unavailable as error:
            say(f"no arm64 {make.__name__}, so what needs it is skipped: {error}")
            return
        if (seconds := time.monotonic() - start) > 1:
            say(f"built the arm64 {make.__name__} in {seconds:.0f} s: {path}")


if __name__ == "__main__":
    main()
