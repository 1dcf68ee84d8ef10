"""
Tests for what every L{IEventLog} guarantees, on the one in memory and on the one
on a real server.
"""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from msgspec.structs import replace
from zope.interface.verify import verifyObject

from eventsvc.event import EVENT_FIELD, MARKER_FIELD, MARKER_VALUE
from eventsvc.interfaces import IEventLog, Refused, Unknown
from eventsvc.redis.log import PRODUCER_ID_TTL
from eventsvc.submission import AppendReply, BatchOutcome, Earlier, IdempotencyKey, Kept, Renewal, Submission
from tests.support.backends import STREAM, Backend, OnServer

MARKER = {MARKER_FIELD: MARKER_VALUE}

APPENDED = AppendReply(BatchOutcome.APPENDED)
DUPLICATE = AppendReply(BatchOutcome.DUPLICATE)
FULL = AppendReply(BatchOutcome.FULL)


def key(name: str, body: str = "body") -> IdempotencyKey:
    """Return a key like those of the HTTP interface, but readable."""
    return IdempotencyKey(name.encode().ljust(16), body.encode().ljust(16))


def earlier(outcome: BatchOutcome, *submissions: Submission) -> AppendReply:
    """Return the reply to a batch that repeats the keys of earlier submissions."""
    known: dict[bytes, Earlier] = {}
    for submission in submissions:
        known[submission.keys[0].digest] = Earlier(submission.keys[0].fingerprint, submission.ids)
    return AppendReply(outcome, known)


def request(*texts: str, key: IdempotencyKey | None = None, first: int = 1) -> Submission:
    """Return a submission."""
    return Submission(
        tuple(range(first, first + len(texts))), tuple(text.encode() for text in texts), (key,) if key else ()
    )


def stored(backend: Backend) -> list[str]:
    """Return the events in the stream."""
    return [fields[EVENT_FIELD].decode() for fields in backend.entries() if EVENT_FIELD in fields]


async def append(
    backend: Backend, log: IEventLog, number: int, *submissions: Submission, producer_id: bytes = b"producer"
) -> Any:
    """Append a batch after which there are ten times as many events, and return the reply without what is kept."""
    reply = await backend.wait(log.append(producer_id, number, submissions, 10 * number))
    return replace(reply, last=b"", sent=None, kept=reply.kept if reply.outcome is BatchOutcome.LOST else Kept())


def lost(kept: int) -> AppendReply:
    """Return the reply of a log that has kept another batch than the one before."""
    return AppendReply(BatchOutcome.LOST, kept=Kept(kept, 10 * kept))


@pytest_twisted.ensureDeferred
async def test_it_is_what_it_says(backend: Backend) -> None:
    """It provides the interface."""
    assert verifyObject(IEventLog, await backend.log())


@pytest_twisted.ensureDeferred
async def test_a_batch_is_appended_in_its_order(backend: Backend) -> None:
    """One entry per event, one field each, bytes untouched."""
    log = await backend.log()
    odd = Submission((4, 5), (b"\x00\xff\r\n 007", b""))
    assert await append(backend, log, 1, request("a", "b"), request("c")) == APPENDED
    assert await append(backend, log, 2, odd) == APPENDED
    values = [b"a", b"b", b"c", *odd.entries]
    assert backend.entries() == [MARKER, *({EVENT_FIELD: value} for value in values)]


@pytest_twisted.ensureDeferred
async def test_a_number_is_appended_once(backend: Backend) -> None:
    """The same sequence again is a duplicate, whatever the batch contains."""
    log = await backend.log()
    await append(backend, log, 1, request("a"))
    assert await append(backend, log, 1, request("a")) == DUPLICATE
    assert await append(backend, log, 1, request("b")) == DUPLICATE
    assert await append(backend, log, 2, request("c")) == APPENDED
    assert await append(backend, log, 2) == DUPLICATE
    assert stored(backend) == ["a", "c"]


@pytest_twisted.ensureDeferred
async def test_a_number_out_of_line_is_lost(backend: Backend) -> None:
    """A log that is behind or ahead of the writer answers LOST and appends nothing."""
    log = await backend.log()
    assert await append(backend, log, 2, request("x")) == lost(0)
    for number in (1, 2, 3):
        await append(backend, log, number, request(str(number)))
    for number in (1, 2, 5, 10**13):
        assert await append(backend, log, number, request("x")) == lost(3)
    assert await append(backend, log, 4, request("4")) == APPENDED
    assert stored(backend) == ["1", "2", "3", "4"]


