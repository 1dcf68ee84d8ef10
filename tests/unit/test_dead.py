"""
Tests for L{eventsvc.redis.dead} and L{eventsvc.cli.dead_letters}, on a real server.
"""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import attrs
import msgspec
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import fail, gatherResults

from eventsvc.cli.call import Link, NotDone
from eventsvc.cli.dead_letters import Asked, Desk
from eventsvc.interfaces import Refused, Unknown
from eventsvc.json_text import escape_breaks
from eventsvc.redis.connection import Connection
from eventsvc.redis.dead import PAGE_BYTES, DeadLetters
from eventsvc.settings import RedisSettings
from eventsvc.tap.parts.connection import make_connection
from tests.support.dead_letters import DEAD, GROUP, STREAM, dead_ids, set_aside, set_events_aside, stream_fields
from tests.support.processes import Server
from tests.support.producer_harness import until


@asynccontextmanager
async def connected(server: Server, **more: Any) -> AsyncIterator[Connection]:
    """Run a connection."""
    connection = make_connection(reactor, RedisSettings(port=server.port, **more))
    connection.startService()
    try:
        await connection.when_ready()
        yield connection
    finally:
        await connection.stopService()


@asynccontextmanager
async def opened(server: Server, **more: Any) -> AsyncIterator[DeadLetters]:
    """Return the dead letters of a server."""
    async with connected(server, **more) as connection:
        yield DeadLetters(connection, STREAM)


def lose_next_reply(connection: Connection) -> None:
    """Make the next reply end the connection instead of arriving."""
    session: Any = connection._session

    def lose(reply: object) -> None:
        del session.replyReceived
        session.abort("told to lose it")

    session.replyReceived = lose


@pytest_twisted.ensureDeferred
async def test_a_letter_says_what_it_was_and_why_it_is_here(server: Server) -> None:
    """It has every byte of the entry, its id, and the error."""
    fields = {b"EventStream": b'{"id":1}', b"\xff": b"\x00\r\n\xfe", b"reason": b"its own"}
    id = set_aside(server, fields, reason="malformed", error="no\nevent é", deliveries=1)
    with server.client() as client:
        [(entry, _)] = client.xrange(STREAM)
    async with opened(server) as letters:
        letter = await letters.find(id)
        assert letter is not None
        assert (letter.id, letter.reason, letter.error, letter.deliveries) == (id, "malformed", "no\nevent é", 1)
        assert (letter.original, letter.group, letter.consumer) == (entry.decode(), GROUP, "consumer")
        assert dict(letter.fields) == fields
        assert await letters.find("1-1") is None


@pytest_twisted.ensureDeferred
async def test_letters_are_read_in_pages_the_oldest_first(server: Server) -> None:
    """A page begins after the last id of the one before."""
    ids = set_events_aside(server, 5)
    async with opened(server) as letters:
        first = await letters.read(count=3)
        second = await letters.read(first[-1].id, 3)
        assert [letter.id for letter in [*first, *second]] == ids
        assert await letters.read(ids[-1]) == []


@pytest_twisted.ensureDeferred
async def test_a_replayed_letter_is_at_the_end_of_the_stream_as_it_was(server: Server) -> None:
    """Byte for byte; the group reads it again, and it is no longer a dead letter."""
    fields = {b"EventStream": b'{"id":1}', b"\xff": b"\x00\r\n\xfe", b"packed": b"\x01"}
    id = set_aside(server, fields)
    async with opened(server) as letters:
        place = await letters.replay(id)
    with server.client() as client:
        [(_, [(read, again)])] = client.xreadgroup(GROUP, "consumer", {STREAM: ">"})
    assert (read.decode(), again) == (place, fields)
    assert dead_ids(server) == []


@pytest_twisted.ensureDeferred
async def test_a_replayed_event_has_every_byte_of_what_it_carries(server: Server) -> None:
    """Members that we do not know too."""
    text = (
        b'{"id":1,"description":"d","timestamp":"t","type":"t","key":"k\\u0000","traceparent":"00-1","tracestate":"a=b",'
        b'"data": {"b":1.0,\n"a":[1e999]} ,"cloudevent":{"specversion":"1.0", "x":"\xe2\x80\xa8"},"later":[ ]}'
    )
    id = set_aside(server, {"EventStream": text})
    async with opened(server) as letters:
        await letters.replay(id)
    assert stream_fields(server)[-1] == {b"EventStream": text}


@pytest_twisted.ensureDeferred
async def test_replays_at_the_same_time_move_a_letter_once(server: Server) -> None:
    """Two operators may run the command together."""
    [id] = set_events_aside(server, 1)
    async with opened(server) as one, opened(server) as other:
        answers = await gatherResults([letters.replay(id) for letters in [one, other] * 10])
    assert answers.count("gone") == 19
    assert len(stream_fields(server)) == 2


