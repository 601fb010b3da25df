"""Time limits, which are there to end what hangs: on a slow machine all of them are longer.

STATIC_CALL_TEST_SLOWDOWN  how many times slower than the developers' machine this one may be (10)
"""

from __future__ import annotations

import os

SLOWDOWN = float(os.environ.get("STATIC_CALL_TEST_SLOWDOWN") or 10)


def patient(seconds: float) -> float:
    """The limit, in seconds, for what takes at most `seconds` on the developers' machine."""
    return seconds * SLOWDOWN
