"""
Timers that do not depend on the wall clock.
"""

from __future__ import annotations

import time
from typing import Any


def use_monotonic_time(reactor: Any) -> None:
    """
    Make all timers of a reactor independent of the wall clock.

    Twisted uses C{time.time}: if that is set back by an hour, no timer fires
    for an hour.  Timers that are already set, such as those that a handler
    module sets on import, keep their remaining time.
    """
    shift = time.monotonic() - reactor.seconds()
    for call in reactor.getDelayedCalls():
        call.time += shift
        call.seconds = time.monotonic
    reactor.seconds = time.monotonic