@pytest_twisted.ensureDeferred
async def test_a_replay_whose_reply_was_lost_has_moved_the_letter(server: Server) -> None:
    """The first call is unknown; the next finds the letter gone, and the entry is in the stream once."""
    [id] = set_events_aside(server, 1)
    async with opened(server) as letters:
        assert await letters.replay("1-1") == "gone"  # the server knows the script now
        lose_next_reply(letters.connection)
        with pytest.raises(Unknown):
            await letters.replay(id)
        assert dead_ids(server) == []
        await until(lambda: letters.connection.connects == 2)
        assert await letters.replay(id) == "gone"
    assert len(stream_fields(server)) == 2


@pytest_twisted.ensureDeferred
async def test_a_letter_without_fields_stays(server: Server) -> None:
    """A trimmed entry cannot be replayed, and its letter is the only record of it."""
    with server.client() as client:
        id = client.xadd(DEAD, {"reason": "trimmed", "error": "gone", "deliveries": "0", "id": "1-1"}).decode()
    async with opened(server) as letters:
        assert await letters.replay(id) == "empty"
        letter = await letters.find(id)
        assert letter is not None
        assert letter.fields == []


@pytest_twisted.ensureDeferred
async def test_an_entry_of_too_many_fields_stays(server: Server) -> None:
    """A script cannot add so many fields; the entry is not truncated."""
    id = set_aside(server, {f"{number}": "" for number in range(2_100)})
    async with opened(server) as letters:
        assert await letters.replay(id) == "packed"
    assert dead_ids(server) == [id]


@pytest_twisted.ensureDeferred
async def test_a_user_who_may_not_take_letters_away_adds_no_entry(server: Server) -> None:
    """Otherwise each attempt would add another entry to the stream."""
    [id] = set_events_aside(server, 1)
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "half", "on", ">secret", "~*", "+@all", "-xdel")
        try:
            async with opened(server, username="half", password="secret") as letters:
                with pytest.raises(Refused, match="Redis denies access"):
                    await letters.replay(id)
        finally:
            client.execute_command("ACL", "DELUSER", "half")
    assert dead_ids(server) == [id]
    assert len(stream_fields(server)) == 1


@pytest_twisted.ensureDeferred
async def test_without_memory_a_letter_stays(server: Server) -> None:
    """It is not deleted if the entry could not be added."""
    [id] = set_events_aside(server, 1)
    with server.client() as client:
        client.config_set("maxmemory", 1)
        try:
            async with opened(server) as letters:
                with pytest.raises(Refused, match="Redis is out of memory"):
                    await letters.replay(id)
        finally:
            client.config_set("maxmemory", 0)
    assert dead_ids(server) == [id]
    assert len(stream_fields(server)) == 1


@pytest_twisted.ensureDeferred
async def test_a_purged_letter_is_gone_and_others_stay(server: Server) -> None:
    """It fires with the number deleted."""
    ids = set_events_aside(server, 3)
    async with opened(server) as letters:
        assert await letters.purge(ids[:2]) == 2
        assert await letters.purge(ids[:2]) == 0
    assert dead_ids(server) == ids[2:]


def make_desk(connection: Connection, port: int, **asked: Any) -> Desk:
    """Return a desk that confirms everything."""
    return Desk(
        asked=Asked(**{"command": "list", "yes": True, **asked}),
        link=Link(redis=RedisSettings(port=port), connection=connection, clock=reactor),
        out=io.StringIO(),
        err=io.StringIO(),
        ask=lambda _: False,
    )


@pytest_twisted.ensureDeferred
async def test_a_person_is_told_that_a_letter_was_moved_though_the_reply_was_lost(server: Server) -> None:
    """The second attempt finds it gone, because the first moved it."""
    ids = set_events_aside(server, 2)
    async with connected(server) as connection:
        desk = make_desk(connection, server.port, ids=ids)
        assert await desk.letters.replay("1-1") == "gone"  # the server knows the script now
        replay = DeadLetters.replay
        lost: list[str] = []

        def losing(self: DeadLetters, id: str) -> Any:
            if not lost:
                lost.append(id)
                lose_next_reply(connection)
            return replay(self, id)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(DeadLetters, "replay", losing)
            await desk.replay()
        assert isinstance(desk.out, io.StringIO)
        first, second = desk.out.getvalue().splitlines()
        assert first == f"{ids[0]} -> (the answer was lost)"
        assert second.startswith(f"{ids[1]} -> ")
    assert dead_ids(server) == []
    assert len(stream_fields(server)) == 4


@pytest_twisted.ensureDeferred
async def test_a_doubt_lasts_over_tries_that_were_surely_in_vain(server: Server) -> None:
    """A letter moved by the first attempt is gone at the third, whatever the second did."""
    [id] = set_events_aside(server, 1)
    async with connected(server) as connection:
        desk = make_desk(connection, server.port, ids=[id])
        assert await desk.letters.replay("1-1") == "gone"  # the server knows the script now
        replay = DeadLetters.replay
        tries: list[str] = []

        def failing(self: DeadLetters, id: str) -> Any:
            tries.append(id)
            if len(tries) == 1:
                lose_next_reply(connection)
            return fail(Refused("no connection")) if len(tries) == 2 else replay(self, id)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(DeadLetters, "replay", failing)
            await desk.replay()
        assert isinstance(desk.out, io.StringIO)
        assert desk.out.getvalue() == f"{id} -> (the answer was lost)\n"
    assert len(tries) == 3


