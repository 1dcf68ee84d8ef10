"""
What every L{IEventLog} promises, asked of the one in memory and of the one on
a real server.
"""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import pytest_twisted
from zope.interface.verify import verifyObject

from eventsvc.event import EVENT_FIELD, MARKER_FIELD, MARKER_VALUE
from eventsvc.interfaces import AppendReply, Earlier, IdempotencyKey, IEventLog, Outcome, Refused, Submission, Unknown
from eventsvc.redis.log import LANE_TTL
from eventsvc.test.places import STREAM, OnServer, Place

MARKER = {MARKER_FIELD: MARKER_VALUE}

APPENDED = AppendReply(Outcome.APPENDED)
DUPLICATE = AppendReply(Outcome.DUPLICATE)
LOST = AppendReply(Outcome.LOST)
FULL = AppendReply(Outcome.FULL)


def key(name: str, body: str = "body") -> IdempotencyKey:
    """A key as the edge makes it, but readable."""
    return IdempotencyKey(name.encode().ljust(16), body.encode().ljust(16))


def earlier(outcome: Outcome, *submissions: Submission) -> AppendReply:
    """The reply to a batch in which the keys of earlier submissions were used again."""
    known: dict[bytes, Earlier] = {}
    for submission in submissions:
        assert submission.key is not None
        known[submission.key.digest] = Earlier(submission.key.fingerprint, submission.ids)
    return AppendReply(outcome, known)


def request(*texts: str, key: IdempotencyKey | None = None, first: int = 1) -> Submission:
    """What a client asks to be stored."""
    return Submission(tuple(range(first, first + len(texts))), tuple(text.encode() for text in texts), key)


def stored(place: Place) -> list[str]:
    """The events in the stream."""
    return [fields[EVENT_FIELD].decode() for fields in place.entries() if EVENT_FIELD in fields]


async def append(place: Place, log: IEventLog, number: int, *submissions: Submission, lane: bytes = b"lane") -> Any:
    """What an append comes to."""
    return await place.wait(log.append(lane, number, submissions))


@pytest_twisted.ensureDeferred
async def test_it_is_what_it_says(place: Place) -> None:
    """It has what the interface asks for."""
    assert verifyObject(IEventLog, await place.log())


@pytest_twisted.ensureDeferred
async def test_a_batch_is_appended_in_its_order(place: Place) -> None:
    """One entry per event, one field each, bytes untouched."""
    log = await place.log()
    odd = Submission((4, 5), (b"\x00\xff\r\n 007", b""))
    assert await append(place, log, 1, request("a", "b"), request("c")) == APPENDED
    assert await append(place, log, 2, odd) == APPENDED
    values = [b"a", b"b", b"c", *odd.entries]
    assert place.entries() == [MARKER, *({EVENT_FIELD: value} for value in values)]


@pytest_twisted.ensureDeferred
async def test_a_number_is_appended_once(place: Place) -> None:
    """The same number again says that it was applied, whatever comes with it now."""
    log = await place.log()
    await append(place, log, 1, request("a"))
    assert await append(place, log, 1, request("a")) == DUPLICATE
    assert await append(place, log, 1, request("b")) == DUPLICATE
    assert await append(place, log, 2, request("c")) == APPENDED
    assert await append(place, log, 2) == DUPLICATE
    assert stored(place) == ["a", "c"]


@pytest_twisted.ensureDeferred
async def test_a_number_out_of_line_is_lost(place: Place) -> None:
    """A log that is behind the writer, or ahead of it, says so and appends nothing."""
    log = await place.log()
    assert await append(place, log, 2, request("x")) == LOST
    for number in (1, 2, 3):
        await append(place, log, number, request(str(number)))
    for number in (1, 2, 5, 10**13):
        assert await append(place, log, number, request("x")) == LOST
    assert await append(place, log, 4, request("4")) == APPENDED
    assert stored(place) == ["1", "2", "3", "4"]


@pytest_twisted.ensureDeferred
async def test_a_lane_that_is_gone_is_lost(place: Place) -> None:
    """No later number of it is taken, so that no gap goes unnoticed."""
    log = await place.log()
    for number in (1, 2):
        await append(place, log, number, request(str(number)))
    place.forget(b"lane")
    assert await append(place, log, 3, request("x")) == LOST
    assert not (await place.wait(log.renew(b"lane", 2))).known
    assert stored(place) == ["1", "2"]


