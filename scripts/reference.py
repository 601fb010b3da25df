"""Writes the Python half of docs/reference.md from the code's own signatures and docstrings.

    python scripts/reference.py

The text goes between the page's two markers; tests/test_docs.py compares. Public are the names in
`static_call.__all__`, and of their members those that do not begin with an underscore.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from enum import Enum
from functools import cached_property
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import static_call

PAGE = Path(__file__).parent.parent / "docs" / "reference.md"
BEGIN = "<!-- from here on written by scripts/reference.py -->\n"
END = "<!-- up to here -->\n"
SPECIAL = ("__call__", "__getitem__", "__iter__", "__len__", "__contains__")


def public_names() -> list[str]:
    """The public names of the package."""
    names = getattr(static_call, "__all__", None) or static_call._HOMES
    return sorted(names, key=lambda name: (_rank(getattr(static_call, name)), name.lower()))


def _rank(thing: object) -> int:
    if _raised(thing):
        return 3
    if isinstance(thing, type):
        return 0
    return 1 if inspect.isroutine(thing) else 2


def page() -> str:
    """The generated text."""
    names = public_names()
    exceptions = [name for name in names if _raised(getattr(static_call, name))]
    lines = [line for name in names if name not in exceptions for line in _entry(name)]
    return "\n".join([*lines, "### Exceptions and warnings\n", *map(_exception, exceptions), ""])


def _raised(thing: object) -> bool:
    """Whether it is an exception or a warning."""
    return isinstance(thing, type) and issubclass(thing, Exception)


def _exception(name: str) -> str:
    kind = getattr(static_call, name)
    bases = ", ".join(f"`{base.__name__}`" for base in kind.__bases__)
    return f"- `{name}`, based on {bases}: {_first(inspect.getdoc(kind))}"


def _entry(name: str) -> Iterator[str]:
    thing = getattr(static_call, name)
    yield f"### {name}\n"
    if isinstance(thing, type):
        yield f"`{_call(name, thing)}`\n"
        yield f"{_first(inspect.getdoc(thing))}\n"
        yield from _attributes(inspect.getdoc(thing))
        yield from _members(thing)
    elif inspect.isroutine(thing):
        yield f"`{_call(name, thing)}`\n"
        yield f"{_first(inspect.getdoc(thing))}\n"
    else:
        yield f"{_first(_constant(name, thing))}\n"


def _members(kind: type) -> Iterator[str]:
    if issubclass(kind, Enum):
        return
    for name in dict.fromkeys(_own(kind)):
        thing = inspect.getattr_static(kind, name)
        if isinstance(thing, staticmethod | classmethod):
            thing = thing.__func__
        if isinstance(thing, property):
            shown = f"{name}: {_result(thing.fget)}"
        elif isinstance(thing, cached_property):
            shown = f"{name}: {_result(thing.func)}"
        elif inspect.isfunction(thing) and thing.__name__ == name:
            shown = _call(name, thing)
        else:
            continue  # a field, which the docstring's Attributes have, or a hook
        yield f"- `{shown}`: {_first(inspect.getdoc(thing))}"
    yield ""


def _own(kind: type) -> Iterator[str]:
    """The public members that the package itself defines, those of the class before its bases'."""
    for one in kind.__mro__:
        if one.__module__.split(".")[0] == "static_call":
            yield from (n for n in vars(one) if not n.startswith("_") or n in SPECIAL)


def _call(name: str, thing: object) -> str:
    """A signature with its types."""
    signature = inspect.signature(thing)  # type: ignore[arg-type]  # what can't be called raises
    parts: list[str] = []
    star = False
    before = None
    for parameter in signature.parameters.values():
        if parameter.name in ("self", "cls") and not parts:
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            parts.append("*")
            star = True
        if before is parameter.POSITIONAL_ONLY and parameter.kind is not before:
            parts.append("/")
        before = parameter.kind
        star |= parameter.kind is parameter.VAR_POSITIONAL
        parts.append(_parameter(parameter))
    result = "" if isinstance(thing, type) else f" -> {_type(signature.return_annotation)}"
    return f"{name}({', '.join(parts)}){result}"


def _parameter(parameter: inspect.Parameter) -> str:
    kind = parameter.kind
    stars = "*" * ((kind is parameter.VAR_POSITIONAL) + 2 * (kind is parameter.VAR_KEYWORD))
    text = f"{stars}{parameter.name}"
    if parameter.annotation is not parameter.empty:
        text += f": {_type(parameter.annotation)}"
    if parameter.default is not parameter.empty:
        default = repr(parameter.default)
        text += f" = {'...' if ' at 0x' in default else default}"
    return text


def _type(annotation: object) -> str:
    if annotation is inspect.Signature.empty:
        return "None"
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _result(function: object) -> str:
    return _type(inspect.signature(function).return_annotation)  # type: ignore[arg-type]


def _first(doc: str | None) -> str:
    """A docstring's first paragraph."""
    return " ".join((doc or "").split("\n\n")[0].split())


def _attributes(doc: str | None) -> Iterator[str]:
    """The section Attributes of a docstring, as a list."""
    section = re.search(r"^Attributes:\n((?:    .*\n?|\n)*)", doc or "", re.M)
    if not section:
        return
    for one in re.finditer(r"^    (\w+): (.*(?:\n      .*)*)", section[1], re.M):
        yield f"- `{one[1]}`: {' '.join(one[2].split())}"
    yield ""


def _constant(name: str, value: object) -> str:
    """The docstring after a constant's assignment, in the module of its type."""
    home = type(value).__module__
    body = ast.parse(inspect.getsource(import_module(home))).body
    for one, after in pairwise(body):
        targets = one.targets if isinstance(one, ast.Assign) else [getattr(one, "target", None)]
        if (
            any(isinstance(target, ast.Name) and target.id == name for target in targets)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            return str(after.value.value)
    raise LookupError(f"{name}: no docstring after it in {home}")


def updated(text: str) -> str:
    """A page with new text between its markers. Raises ValueError if it has no markers."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{page()}\n{END}{after}"


def main() -> int:
    """Writes the page."""
    PAGE.write_text(updated(PAGE.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
