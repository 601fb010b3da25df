"""Linux kernels with static calls: unpacked, ported, configured, built and booted with the test.

All of it is kept under ${XDG_CACHE_HOME:-~/.cache}/static-call/kernel: source trees, object files,
compiler output. A second run makes what changed.

    linux-VERSION           Debian's source, unchanged
    linux-VERSION-DESIGN    the same, ported: hard links, as the port replaces the files it changes
    build-NAME              a kernel's objects

    python tests/kernel/linux.py TREE [PARAMETER=VALUE...]

boots a kernel of your own that is built in TREE, with the test and its parameters.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import arm64_linux  # noqa: E402
import guest  # noqa: E402
from patience import patient  # noqa: E402

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "static-call", "kernel")
CROSS = "aarch64-linux-gnu-"
MODULES = ("test", "far", "child", "ballast64", "ballast32", "ballast160")
DEFAULT = "inline-stub"

BOOT_SECONDS = 300
MODES = {
    "turns": ("-accel", "tcg,thread=single"),
    "parallel": ("-accel", "tcg,thread=multi"),
    "count": ("-icount", "shift=0"),
}
"""How QEMU runs the CPUs, by arguments.

turns     in turns, by one thread
parallel  each by its own thread
count     one CPU, and its PMU counts instructions exactly
"""

_MODULE_SOURCES = HERE / "module"
_EVERY = 20  # seconds between two lines of progress
_START = time.monotonic()


class KernelError(Exception):
    """A kernel that cannot be made: the message says what failed and shows its last lines."""


def say(text: str) -> None:
    """One line of progress, with the seconds since the start."""
    print(f"[{time.monotonic() - _START:5.0f} s] {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Kernel:
    """A kernel to build.

    name       of its folder
    version    of Debian's package linux-source-VERSION
    compiler   of the kernel and its modules
    fragments  the parts of its configuration, *.config beside this file
    without    the options that this compiler or version hasn't got
    design     the trampolines' design, a shipped one or a file; None leaves the tree unchanged
    force      whether the design may be one that the port refuses for what it does not hold
    path       of a kernel that is built already, in its source tree
    """

    name: str
    version: str
    compiler: str = CROSS + "gcc"
    fragments: tuple[str, ...] = ("guest",)
    without: tuple[str, ...] = ()
    design: str | None = DEFAULT
    force: bool = False
    path: Path | None = None

    @property
    def folder(self) -> Path:
        """Where its objects are."""
        return self.path or CACHE / f"build-{self.name}"

    @property
    def vmlinux(self) -> Path:
        """The kernel with its symbols."""
        return self.folder / "vmlinux"

    @property
    def image(self) -> Path:
        """The kernel as it is booted."""
        return self.folder / "arch/arm64/boot/Image"

    def module(self, name: str) -> Path:
        """One of the test's modules."""
        return self.folder / "static-call-test" / f"static_call_{name}.ko"

    def build(self) -> None:
        """Makes the kernel and the test's modules.

        Raises KernelError.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._configure()
        self.make("Image", "modules", what="kernel", seconds=1200)
        self.build_modules()

    def build_modules(self) -> None:
        """Makes the test's modules. Raises KernelError."""
        modules = self.module("test").parent
        shutil.copytree(_MODULE_SOURCES, modules, dirs_exist_ok=True)
        self.make(f"M={modules}", "modules", what="modules", seconds=600)

    def make(self, *arguments: str, what: str, seconds: float) -> None:
        """Runs make for it, and shows how far it is. Raises KernelError."""
        sources = self.path or tree(self.version, self.design, self.force)
        command = [
            *("make", "-C", str(sources), *(() if self.path else (f"O={self.folder}",))),
            *("ARCH=arm64", f"CROSS_COMPILE={CROSS}", f"CC={_ccache()}{self.compiler}"),
            *(f"-j{os.cpu_count()}", *arguments),
        ]
        run(command, f"{self.name}: {what}", seconds, log=self.folder / f"{what}.log")

    def _configure(self) -> None:
        """Makes .config: what the fragments say, and nothing else."""
        wanted = self.folder / "fragments.config"
        text = "".join((HERE / f"{name}.config").read_text() for name in self.fragments)
        config = self.folder / ".config"
        if not config.exists() or not wanted.exists() or wanted.read_text() != text:
            wanted.write_text(text)
            config.unlink(missing_ok=True)
            self.make(
                f"KCONFIG_ALLCONFIG={wanted}", "allnoconfig", what="configuration", seconds=300
            )
        got = set(config.read_text().splitlines())
        asked = {line for line in text.splitlines() if line.startswith("CONFIG_")}
        unset = {line for line in asked if line.endswith("=n")}
        missing = sorted(asked - unset - got - {f"CONFIG_{one}=y" for one in self.without})
        if missing:
            config.unlink()
            raise KernelError(f"{self.name}: its configuration lacks {', '.join(missing)}")
        if self.design and "CONFIG_HAVE_STATIC_CALL=y" not in got:
            config.unlink()
            raise KernelError(f"{self.name}: ported, but without CONFIG_HAVE_STATIC_CALL")

    def boot(
        self,
        parameters: str,
        child_parameters: str = "",
        *,
        append: str = "",
        mode: str = "turns",
        cpus: int = 2,
    ) -> str:
        """Boots it, runs the test in it, and returns the console.

        parameters        of static_call_test.ko
        child_parameters  of static_call_child.ko
        append            to the kernel's command line
        mode              how QEMU runs the CPUs: see MODES
        cpus              how many there are, up to 4; where they are counted, 1
        Raises guest.GuestError.
        """
        init = self.module("test").with_name("init")
        run(
            [CROSS + "gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-static",
             "-o", str(init), str(HERE / "init.c")],
            f"{self.name}: init", 60,
        )  # fmt: skip
        initrd = guest.initramfs(
            init.with_name("initramfs.gz"),
            {
                "/init": init,
                "/options": f"{parameters}\n{child_parameters}\n".encode(),
                **{
                    f"/static_call_{name}.ko": self.module(name)
                    for name in (*MODULES, *(["count"] if mode == "count" else []))
                },
            },
        )
        say(f"{self.name}: boots, {cpus} CPUs {mode}, {parameters} {append}")
        console = guest.boot(
            self.image, initrd, qemu=arm64_linux.qemu(), cpu=arm64_linux.CPU, append=append,
            seconds=patient(BOOT_SECONDS), smp=1 if mode == "count" else cpus, extra=MODES[mode],
        )  # fmt: skip
        init.with_name("console.log").write_text(console)
        return console


