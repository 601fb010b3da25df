"""The documentation: what its examples show is what happens, and what it names exists."""

import importlib.util
import inspect
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import arm64_linux
import pytest
from patience import patient
from toolchain import missing, need

import static_call
from static_call.cli.main import main

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
NOT_RUN = ("pip install", "git clone")  # set-up, which CI runs itself


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_pages_examples(page: Path, tmp_path: Path) -> None:
    """The files that a page shows are written, its commands and Python run, in order; the output it
    shows is the output that comes, except in lines with an ellipsis."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    if page.stem == "README":  # it is read in a clone of the project
        (tmp_path / "src").symlink_to(ROOT / "src")
        shutil.copytree(ROOT / "examples", tmp_path / "examples")
    if page.stem == "field":  # it is read in docs/, next to its sequences
        (tmp_path / "field").symlink_to(ROOT / "docs" / "field")
    for language, text in BLOCK.findall(page.read_text()):
        if language == "c" and (name := re.match(r"/\* ([\w.]+) \*/", text)):
            (tmp_path / name[1]).write_text(text)
        elif language == "console":
            _run_commands(text, tmp_path, environment)
        elif language == "python" and page.stem == "process":  # is about a process on arm64
            _run_on_arm64(text)
            if "import ctypes" not in text and "loaded()" not in text:  # what works anywhere
                subprocess.run([sys.executable, "-c", text], cwd=tmp_path, check=True, timeout=60)
        elif language == "python":
            subprocess.run(
                [sys.executable, "-c", text], cwd=tmp_path, check=True, timeout=patient(60)
            )


def _run_on_arm64(text: str) -> None:
    try:
        done = arm64_linux.python("-c", text, environment={"PYTHONPATH": str(ROOT / "src")})
    except arm64_linux.Unavailable as error:
        missing("an arm64 environment", str(error))
    assert (done.returncode, done.stderr) == (0, "")


def _run_commands(text: str, folder: Path, environment: dict[str, str]) -> None:
    for command, shown in re.findall(r"^\$ ((?:[^'\n]|'[^']*')*)\n((?:(?!\$ ).*\n)*)", text, re.M):
        if command.startswith(NOT_RUN):
            continue
        if (tool := command.split()[0]) in ("aarch64-linux-gnu-gcc", "qemu-aarch64", "make"):
            need(tool, "aarch64-linux-gnu-gcc")
        done = subprocess.run(
            command, shell=True, cwd=folder, env=environment, text=True, timeout=patient(120),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        if not shown and done.returncode:
            pytest.fail(f"{command}: {done.stdout}")
        expected = [line.rstrip() for line in shown.splitlines()]
        got = [line.rstrip() for line in done.stdout.splitlines()]
        if expected and expected[-1] == "...":
            got = got[: len(expected)]
        if expected:
            assert len(got) == len(expected), (command, done.stdout)
        for want, line in zip(expected, got):
            pattern = re.escape(want).replace(r"\.\.\.", ".*")
            assert re.fullmatch(pattern, line), (command, want, line)


def _reference() -> ModuleType:
    """scripts/reference.py."""
    spec = importlib.util.spec_from_file_location("reference", ROOT / "scripts/reference.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _public_members(kind: type) -> Iterator[tuple[str, object]]:
    """Functions and properties of a class and its bases, those of the package."""
    for one in kind.__mro__:
        if one.__module__.startswith("static_call"):
            yield from (
                (name, member) for name, member in vars(one).items() if not name.startswith("_")
            )


def test_the_reference_is_what_the_code_says() -> None:
    """The Python half of docs/reference.md is what scripts/reference.py writes today."""
    text = (ROOT / "docs/reference.md").read_text()
    assert _reference().updated(text) == text, "run: python scripts/reference.py"


def test_the_reference_has_every_public_name_and_parameter() -> None:
    """Each public name is a heading, each public method is listed with all its parameters."""
    text = (ROOT / "docs/reference.md").read_text()
    names = getattr(static_call, "__all__", None) or static_call._HOMES
    for name in names:
        thing = getattr(static_call, name)
        if isinstance(thing, type) and issubclass(thing, Exception):
            assert re.search(rf"^- `{name}`, based on .*: \S", text, re.M), name
            continue
        section = re.search(rf"^### {name}\n(.*?)(?=^##|^<!--)", text, re.M | re.S)
        assert section, name
        if not isinstance(thing, type):
            assert all(one in section[1] for one in _parameters(thing)), name
            continue
        for member, value in _public_members(thing):
            if isinstance(value, staticmethod | classmethod):
                value = value.__func__
            if not inspect.isfunction(value) or value.__name__ != member:
                continue  # StaticCall.default_place is a hook for places/host.py
            line = re.search(rf"^- `{member}\((.*?)\) -> .*`: \S", section[1], re.M)
            assert line, f"{name}.{member}"
            for parameter in _parameters(value):
                assert re.search(rf"\b{parameter}\b", line[1]), f"{name}.{member}: {parameter}"


def _parameters(thing: object) -> list[str]:
    """The names of a function's parameters; none for a constant."""
    if not inspect.isfunction(thing):
        return []
    return [name for name in inspect.signature(thing).parameters if name not in ("self", "cls")]