@pytest_twisted.ensureDeferred
async def test_many_letters_are_all_moved_in_their_order(server: Server) -> None:
    """There are more than a page; the plan shows only the first."""
    with server.client() as client:
        for number in range(250):
            client.xadd(DEAD, {"reason": "failed", "deliveries": "5", "id": "1-1", "field:EventStream": f"{number}"})
    async with connected(server) as connection:
        desk = make_desk(connection, server.port, all=True)
        await desk.replay()
        assert isinstance(desk.err, io.StringIO)
        assert "... and 230 more\n250 dead letters will go back" in desk.err.getvalue()
        assert "replayed 250 of 250 dead letters" in desk.err.getvalue()
    assert [int(fields[b"EventStream"]) for fields in stream_fields(server)] == list(range(250))
    assert dead_ids(server) == []


@pytest_twisted.ensureDeferred
async def test_what_cannot_be_replayed_is_told_and_the_rest_is_done(server: Server) -> None:
    """A letter without fields does not stop the rest."""
    with server.client() as client:
        empty = client.xadd(DEAD, {"reason": "trimmed", "deliveries": "0", "id": "1-1"}).decode()
    [id] = set_events_aside(server, 1)
    async with connected(server) as connection:
        desk = make_desk(connection, server.port, all=True)
        with pytest.raises(NotDone, match=f"{empty}: its entry was lost"):
            await desk.replay()
        assert isinstance(desk.out, io.StringIO)
        assert desk.out.getvalue().startswith(f"{id} -> ")
    assert dead_ids(server) == [empty]


@pytest_twisted.ensureDeferred
async def test_a_page_of_large_letters_is_short(server: Server) -> None:
    """Memory is bounded by bytes, even for letters with untruncated texts."""
    ids = [set_aside(server, {"EventStream": "x"}, error="e" * 600_000) for _ in range(5)]
    async with opened(server) as letters:
        pages: list[list[str]] = []
        while page := await letters.read(pages[-1][-1] if pages else ""):
            pages.append([letter.id for letter in page])
    assert pages == [ids[:2], ids[2:4], ids[4:]]
    assert 600_000 < PAGE_BYTES < 1_200_000


@pytest_twisted.ensureDeferred
async def test_a_list_is_written_page_by_page(server: Server) -> None:
    """Each page is written before the next is read; only the first has a header."""
    for number in range(3):
        set_aside(server, {"EventStream": "x"}, error=f"{number} {'e' * PAGE_BYTES}", deliveries=10**number)
    async with connected(server) as connection:
        desk = make_desk(connection, server.port)
        assert isinstance(desk.out, io.StringIO)
        read, lines = DeadLetters.read, []

        def watched(self: DeadLetters, after: str, count: int) -> Any:
            assert isinstance(desk.out, io.StringIO)
            lines.append(len(desk.out.getvalue().splitlines()))
            return read(self, after, count)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(DeadLetters, "read", watched)
            await desk.list()
        assert lines == [0, 2, 3, 4]
        head, *rows = desk.out.getvalue().splitlines()
    assert [row.index(f"{number} eee") for number, row in enumerate(rows)] == [head.index("ERROR")] * 3
    assert all(len(row) < 2_200 and row.endswith("e…") for row in rows)


@pytest.mark.parametrize("command", ["list", "replay", "purge"])
@pytest_twisted.ensureDeferred
async def test_json_is_streamed_as_it_would_be_written_whole(server: Server, command: str) -> None:
    """Even if it is empty, its texts have odd line breaks, or some letters fail."""
    async with connected(server) as connection:
        for errors in ([], ["a\nb\u2028c\r{}[],"], ["a", "b", "c"]):
            for error in errors:
                set_aside(server, {"EventStream": "x"}, error=error)
            if errors:
                with server.client() as client:
                    client.xadd(DEAD, {"reason": "trimmed", "id": "1-1"})
            desk = make_desk(connection, server.port, json=True, all=True)
            with suppress(NotDone):
                await getattr(desk, command)()
            assert isinstance(desk.out, io.StringIO)
            text = desk.out.getvalue()
            whole = escape_breaks(msgspec.json.format(msgspec.json.encode(json.loads(text)))).decode()
            assert text == f"{whole}\n"
            with server.client() as client:
                client.delete(DEAD)


@pytest.mark.parametrize("command", ["replay", "purge"])
@pytest_twisted.ensureDeferred
async def test_all_means_those_that_were_there_when_it_was_agreed_to(server: Server, command: str) -> None:
    """A letter that comes back at once is not replayed again and again."""
    ids = set_events_aside(server, 3)
    late: list[str] = []

    def agree(_: str) -> bool:
        late.append(set_aside(server, {"EventStream": "late"}))
        return True

    async with connected(server) as connection:
        desk = attrs.evolve(make_desk(connection, server.port, all=True, yes=False, quiet=True), ask=agree)
        await getattr(desk, command)()
        assert isinstance(desk.out, io.StringIO)
        assert desk.out.getvalue().split() == ids
    assert dead_ids(server) == late
