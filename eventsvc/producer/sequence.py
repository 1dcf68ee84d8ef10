"""
Decides what follows from an attempt to append a numbered batch, and how its
requests are answered: pure functions, no I/O.

# Note [Ambiguous append]

A lost reply does not show whether the batch was applied, and a batch that is
simply sent again may be stored twice::

    us:     batch ->                         batch again ->
    Redis:            append, reply ->                      append again
    link:                          cut here

So each batch has a sequence, stored by the same script call that appends it,
and is sent again with the same sequence until an answer shows its outcome.  A
delayed first attempt that arrives after the second finds the sequence spent.
For the same reason a sequence is used for nothing else while an attempt with
it is in doubt, and the answer FULL spends it: the first attempt might still
find room.

A request whose deadline passes leaves its batch: it is answered "unknown",
and the next attempt is made without it.  Whichever attempt was applied, it
contained the requests that still wait.

# Note [Log that has gone back]

LOST means that the log no longer knows the sequence that it confirmed to us: it
has returned to an earlier state.  First it is given back what it has forgotten:
see L{eventsvc.producer.repair}.  Then the batch is sent again, under the same
sequence, and an attempt in doubt stays so: it may be found there after all.

# Note [Refused by another server]

An attempt in doubt may have been applied by a server that is no longer asked,
and a consumer may have read it there.  A replica that lags may also lack what
was trimmed, and be full::

    us:           batch 7 ->                     batch 7 ->       <- FULL
    old primary:             trimmed, appended                           comes back with 7
    promoted:                           (has 6)             FULL

So "not stored" is never answered about an attempt in doubt.
"""

from __future__ import annotations

import attrs
import msgspec
from msgspec.structs import replace

from eventsvc.errors import KeyConflict, KeysFull, RedisFull, Refused, StreamFull, Unknown
from eventsvc.submission import AppendReply, BatchOutcome, Kept, Result, Submission


@attrs.frozen
class Resend:
    """
    Send the batch again, under the same sequence, after a pause.

    @ivar in_doubt: whether an attempt may have been applied, or may be later.
    @ivar problem: why it is not stored yet.
    @ivar kind: the kind of refusal if its time is up before it is stored.
    """

    in_doubt: bool
    problem: str
    kind: type[Refused] = Refused


@attrs.frozen
class Restore:
    """
    Give back to the log what it has forgotten, then send the batch again, under the same sequence.

    @ivar kept: what the log has kept.
    """

    kept: Kept


class Settle(msgspec.Struct, frozen=True, gc=False):
    """Answer each request of the batch with the result of L{find_result}; its sequence is used up."""

    reply: AppendReply


Step = Resend | Restore | Settle


def may_drop(in_doubt: bool, nobody_waits: bool) -> bool:
    """
    Return whether a batch can be dropped instead of sent, its sequence unused.

    While an attempt is in doubt the batch is sent even if it is now empty, to
    find out whether its sequence is spent.
    """
    return nobody_waits and not in_doubt


def decide(outcome: AppendReply | Exception, in_doubt: bool) -> Step:
    """
    Return what follows from an attempt.

    @param outcome: the reply of the log, or the error of the attempt.  L{Refused}
        means that it had no effect; after any other error it may have had one.
    @param in_doubt: whether an earlier attempt may have been applied, or may be later.
    """
    if isinstance(outcome, Exception):
        kind = RedisFull if isinstance(outcome, RedisFull) else Refused
        return Resend(in_doubt or not isinstance(outcome, Refused), str(outcome), kind)
    if outcome.outcome is BatchOutcome.LOST:
        return Restore(outcome.kept)
    return Settle(replace(outcome, unsure=True) if in_doubt and not stores_all(outcome) else outcome)


def stores_all(reply: AppendReply) -> bool:
    """Return whether every request of the batch is answered with its own ids."""
    return reply.outcome in (BatchOutcome.APPENDED, BatchOutcome.DUPLICATE) and not (reply.earlier or reply.no_room)


def find_result(submission: Submission, reply: AppendReply) -> Result:
    """
    Return the result of one request of a settled batch.

    # Note [Events already known]

    Each CloudEvent of a batch has a key of its own.  Those whose key is known
    are passed over, and answered with their first ids.  If the others are then
    not stored, "not stored" would be wrong about the first ones, so the request
    is "unknown".
    """
    result = _find_result(submission, reply)
    if reply.unsure and isinstance(result, Refused | KeyConflict):
        return Unknown(f"{result}; an earlier attempt may have stored the event")
    return result


def _find_result(submission: Submission, reply: AppendReply) -> Result:
    earlier = [reply.earlier.get(key.digest) for key in submission.keys]
    if any(found and found.fingerprint != key.fingerprint for found, key in zip(earlier, submission.keys)):
        return KeyConflict("the key was used before with another body")
    if earlier and all(earlier):
        return tuple([id for found in earlier if found for id in found.ids])
    error: Refused | Unknown
    if any(key.digest in reply.no_room for key in submission.keys):
        error = KeysFull("no more keys of requests and CloudEvents can be remembered for now")
    elif reply.outcome is BatchOutcome.FULL:
        error = StreamFull("the stream is at its hard limit")
    elif reply.outcome is BatchOutcome.LOST:
        error = Unknown("Redis lost track of this producer")
    elif any(earlier):
        return tuple([found.ids[0] if found else id for found, id in zip(earlier, submission.ids)])
    else:
        return submission.ids
    return Unknown(f"{error}; some of the events were stored earlier") if any(earlier) else error


def not_looked_up(submission: Submission, refused: Refused) -> Refused | Unknown:
    """
    Return the result of a request that is refused before Redis has answered.

    # Note [Not looked up]

    "Not stored" is a promise about all attempts with a key.  An earlier attempt,
    through any producer, may have been stored and its answer lost.  Only Redis
    knows::

        client: POST, key k ->                              POST, key k ->
        producer:           append, timeout -> 503 unknown               Redis is away -> 503 no
        Redis:              appended                                     (has it)
    """
    if not submission.keys:
        return refused
    return Unknown(f"{refused}; an earlier request with this key may have been stored")