@pytest_twisted.ensureDeferred
async def test_a_producer_id_that_is_gone_is_lost(backend: Backend) -> None:
    """No later sequence of it is accepted, so a gap is always noticed."""
    log = await backend.log()
    for number in (1, 2):
        await append(backend, log, number, request(str(number)))
    backend.forget(b"producer")
    assert await append(backend, log, 3, request("x")) == lost(0)
    assert await backend.wait(log.renew(b"producer", 2)) == Renewal(known=False, keys=0, kept=Kept())
    assert stored(backend) == ["1", "2"]


@pytest_twisted.ensureDeferred
async def test_each_writer_has_numbers_of_its_own(backend: Backend) -> None:
    """Producer ids are independent, whatever their names."""
    log, other = await backend.log(), await backend.log()
    for producer_id in (b"producer", b"producer2", b"\xff:\x00"):
        assert await append(backend, log, 1, request(repr(producer_id)), producer_id=producer_id) == APPENDED
        assert await append(backend, other, 1, request(repr(producer_id)), producer_id=producer_id) == DUPLICATE
    assert len(stored(backend)) == 3


@pytest_twisted.ensureDeferred
async def test_a_full_stream_takes_nothing(backend: Backend) -> None:
    """
    At the hard limit nothing is appended or removed.

    The sequence is spent: repeated, it is always FULL, even when there is
    room, and the next is appended.
    """
    log = await backend.log(hard_max=3)
    assert await append(backend, log, 1, request("a"), request("b")) == APPENDED
    assert await append(backend, log, 2, request("x")) == FULL
    assert stored(backend) == ["a", "b"]
    backend.empty()
    assert await append(backend, log, 2, request("x")) == FULL
    assert stored(backend) == []
    assert await append(backend, log, 3, request("c")) == APPENDED
    assert stored(backend) == ["c"]


@pytest_twisted.ensureDeferred
async def test_a_key_stores_once(backend: Backend) -> None:
    """A repeated key gives the first ids, and the rest of its batch is stored."""
    log, other = await backend.log(), await backend.log()
    first = request("a", "b", key=key("k"), first=2**63 - 2)
    assert await append(backend, log, 1, first) == APPENDED
    again = request("c", "d", key=key("k"), first=7)
    assert await append(backend, log, 2, request("e"), again, request("f", key=key("l"))) == earlier(
        BatchOutcome.APPENDED, first
    )
    assert await append(backend, other, 1, again, producer_id=b"other") == earlier(BatchOutcome.APPENDED, first)
    assert stored(backend) == ["a", "b", "e", "f"]


@pytest_twisted.ensureDeferred
async def test_a_key_with_another_body_is_told(backend: Backend) -> None:
    """Nothing is stored, and the reply has the fingerprint of the first body."""
    log = await backend.log()
    first = request("a", key=key("k", "one"))
    await append(backend, log, 1, first)
    assert await append(backend, log, 2, request("b", key=key("k", "other"))) == earlier(BatchOutcome.APPENDED, first)
    assert stored(backend) == ["a"]


@pytest_twisted.ensureDeferred
async def test_a_repeated_call_gives_the_same_answers(backend: Backend) -> None:
    """Events stored by the same batch do not count as earlier ones."""
    log = await backend.log()
    first, new = request("a", key=key("k"), first=1), request("b", key=key("l"), first=2)
    await append(backend, log, 1, first)
    for outcome in (BatchOutcome.APPENDED, BatchOutcome.DUPLICATE, BatchOutcome.DUPLICATE):
        assert await append(backend, log, 2, first, new) == earlier(outcome, first)
    assert await append(backend, log, 3, new) == earlier(BatchOutcome.APPENDED, new)
    assert stored(backend) == ["a", "b"]


@pytest_twisted.ensureDeferred
async def test_a_key_is_known_even_if_the_stream_is_full(backend: Backend) -> None:
    """A repetition of a stored request gets its ids; a refused key stays usable."""
    log = await backend.log(hard_max=2)
    first, new = request("a", key=key("k")), request("b", key=key("l"))
    await append(backend, log, 1, first)
    for _ in range(2):
        assert await append(backend, log, 2, first, new) == earlier(BatchOutcome.FULL, first)
    backend.empty()
    assert await append(backend, log, 3, new) == APPENDED