@pytest_twisted.ensureDeferred
async def test_each_writer_has_numbers_of_its_own(place: Place) -> None:
    """Lanes do not know each other, whatever their names."""
    log, other = await place.log(), await place.log()
    for lane in (b"lane", b"lane2", b"\xff:\x00"):
        assert await append(place, log, 1, request(repr(lane)), lane=lane) == APPENDED
        assert await append(place, other, 1, request(repr(lane)), lane=lane) == DUPLICATE
    assert len(stored(place)) == 3


@pytest_twisted.ensureDeferred
async def test_a_full_stream_takes_nothing(place: Place) -> None:
    """
    At the hard limit nothing is appended and nothing removed.

    The number is spent: asked again it is FULL for ever, even when there is
    room, and the next is appended.
    """
    log = await place.log(hard_max=3)
    assert await append(place, log, 1, request("a"), request("b")) == APPENDED
    assert await append(place, log, 2, request("x")) == FULL
    assert stored(place) == ["a", "b"]
    place.empty()
    assert await append(place, log, 2, request("x")) == FULL
    assert stored(place) == []
    assert await append(place, log, 3, request("c")) == APPENDED
    assert stored(place) == ["c"]


@pytest_twisted.ensureDeferred
async def test_a_key_stores_once(place: Place) -> None:
    """The same key again gives the first ids, and the rest of its batch is stored."""
    log, other = await place.log(), await place.log()
    first = request("a", "b", key=key("k"), first=2**63 - 2)
    assert await append(place, log, 1, first) == APPENDED
    again = request("c", "d", key=key("k"), first=7)
    assert await append(place, log, 2, request("e"), again, request("f", key=key("l"))) == earlier(
        Outcome.APPENDED, first
    )
    assert await append(place, other, 1, again, lane=b"other") == earlier(Outcome.APPENDED, first)
    assert stored(place) == ["a", "b", "e", "f"]


@pytest_twisted.ensureDeferred
async def test_a_key_with_another_body_is_told(place: Place) -> None:
    """Nothing is stored, and the fingerprint of the first body is given to compare."""
    log = await place.log()
    first = request("a", key=key("k", "one"))
    await append(place, log, 1, first)
    assert await append(place, log, 2, request("b", key=key("k", "other"))) == earlier(Outcome.APPENDED, first)
    assert stored(place) == ["a"]


@pytest_twisted.ensureDeferred
async def test_a_repeated_call_gives_the_same_answers(place: Place) -> None:
    """What was stored by this very batch is not taken for something earlier."""
    log = await place.log()
    first, new = request("a", key=key("k"), first=1), request("b", key=key("l"), first=2)
    await append(place, log, 1, first)
    for outcome in (Outcome.APPENDED, Outcome.DUPLICATE, Outcome.DUPLICATE):
        assert await append(place, log, 2, first, new) == earlier(outcome, first)
    assert await append(place, log, 3, new) == earlier(Outcome.APPENDED, new)
    assert stored(place) == ["a", "b"]


@pytest_twisted.ensureDeferred
async def test_a_key_is_known_even_if_the_stream_is_full(place: Place) -> None:
    """Who asks again for what is stored is told so; a key that is refused is not used up."""
    log = await place.log(hard_max=2)
    first, new = request("a", key=key("k")), request("b", key=key("l"))
    await append(place, log, 1, first)
    for _ in range(2):
        assert await append(place, log, 2, first, new) == earlier(Outcome.FULL, first)
    place.empty()
    assert await append(place, log, 3, new) == APPENDED


@pytest_twisted.ensureDeferred
async def test_a_key_is_forgotten_after_its_window(place: Place) -> None:
    """After that the same key is a new one."""
    log = await place.log(window=1.0)
    await append(place, log, 1, request("a", key=key("k")))
    place.pass_window()
    assert await append(place, log, 2, request("a", key=key("k"))) == APPENDED
    assert stored(place) == ["a", "a"]


