"""debian.py: what happens to a download, with a mirror made here."""

from __future__ import annotations

import hashlib
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import arm64_linux
import debian
import pytest
from debian import Packages, Unavailable
from toolchain import need

RELEASE, ARCHITECTURE = "sid", "arm64"


class Mirror:
    """A folder as apt wants it, with the packages one (which depends on two) and two."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.publish("1.0")

    @property
    def address(self) -> str:
        """As a line of sources.list has it."""
        return f"[trusted=yes] copy:{self.folder}"

    def publish(self, version: str) -> None:
        """Puts both packages there in a version, and takes away what was there."""
        for old in self.folder.rglob("*.deb"):
            old.unlink()
        index = ""
        for name, depends in (("one", "Depends: two\n"), ("two", "")):
            index += self._build(name, version, depends)
        lists = self.folder / "dists" / RELEASE
        packages = lists / "main" / f"binary-{ARCHITECTURE}" / "Packages"
        packages.parent.mkdir(parents=True, exist_ok=True)
        packages.write_text(index)
        data = packages.read_bytes()
        (lists / "Release").write_text(
            f"Suite: {RELEASE}\nCodename: {RELEASE}\nArchitectures: {ARCHITECTURE}\n"
            f"Components: main\nDate: {time.strftime('%a, %d %b %Y %H:%M:%S UTC', time.gmtime())}\n"
            f"SHA256:\n {digest(data)} {len(data)} {packages.relative_to(lists)}\n"
        )

    def _build(self, name: str, version: str, depends: str) -> str:
        tree = self.folder / "tree" / name
        (tree / "DEBIAN").mkdir(parents=True, exist_ok=True)
        (tree / "lib" / "made").mkdir(parents=True, exist_ok=True)
        (tree / "usr" / "share" / "doc").mkdir(parents=True, exist_ok=True)
        (tree / "lib" / "made" / name).write_text(version)
        (tree / "usr" / "share" / "doc" / name).write_text(version)
        control = (
            f"Package: {name}\nVersion: {version}\nArchitecture: {ARCHITECTURE}\n{depends}"
            "Maintainer: nobody <nobody@example.org>\nDescription: made by a test\n"
        )
        (tree / "DEBIAN" / "control").write_text(control)
        archive = self.archive(name, version)
        command = ["dpkg-deb", "--root-owner-group", "--build", str(tree), str(archive)]
        subprocess.run(command, check=True, capture_output=True)
        data = archive.read_bytes()
        return f"{control}Filename: {archive.name}\nSize: {len(data)}\nSHA256: {digest(data)}\n\n"

    def archive(self, name: str, version: str) -> Path:
        """The file of a package."""
        return self.folder / f"{name}_{version}_{ARCHITECTURE}.deb"


def digest(data: bytes) -> str:
    """SHA256, as apt writes it."""
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    """The mirror, which apt is told of in place of this machine's; nobody waits between tries."""
    need("apt-get", "apt-cache", "dpkg-deb", "tar")
    (tmp_path / "mirror").mkdir()
    made = Mirror(tmp_path / "mirror")
    monkeypatch.setattr(debian, "mirror", lambda: made.address)
    monkeypatch.setattr(debian, "sleep", lambda _: None)
    return made


def packages(**others: str | tuple[str, ...]) -> Packages:
    """The package one, and so two."""
    return Packages(("one",), (RELEASE,), ARCHITECTURE, **others)  # type: ignore[arg-type]


def state() -> dict[str, tuple[int, int]]:
    """Sizes and times of what this machine's apt and dpkg keep."""
    folders = (Path("/var/lib/apt"), Path("/var/cache/apt"), Path("/var/lib/dpkg"))
    return {
        str(path): (path.stat().st_size, path.stat().st_mtime_ns)
        for folder in folders
        for path in (folder, *folder.glob("*"), *folder.glob("lists/*"), *folder.glob("archives/*"))
        if path.exists()
    }


