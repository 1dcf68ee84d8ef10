"""
What is given to an event log, and what it replies: plain values.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Set

import attrs

#: What a request is told: the ids its events are stored under, or why they are not.
Result = tuple[int, ...] | Exception


@attrs.frozen
class IdempotencyKey:
    """
    What a client calls its request, and what the request is.

    @ivar digest: stands for the key; safe as part of a Redis key.
    @ivar fingerprint: stands for the route and body of the request.
    """

    digest: bytes
    fingerprint: bytes


@attrs.define(eq=False)
class Submission:
    """The events of one request, encoded: all are stored or none."""

    ids: tuple[int, ...]
    entries: tuple[bytes, ...]
    key: IdempotencyKey | None = None


class BatchOutcome(enum.Enum):
    """What became of a numbered batch."""

    APPENDED = "appended"
    #: an earlier attempt of the same sequence had been applied
    DUPLICATE = "duplicate"
    #: the log no longer knows the numbers this producer id has used
    LOST = "lost"
    #: the stream is at its hard limit; the sequence is spent
    FULL = "full"


@attrs.frozen
class Earlier:
    """What an idempotency key stood for before this batch."""

    fingerprint: bytes
    ids: tuple[int, ...]


@attrs.frozen
class AppendReply:
    """
    @ivar earlier: by digest, the keys that were in use: their submissions
        were passed over.
    @ivar no_room: digests of the keys that were not in use, and could not be
        remembered: theirs were passed over too.
    """

    outcome: BatchOutcome
    earlier: Mapping[bytes, Earlier] = attrs.field(factory=dict)
    no_room: Set[bytes] = frozenset()

    def find_earlier(self, submission: Submission) -> Earlier | None:
        """What the key of a submission stood for, if it was in use."""
        return self.earlier.get(submission.key.digest) if submission.key is not None else None

    def has_no_room(self, submission: Submission) -> bool:
        """Whether the key of a submission could not be remembered."""
        return submission.key is not None and submission.key.digest in self.no_room

    def passed_over(self, submission: Submission) -> bool:
        """Whether the rest of its batch was looked at without it, for its key."""
        return self.find_earlier(submission) is not None or self.has_no_room(submission)


@attrs.frozen
class Renewal:
    """
    @ivar known: whether the sequence is the last of its producer id.
    @ivar keys: idempotency keys that are remembered.
    """

    known: bool
    keys: int