@pytest_twisted.ensureDeferred
async def test_a_key_is_forgotten_after_its_window(backend: Backend) -> None:
    """Afterwards the same key counts as new."""
    log = await backend.log(window=1.0)
    await append(backend, log, 1, request("a", key=key("k")))
    backend.pass_window()
    assert await append(backend, log, 2, request("a", key=key("k"))) == APPENDED
    assert stored(backend) == ["a", "a"]


@pytest_twisted.ensureDeferred
async def test_keys_past_the_most_are_passed_over_alone(backend: Backend) -> None:
    """Known keys are answered, requests without a key are stored, and an expired key makes room."""
    log = await backend.log(max_keys=2)
    first, second, third = (request(text, key=key(text)) for text in "abc")
    plain = request("plain")
    assert await append(backend, log, 1, first) == APPENDED
    full = replace(earlier(BatchOutcome.APPENDED, first), no_room=frozenset([key("c").digest]))
    batch = (second, first, third, plain)
    assert await append(backend, log, 2, *batch) == full
    assert await append(backend, log, 2, *batch) == replace(full, outcome=BatchOutcome.DUPLICATE)
    assert stored(backend) == ["a", "b", "plain"]
    assert (await backend.wait(log.renew(b"producer", 2))).keys == 2
    backend.forget_keys()
    assert (await backend.wait(log.renew(b"producer", 2))).keys == 0
    assert await append(backend, log, 3, third) == APPENDED


@pytest_twisted.ensureDeferred
async def test_no_key_at_all_may_be_taken(backend: Backend) -> None:
    """With a limit of 0 every key is refused, and a full stream is reported as full."""
    log = await backend.log(hard_max=2, max_keys=0)
    new = request("a", key=key("k"))
    no_room = frozenset([key("k").digest])
    assert await append(backend, log, 1, new) == AppendReply(BatchOutcome.APPENDED, no_room=no_room)
    assert await append(backend, log, 2, request("plain")) == APPENDED
    assert await append(backend, log, 3, new) == FULL


@pytest_twisted.ensureDeferred
async def test_a_renewal_only_asks(backend: Backend) -> None:
    """It is true only of the last sequence, which it does not change; before the first batch that is 0."""
    log = await backend.log()

    async def known(number: int) -> bool:
        return (await backend.wait(log.renew(b"producer", number))).known

    assert await known(0)
    for number in (1, 2):
        await append(backend, log, number, request(str(number)))
    for _ in range(2):
        assert [number for number in range(5) if await known(number)] == [2]
    assert await append(backend, log, 3, request("3")) == APPENDED
    backend.wipe()
    for _ in range(2):
        assert [number for number in range(5) if await known(number)] == [0]
    assert await append(backend, log, 4, request("4")) == lost(0)
    assert stored(backend) == []


@pytest_twisted.ensureDeferred
async def test_what_is_refused_leaves_no_trace(backend: Backend) -> None:
    """Entries, keys and sequence of a batch are all stored, or none is."""
    log = await backend.log()
    everything = [request("a"), request("b", "c", key=key("k"))]
    with backend.out_of_memory(), pytest.raises(Refused):
        await append(backend, log, 1, *everything)
    assert backend.entries() == [MARKER]
    assert await append(backend, log, 1, *everything) == APPENDED
    assert stored(backend) == ["a", "b", "c"]


@pytest_twisted.ensureDeferred
async def test_a_call_may_be_as_large_as_can_be(backend: Backend) -> None:
    """A thousand requests of a thousand bytes, each with a key; repeated, all keys are known."""
    log = await backend.log()
    requests = [request("x" * 1_000, key=key(f"{number}"), first=number) for number in range(1_000)]
    assert await append(backend, log, 1, *requests) == APPENDED
    assert await append(backend, log, 1, *requests) == DUPLICATE
    for number, outcome in ((2, BatchOutcome.APPENDED), (2, BatchOutcome.DUPLICATE)):
        assert await append(backend, log, number, *requests) == earlier(outcome, *requests)
    assert len(stored(backend)) == 1_000


