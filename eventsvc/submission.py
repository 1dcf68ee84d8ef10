"""
The request to an event log and its replies, as plain values.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence, Set
from typing import Final, Protocol

import attrs
import msgspec

#: The result of a request: the ids of the stored events, or the error.
Result = tuple[int, ...] | Exception


#: Bytes in the digest of an idempotency key, and in its fingerprint.
DIGEST: Final = 16
#: The fingerprint of a key that identifies an event whatever else is posted with it.
ANY_BODY: Final = bytes(DIGEST)


class IdempotencyKey(msgspec.Struct, frozen=True, gc=False):
    """
    A key of a request or of one event, and the identity of the request.

    @ivar digest: digest of the key.
    @ivar fingerprint: digest of the route and body of the request; L{ANY_BODY}
        for the key of an event, which is its C{source} and C{id}.
    """

    digest: bytes
    fingerprint: bytes = ANY_BODY


class Submission(msgspec.Struct, eq=False):
    """
    The encoded events of one request; either all are stored or none.

    @ivar keys: none; or one for all events, which are stored unless it is known;
        or one for each, so that only those with a known key are passed over: the
        key of an event.
    """

    ids: tuple[int, ...]
    entries: tuple[bytes, ...]
    keys: tuple[IdempotencyKey, ...] = ()


class BatchOutcome(enum.Enum):
    """The outcome of a batch with a sequence number."""

    APPENDED = "appended"
    #: an earlier attempt with the same sequence was applied
    DUPLICATE = "duplicate"
    #: the log has kept another sequence than the one before: it has forgotten batches
    LOST = "lost"
    #: the stream is at its hard limit; the sequence is used up
    FULL = "full"


@attrs.frozen
class Earlier:
    """An earlier request with the same idempotency key, or an earlier event."""

    fingerprint: bytes
    ids: tuple[int, ...]


@attrs.frozen
class Kept:
    """
    What a log knows of a producer id.

    @ivar sequence: its last batch; 0 if there is none.
    @ivar events: the events of all its batches.
    """

    sequence: int = 0
    events: int = 0


class Sent(Protocol):
    """A batch as it was sent to a log."""

    @property
    def size(self) -> int:
        """The bytes of memory it takes, nearly."""

    def unpack(self) -> Sequence[Submission]:
        """Return the submissions; those without keys perhaps together, and without their ids."""


class AppendReply(msgspec.Struct, frozen=True):
    """
    The reply to a batch.

    @ivar earlier: the earlier requests of keys that were in use, by digest.  What
        has these keys was passed over.
    @ivar no_room: digests of new keys that could not be remembered; the
        submissions with these keys were passed over, with all of their events.
    @ivar kept: what the log has kept, if the batch is LOST or DUPLICATE.
    @ivar last: the id of the last entry that was appended; empty if there is none,
        or another attempt appended it.
    @ivar sent: the batch as it was sent, if the log can tell.
    @ivar unsure: whether an earlier attempt may have stored what this one did not.
    """

    outcome: BatchOutcome
    earlier: Mapping[bytes, Earlier] = {}
    no_room: Set[bytes] = frozenset()
    kept: Kept = Kept()
    last: bytes = b""
    unsure: bool = False
    sent: Sent | None = None


@attrs.frozen
class Renewal:
    """
    The reply to a renewal of a producer id.

    @ivar known: whether the sequence is the last of its producer id.
    @ivar keys: number of remembered idempotency keys.
    @ivar kept: what the log has kept of the producer id.
    """

    known: bool
    keys: int
    kept: Kept