def test_a_package_and_what_it_depends_on(mirror: Mirror, tmp_path: Path) -> None:
    """Through the links of a merged /usr, without what is omitted; apt's own state stays."""
    before = state()
    packages(omit=("./usr/share/doc/*",)).unpack(tmp_path / "root")
    assert state() == before
    assert (tmp_path / "root/lib").is_symlink()
    for name in ("one", "two"):
        assert (tmp_path / "root/usr/lib/made" / name).read_text() == "1.0"
    assert not list((tmp_path / "root/usr/share/doc").iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mirror", "root"]


def test_only_some(mirror: Mirror, tmp_path: Path) -> None:
    """`only` picks from all that would be installed."""
    packages(only="^two$").unpack(tmp_path / "root")
    assert [path.name for path in (tmp_path / "root/lib/made").iterdir()] == ["two"]


def test_the_version_in_the_table(
    mirror: Mirror,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The version in USED is taken without a word; a newer one is taken, and reported in a line."""
    used = ("1.0", digest(mirror.archive("two", "1.0").read_bytes()))
    monkeypatch.setitem(debian.USED, (RELEASE, "two", ARCHITECTURE), used)
    packages().unpack(tmp_path / "first")
    assert capsys.readouterr().err == ""
    mirror.publish("1.1")
    packages().unpack(tmp_path / "second")
    assert capsys.readouterr().err == "two 1.1: the tests were last run with 1.0\n"
    assert (tmp_path / "second/lib/made/two").read_text() == "1.1"


def test_another_file_of_the_same_version(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused, whatever the mirror's own list says about it."""
    monkeypatch.setitem(debian.USED, (RELEASE, "two", ARCHITECTURE), ("1.0", digest(b"")))
    with pytest.raises(Unavailable, match=r"^two 1\.0 is not the file that it was$"):
        packages().unpack(tmp_path / "root")


def cut(mirror: Mirror) -> None:
    """Takes the end off a package."""
    path = mirror.archive("two", "1.0")
    path.write_bytes(path.read_bytes()[:-10])


def change(mirror: Mirror) -> None:
    """Changes a byte of a package."""
    path = mirror.archive("two", "1.0")
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)


def remove(mirror: Mirror) -> None:
    """Removes a package that the list has."""
    mirror.archive("two", "1.0").unlink()


def lose_list(mirror: Mirror) -> None:
    """Removes all lists."""
    for path in mirror.folder.rglob("Packages"):
        path.unlink()
    for path in mirror.folder.rglob("Release"):
        path.unlink()


@pytest.mark.parametrize("harm", [cut, change, remove, lose_list])
def test_a_bad_download_is_no_cache_entry(
    harm: Callable[[Mirror], None],
    mirror: Mirror,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is whole has its name in the cache, and nothing else has; the next time it is made."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    wanted = packages()
    harm(mirror)
    with pytest.raises(Unavailable):
        arm64_linux._cached("made", wanted.unpack, *wanted.key())
    left = {path.name for path in arm64_linux.cache().iterdir()}
    assert not [name for name in left if not name.endswith((".lock", ".new"))]
    mirror.publish("1.0")
    made = arm64_linux._cached("made", wanted.unpack, *wanted.key())
    assert (made / "lib/made/two").read_text() == "1.0"
    lose_list(mirror)  # as without a network: what is there is used
    assert arm64_linux._cached("made", wanted.unpack, *wanted.key()) == made


def test_a_mirror_that_moves_on_meanwhile(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are gone when they are asked for: with the new list the next ones are found."""
    remove(mirror)
    monkeypatch.setattr(debian, "sleep", lambda _: mirror.publish("1.1"))
    packages().unpack(tmp_path / "root")
    assert (tmp_path / "root/lib/made/two").read_text() == "1.1"


def test_the_mirror_is_this_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """As apt says, of the archive of releases and not of others; none is a clear refusal."""
    security = "stable-security http://one.example/debian-security/\n"
    answers = {
        f"{security}bookworm http://two.example/debian/\n": "http://two.example/debian/",
        "nodistro http://one.example/\ntrixie copy:/a/b/\n": "copy:/a/b/",
    }
    for answer, address in answers.items():
        monkeypatch.setattr(debian, "_output", lambda *_, answer=answer: answer)
        assert debian.mirror() == address
    monkeypatch.setattr(debian, "_output", lambda *_: "noble http://one.example/ubuntu/\n")
    with pytest.raises(Unavailable, match=r"name no Debian release: see sources\.list"):
        debian.mirror()
