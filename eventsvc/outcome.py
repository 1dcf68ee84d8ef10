"""
What a client knows about an attempt to store events.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

import attrs


class Outcome(enum.Enum):
    """The outcome of an attempt to store an event, as its client sees it."""

    #: answered 200: the event is stored
    OK = "ok"
    #: the event is not stored and never will be
    REFUSED = "refused"
    #: the event may be stored, now or later
    UNKNOWN = "unknown"


@attrs.frozen
class Posted:
    """
    The result of an attempt to store an event.

    @ivar id: the id of the event; C{None} unless it is stored.
    @ivar why: why the event is not known to be stored.
    """

    outcome: Outcome
    id: int | None = None
    why: str = ""


@attrs.frozen
class PostedBatch:
    """
    The result of an attempt to store a batch: all of its events are stored, or none.

    @ivar ids: the ids of the events, in their order; none unless they are stored.
    @ivar why: why the events are not known to be stored.
    """

    outcome: Outcome
    ids: Sequence[int] = ()
    why: str = ""