@pytest_twisted.ensureDeferred
async def test_the_marker_is_written_once(backend: Backend) -> None:
    """It marks the creation of the stream, and is written again only after the stream was deleted."""
    log = await backend.log()
    await append(backend, log, 1, request("a"))
    await backend.log()
    await backend.come_back()
    assert backend.entries() == [MARKER, {EVENT_FIELD: b"a"}]
    backend.wipe()
    await backend.come_back()
    assert backend.entries() == [MARKER]


@pytest_twisted.ensureDeferred
async def test_nothing_is_sent_without_a_connection(backend: Backend) -> None:
    """It is refused at once, and waiters fire at the next connection."""
    log = await backend.log()
    await backend.wait(log.when_ready())
    backend.disconnect()
    with pytest.raises((Refused, Unknown)):
        await append(backend, log, 1, request("a"))
    await backend.come_back()
    await backend.wait(log.when_ready())
    assert await append(backend, log, 1, request("b")) == APPENDED
    assert stored(backend) == ["b"]


@pytest.mark.parametrize("backend", ["server"], indirect=True)
@pytest_twisted.ensureDeferred
async def test_what_it_keeps_is_kept_with_the_stream_and_for_a_time(backend: OnServer) -> None:
    """Companion keys are in the stream's slot and expire; a renewal extends the producer id."""
    log = await backend.log(window=100.0)
    await append(backend, log, 1, request("a", key=key("k")))
    producer_id = "{NotificationStream}:lane:producer"
    times = {name.decode(): backend.client.ttl(name) for name in backend.client.scan_iter()}
    [hash] = [name for name in times if name.startswith(f"{{{STREAM}}}:keys:")]
    assert times == {STREAM: -1, producer_id: PRODUCER_ID_TTL, hash: 125}
    backend.client.expire(producer_id, 10)
    await log.renew(b"producer", 0)
    assert backend.client.ttl(producer_id) == 10
    await log.renew(b"producer", 1)
    assert backend.client.ttl(producer_id) == PRODUCER_ID_TTL


@pytest_twisted.ensureDeferred
async def test_a_call_may_have_any_number_of_keys(backend: Backend) -> None:
    """More keys than one command may carry."""
    log = await backend.log()
    requests = [request("x", key=key(f"{number}"), first=number) for number in range(2_500)]
    assert await append(backend, log, 1, *requests) == APPENDED
    assert await append(backend, log, 2, *requests) == earlier(BatchOutcome.APPENDED, *requests)
    assert len(stored(backend)) == 2_500


