"""The public interface: what `import static_call` offers, and how it is seen."""

from __future__ import annotations

import ast
import builtins
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from patience import patient

import static_call


def declared() -> set[str]:
    """The names that type checkers and editors see."""
    tree = ast.parse(Path(static_call.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    return {name.asname or "" for node in block.body for name in node.names}  # type: ignore[attr-defined]


def test_every_view_of_the_interface_is_the_same() -> None:
    """__all__, dir(), the names that there are, and those that type checkers see."""
    assert len(set(static_call.__all__)) == len(static_call.__all__)
    assert declared() == set(static_call.__all__)
    assert {name for name in dir(static_call) if not name.startswith("_")} == declared()
    for name in static_call.__all__:
        assert getattr(static_call, name).__doc__
    assert issubclass(static_call.BadTarget, static_call.StaticCallError)


def texts() -> Iterator[tuple[str, str]]:
    """The docstrings of the public names and of their public members, by name."""
    for name in static_call.__all__:
        thing = getattr(static_call, name)
        yield name, inspect.getdoc(thing) or ""
        for kind in thing.__mro__ if isinstance(thing, type) else ():
            if kind.__module__.startswith("static_call."):
                for member, value in vars(kind).items():
                    if not member.startswith("_") or member in ("__init__", "__call__"):
                        yield f"{name}.{member}", inspect.getdoc(value) or ""


def test_what_it_raises_can_be_caught() -> None:
    """Each exception that a public docstring names is public, under that name, or Python's own."""
    kind = r"(?:\w+\.)*[A-Z]\w+"
    named = set()
    for where, text in texts():
        for names in re.findall(rf"\bRaises ({kind}(?:,? (?:and )?{kind})*)", text):
            named |= {(where, name) for name in re.findall(kind, names)}
        section = text.partition("Raises:\n")[2].partition("\n\n")[0]
        named |= {(where, name) for name in re.findall(r"^    ([\w.]+): ", section, re.M)}
    assert ("load", "UnknownDesign") in named
    assert ("StaticCall.state", "NotATrampoline") in named
    unknown = {
        (where, name)
        for where, name in named
        if name not in static_call.__all__ and not hasattr(builtins, name)
    }
    assert unknown == set()


def test_pydoc_shows_it() -> None:
    """`python -m pydoc static_call` has each name, with its text."""
    done = subprocess.run(
        [sys.executable, "-m", "pydoc", "static_call"],
        capture_output=True,
        text=True,
        timeout=patient(60),
    )
    for name in static_call.__all__:
        assert name in done.stdout
    assert "Retargets it: the key, then the trampoline" in done.stdout


def test_what_is_not_used_is_not_imported() -> None:
    """Looking at the names imports nothing; using one imports what it needs."""
    code = (
        "import sys, static_call; dir(static_call)\n"
        "print(sorted(name for name in sys.modules if name.startswith('static_call.')))\n"
        "static_call.load('inline-stub')\n"
        "print('unicorn' in sys.modules, 'ctypes' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=patient(60)
    )
    assert done.stdout.splitlines() == ["[]", "False False"]
