"""The base of every exception that this package raises on purpose."""


class StaticCallError(Exception):
    """What was asked for cannot be done; the text is one line for the user."""