def run(
    command: Sequence[str], what: str, seconds: float, *, log: Path | None = None, ok: bool = True
) -> subprocess.CompletedProcess[str]:
    """Runs a command, with a line of progress now and then, for patient(seconds) at most.

    log  where its output goes and is counted; else it is returned
    Raises KernelError where it fails (with `ok`) or takes too long.
    """
    start, before, seconds = time.monotonic(), os.times(), patient(seconds)
    output = log or CACHE / f"output.{os.getpid()}"
    with output.open("w") as sink:
        environment = {**os.environ, **_REPRODUCIBLE, "CCACHE_DIR": str(CACHE / "ccache")}
        process = subprocess.Popen(
            command, stdout=sink, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            env=environment, start_new_session=True,
        )  # fmt: skip
        try:
            while True:
                left = start + seconds - time.monotonic()
                try:
                    status = process.wait(max(0, min(_EVERY, left)))
                    break
                except subprocess.TimeoutExpired:
                    if left <= 0:
                        raise KernelError(f"{what}: not done after {seconds:g} s") from None
                    lines = output.read_text(errors="replace").count("\n")
                    say(f"{what}: {lines} lines so far")
        except BaseException:
            os.killpg(process.pid, 9)
            process.wait()
            raise
    text = output.read_text(errors="replace")
    if not log:
        output.unlink()
    if status and ok:
        tail = "\n".join(text.splitlines()[-30:])
        raise KernelError(f"{what}: exit status {status}\n{' '.join(command)}\n{tail}")
    if time.monotonic() - start > _EVERY:
        now = os.times()
        cpu = (
            now.children_user + now.children_system - before.children_user - before.children_system
        )
        say(f"{what}: done in {time.monotonic() - start:.0f} s, {cpu:.0f} s of CPU time")
    return subprocess.CompletedProcess(command, status, text, "")


_REPRODUCIBLE = {
    "KBUILD_BUILD_TIMESTAMP": "2021-09-21",
    "KBUILD_BUILD_USER": "static-call",
    "KBUILD_BUILD_HOST": "guest",
}
"""What the version says of the build: the same every time, so that ccache finds it."""


def _ccache() -> str:
    return "ccache " if shutil.which("ccache") else ""


@contextmanager
def cache_lock() -> Iterator[None]:
    """The cache for ourselves: two runs would build in the same folders."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another run that uses {CACHE}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@cache
def source(version: str) -> Path:
    """Debian's kernel source, unpacked and unchanged. Raises KernelError."""
    folder = CACHE / f"linux-{version}"
    if not folder.exists():
        archive = Path(f"/usr/src/linux-source-{version}.tar.xz")
        if not archive.exists():
            raise KernelError(f"{archive} is missing: apt-get install linux-source-{version}")
        say(f"unpacks {archive}")
        with _new_folder(folder) as new:
            run(
                ["tar", "-C", str(new), "--strip-components=1", "-xf", str(archive)],
                f"linux-{version}", 900,
            )  # fmt: skip
    return folder


@cache
def tree(version: str, design: str | None, force: bool) -> Path:
    """The source with static calls of a design, or unchanged. Raises KernelError."""
    if design is None:
        return source(version)
    name = Path(design).stem
    folder = CACHE / f"linux-{version}-{name}"
    port = [sys.executable, "-m", "static_call", "kernel", "port", str(folder), "--design", design]
    port += ["--force"] if force else []
    for again in (False, True):
        if not folder.exists():
            with _new_folder(folder) as new:
                copy = ["cp", "-al", f"{source(version)}/.", str(new)]
                run(copy, f"linux-{version}-{name}", 300)
        done = run(port, f"linux-{version}-{name}: port", 120, ok=again)
        if not done.returncode:
            break
        # An earlier version of the port is in it, or a part of one.
        shutil.rmtree(folder)
    return folder


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """A folder that is there whole or not at all."""
    new = folder.with_name(folder.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    yield new
    new.rename(folder)


def main() -> None:
    """Boots a kernel that is built already."""
    path, *parameters = sys.argv[1:]
    kernel = Kernel(path, "", path=Path(path).resolve())
    try:
        kernel.build_modules()
        print(kernel.boot(" ".join(parameters), append="nokaslr"))
    except (KernelError, guest.GuestError, OSError) as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
