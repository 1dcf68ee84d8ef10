"""
Tests for what every L{IEventLog} guarantees about submissions with a key for each event.
"""

from __future__ import annotations

import pytest_twisted
from msgspec.structs import replace

from eventsvc.submission import AppendReply, BatchOutcome, Earlier, IdempotencyKey, Submission
from tests.support.backends import Backend
from tests.unit.test_log import append, request, stored

APPENDED, DUPLICATE, FULL = BatchOutcome.APPENDED, BatchOutcome.DUPLICATE, BatchOutcome.FULL


def digest(name: str) -> bytes:
    return name.encode().ljust(16)


def group(names: str, first: int = 1) -> Submission:
    """Return a submission with one event, and one key, for each letter."""
    ids = tuple(range(first, first + len(names)))
    keys = tuple(IdempotencyKey(digest(name)) for name in names)
    return Submission(ids, tuple(f"{name}{id}".encode() for name, id in zip(names, ids)), keys)


def reply(outcome: BatchOutcome, no_room: str = "", **known: int) -> AppendReply:
    """Return the reply that these events are known, each with its id, and that there is no room for others."""
    earlier = {digest(name): Earlier(bytes(16), (id,)) for name, id in known.items()}
    return AppendReply(outcome, earlier, frozenset(digest(name) for name in no_room))


@pytest_twisted.ensureDeferred
async def test_a_known_event_is_passed_over_wherever_it_stands(backend: Backend) -> None:
    """The others are stored in their order; the reply has the first ids."""
    log = await backend.log()
    assert await append(backend, log, 1, group("ab")) == reply(APPENDED)
    assert await append(backend, log, 2, group("cad", 10), group("ebf", 20)) == reply(APPENDED, a=1, b=2)
    assert await append(backend, log, 3, group("abcdef", 30)) == reply(APPENDED, a=1, b=2, c=10, d=12, e=20, f=22)
    assert stored(backend) == ["a1", "b2", "c10", "d12", "e20", "f22"]


@pytest_twisted.ensureDeferred
async def test_an_event_that_comes_twice_at_once_is_stored_once(backend: Backend) -> None:
    """In one submission, or in two of one batch: the first is stored, and remembered."""
    log = await backend.log()
    assert await append(backend, log, 1, group("aba")) == reply(APPENDED, a=1)
    assert await append(backend, log, 2, group("cd", 10), request("plain"), group("ec", 20)) == reply(APPENDED, c=10)
    assert await append(backend, log, 3, group("f", 30), group("f", 40), group("f", 50)) == reply(APPENDED, f=30)
    assert await append(backend, log, 4, group("acf", 60)) == reply(APPENDED, a=1, c=10, f=30)
    assert stored(backend) == ["a1", "b2", "c10", "d11", "plain", "e20", "f30"]


@pytest_twisted.ensureDeferred
async def test_an_event_that_is_known_and_comes_twice_has_its_first_id(backend: Backend) -> None:
    log = await backend.log()
    await append(backend, log, 1, group("a"))
    assert await append(backend, log, 2, group("bab", 10), group("ab", 20)) == reply(APPENDED, a=1, b=10)
    assert stored(backend) == ["a1", "b10"]


@pytest_twisted.ensureDeferred
async def test_a_group_without_room_is_passed_over_with_all_of_its_new_events(backend: Backend) -> None:
    """What is known of it is answered; a smaller group behind it finds room."""
    log = await backend.log(max_keys=3)
    await append(backend, log, 1, group("a"))
    batch = (group("bac", 10), group("de", 20), request("plain"))
    full = reply(APPENDED, no_room="de", a=1)
    assert await append(backend, log, 2, *batch) == full
    assert await append(backend, log, 2, *batch) == replace(full, outcome=DUPLICATE)
    assert stored(backend) == ["a1", "b10", "c12", "plain"]
    backend.forget_keys()
    assert await append(backend, log, 3, group("abcd", 30), group("ef", 40)) == reply(APPENDED, no_room="abcd")
    assert stored(backend)[4:] == ["e40", "f41"]


@pytest_twisted.ensureDeferred
async def test_a_full_stream_knows_the_events_that_it_has(backend: Backend) -> None:
    """The new ones are neither stored nor remembered."""
    log = await backend.log(hard_max=3)
    await append(backend, log, 1, group("ab"))
    for _ in range(2):
        assert await append(backend, log, 2, group("cbd", 10)) == reply(FULL, b=2)
    backend.empty()
    assert await append(backend, log, 3, group("cbd", 20)) == reply(APPENDED, b=2)
    assert stored(backend) == ["c20", "d22"]


@pytest_twisted.ensureDeferred
async def test_a_repeated_call_gives_the_same_answer_about_each_event(backend: Backend) -> None:
    """After a lost reply, what was stored by the call itself is not known from earlier."""
    log = await backend.log()
    await append(backend, log, 1, group("b"))
    for outcome in (APPENDED, DUPLICATE, DUPLICATE):
        assert await append(backend, log, 2, group("abca", 10)) == reply(outcome, a=10, b=1)
    assert stored(backend) == ["b1", "a10", "c12"]


@pytest_twisted.ensureDeferred
async def test_events_are_forgotten_after_their_window(backend: Backend) -> None:
    log = await backend.log(window=1.0)
    await append(backend, log, 1, group("ab"))
    backend.pass_window()
    assert await append(backend, log, 2, group("bc", 10)) == reply(APPENDED)
    assert stored(backend) == ["a1", "b2", "b10", "c11"]


@pytest_twisted.ensureDeferred
async def test_a_group_may_be_of_any_size(backend: Backend) -> None:
    """More keys than one command may carry, with one known at each end, and one twice."""
    log = await backend.log()
    ids = tuple(range(1, 9_001))
    keys = tuple(IdempotencyKey(digest(f"{id}")) for id in (*ids[:-1], 5))
    large = Submission(ids, tuple(b"%d" % id for id in ids), keys)
    known = {keys[place].digest: Earlier(bytes(16), (place + 50_000,)) for place in (0, 8_998)}
    for place in (0, 8_998):
        one = Submission((place + 50_000,), (b"before",), (keys[place],))
        await append(backend, log, 1 if place == 0 else 2, one)
    known[keys[4].digest] = Earlier(bytes(16), (5,))
    assert await append(backend, log, 3, large) == AppendReply(APPENDED, known)
    assert stored(backend) == ["before", "before", *(str(id) for id in range(2, 8_999))]
    again = Submission(ids, large.entries, keys)
    assert len((await append(backend, log, 4, again)).earlier) == 8_999
