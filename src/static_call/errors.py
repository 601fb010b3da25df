"""The base of every exception that this package raises on purpose."""


class StaticCallError(Exception):
    """What was asked for cannot be done; the text is one line for the user.

    status  the exit status of a command line that ends with it
    """

    status = 1
