"""The base of every exception that this package raises on purpose, and those that rooms share."""

from __future__ import annotations


class StaticCallError(Exception):
    """What was asked for cannot be done; the text is one line for the user."""


class BadTarget(StaticCallError):
    """The target is not code that the static call could call."""


class NameTaken(StaticCallError):
    """The place has a static call or a function of this name already."""


class Closed(StaticCallError):
    """The static call was closed: another one may be at its address by now."""


class MissingPart(StaticCallError):
    """The place lacks a part that is needed: see places/protocol.py."""
