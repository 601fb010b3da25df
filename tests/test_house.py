"""Which room of the house may import which: one way, without a circle, as docs/house.md says."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "static_call"
PAGE = Path(__file__).parent.parent / "docs" / "house.md"

ROOMS = {
    "errors": "",
    "records": "",
    "locks": "errors",
    "isa": "errors records",
    "elf": "errors records isa",
    "design": "errors records isa",
    "key": "errors records isa design",
    "sharing": "locks isa design",
    "places/protocol": "design key sharing",
    "targets": "errors isa design key sharing places/protocol",
    "calls": "errors locks isa design key sharing places/protocol targets",
    "found_call": "records isa elf design places/protocol calls",
    "image_calls": "errors isa elf design key found_call",
    "places": "errors locks isa elf design key sharing places/protocol calls found_call "
    "image_calls",
    "memory_model": "errors isa",
    "check": "errors isa design memory_model",
    "board": "errors isa design memory_model check",
    "kernel": "errors isa design check",
    "cli": "errors elf design key found_call image_calls places memory_model check board kernel",
}
"""By room the rooms that its files may import, besides its own."""

BROWSER = frozenset({
    "_thread", "asyncio", "concurrent", "ctypes", "curses", "dbm", "fcntl", "grp", "mmap",
    "multiprocessing", "pty", "pwd", "resource", "select", "selectors", "signal", "socket",
    "subprocess", "syslog", "tempfile", "termios", "threading", "tty",
})  # fmt: skip
"""What check and memory_model may not import: a browser's Python lacks it, or it does nothing."""


@cache
def files() -> dict[str, Path]:
    """The package's modules by name, as in `places.emulator`."""
    return {
        ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(SOURCE.rglob("*.py"))
        if path not in (SOURCE / "__init__.py", SOURCE / "__main__.py")
    }


def imports(path: Path) -> Iterator[str]:
    """What a file imports anywhere: at its top, in functions, for type checkers; full names.

    The command line imports the module of the verb that is asked for: that may be any of them.
    """
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                inside = name.removeprefix("static_call.")
                yield name if inside in files() else str(node.module)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            assert path == SOURCE / "cli" / "main.py", f"{path}:{node.lineno}"
            yield from (f"static_call.{name}" for name in files() if name.startswith("cli.verbs."))


def own(path: Path) -> set[str]:
    """The modules of this package that a file imports."""
    found = {name for name in imports(path) if name.split(".")[0] == "static_call"}
    assert "static_call" not in found, f"{path} imports the public face, which imports everything"
    return {name.removeprefix("static_call.") for name in found}


def room(module: str) -> str:
    """The room that a module is in: a file at the top is one of its own."""
    slashed = module.replace(".", "/")
    return slashed if slashed in ROOMS else module.split(".")[0]


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_imports_only_what_it_may(name: str) -> None:
    """Each import, also inside functions and for type checkers, is in the table."""
    wrong = [
        f"{module} imports {other}"
        for module, path in files().items() if room(module) == name
        for other in own(path) if room(other) not in (name, *ROOMS[name].split())
    ]  # fmt: skip
    assert not wrong


def test_a_room_needs_what_it_may_import() -> None:
    """The table holds no wall that is open for nobody."""
    used = {(room(module), room(other)) for module, path in files().items() for other in own(path)}
    listed = {(name, other) for name, others in ROOMS.items() for other in others.split()}
    assert not listed - used


def test_every_module_is_in_a_room() -> None:
    """No file stands apart, and no room is empty."""
    assert {room(module) for module in files()} == set(ROOMS)


def test_no_circle() -> None:
    """No file imports itself through others, wherever in a file the imports are."""
    after = {module: own(path) for module, path in files().items()}
    done: set[str] = set()

    def visit(module: str, chain: tuple[str, ...]) -> None:
        assert module not in chain, " -> ".join((*chain[chain.index(module) :], module))
        if module not in done:
            for other in sorted(after.get(module, ())):
                visit(other, (*chain, module))
            done.add(module)

    for module in after:
        visit(module, ())


@pytest.mark.parametrize("name", ["memory_model", "check"])
def test_the_checker_runs_in_a_browser(name: str) -> None:
    """It imports nothing that Python lacks there, nor anything outside the standard library."""
    for module, path in files().items():
        if room(module) == name:
            for imported in imports(path):
                top = imported.split(".")[0]
                assert top not in BROWSER, f"{module} imports {imported}"
                assert top == "static_call" or top in sys.stdlib_module_names, module


def test_the_core_needs_the_standard_library_alone() -> None:
    """Only the emulated machine has another dependency; completion is an extra."""
    others = {
        (room(module), imported.split(".")[0])
        for module, path in files().items()
        for imported in imports(path)
        if imported.split(".")[0] not in {"static_call", "_typeshed", *sys.stdlib_module_names}
    }
    assert others == {("places", "unicorn"), ("cli", "argcomplete")}


def test_the_page_has_the_same_table() -> None:
    """docs/house.md names each room and what it may import, as this file does."""
    rows = re.findall(r"^\| `([\w/]+)` \| [^|]* \| ([^|]*) \|$", PAGE.read_text(), re.MULTILINE)
    shown = {name: set(re.findall(r"`([\w/]+)`", others)) for name, others in rows}
    assert shown == {name: set(others.split()) for name, others in ROOMS.items()}


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """The docstrings of a file, those of attributes among them, with their lines."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Expr(ast.Constant(str(text))):
                yield node.lineno, text


def test_docstrings_have_no_columns() -> None:
    """Editors and sphinx fold text that is aligned by blanks into one paragraph."""
    wrong = [
        f"{path.relative_to(SOURCE)}:{line}: {match[0].strip()}"
        for path in sorted(SOURCE.rglob("*.py"))
        for line, text in docstrings(path)
        for match in re.finditer(r"^ *[\w`*,./ -]{1,40}?\w[`*,]?  +\w.*$", text, re.MULTILINE)
    ]
    assert not wrong
