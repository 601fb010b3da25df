"""The public interface: what `import static_call` offers, and how it is seen."""

from __future__ import annotations

import ast
import subprocess
import sys
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
