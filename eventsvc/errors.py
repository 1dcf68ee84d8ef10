"""
The errors of operations on an event log, the reasons why a request is not
stored, and what a handler raises to say what follows.
L{eventsvc.interfaces} exports the errors too, as part of its contracts.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Final

#: The longest pause that a handler can ask for, in seconds.
LONGEST_PAUSE: Final = 86_400.0


class Refused(Exception):
    """
    The operation has no effect, now or later, nor had any earlier one with the
    same idempotency key.

    @cvar reason: the kind of refusal, as a label of the metrics.
    """

    reason = "redis_away"


class Unknown(Exception):
    """The operation may have an effect, now or later."""


class RedisFull(Refused):
    """The memory of Redis is full."""

    reason = "redis_full"


class QueueFull(Refused):
    """
    The queue of the producer has no room for the request.

    @ivar needs: number of events and bytes that the request needs.
    """

    reason = "queue_full"

    def __init__(self, text: str, events: int = 1, size: int = 1) -> None:
        super().__init__(text)
        self.needs = events, size


class StreamFull(Refused):
    """The stream is at its hard limit."""

    reason = "stream_full"


class KeysFull(Refused):
    """The log has reached its limit of idempotency keys."""

    reason = "keys_full"


class TooLarge(Exception):
    """The request is larger than the whole queue of the producer."""


class KeyConflict(Exception):
    """The idempotency key was used before with another body."""


class KeyRunning(Exception):
    """A request with the same idempotency key is still running."""


class RetryAfter(Exception):
    """
    Raised by a handler to have an event delivered again after a pause.

    This is no failed delivery: it may be raised any number of times.

    @ivar seconds: from 0; more than a day counts as a day.
    """

    def __init__(self, seconds: float, reason: str = "") -> None:
        super().__init__(reason or f"deliver it again after {seconds} s")
        if not isfinite(seconds) or seconds < 0:
            raise ValueError(f"RetryAfter({seconds!r}): expected seconds from 0")
        self.seconds = min(float(seconds), LONGEST_PAUSE)
        self.reason = reason


class Reject(Exception):
    """Raised by a handler to have an event set aside at once: it will never succeed."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class BatchFailed(Exception):
    """
    Raised by C{handle_batch} when it has handled all but some events.

    @ivar errors: the error of each event that failed, by its C{stream_id}.
    """

    def __init__(self, errors: Mapping[str, Exception]) -> None:
        super().__init__(f"{len(errors)} events of the batch failed")
        self.errors = errors
