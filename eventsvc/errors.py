"""
How an operation on an event log can fail, and why a request is not stored.
L{eventsvc.interfaces} has these names too: they are part of its contracts.
"""

from __future__ import annotations


class Refused(Exception):
    """
    The operation surely has no effect, now or later; nor had any other under
    its idempotency key.

    @cvar reason: the kind of refusal, as it is counted.
    """

    reason = "redis_away"


class Unknown(Exception):
    """The operation may have taken effect, or may yet."""


class QueueFull(Refused):
    """
    The producer holds as many waiting events as it may.

    @ivar needs: events and bytes for which there was no room.
    """

    reason = "queue_full"

    def __init__(self, text: str, events: int = 1, size: int = 1) -> None:
        super().__init__(text)
        self.needs = events, size


class StreamFull(Refused):
    """The stream is at its hard limit."""

    reason = "stream_full"


class KeysFull(Refused):
    """The log remembers as many idempotency keys as it may."""

    reason = "keys_full"


class TooLarge(Exception):
    """The events of one request are more than the producer may ever hold."""


class KeyConflict(Exception):
    """The idempotency key was used before with another body."""


class KeyRunning(Exception):
    """A request with the same idempotency key is still running."""
