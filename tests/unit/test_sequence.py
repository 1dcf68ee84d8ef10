"""
Tests for L{eventsvc.producer.sequence}: what follows from each attempt, and
the result of each request.
"""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from eventsvc.errors import KeyConflict, KeysFull, QueueFull, RedisFull, Refused, StreamFull, Unknown
from eventsvc.producer.sequence import (
    Resend,
    Restore,
    Settle,
    Step,
    decide,
    find_result,
    may_drop,
    not_looked_up,
    stores_all,
)
from eventsvc.submission import AppendReply, BatchOutcome, Earlier, IdempotencyKey, Kept, Submission

APPENDED = AppendReply(BatchOutcome.APPENDED)
DUPLICATE = AppendReply(BatchOutcome.DUPLICATE)
FULL = AppendReply(BatchOutcome.FULL)
LOST = AppendReply(BatchOutcome.LOST, kept=Kept(7, 70))

KEY = IdempotencyKey(b"key", b"body")
PLAIN = Submission((1, 2), (b"a", b"b"))
KEYED = Submission((3,), (b"c",), (KEY,))


@pytest.mark.parametrize(
    ("outcome", "in_doubt", "step"),
    [
        # The answers that spend the sequence, whether or not they came at once.
        (APPENDED, False, Settle(APPENDED)),
        (APPENDED, True, Settle(APPENDED)),
        (DUPLICATE, False, Settle(DUPLICATE)),
        (DUPLICATE, True, Settle(DUPLICATE)),
        (FULL, False, Settle(FULL)),
        # Another server may have applied an attempt in doubt.
        (FULL, True, Settle(replace(FULL, unsure=True))),
        # The log has gone back: it is given back what it has forgotten, and the batch goes on.
        (LOST, False, Restore(Kept(7, 70))),
        (LOST, True, Restore(Kept(7, 70))),
        # A refusal settles nothing, and an earlier attempt stays in doubt.
        (Refused("no"), False, Resend(False, "no")),
        (Refused("no"), True, Resend(True, "no")),
        (StreamFull("no room"), False, Resend(False, "no room")),
        (RedisFull("full"), False, Resend(False, "full", RedisFull)),
        (RedisFull("full"), True, Resend(True, "full", RedisFull)),
        # Whatever else went wrong may have come after the batch was applied.
        (Unknown("silence"), False, Resend(True, "silence")),
        (Unknown("silence"), True, Resend(True, "silence")),
        (ZeroDivisionError("a bug"), False, Resend(True, "a bug")),
        (ZeroDivisionError("a bug"), True, Resend(True, "a bug")),
    ],
)
def test_what_follows_from_an_attempt(outcome: AppendReply | Exception, in_doubt: bool, step: Step) -> None:
    """The table has every answer and failure, with and without an earlier attempt in doubt."""
    assert decide(outcome, in_doubt) == step


@pytest.mark.parametrize(
    ("in_doubt", "nobody_waits", "dropped"),
    [(False, False, False), (False, True, True), (True, False, False), (True, True, False)],
)
def test_a_batch_is_dropped_only_if_nobody_waits_and_no_attempt_is_in_doubt(
    in_doubt: bool, nobody_waits: bool, dropped: bool
) -> None:
    """Otherwise the sequence of an attempt in doubt would be used for the next batch."""
    assert may_drop(in_doubt, nobody_waits) is dropped


@pytest.mark.parametrize("submission", [PLAIN, KEYED])
@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (BatchOutcome.APPENDED, None),
        (BatchOutcome.DUPLICATE, None),
        (BatchOutcome.FULL, StreamFull),
        (BatchOutcome.LOST, Unknown),
    ],
)
def test_a_request_is_told_what_became_of_its_batch(
    submission: Submission, outcome: BatchOutcome, told: type[Exception] | None
) -> None:
    """It gets its ids if it is stored, else an error; the keys of other requests do not matter."""
    reply = AppendReply(outcome, {b"other": Earlier(b"body", (9,))}, frozenset({b"another"}))
    result = find_result(submission, reply)
    assert result is submission.ids if told is None else isinstance(result, told)


@pytest.mark.parametrize("outcome", [BatchOutcome.APPENDED, BatchOutcome.DUPLICATE, BatchOutcome.FULL])
def test_a_key_is_answered_before_its_batch(outcome: BatchOutcome) -> None:
    """A known key gives the first ids or a conflict, whatever the outcome of the batch."""
    reply = AppendReply(outcome, {b"key": Earlier(b"body", (9,))})
    assert find_result(KEYED, reply) == (9,)
    reply = AppendReply(outcome, {b"key": Earlier(b"another body", (9,))})
    assert isinstance(find_result(KEYED, reply), KeyConflict)
    reply = AppendReply(outcome, no_room=frozenset({b"key"}))
    assert isinstance(find_result(KEYED, reply), KeysFull)


@pytest.mark.parametrize(
    "reply",
    [
        FULL,
        AppendReply(BatchOutcome.APPENDED, no_room=frozenset({b"key"})),
        AppendReply(BatchOutcome.APPENDED, {b"key": Earlier(b"another body", (9,))}),
    ],
)
def test_what_another_attempt_may_have_stored_is_unknown(reply: AppendReply) -> None:
    """Whatever the reason is for which this one has not; a known key is answered with its ids."""
    unsure = replace(reply, unsure=True)
    assert isinstance(find_result(KEYED, reply), Refused | KeyConflict)
    assert isinstance(find_result(KEYED, unsure), Unknown)
    known = replace(unsure, earlier={b"key": Earlier(b"body", (9,))}, no_room=frozenset())
    assert find_result(KEYED, known) == (9,)


@pytest.mark.parametrize(
    ("reply", "all_are"),
    [
        (APPENDED, True),
        (DUPLICATE, True),
        (FULL, False),
        (LOST, False),
        (AppendReply(BatchOutcome.APPENDED, {b"key": Earlier(b"body", (9,))}), False),
        (AppendReply(BatchOutcome.DUPLICATE, no_room=frozenset({b"key"})), False),
    ],
)
def test_all_are_told_their_own_ids_only_if_all_are_stored(reply: AppendReply, all_are: bool) -> None:
    """If a key was passed over, each request is checked separately."""
    assert stores_all(reply) is all_are


def test_what_was_not_looked_up_is_refused_only_without_a_key() -> None:
    """An earlier request with the key may have been stored; only the log knows."""
    refused = QueueFull("too many")
    assert not_looked_up(PLAIN, refused) is refused
    told = not_looked_up(KEYED, refused)
    assert isinstance(told, Unknown)
    assert str(told) == "too many; an earlier request with this key may have been stored"