def test_the_reference_names_nothing_that_is_not_there() -> None:
    """What docs/reference.md has in headings and as `Name.member` exists."""
    text = (ROOT / "docs/reference.md").read_text()
    python = text[text.index("\n## Python\n") : text.index("\n## C\n")]
    names = re.findall(r"^### (\w+)$|^- `(\w+)`, based on", python, re.M)
    for name in map("".join, names):
        assert hasattr(static_call, name), name
    dotted = re.findall(r"`([A-Z]\w+|static_call)\.(\w+)", python)
    assert dotted
    for name, member in dotted:
        owner = static_call if name == "static_call" else getattr(static_call, name)
        assert hasattr(owner, member), f"{name}.{member}"


def test_links_lead_somewhere() -> None:
    """Each link between the project's pages leads to a file, and to a heading of that page."""
    for page in (*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"):
        text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"https?:", target):
                continue
            path, _, anchor = target.partition("#")
            file = page.parent / path if path else page
            assert file.exists(), (page.name, target)
            if anchor:
                assert anchor in _anchors(file.read_text()), (page.name, target)


def _anchors(text: str) -> set[str]:
    """What a page's headings are linked by."""
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


def test_pictures_are_shown() -> None:
    """Each picture in docs/ is in a page."""
    shown = "".join(page.read_text() for page in PAGES)
    for picture in (ROOT / "docs").glob("*.svg"):
        assert f"]({picture.name})" in shown or f"](docs/{picture.name})" in shown


def test_the_story_that_is_drawn_is_the_checkers(tmp_path: Path) -> None:
    """docs/stale-code.svg is what check --svg draws of that story today."""
    drawn = tmp_path / "drawn.svg"
    assert main(["check", "--explain", "local-stub", "far-far", "--svg", str(drawn)]) == 0
    assert drawn.read_text() == (ROOT / "docs/stale-code.svg").read_text()


def test_the_litmus_test_that_is_drawn_is_the_pages(tmp_path: Path) -> None:
    """docs/message-passing.svg is what litmus --svg draws of the test in docs/checker.md."""
    page = (ROOT / "docs/checker.md").read_text()
    text = re.search(r"^\$ printf '%s\\n' '(.*?)' > MP.litmus$", page, re.M | re.S)
    assert text
    (tmp_path / "MP.litmus").write_text(text[1])
    drawn = tmp_path / "drawn.svg"
    assert main(["litmus", str(tmp_path / "MP.litmus"), "--svg", str(drawn)]) == 1
    assert drawn.read_text() == (ROOT / "docs/message-passing.svg").read_text()
