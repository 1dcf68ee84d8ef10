"""
The request to an event log and its replies, as plain values.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Set

import attrs

#: The result of a request: the ids of the stored events, or the error.
Result = tuple[int, ...] | Exception


@attrs.frozen
class IdempotencyKey:
    """
    A client's key for a request, and the identity of the request.

    @ivar digest: digest of the key; safe as part of a Redis key.
    @ivar fingerprint: digest of the route and body of the request.
    """

    digest: bytes
    fingerprint: bytes


@attrs.define(eq=False)
class Submission:
    """The encoded events of one request; either all are stored or none."""

    ids: tuple[int, ...]
    entries: tuple[bytes, ...]
    key: IdempotencyKey | None = None


class BatchOutcome(enum.Enum):
    """The outcome of a batch with a sequence number."""

    APPENDED = "appended"
    #: an earlier attempt with the same sequence was applied
    DUPLICATE = "duplicate"
    #: the log no longer knows the last sequence of this producer id
    LOST = "lost"
    #: the stream is at its hard limit; the sequence is used up
    FULL = "full"


@attrs.frozen
class Earlier:
    """An earlier request with the same idempotency key."""

    fingerprint: bytes
    ids: tuple[int, ...]


@attrs.frozen
class AppendReply:
    """
    The reply to a batch.

    @ivar earlier: the earlier requests of keys that were in use, by digest;
        submissions with these keys were skipped.
    @ivar no_room: digests of new keys that could not be remembered;
        submissions with these keys were skipped too.
    """

    outcome: BatchOutcome
    earlier: Mapping[bytes, Earlier] = attrs.field(factory=dict)
    no_room: Set[bytes] = frozenset()

    def find_earlier(self, submission: Submission) -> Earlier | None:
        """Return the earlier request with the key of a submission, if any."""
        return self.earlier.get(submission.key.digest) if submission.key is not None else None

    def has_no_room(self, submission: Submission) -> bool:
        """Return whether the key of a submission could not be remembered."""
        return submission.key is not None and submission.key.digest in self.no_room

    def passed_over(self, submission: Submission) -> bool:
        """Return whether a submission was skipped because of its key."""
        return self.find_earlier(submission) is not None or self.has_no_room(submission)


@attrs.frozen
class Renewal:
    """
    The reply to a renewal of a producer id.

    @ivar known: whether the sequence is the last of its producer id.
    @ivar keys: number of remembered idempotency keys.
    """

    known: bool
    keys: int
