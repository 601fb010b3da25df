"""Packages of Debian's releases, unpacked into a folder: without root, and installed nowhere.

apt downloads them, so signatures and digests are checked. Its lists, cache and state are in a
folder of ours; the machine's own are only asked for the mirror.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import sleep

from patience import patient

TOOLS = {"apt-get": "apt", "apt-cache": "apt", "dpkg": "dpkg", "dpkg-deb": "dpkg", "tar": "tar"}
"""What is needed of this machine: programs and their Debian packages."""

OWN_RELEASES = ("bookworm", "trixie", "forky", "sid", "stable", "oldstable", "testing", "unstable")
"""What a machine may call the release that it gets its packages from."""

USED = {
    ("bookworm-backports", "qemu-system-arm", "amd64"): (
        "1:10.0.2+ds-2+deb13u1~bpo12+1",
        "edebbab09db3882c48ef9c00049c7c6a2d76d195cb88d830baadd1fb705bbc66",
    ),
    ("bookworm-backports", "qemu-user", "amd64"): (
        "1:10.0.2+ds-2+deb13u1~bpo12+1",
        "10a2dec99f2b2d0b1097ff0375aea35b89322d6631fc96700511b02e05bf6fef",
    ),
    ("bookworm", "linux-image-arm64", "arm64"): (
        "6.1.176-1",
        "f2d26d4c1aa55cb9527cf3c74e437f470f77b82665002a1758ea139ccc81046b",
    ),
    ("trixie-backports", "linux-image-arm64", "arm64"): (
        "7.3.4-1~bpo13+1",
        "48badf954ffa2a1e8d5866d5c9363f5933a8bc35737b146aedadfc9f17a8416e",
    ),
    ("forky", "herdtools7", "amd64"): (
        "7.58-2",
        "97a6e2bfbc2c516cd9816e8c87c3acc412953479a3351b308d139e0af9550672",
    ),
}
"""By release, package and architecture: the version that the tests were last seen to pass with, and
the SHA256 of its file. If a release has another version by now, that is used, and reported."""

TRIES = 4
"""Tries before a download is given up: a mirror may be busy, or change between list and files."""


class Unavailable(Exception):
    """Something that tests need cannot be had here: the message says what is missing."""


@dataclass(frozen=True)
class Packages:
    """Packages, and those that they depend on.

    names         what is asked for
    releases      Debian's names of where they are from; the last one is preferred
    architecture  Debian's name for it; None means this machine's
    only          if not empty, a regular expression: of all those packages the ones it matches
    omit          files that are not unpacked: patterns as for tar's --exclude
    """

    names: tuple[str, ...]
    releases: tuple[str, ...]
    architecture: str | None = None
    only: str = ""
    omit: tuple[str, ...] = ()

    def key(self) -> tuple[str, ...]:
        """What distinguishes these packages from others."""
        return (*self.names, "", *self.releases, "", str(self.architecture), self.only, *self.omit)

    def unpack(self, target: Path) -> None:
        """Downloads and unpacks them: `target` is there when it returns, and empty before.

        /bin, /lib and /sbin are links into /usr, as on every installed system.
        Raises Unavailable.
        """
        for program, package in TOOLS.items():
            if shutil.which(program) is None:
                raise Unavailable(f"{program} is missing: apt-get install {package}")
        target.mkdir(parents=True, exist_ok=True)
        for name in ("bin", "lib", "sbin"):
            (target / "usr" / name).mkdir(parents=True, exist_ok=True)
            (target / name).symlink_to(f"usr/{name}")
        with tempfile.TemporaryDirectory(dir=target.parent, prefix="apt-") as folder:
            for archive in self._download(Path(folder)):
                self._check(archive)
                _unpack(archive, target, self.omit)

    def _check(self, archive: Path) -> None:
        """Says where a version is not the one in USED; Unavailable if the file is another one."""
        fields = _output("dpkg-deb", "--field", str(archive), "Package", "Version", "Architecture")
        found = dict(re.findall(r"^(\w+): (.*)$", fields, re.MULTILINE))
        name, version = found["Package"], found["Version"]
        row = USED.get((self.releases[-1], name, found["Architecture"]))
        if row and row[0] != version:
            say(f"{name} {version}: the tests were last run with {row[0]}")
        elif row and hashlib.sha256(archive.read_bytes()).hexdigest() != row[1]:
            raise Unavailable(f"{name} {version} is not the file that it was")

    def _download(self, folder: Path) -> list[Path]:
        architecture = self.architecture or _output("dpkg", "--print-architecture").strip()
        apt = _Apt(folder, self.releases, architecture)
        for left in reversed(range(TRIES)):
            try:
                apt.update(mirror())
                return apt.download(self.names, self.only)
            except Unavailable:
                if not left:
                    raise
                sleep(2 * (TRIES - left))
        raise AssertionError


def mirror() -> str:
    """The address that this machine has its Debian packages from. Raises Unavailable."""
    targets = _output(
        *("apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI)", "Created-By: Packages")
    )
    for line in targets.splitlines():
        release, _, address = line.partition(" ")
        if release in OWN_RELEASES and "security" not in address:
            return address
    raise Unavailable("apt's sources on this machine name no Debian release: see sources.list(5)")


@dataclass(frozen=True)
class _Apt:
    """apt with all that it keeps in a folder of ours."""

    folder: Path
    releases: tuple[str, ...]
    architecture: str

    def update(self, address: str) -> None:
        """Fetches the lists of the releases."""
        for name in ("lists/partial", "archives/partial"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "status").touch()
        sources = [f"deb {address} {release} main\n" for release in self.releases]
        (self.folder / "sources.list").write_text("".join(sources))
        # A release whose list could not be had is only a warning by default.
        self._run("apt-get", "update", "--error-on=any")

    def download(self, names: Sequence[str], only: str) -> list[Path]:
        """The archives of these packages and of what they depend on, as far as `only` says."""
        wanted = [self._wanted(name) for name in names]
        plan = self._run("apt-get", "install", "--simulate", *wanted)
        found = [
            f"{name}={version}"
            for name, version in re.findall(r"^Inst (\S+) \((\S+) ", plan, re.MULTILINE)
            if re.search(only, name)
        ]
        if not found:
            raise Unavailable(f"apt finds nothing to install for {' '.join(names)}")
        self._run("apt-get", "download", *found)
        return sorted(self.folder.glob("*.deb"))

    def _wanted(self, name: str) -> str:
        """The package in the version that was used, if it is there still."""
        used, _ = USED.get((self.releases[-1], name, self.architecture), ("", ""))
        offered = self._run("apt-cache", "madison", name)
        versions = {line.split("|")[1].strip() for line in offered.splitlines() if "|" in line}
        return f"{name}={used}" if used in versions else name

    def _run(self, *command: str) -> str:
        own: dict[str, object] = {
            "Dir::Etc::sourcelist": self.folder / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Dir::State": self.folder,
            "Dir::State::lists": self.folder / "lists",
            "Dir::State::status": self.folder / "status",
            "Dir::State::extended_states": self.folder / "extended_states",
            "Dir::Cache": self.folder,
            "Dir::Cache::archives": self.folder / "archives",
            "Dir::Log": self.folder,
            "APT::Default-Release": self.releases[-1],
            "APT::Architecture": self.architecture,
            "APT::Architectures": self.architecture,
            "APT::Install-Recommends": "false",
            "APT::Get::Assume-Yes": "true",
            "APT::Sandbox::User": "",  # another user could not write here
            "APT::Update::Post-Invoke": "",
            "APT::Update::Post-Invoke-Success": "",
            "Acquire::Retries": 3,
            "Acquire::Languages": "none",
        }
        options = [part for name, value in own.items() for part in ("-o", f"{name}={value}")]
        return _output(command[0], "-qq", *options, *command[1:], folder=self.folder)


def say(text: str) -> None:
    """Prints one line, for people who wait."""
    print(text, file=sys.stderr, flush=True)


def _unpack(archive: Path, target: Path, omit: Sequence[str]) -> None:
    reading = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE)
    with reading:
        done = subprocess.run(
            [
                *("tar", "-x", "-C", str(target), "--no-same-owner", "--keep-directory-symlink"),
                *(f"--exclude={pattern}" for pattern in omit),
            ],
            stdin=reading.stdout,
            capture_output=True,
            text=True,
            timeout=patient(120),
        )
    if reading.returncode or done.returncode:
        raise Unavailable(f"{archive.name} cannot be unpacked: {done.stderr[-500:]}")


def _output(*command: str, folder: Path | None = None) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=patient(120),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(str(error)) from None
    if done.returncode:
        words = " ".join(word for word in command if "=" not in word and word != "-o")
        raise Unavailable(f"{words}: exit status {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout
