"""
What a client knows of an attempt to store an event.
"""

from __future__ import annotations

import enum


class Outcome(enum.Enum):
    """How an attempt to store an event ended, as its client sees it."""

    #: answered 200: it is stored
    OK = "ok"
    #: it is surely not stored, nor will be
    REFUSED = "refused"
    #: it may be stored, or may yet
    UNKNOWN = "unknown"
