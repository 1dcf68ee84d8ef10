"""
What follows from an attempt to append a numbered batch, and what its requests
are told: pure decisions, no I/O.

# Note [Ambiguous append]

A lost reply does not say whether the batch was applied, and a batch sent
again blindly is there twice::

    us:     batch ->                         batch again ->
    Redis:            append, reply ->                      append again
    link:                          cut here

So each batch has a sequence, kept by the same script call that appends it,
and is sent again with the same sequence until an answer says what became of
it.  A delayed first attempt that arrives after the second finds the sequence
spent.  That is also why no sequence is used for anything else while an
attempt with it is in doubt, and why the answer FULL spends it: it could
not promise "not stored" while the first attempt may yet find room.

A request whose deadline passes leaves its batch: it is answered "unknown",
and the next attempt is made without it.  Whichever attempt was the one
applied, the requests that still wait were part of it.

# Note [Lost producer id]

LOST says that the log does not know the numbers it confirmed to us.  If
the batch was sent once, and this is its answer, it is surely not stored
and goes out again on a new producer id.  If an earlier attempt is in doubt, the
producer id may have been dropped alone, after that attempt was applied: only
"unknown" is true then.
"""

from __future__ import annotations

import attrs
import msgspec

from eventsvc.errors import KeyConflict, KeysFull, Refused, StreamFull, Unknown
from eventsvc.submission import AppendReply, BatchOutcome, Result, Submission


@attrs.frozen
class Resend:
    """
    Send the batch again, under the same sequence, after a pause.

    @ivar in_doubt: whether an attempt may have been applied, or may yet.
    @ivar problem: why it is not stored so far.
    """

    in_doubt: bool
    problem: str


@attrs.frozen
class Renumber:
    """Send the batch again at once, as the first of a new producer id: it is surely not stored."""


class Settle(msgspec.Struct, frozen=True, gc=False):
    """
    Tell each request of the batch what L{find_result} says.

    @ivar spent: whether the sequence is used up.  If not, the log has lost the
        producer id, and the next batch is the first of a new one.
    """

    reply: AppendReply
    spent: bool


Step = Resend | Renumber | Settle


def may_drop(in_doubt: bool, nobody_waits: bool) -> bool:
    """
    Say whether a batch can be forgotten instead of sent, its sequence unused.

    While an attempt is in doubt it is sent even if it is empty by now, to learn
    whether its sequence is spent.
    """
    return nobody_waits and not in_doubt


def decide(outcome: AppendReply | Exception, in_doubt: bool) -> Step:
    """
    Say what follows from an attempt.

    @param outcome: what the log replied, or how the attempt failed.  L{Refused}
        means that it had no effect; after any other error it may have had.
    @param in_doubt: whether an earlier attempt may have been applied, or may yet.
    """
    if isinstance(outcome, Exception):
        return Resend(in_doubt or not isinstance(outcome, Refused), str(outcome))
    if outcome.outcome is not BatchOutcome.LOST:
        return Settle(outcome, spent=True)
    return Settle(outcome, spent=False) if in_doubt else Renumber()


def stores_all(reply: AppendReply) -> bool:
    """Say whether every request of the batch is told its own ids."""
    return reply.outcome in (BatchOutcome.APPENDED, BatchOutcome.DUPLICATE) and not (reply.earlier or reply.no_room)


def find_result(submission: Submission, reply: AppendReply) -> Result:
    """Return what a request of a settled batch is told."""
    earlier = reply.find_earlier(submission)
    if earlier is not None:
        if submission.key is not None and earlier.fingerprint == submission.key.fingerprint:
            return earlier.ids
        return KeyConflict("the key was used before with another body")
    if reply.has_no_room(submission):
        return KeysFull("no more Idempotency-Keys can be remembered for now")
    match reply.outcome:
        case BatchOutcome.APPENDED | BatchOutcome.DUPLICATE:
            return submission.ids
        case BatchOutcome.FULL:
            return StreamFull("the stream is at its hard limit")
        case BatchOutcome.LOST:
            return Unknown("Redis lost track of this producer")


def not_looked_up(submission: Submission, refused: Refused) -> Refused | Unknown:
    """
    Return what a request is told that is refused before Redis has answered.

    # Note [Not looked up]

    "Not stored" is a promise for all attempts of a key.  An earlier one may
    have been stored, and its answer lost, by this producer or another or one
    that has ended.  Only Redis knows::

        client: POST, key k ->                              POST, key k ->
        producer:           append, timeout -> 503 unknown               Redis is away -> 503 no
        Redis:              appended                                     (has it)
    """
    if submission.key is None:
        return refused
    return Unknown(f"{refused}; an earlier request with this key may have been stored")
