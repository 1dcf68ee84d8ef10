"""
The errors of operations on an event log, and the reasons why a request is not
stored.  L{eventsvc.interfaces} exports them too, as part of its contracts.
"""

from __future__ import annotations


class Refused(Exception):
    """
    The operation has no effect, now or later, nor had any earlier one with the
    same idempotency key.

    @cvar reason: the kind of refusal, as a label of the metrics.
    """

    reason = "redis_away"


class Unknown(Exception):
    """The operation may have an effect, now or later."""


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