@pytest_twisted.ensureDeferred
async def test_keys_past_the_most_are_passed_over_alone(place: Place) -> None:
    """Those that are known are answered, and requests without a key are stored; a key that goes makes room."""
    log = await place.log(max_keys=2)
    first, second, third = (request(text, key=key(text)) for text in "abc")
    plain = request("plain")
    assert await append(place, log, 1, first) == APPENDED
    full = attrs.evolve(earlier(Outcome.APPENDED, first), no_room=frozenset([key("c").digest]))
    batch = (second, first, third, plain)
    assert await append(place, log, 2, *batch) == full
    assert await append(place, log, 2, *batch) == attrs.evolve(full, outcome=Outcome.DUPLICATE)
    assert stored(place) == ["a", "b", "plain"]
    assert (await place.wait(log.renew(b"lane", 2))).keys == 2
    place.forget_keys()
    assert (await place.wait(log.renew(b"lane", 2))).keys == 0
    assert await append(place, log, 3, third) == APPENDED


@pytest_twisted.ensureDeferred
async def test_no_key_at_all_may_be_taken(place: Place) -> None:
    """And a full stream says that it is full, not that keys are."""
    log = await place.log(hard_max=2, max_keys=0)
    new = request("a", key=key("k"))
    no_room = frozenset([key("k").digest])
    assert await append(place, log, 1, new) == AppendReply(Outcome.APPENDED, no_room=no_room)
    assert await append(place, log, 2, request("plain")) == APPENDED
    assert await append(place, log, 3, new) == FULL


@pytest_twisted.ensureDeferred
async def test_a_renewal_only_asks(place: Place) -> None:
    """It is for the last number alone, and makes no other the last; before the first batch that is 0."""
    log = await place.log()

    async def known(number: int) -> bool:
        return (await place.wait(log.renew(b"lane", number))).known

    assert await known(0)
    for number in (1, 2):
        await append(place, log, number, request(str(number)))
    for _ in range(2):
        assert [number for number in range(5) if await known(number)] == [2]
    assert await append(place, log, 3, request("3")) == APPENDED
    place.wipe()
    for _ in range(2):
        assert [number for number in range(5) if await known(number)] == [0]
    assert await append(place, log, 4, request("4")) == LOST
    assert stored(place) == []


@pytest_twisted.ensureDeferred
async def test_what_is_refused_leaves_no_trace(place: Place) -> None:
    """All of a batch or none: entries, keys and number."""
    log = await place.log()
    everything = [request("a"), request("b", "c", key=key("k"))]
    with place.out_of_memory(), pytest.raises(Refused):
        await append(place, log, 1, *everything)
    assert place.entries() == [MARKER]
    assert await append(place, log, 1, *everything) == APPENDED
    assert stored(place) == ["a", "b", "c"]


@pytest_twisted.ensureDeferred
async def test_a_call_may_be_as_large_as_can_be(place: Place) -> None:
    """A thousand requests of a thousand bytes, each with a key; again, they are all known."""
    log = await place.log()
    requests = [request("x" * 1_000, key=key(f"{number}"), first=number) for number in range(1_000)]
    assert await append(place, log, 1, *requests) == APPENDED
    assert await append(place, log, 1, *requests) == DUPLICATE
    for number, outcome in ((2, Outcome.APPENDED), (2, Outcome.DUPLICATE)):
        assert await append(place, log, number, *requests) == earlier(outcome, *requests)
    assert len(stored(place)) == 1_000


@pytest_twisted.ensureDeferred
async def test_the_marker_is_written_once(place: Place) -> None:
    """It says when the stream was created, and is there again only after it was gone."""
    log = await place.log()
    await append(place, log, 1, request("a"))
    await place.log()
    await place.come_back()
    assert place.entries() == [MARKER, {EVENT_FIELD: b"a"}]
    place.wipe()
    await place.come_back()
    assert place.entries() == [MARKER]


@pytest_twisted.ensureDeferred
async def test_nothing_is_sent_without_a_connection(place: Place) -> None:
    """It is refused at once, and whoever waits is told of the next connection."""
    log = await place.log()
    await place.wait(log.when_ready())
    place.disconnect()
    with pytest.raises((Refused, Unknown)):
        await append(place, log, 1, request("a"))
    await place.come_back()
    await place.wait(log.when_ready())
    assert await append(place, log, 1, request("b")) == APPENDED
    assert stored(place) == ["b"]


