"""
The counters of a consumer.
"""

from __future__ import annotations

import attrs

from eventsvc.interfaces import Refused, Unknown


@attrs.define(kw_only=True)
class ConsumerCounts:
    """What a consumer has done, in entries; the numbers only grow."""

    handled: int = 0
    failed: int = 0
    redelivered: int = 0
    passed_over: int = 0
    dead: int = 0


def reason_of(error: Exception) -> str:
    """Return the reason a failure is counted under: the code of Redis' error, if it is one."""
    match error:
        case Refused():
            return str(getattr(error, "code", error.reason))
        case Unknown():
            return "unknown"
        case _:
            return "unexpected"