@pytest.mark.parametrize("backend", ["server"], indirect=True)
@pytest.mark.parametrize("window", [100_000_000.0, 150_000_000.0, 200_000_000.0, 340_000_000.0])
@pytest_twisted.ensureDeferred
async def test_each_hash_has_its_turn(backend: OnServer, window: float) -> None:
    """Each is used for one stretch by the server's clock; a hash in constant use would never expire."""
    log = await backend.log(window=window)
    await append(backend, log, 1, request("a", key=key("k")))
    seconds, _ = backend.client.time()
    [hash] = backend.client.keys("{NotificationStream}:keys:*")
    assert hash == b"{NotificationStream}:keys:%d" % (seconds // (window / 4) % 6)


@pytest.mark.parametrize("backend", ["server"], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_key_is_found_whichever_hash_has_it(backend: OnServer) -> None:
    """The clock of the server may have gone back or forward since."""
    log = await backend.log()
    first = request("a", key=key("k"))
    await append(backend, log, 1, first)
    [hash] = backend.client.keys("{NotificationStream}:keys:*")
    for number in range(6):
        there = b"{NotificationStream}:keys:%d" % number
        backend.client.rename(hash, there)
        assert await append(backend, log, number + 2, first) == earlier(BatchOutcome.APPENDED, first)
        hash = there
    assert stored(backend) == ["a"]


@pytest.mark.parametrize("backend", ["server"], indirect=True)
@pytest.mark.parametrize("left", [None, 1, 999, 1_100])
@pytest_twisted.ensureDeferred
async def test_a_key_is_remembered_for_its_window_at_least(backend: OnServer, left: int | None) -> None:
    """Its hash might expire earlier, if the clock went back or another producer has a shorter window."""
    log = await backend.log(window=1_000.0)
    await append(backend, log, 1, request("a", key=key("k")))
    [hash] = backend.client.keys("{NotificationStream}:keys:*")
    if left is None:
        backend.client.persist(hash)
    else:
        backend.client.expire(hash, left)
    await append(backend, log, 2, request("b", key=key("l")))
    names = backend.client.keys("{NotificationStream}:keys:*")
    [lasts] = [backend.client.pttl(name) for name in names if backend.client.hexists(name, key("l").digest)]
    assert 999_000 < lasts <= 1_250_000


@pytest.mark.parametrize("backend", ["server"], indirect=True)
@pytest_twisted.ensureDeferred
async def test_another_kind_of_key_is_refused(backend: OnServer) -> None:
    """If the key of the stream has another type, it is not changed."""
    log = await backend.log()
    backend.wipe()
    backend.client.set(STREAM, "mine")
    with pytest.raises(Refused, match="in the place of the stream"):
        await append(backend, log, 1, request("a"))
    assert backend.client.keys() == [STREAM.encode()]
    assert backend.client.get(STREAM) == b"mine"


@pytest_twisted.ensureDeferred
async def test_batches_are_given_back_to_a_log_that_has_kept_exactly_the_one_before(backend: Backend) -> None:
    """Several come in one call; it has no effect on a log that is further back or on, and is known when repeated."""
    log = await backend.log()
    await append(backend, log, 1, request("1"))
    for kept in (0, 2, 4):
        assert await give_back(backend, log, 4, kept, request("2"), request("3", "4")) == lost(1)
    assert await give_back(backend, log, 4, 1, request("2"), request("3", "4")) == APPENDED
    assert await give_back(backend, log, 4, 1, request("2"), request("3", "4")) == replace(DUPLICATE, kept=Kept(4, 40))
    assert await give_back(backend, log, 3, 1, request("2"), request("3")) == lost(4)
    assert await append(backend, log, 5, request("5")) == APPENDED
    assert stored(backend) == ["1", "2", "3", "4", "5"]
    assert await backend.wait(log.renew(b"producer", 4)) == Renewal(known=False, keys=0, kept=Kept(5, 50))


@pytest_twisted.ensureDeferred
async def test_what_was_confirmed_before_is_given_back_whatever_the_limits(backend: Backend) -> None:
    """Neither a full stream nor a full store of keys refuses it."""
    log = await backend.log(hard_max=2, max_keys=1)
    assert await append(backend, log, 1, request("a", key=key("a"))) == APPENDED
    assert (await append(backend, log, 2, request("x"))).outcome is BatchOutcome.FULL
    assert (await backend.wait(log.renew(b"producer", 2))).kept == Kept(2, 10)  # it has no events
    assert await give_back(backend, log, 4, 2, request("b", key=key("b")), request("c")) == APPENDED
    assert stored(backend) == ["a", "b", "c"]
    assert (await append(backend, log, 5, request("b", key=key("b"), first=9))).earlier == {
        key("b").digest: Earlier(key("b").fingerprint, (1,))
    }


@pytest_twisted.ensureDeferred
async def test_keys_that_come_again_in_one_call_store_once(backend: Backend) -> None:
    """A request and its repeat may be given back together, and another process may have stored one already."""
    log = await backend.log()
    first, known = request("a", "b", key=key("k")), request("c", "d", key=key("known"))
    await append(backend, log, 1, known)
    reply = await give_back(backend, log, 5, 1, first, first, known, request("e"), first)
    assert reply == earlier(BatchOutcome.APPENDED, known, first)
    assert stored(backend) == ["c", "d", "a", "b", "e"]


@pytest_twisted.ensureDeferred
async def test_a_log_tells_where_it_put_the_last_entry_and_whether_it_is_there(backend: Backend) -> None:
    """An id that names another entry, or none, is not there."""
    log = await backend.log()
    reply = await backend.wait(log.append(b"producer", 1, [request("a", "b")], 2))
    assert await backend.wait(log.holds(reply.last, b"b"))
    assert not await backend.wait(log.holds(reply.last, b"a"))
    assert not await backend.wait(log.holds(b"1-999", b"b"))
    assert (await backend.wait(log.append(b"producer", 1, [request("a", "b")], 2))).last == b""
    assert (await backend.wait(log.append(b"producer", 2, [], 2))).last == b""


async def give_back(backend: Backend, log: IEventLog, sequence: int, kept: int, *submissions: Submission) -> Any:
    """Append batches that were confirmed before, and return the reply without the last id."""
    reply = await backend.wait(log.append(b"producer", sequence, submissions, 10 * sequence, kept))
    return replace(reply, last=b"", sent=None)