@pytest.mark.parametrize("place", ["server"], indirect=True)
@pytest_twisted.ensureDeferred
async def test_what_it_keeps_is_kept_with_the_stream_and_for_a_time(place: OnServer) -> None:
    """Companion keys are in the stream's slot and expire; a renewal puts the lane's end off."""
    log = await place.log(window=100.0)
    await append(place, log, 1, request("a", key=key("k")))
    lane = "{NotificationStream}:lane:lane"
    times = {name.decode(): place.client.ttl(name) for name in place.client.scan_iter()}
    [hash] = [name for name in times if name.startswith(f"{{{STREAM}}}:keys:")]
    assert times == {STREAM: -1, lane: LANE_TTL, hash: 125}
    place.client.expire(lane, 10)
    await log.renew(b"lane", 0)
    assert place.client.ttl(lane) == 10
    await log.renew(b"lane", 1)
    assert place.client.ttl(lane) == LANE_TTL


@pytest_twisted.ensureDeferred
async def test_a_call_may_have_any_number_of_keys(place: Place) -> None:
    """More than one command may carry."""
    log = await place.log()
    requests = [request("x", key=key(f"{number}"), first=number) for number in range(2_500)]
    assert await append(place, log, 1, *requests) == APPENDED
    assert await append(place, log, 2, *requests) == earlier(Outcome.APPENDED, *requests)
    assert len(stored(place)) == 2_500


@pytest.mark.parametrize("place", ["server"], indirect=True)
@pytest.mark.parametrize("window", [100_000_000.0, 150_000_000.0, 200_000_000.0, 340_000_000.0])
@pytest_twisted.ensureDeferred
async def test_each_hash_has_its_turn(place: OnServer, window: float) -> None:
    """A stretch of the window each, by the server's clock; one that was always in use would never end."""
    log = await place.log(window=window)
    await append(place, log, 1, request("a", key=key("k")))
    seconds, _ = place.client.time()
    [hash] = place.client.keys("{NotificationStream}:keys:*")
    assert hash == b"{NotificationStream}:keys:%d" % (seconds // (window / 4) % 6)


@pytest.mark.parametrize("place", ["server"], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_key_is_found_whichever_hash_has_it(place: OnServer) -> None:
    """The clock of the server may have gone back since, or on."""
    log = await place.log()
    first = request("a", key=key("k"))
    await append(place, log, 1, first)
    [hash] = place.client.keys("{NotificationStream}:keys:*")
    for number in range(6):
        there = b"{NotificationStream}:keys:%d" % number
        place.client.rename(hash, there)
        assert await append(place, log, number + 2, first) == earlier(Outcome.APPENDED, first)
        hash = there
    assert stored(place) == ["a"]


@pytest.mark.parametrize("place", ["server"], indirect=True)
@pytest.mark.parametrize("left", [None, 1, 999, 1_100])
@pytest_twisted.ensureDeferred
async def test_a_key_is_remembered_for_its_window_at_least(place: OnServer, left: int | None) -> None:
    """Though its hash would end before: the clock has gone back, or another producer has a shorter window."""
    log = await place.log(window=1_000.0)
    await append(place, log, 1, request("a", key=key("k")))
    [hash] = place.client.keys("{NotificationStream}:keys:*")
    if left is None:
        place.client.persist(hash)
    else:
        place.client.expire(hash, left)
    await append(place, log, 2, request("b", key=key("l")))
    names = place.client.keys("{NotificationStream}:keys:*")
    [lasts] = [place.client.pttl(name) for name in names if place.client.hexists(name, key("l").digest)]
    assert 999_000 < lasts <= 1_250_000


@pytest.mark.parametrize("place", ["server"], indirect=True)
@pytest_twisted.ensureDeferred
async def test_another_kind_of_key_is_refused(place: OnServer) -> None:
    """Where the stream should be is something else: nothing is done to it."""
    log = await place.log()
    place.wipe()
    place.client.set(STREAM, "mine")
    with pytest.raises(Refused, match="in the place of the stream"):
        await append(place, log, 1, request("a"))
    assert place.client.keys() == [STREAM.encode()]
    assert place.client.get(STREAM) == b"mine"
