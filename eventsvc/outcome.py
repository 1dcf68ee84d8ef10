"""
What a client knows about an attempt to store an event.
"""

from __future__ import annotations

import enum


class Outcome(enum.Enum):
    """The outcome of an attempt to store an event, as its client sees it."""

    #: answered 200: the event is stored
    OK = "ok"
    #: the event is not stored and never will be
    REFUSED = "refused"
    #: the event may be stored, now or later
    UNKNOWN = "unknown"
