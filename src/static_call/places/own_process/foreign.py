"""Functions of ctypes and cffi: their addresses, and whether they match a prototype."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

from static_call.errors import BadTarget

_FUNCTION: Any = ctypes.CFUNCTYPE(None).__mro__[-2]  # what all ctypes function types derive from
_FLOATS = {"f": 4, "d": 8, "g": 16}

Shape = tuple[str, int] | None
"""How a value is passed: a kind and a size in bytes; None if that is not known."""


def address(function: Any) -> int:
    """The address of a ctypes function; 0 for a null pointer."""
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def pointer(target: object, prototype: Any) -> tuple[int, object]:
    """The address of a function, and the object that keeps its code alive.

    Args:
        target: A ctypes function, a cffi function or callback, or, if there is a prototype, a
            Python callable.
        prototype: A type made by ctypes.CFUNCTYPE, or None if any will do.

    Raises:
        BadTarget: It is none of these, a null pointer, or it has another prototype.
    """
    backend: Any = sys.modules.get("_cffi_backend")
    shapes: list[Shape] | None
    if isinstance(target, _FUNCTION):
        at, shapes = address(target), _ctypes_shapes(target)
    elif backend is not None and isinstance(target, backend._CDataBase):
        at, shapes = _cffi(backend, target)
    elif callable(target) and prototype is not None:
        target = prototype(target)
        at, shapes = address(target), None
    elif callable(target):
        raise BadTarget(f"{target!r} needs a prototype, a type made by ctypes.CFUNCTYPE")
    else:
        raise BadTarget(f"{target!r} is not an address, a function, a symbol's name, None or RET0")
    if not at:
        raise BadTarget(f"{target!r} is a null pointer; to call nothing, pass None")
    if prototype is not None and shapes is not None:
        wanted = [_shape(prototype._restype_), *map(_shape, prototype._argtypes_)]
        if len(wanted) != len(shapes) or not all(map(_fits, wanted, shapes)):
            raise BadTarget(
                f"{target!r} has the prototype {_text(shapes)}, the static call has {_text(wanted)}"
            )
    return at, target


def _ctypes_shapes(function: Any) -> list[Shape] | None:
    """The result and arguments of a ctypes function; None if they were not given."""
    if function.argtypes is None:
        return None
    return [_shape(function.restype), *map(_shape, function.argtypes)]


def _shape(type_: Any) -> Shape:
    if type_ is None:
        return "void", 0
    kind = getattr(type_, "_type_", None)
    if not isinstance(type_, type) or not issubclass(type_, ctypes._SimpleCData | ctypes._Pointer):
        # A structure, or restype and argtypes that are functions: nothing is known.
        function = isinstance(type_, type) and issubclass(type_, _FUNCTION)
        return ("integer or pointer", 8) if function else None
    if isinstance(kind, str) and kind in _FLOATS:
        return "float", _FLOATS[kind]
    return "integer or pointer", ctypes.sizeof(type_)


def _cffi(backend: Any, target: Any) -> tuple[int, list[Shape] | None]:
    """The address, result and arguments of a cffi function."""
    type_ = backend.typeof(target)
    if type_.kind == "pointer" and type_.item.kind == "function":
        type_ = type_.item
    if type_.kind != "function":
        raise BadTarget(f"{target!r} is not a function")
    at = int(backend.cast(backend.new_primitive_type("uintptr_t"), target))
    if type_.ellipsis:
        return at, None
    return at, [_cffi_shape(backend, one) for one in (type_.result, *type_.args)]


def _cffi_shape(backend: Any, type_: Any) -> Shape:
    match type_.kind:
        case "void":
            return "void", 0
        case "primitive" if type_.cname in ("float", "double", "long double"):
            return "float", backend.sizeof(type_)
        case "primitive" | "enum":
            return "integer or pointer", backend.sizeof(type_)
        case "pointer" | "array" | "function":
            return "integer or pointer", 8
    return None


def _fits(wanted: Shape, has: Shape) -> bool:
    return wanted is None or has is None or wanted == has


def _text(shapes: list[Shape]) -> str:
    def name(one: Shape) -> str:
        if one is None:
            return "something"
        return f"{one[0]} of {8 * one[1]} bits" if one[1] else one[0]

    result, *arguments = map(name, shapes)
    return f"{result} ({', '.join(arguments)})"
