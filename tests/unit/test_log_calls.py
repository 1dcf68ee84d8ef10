"""
Tests for the commands of L{eventsvc.redis.log}, and how it reads replies.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from eventsvc.event import EVENT_FIELD
from eventsvc.interfaces import Refused, Unknown
from eventsvc.redis.log import RedisEventLog, stream_opener
from eventsvc.redis.sent_batch import SentBatch
from eventsvc.submission import ANY_BODY, AppendReply, BatchOutcome, Earlier, IdempotencyKey, Kept, Renewal, Submission
from tests.support.recording import Recorder, result_of

WEEK = 604_800
HASHES = [b"{stream}:keys:%d" % number for number in range(6)]
KEY = IdempotencyKey(b"d" * 16, b"f" * 16)


def make_log(recorder: Any, window: float = 100.0) -> RedisEventLog:
    """Return a log on a recording connection."""
    return RedisEventLog(recorder, "stream", hard_max=9, window=window, max_keys=8)


def test_a_batch_without_keys_names_no_hashes() -> None:
    """
    A script with fewer keys is cheaper, and so is one submission.  The producer id is remembered for a week.
    """
    recorder = Recorder(answer=[b"APPENDED", [], b"1-0"])
    reply = make_log(recorder).append(b"producer", 7, [Submission((1, 2), (b"a", b"b")), Submission((3,), (b"c",))], 70)
    assert result_of(reply) == AppendReply(BatchOutcome.APPENDED, last=b"1-0", sent=SentBatch(recorder.command))
    assert recorder.keys == [["stream", b"{stream}:lane:producer"]]
    entries = (3, 0, b"a", b"b", b"c")
    assert recorder.calls == [(7, 6, WEEK, 9, EVENT_FIELD, 100_000, 8, 0, 70, *entries)]


SENT = {
    "nothing": [],
    "without keys": [Submission((1, 2), (b"a", b"b")), Submission((3,), (b"\r\n$1",))],
    "a request": [Submission((1,), (b"a",), (KEY,))],
    "requests of several events": [Submission((1, 2, 3), (b"a", b"", b"c"), (KEY,)), Submission((4,), (b"d",), (KEY,))],
    "an event": [Submission(((1 << 63) - 1,), (b"a",), (IdempotencyKey(b"e" * 16),))],
    "events": [Submission((1, 2), (b"a", b"b"), (IdempotencyKey(b"e" * 16), IdempotencyKey(b"f" * 16)))],
    "all kinds": [
        Submission((1,), (b"a",)),
        Submission((2,), (b"b",), (KEY,)),
        Submission((3, 4), (b"c", b"d")),
        Submission((5, 6), (b"e", b"f"), (IdempotencyKey(b"e" * 16), IdempotencyKey(b"f" * 16))),
    ],
}


@pytest.mark.parametrize("name", SENT)
def test_what_was_sent_can_be_read_again(name: str) -> None:
    """Without keys all may be one submission, and their ids are not sent: the entries have them."""
    recorder = Recorder(answer=[b"APPENDED", [], b"1-0"])
    reply = result_of(make_log(recorder).append(b"producer", 7, SENT[name], 70))
    read = reply.sent.unpack()
    keyed = [each for each in SENT[name] if each.keys]
    assert [(each.ids, each.entries, each.keys) for each in read if each.keys] == [
        (each.ids, each.entries, each.keys) for each in keyed
    ]
    assert [entry for each in read for entry in each.entries] == [
        entry for each in SENT[name] for entry in each.entries
    ]
    assert all(not each.ids for each in read if not each.keys)


def test_what_is_given_back_has_no_limits() -> None:
    """It says which sequence must be kept; what is kept instead is read."""
    recorder = Recorder(answer=[b"LOST", [], 4, b"40"])
    reply = make_log(recorder).append(b"producer", 7, [], 70, 5)
    assert result_of(reply) == AppendReply(BatchOutcome.LOST, kept=Kept(4, 40))
    assert recorder.calls == [(7, 5, WEEK, 1 << 52, EVENT_FIELD, 100_000, 1 << 52, 0, 70)]


def test_a_batch_with_a_key_names_all_hashes() -> None:
    """It carries digest, fingerprint and ids; the window is at least a millisecond."""
    recorder = Recorder(answer=[b"APPENDED", [], b"1-0"])
    make_log(recorder, window=0.0001).append(
        b"producer", 7, [Submission((258,), (b"a",), (KEY,)), Submission((3,), (b"b",))], 70
    )
    assert recorder.keys == [["stream", b"{stream}:lane:producer", *HASHES]]
    keyed = (1, 1, b"d" * 16 + b"f" * 16 + b"\0\0\0\0\0\0\1\2", b"a")
    assert recorder.calls == [(7, 6, WEEK, 9, EVENT_FIELD, 1, 8, 1, 70, *keyed, 1, 0, b"b")]


def test_a_batch_with_a_key_for_each_event_packs_them() -> None:
    """Each is its digest and the id of its event; a key that comes twice is counted once."""
    recorder = Recorder(answer=[b"APPENDED", [], b"1-0"])
    keys = tuple(IdempotencyKey(text * 16) for text in (b"d", b"e", b"d"))
    make_log(recorder).append(b"producer", 7, [Submission((1, 258, 3), (b"a", b"b", b"c"), keys)], 70)
    ids = (b"\0\0\0\0\0\0\0\1", b"\0\0\0\0\0\0\1\2", b"\0\0\0\0\0\0\0\3")
    packed = b"d" * 16 + ids[0] + b"e" * 16 + ids[1] + b"d" * 16 + ids[2]
    assert recorder.calls == [(7, 6, WEEK, 9, EVENT_FIELD, 100_000, 8, 2, 70, 3, 3, packed, b"a", b"b", b"c")]


@pytest.mark.parametrize("count", [1, 2, 7, 8, 100])
def test_the_ids_of_an_earlier_request_are_read_however_many(count: int) -> None:
    """Keys without room are recognized by their length."""
    ids = tuple(range(2**63, 2**63 + count))
    record = b"f" * 16 + struct.pack(f">{count}Q", *ids)
    recorder = Recorder(answer=[b"DUPLICATE", [b"d" * 16 + record, b"n" * 16]])
    assert result_of(make_log(recorder).append(b"producer", 7, [], 70)) == AppendReply(
        BatchOutcome.DUPLICATE, {b"d" * 16: Earlier(b"f" * 16, ids)}, frozenset([b"n" * 16])
    )


def test_the_id_of_an_earlier_event_is_read() -> None:
    """Its record is the id alone; with the fingerprint of any body before it, it is read too."""
    record = struct.pack(">Q", 2**63 - 1)
    answer = [b"d" * 16 + record, b"e" * 16 + ANY_BODY + record, b"n" * 16]
    known = {digest * 16: Earlier(ANY_BODY, (2**63 - 1,)) for digest in (b"d", b"e")}
    assert result_of(
        make_log(Recorder(answer=[b"APPENDED", answer, b"1-0"])).append(b"producer", 7, [], 70)
    ) == AppendReply(BatchOutcome.APPENDED, known, frozenset([b"n" * 16]), last=b"1-0")


@pytest.mark.parametrize("known", [True, False])
def test_a_renewal_reads_whether_the_number_is_known_and_how_many_keys_there_are(known: bool) -> None:
    recorder = Recorder(answer=[int(known), 5, b"7", b"70"])
    assert result_of(make_log(recorder).renew(b"producer", 7)) == Renewal(known, 5, Kept(7, 70))
    assert recorder.keys == [[b"{stream}:lane:producer", *HASHES]]
    assert recorder.calls == [(7, WEEK)]


class Opening:
    """A session that answers nothing by itself."""

    def __init__(self) -> None:
        self.asked: dict[str, Deferred[int]] = {}

    def run(self, script: object, keys: Sequence[str], arguments: object) -> Deferred[int]:
        return self.asked.setdefault(keys[0], Deferred())


def open_streams(*replies: int | Exception) -> Deferred[None]:
    """Open as many streams as there are replies, which come last first."""
    session: Any = Opening()
    opening: Deferred[None] = ensureDeferred(stream_opener(*[f"{place}" for place in range(len(replies))])(session))
    for place in reversed(range(len(replies))):  # all are asked for at once
        reply = replies[place]
        session.asked[f"{place}"].callback(Failure(reply) if isinstance(reply, Exception) else reply)
    return opening


def test_streams_are_opened_at_once_and_one_is_enough() -> None:
    """The round trips of many streams would take longer than a handshake may."""
    with capturedLogs() as logs:
        assert result_of(open_streams(1, Refused("no"), 0)) is None
        assert result_of(open_streams(Refused("no"), 0)) is None
    assert [event["stream"] for event in logs] == ["1", "0"]


@pytest.mark.parametrize(
    "replies", [[Refused("first"), Refused("other")], [0, Unknown("first")], [Unknown("first"), 0]]
)
def test_streams_that_cannot_be_opened_end_the_session(replies: list[int | Exception]) -> None:
    """That is so if all are refused, or if it is not known whether one is open."""
    assert str(result_of(open_streams(*replies).addErrback(lambda failure: failure.value))) == "first"
