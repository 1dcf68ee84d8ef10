"""
Tests for L{eventsvc.simulator.follower} on real servers: what is said of events is what became of them.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, ensureDeferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from eventsvc.event import EVENT_FIELD, MARKER_FIELD, MARKER_VALUE
from eventsvc.interfaces import Refused
from eventsvc.outcome import Outcome
from eventsvc.redis.progress import StreamProgress
from eventsvc.simulator.attempt import Attempt
from eventsvc.simulator.follower import PATIENCE, PAUSE, CannotFollow, Follower
from eventsvc.simulator.ledger import Ledger
from tests.support.processes import Server
from tests.support.real_connection import ready, started

STREAM: Final = "NotificationStream"
DEAD: Final = "{NotificationStream}:dead"
GROUP: Final = "group"


def create(client: Any) -> None:
    """Create the group, and the stream with its marker."""
    client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
    client.xadd(STREAM, {MARKER_FIELD: MARKER_VALUE})


def add(client: Any, *events: int) -> list[bytes]:
    """Add events, and return the ids of their entries."""
    return [client.xadd(STREAM, {EVENT_FIELD: b'{"id":%d,"description":"x"}' % event}) for event in events]


def read(client: Any, count: int = 10_000) -> list[bytes]:
    found = client.xreadgroup(GROUP, "consumer", {STREAM: ">"}, count=count)
    return [id for id, _ in found[0][1]] if found else []


def handle(client: Any, count: int = 10_000) -> None:
    client.xack(STREAM, GROUP, *read(client, count))


@asynccontextmanager
async def following(server: Server, clock: Clock | None = None, **more: Any) -> AsyncIterator[Follower]:
    """A follower that looks when the test says so."""
    async with started(server.port, **more) as connection:
        await ready(connection)
        follower = Follower(StreamProgress(connection, STREAM, GROUP), Ledger(), clock or Clock())
        await follower.begin()
        running, follower._running = follower._running, None
        assert running is not None
        running.cancel()
        await running
        yield follower


class Interposed:
    """A stream of which one operation is another."""

    def __init__(self, progress: Any, **operations: Any) -> None:
        self._progress = progress
        self.__dict__.update(operations)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._progress, name)


def accept(follower: Follower, *events: int) -> None:
    follower.observe(Attempt(0.0, 0.0, 0.1, Outcome.OK, len(events), events))


def figures(follower: Follower) -> Sequence[int]:
    """Return what is stored, handled, set aside and not seen."""
    ledger = follower.ledger
    return ledger.stored, ledger.handled, ledger.set_aside, ledger.unseen


@pytest_twisted.ensureDeferred
async def test_each_server_tells_what_became_of_events(each_server: Server) -> None:
    """Stored, pending, handled, set aside: at each step, and with events of others in between."""
    with each_server.client() as client:
        create(client)
        add(client, 1)
        async with following(each_server) as follower:
            accept(follower, 10, 11, 12, 13, 14)
            await follower.look()
            assert figures(follower) == (0, 0, 0, 5)
            ids = add(client, 10, 99, 11, 12, 13)
            await follower.look()
            assert figures(follower) == (4, 0, 0, 1)
            read(client)
            await follower.look()
            assert figures(follower) == (4, 0, 0, 1)
            client.xack(STREAM, GROUP, *client.xrange(STREAM, "-", ids[0])[-1][:1], *ids[2:])
            await follower.look()
            assert figures(follower) == (4, 0, 0, 1)  # entries from before are pending
            client.xack(STREAM, GROUP, *[id for id, _ in client.xrange(STREAM)])
            await follower.look()
            assert figures(follower) == (4, 4, 0, 1)
            add(client, 14)
            (id,) = read(client)
            client.xadd(DEAD, {"id": id, "group": GROUP, "reason": "rejected", "deliveries": 1})
            client.xack(STREAM, GROUP, id)
            await follower.look()
            assert figures(follower) == (5, 4, 1, 0)
            assert not follower.ledger.trimmed


@pytest_twisted.ensureDeferred
async def test_a_dead_letter_of_another_group_is_not_ours(server: Server) -> None:
    with server.client() as client:
        create(client)
        async with following(server) as follower:
            accept(follower, 1)
            (id,) = add(client, 1)
            client.xadd(DEAD, {"id": id, "group": "another", "reason": "rejected", "deliveries": 1})
            handle(client)
            await follower.look()
            assert figures(follower) == (1, 1, 0, 0)


@pytest_twisted.ensureDeferred
async def test_a_dead_letter_that_comes_between_the_page_and_the_frontier_counts(server: Server) -> None:
    """The entry is seen only in the next look, when the frontier is past it already."""
    with server.client() as client:
        create(client)
        async with following(server) as follower:
            accept(follower, 1)
            progress = follower.progress

            async def find_later() -> tuple[int, int]:
                (id,) = add(client, 1)
                handle(client)
                client.xadd(DEAD, {"id": id, "group": GROUP, "reason": "rejected", "deliveries": 1})
                return await progress.find_frontier()

            follower.progress = Interposed(progress, find_frontier=find_later)
            await follower.look()
            follower.progress = progress
            assert figures(follower) == (0, 0, 0, 1)
            await follower.look()
            assert figures(follower) == (1, 0, 1, 0)


@pytest_twisted.ensureDeferred
async def test_what_was_trimmed_before_it_was_seen_is_not_called_lost(each_server: Server) -> None:
    """Only what every group has acknowledged is trimmed."""
    with each_server.client() as client:
        create(client)
        async with following(each_server) as follower:
            accept(follower, *range(10))
            add(client, *range(10))
            handle(client)
            client.xtrim(STREAM, 2, approximate=False)
            await follower.look()
            assert follower.ledger.trimmed
            assert figures(follower) == (2, 2, 0, 8)


@pytest_twisted.ensureDeferred
async def test_what_redis_has_forgotten_is_lost(each_server: Server) -> None:
    """After a restart from an older state the stream is read again, and what is missing stays missing."""
    with each_server.client() as client:
        create(client)
        async with following(each_server) as follower:
            accept(follower, 1, 2, 3)
            ids = add(client, 1, 2, 3)
            await follower.look()
            assert figures(follower) == (3, 0, 0, 0)
            client.xdel(STREAM, *ids[1:])
            add(client, 4)
            accept(follower, 4)
            await follower.look()
            handle(client)
            await follower.look()
            assert figures(follower) == (2, 2, 0, 2)
            assert not follower.ledger.trimmed


@pytest_twisted.ensureDeferred
async def test_a_wiped_redis_is_followed_from_its_beginning(server: Server) -> None:
    with server.client() as client:
        create(client)
        async with following(server) as follower:
            accept(follower, 1)
            add(client, 1)
            await follower.look()
            client.flushall()
            with pytest.raises(Refused, match="there is no stream NotificationStream"):
                await follower.look()
            assert figures(follower) == (0, 0, 0, 1)
            create(client)
            add(client, 1)  # the producer has given it back
            handle(client)
            await follower.look()
            assert figures(follower) == (1, 1, 0, 0)


@pytest_twisted.ensureDeferred
async def test_hostile_entries_are_passed_over(server: Server) -> None:
    """A stream and its dead letters have other writers, who write what they like."""
    with server.client() as client:
        create(client)
        async with following(server) as follower:
            accept(follower, 7)
            for value in (
                b"",
                b"x",
                b"[]",
                b'{"id":"7"}',
                b'{"id":1.5}',
                b'{"id":null}',
                b'{"id":' + b"9" * 99 + b"}",
                b"\xff",
            ):
                client.xadd(STREAM, {EVENT_FIELD: value})
            client.xadd(STREAM, {"id": "7"})
            for id in ("", "x", "1", "1-1 ", "9" * 99 + "-1"):
                client.xadd(DEAD, {"id": id, "group": GROUP})
            client.xadd(STREAM, {EVENT_FIELD: b'{"id":7}', "more": "fields"})
            handle(client)
            await follower.look()
            assert figures(follower) == (1, 1, 0, 0)


@pytest_twisted.ensureDeferred
async def test_a_long_stream_is_read_in_pages_that_fit_its_entries(server: Server) -> None:
    """However many entries there are, and however large they are."""
    counts: list[int] = []
    with server.client() as client:
        create(client)
        async with following(server) as follower:
            progress = follower.progress

            async def count(first: str, most: int) -> Any:
                page = await progress.read(first, most)
                counts.append(sum(len(value) for _, _, value in page))
                return page

            follower.progress = Interposed(progress, read=count)
            pipeline = client.pipeline()
            for event in range(5_000):
                pipeline.xadd(STREAM, {EVENT_FIELD: b'{"id":%d}' % event})
            pipeline.execute()
            accept(follower, *range(5_040))
            await follower.look()
            assert len(counts) < 50
            for begin in (5_000, 5_020):  # the first large ones surprise it
                counts.clear()
                for event in range(begin, begin + 20):
                    client.xadd(STREAM, {EVENT_FIELD: b'{"id":%d,"data":"%s"}' % (event, b"x" * 500_000)})
                await follower.look()
            assert figures(follower) == (5_040, 0, 0, 0)
            assert max(counts) < 6_000_000


@pytest_twisted.ensureDeferred
async def test_without_the_group_nothing_is_handled(server: Server) -> None:
    with server.client() as client:
        client.xgroup_create(STREAM, "another", "0", mkstream=True)
        async with following(server) as follower:
            accept(follower, 1)
            add(client, 1)
            client.xreadgroup("another", "consumer", {STREAM: ">"})
            await follower.look()
            assert figures(follower) == (1, 0, 0, 0)


@pytest_twisted.ensureDeferred
async def test_a_stream_that_may_not_be_read_is_told(server: Server) -> None:
    """In words that say which rights are missing; it tries a few times before."""
    clock = Clock()
    with server.client() as client:
        create(client)
        client.acl_setuser("blind", enabled=True, passwords=["+hush"], keys=["*"], commands=["+@all", "-xrange"])
        try:
            async with started(server.port, username="blind", password="hush") as connection:
                await ready(connection)
                follower = Follower(StreamProgress(connection, STREAM, GROUP), Ledger(), clock)
                with pytest.raises(
                    Refused, match=r"may not run XRANGE on NotificationStream; it needs the rights \+xr"
                ):
                    await follower.look()
        finally:
            client.acl_deluser("blind")


@pytest_twisted.ensureDeferred
async def test_a_user_with_the_rights_in_the_docs_may_follow(each_server: Server) -> None:
    """And may write nothing."""
    page = (Path(__file__).parents[2] / "docs" / "load.md").read_text(encoding="utf-8")
    (rule,) = re.findall(r"^ACL SETUSER .*$", page, re.MULTILINE)
    with each_server.client() as client:
        create(client)
        client.execute_command(*rule.split())
        async with following(each_server, username="load", password="PASSWORD") as follower:
            accept(follower, 1, 2)
            id, _ = add(client, 1, 2)
            client.xadd(DEAD, {"id": id, "group": GROUP})
            handle(client)
            await follower.look()
            assert figures(follower) == (2, 1, 1, 0)
            connection = follower.progress.connection  # type: ignore[attr-defined]
            for command in (("XADD", STREAM, "*", "a", "b"), ("XACK", STREAM, GROUP, "1-1"), ("DEL", STREAM)):
                with pytest.raises(Refused):
                    await connection.call(*command)


@pytest_twisted.ensureDeferred
async def test_without_a_stream_it_does_not_begin() -> None:
    class Nothing:
        async def find_newest(self) -> str:
            raise Refused("there is no stream")

    clock = Clock()
    follower = Follower(Nothing(), Ledger(), clock)  # type: ignore[arg-type]
    beginning = ensureDeferred(follower.begin())
    failures: list[Any] = []
    beginning.addErrback(failures.append)
    clock.pump([1.0] * 3)
    assert failures == []
    clock.pump([1.0] * 2)
    assert failures[0].type is CannotFollow


def settling(follower: Follower) -> Any:
    return ensureDeferred(follower.settle())


def test_it_settles_once_all_is_handled() -> None:
    clock = Clock()
    follower = Follower(None, Ledger(), clock)  # type: ignore[arg-type]
    accept(follower, 1, 2)
    waiting = settling(follower)
    for event in (1, 2):
        clock.pump([PAUSE] * 100)
        assert not waiting.called
        follower.ledger.see((event, 0), event, 0.0)
    follower.ledger.advance((9, 0), (), 0.0)
    clock.pump([PAUSE] * 2)
    assert waiting.called


def test_it_gives_up_when_nothing_changes() -> None:
    """Each change gives it more time."""
    clock = Clock()
    follower = Follower(None, Ledger(), clock)  # type: ignore[arg-type]
    accept(follower, 1, 2)
    with capturedLogs() as events:
        waiting = settling(follower)
        clock.pump([PATIENCE / 10] * 9)
        follower.ledger.see((1, 0), 1, 0.0)
        clock.pump([PATIENCE / 10] * 9)
        assert not waiting.called
        clock.pump([PATIENCE / 10] * 3)
        assert waiting.called
    assert [(event["unseen"], event["unhandled"]) for event in events] == [(1, 1)]


@pytest.mark.parametrize("answers", [True, False])
def test_what_is_unseen_at_the_end_is_lost_if_it_was_looked_for(answers: bool) -> None:
    """A stop comes between two looks, or while Redis cannot be asked."""
    clock = Clock()

    async def look() -> None:
        if not answers:
            raise Refused("Redis is away")

    follower = Follower(None, Ledger(), clock)  # type: ignore[arg-type]
    follower.look = look  # type: ignore[method-assign]
    running = ensureDeferred(follower._run())
    running.addErrback(lambda failure: failure.trap(CancelledError))
    clock.pump([PAUSE] * 10)
    accept(follower, 1)
    finishing = ensureDeferred(follower.finish())
    clock.pump([PAUSE] * 60)
    assert finishing.called
    assert follower.is_sure is answers
    running.cancel()
