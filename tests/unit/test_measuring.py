"""
Tests for L{eventsvc.redis.measuring}: what is told of a group in every state, on each server.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_twisted

from chaos.suites import wait_until
from eventsvc.event import EVENT_FIELD, MARKER_FIELD, MARKER_VALUE
from eventsvc.interfaces import Refused
from eventsvc.measures import Measures
from eventsvc.redis.measuring import explain, measure
from tests.support.backends import Backend
from tests.support.processes import Server
from tests.support.producer_harness import until
from tests.support.real_connection import ready, started
from tests.support.replicas import running_replica

STREAM: Final = "NotificationStream"
GROUP: Final = "group"
EVENT: Final = {EVENT_FIELD: b"{}"}
MARKER: Final = {MARKER_FIELD: MARKER_VALUE}


def add(client: Any, count: int = 1) -> list[bytes]:
    """Add events, and return their ids."""
    return [client.xadd(STREAM, EVENT) for _ in range(count)]


def create(client: Any, start: str = "0") -> None:
    """Create the group, and the stream with its marker."""
    client.xgroup_create(STREAM, GROUP, start, mkstream=True)
    client.xadd(STREAM, MARKER)


def read(client: Any, count: int = 1_000) -> list[bytes]:
    """Read new entries, and return their ids."""
    found = client.xreadgroup(GROUP, "consumer", {STREAM: ">"}, count=count)
    return [id for id, _ in found[0][1]] if found else []


def handle(client: Any, count: int = 1_000) -> None:
    """Read and acknowledge entries."""
    client.xack(STREAM, GROUP, *read(client, count))


def all_handled(client: Any) -> None:
    create(client)
    add(client, 9)
    handle(client)


def handled_since_a_rewrite(client: Any) -> None:
    """On Redis 7.0 the lag is 9 after a restart: the append-only file has the count from before."""
    all_handled(client)
    client.bgrewriteaof()
    wait_until(lambda: client.info("persistence")["aof_rewrite_scheduled"] == 0)
    wait_until(lambda: client.info("persistence")["aof_rewrite_in_progress"] == 0)
    add(client, 9)
    handle(client)


def some_read(client: Any) -> None:
    create(client)
    add(client, 9)
    handle(client, 4)
    read(client, 2)


def only_the_marker(client: Any) -> None:
    client.xadd(STREAM, MARKER)


def no_group(client: Any) -> None:
    only_the_marker(client)
    add(client, 3)
    client.xgroup_create(STREAM, "another", "$")


def nothing_read(client: Any) -> None:
    create(client)
    add(client, 3)


def all_trimmed(client: Any) -> None:
    nothing_read(client)
    client.xtrim(STREAM, 0)


def trimmed_while_pending(client: Any) -> None:
    nothing_read(client)
    read(client)
    client.xtrim(STREAM, 0)


def deleted_among_the_unread(client: Any) -> None:
    """Redis tells no lag any more."""
    create(client)
    ids = add(client, 3)
    handle(client, 1)
    client.xdel(STREAM, ids[1])


def deleted_to_the_end(client: Any) -> None:
    all_handled(client)
    client.xdel(STREAM, *add(client, 2))


def last_id_set(client: Any) -> None:
    """No entry has the last id of the stream."""
    all_handled(client)
    client.execute_command("XSETID", STREAM, "99999999999999-0")


def group_begins_in_the_middle(client: Any) -> None:
    """Redis has no count of what the group has read."""
    ids = add(client, 9)
    client.xgroup_create(STREAM, GROUP, ids[4])


def group_set_to_the_end(client: Any) -> None:
    nothing_read(client)
    client.execute_command("XGROUP", "SETID", STREAM, GROUP, "$")


def group_set_back(client: Any) -> None:
    all_handled(client)
    client.execute_command("XGROUP", "SETID", STREAM, GROUP, "0")


def restored(client: Any) -> None:
    """From a copy of the stream, which has its groups."""
    some_read(client)
    copy = client.dump(STREAM)
    client.delete(STREAM)
    client.restore(STREAM, 0, copy)


def ids_from_the_future(client: Any) -> None:
    """The clock was set back."""
    create(client)
    client.xadd(STREAM, EVENT, id="99999999999999-0")


#: What each state looks like: the number of unread entries, whether there are some, and the number of pending ones.
STATES: Final[dict[Callable[[Any], None], tuple[int | None, bool, int]]] = {
    all_handled: (0, False, 0),
    handled_since_a_rewrite: (0, False, 0),
    some_read: (None, True, 2),
    only_the_marker: (0, False, 0),
    no_group: (3, True, 0),
    nothing_read: (3, True, 0),
    all_trimmed: (0, False, 0),
    trimmed_while_pending: (0, False, 4),
    deleted_among_the_unread: (None, True, 0),
    deleted_to_the_end: (0, False, 0),
    last_id_set: (0, False, 0),
    group_begins_in_the_middle: (None, True, 0),
    group_set_to_the_end: (0, False, 0),
    group_set_back: (9, True, 0),
    restored: (None, True, 2),
    ids_from_the_future: (1, True, 0),
}


def check(measures: Measures, expected: tuple[int | None, bool, int]) -> None:
    """Compare measures with a row of L{STATES}: an age is positive exactly if there is such an entry."""
    unread, some, pending = expected
    assert measures.problem == ""
    assert (measures.unread, measures.pending) == (unread, pending)
    assert measures.unread_age is not None
    assert measures.pending_age is not None
    assert (measures.unread_age > 0, measures.pending_age > 0) == (some, pending > 0)
    assert measures.age == max(measures.unread_age, measures.pending_age)


@pytest_twisted.ensureDeferred
async def test_the_stream_is_measured(backend: Backend) -> None:
    """It returns lengths, and the ages of the oldest entries not delivered and not acknowledged."""
    group = await backend.group()
    await backend.wait(group.open())
    measures = await backend.wait(group.measure())
    assert measures == Measures(length=0, dead=0, unread=0, pending=0, unread_age=0.0, pending_age=0.0)
    ages = (400.0, 300.0, 200.0, 100.0)
    ids = [backend.add(EVENT, age) for age in ages]
    await backend.wait(group.read(3, 0.0))
    await backend.wait(group.set_aside(ids[0], "failed", "", 1))
    measures = await backend.wait(group.measure())
    assert (measures.length, measures.dead, measures.unread, measures.pending) == (4, 1, None, 2)
    assert measures.unread_age is not None
    assert measures.age == measures.pending_age is not None
    assert 100.0 <= measures.unread_age < 150.0
    assert 300.0 <= measures.pending_age < 350.0


@pytest_twisted.ensureDeferred
async def test_an_event_of_this_moment_waits_and_the_marker_does_not(backend: Backend) -> None:
    """The age of an entry is never 0, because that means that there is none."""
    group = await backend.group()
    await backend.wait(group.open())
    backend.add(MARKER)
    measures = await backend.wait(group.measure())
    assert (measures.length, measures.unread, measures.age) == (1, 0, 0.0)
    for _ in range(2):
        backend.add(EVENT)
    measures = await backend.wait(group.measure())
    assert (measures.length, measures.unread) == (3, 2)
    assert measures.unread_age is not None
    assert measures.unread_age >= 0.001
    await backend.wait(group.read(9, 0.0))
    measures = await backend.wait(group.measure())
    assert (measures.unread, measures.unread_age, measures.pending) == (0, 0.0, 3)
    assert measures.pending_age is not None
    assert measures.pending_age >= 0.001


@pytest_twisted.ensureDeferred
async def test_what_waits_is_told_in_every_state(each_server: Server) -> None:
    with each_server.client() as client:
        async with started(each_server.port) as connection:
            await ready(connection)
            for fill, expected in STATES.items():
                client.flushall()
                fill(client)
                try:
                    check(await measure(connection, STREAM, GROUP), expected)
                except AssertionError as error:
                    raise AssertionError(fill.__name__) from error


@pytest.mark.parametrize("fill", [all_handled, handled_since_a_rewrite, some_read, no_group, trimmed_while_pending])
@pytest_twisted.ensureDeferred
async def test_after_a_restart_the_same_is_told(each_server: Server, fill: Callable[[Any], None]) -> None:
    """The lag of Redis is wrong then: what was read before the restart counts as unread."""
    with each_server.client() as client:
        fill(client)
    each_server.end()
    each_server.start()
    async with started(each_server.port) as connection:
        await ready(connection)
        check(await measure(connection, STREAM, GROUP), STATES[fill])


@pytest_twisted.ensureDeferred
async def test_a_key_that_is_no_stream_has_no_figures(each_server: Server) -> None:
    """Nothing is 0, and the words say what is there."""
    with each_server.client() as client:
        async with started(each_server.port) as connection:
            await ready(connection)
            missing = await measure(connection, STREAM, GROUP)
            assert missing == Measures(problem=f"there is no stream {STREAM}")
            client.set(STREAM, "a")
            other = await measure(connection, STREAM, GROUP)
            assert other == Measures(problem=f"the key {STREAM} is no stream")


@pytest.mark.parametrize("command", ["xinfo", "xrange", "xpending", "xlen"])
@pytest_twisted.ensureDeferred
async def test_what_may_not_be_asked_is_not_known(each_server: Server, command: str) -> None:
    """One figure is missing, the others are there, and it comes back with the right."""
    with each_server.client() as client:
        some_read(client)
        async with started(each_server.port) as connection:
            await ready(connection)
            client.execute_command("ACL", "SETUSER", "default", f"-{command}")
            measures = await measure(connection, STREAM, GROUP)
            assert f"may not run {command.upper()} on {STREAM}; it needs the rights +xinfo" in measures.problem
            known = (measures.unread_age is not None, measures.pending is not None, measures.length is not None)
            assert (
                known
                == {
                    "xinfo": (False, False, False),
                    "xrange": (False, True, True),
                    "xpending": (True, False, True),
                    "xlen": (True, True, False),
                }[command]
            )
            assert (measures.age is None) == (command != "xlen")
            client.execute_command("ACL", "SETUSER", "default", f"+{command}")
            check(await measure(connection, STREAM, GROUP), STATES[some_read])


@pytest_twisted.ensureDeferred
async def test_a_full_server_tells_too(each_server: Server) -> None:
    """Measuring needs no memory."""
    with each_server.client() as client:
        some_read(client)
        async with started(each_server.port) as connection:
            await ready(connection)
            client.config_set("maxmemory", 1)
            check(await measure(connection, STREAM, GROUP), STATES[some_read])


@pytest_twisted.ensureDeferred
async def test_a_replica_is_not_asked(own_server: Server, tmp_path: Path) -> None:
    """It may lag behind: there is no connection to it."""
    with own_server.client() as client:
        some_read(client)
    with running_replica(own_server, tmp_path / "replica") as replica:
        async with started(replica.port) as connection:
            await until(lambda: "read-only replica" in connection.problem)
            with pytest.raises(Refused):
                await measure(connection, STREAM, GROUP)


@pytest_twisted.ensureDeferred
async def test_a_long_stream_is_measured_with_as_few_commands(server: Server) -> None:
    """The commands are the same for three entries and a hundred thousand, and none reads more than one entry."""
    with server.client() as client:
        async with started(server.port) as connection:
            await ready(connection)
            asked = []
            for count in (3, 100_000):
                client.flushall()
                create(client)
                client.eval(
                    "for _ = 1, ARGV[1] do redis.call('XADD', KEYS[1], '*', 'EventStream', 'x') end", 1, STREAM, count
                )
                read(client, count // 3)
                await measure(connection, STREAM, GROUP)
                client.config_resetstat()
                await measure(connection, STREAM, GROUP)
                stats = client.info("commandstats")
                asked.append({name: stats[name]["calls"] for name in stats if name.startswith("cmdstat_x")})
            assert asked[0] == asked[1]
            assert sum(asked[0].values()) <= 5


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        ("NOPERM No permissions to access a key", "the user of Redis may not run XLEN on s; it needs the rights "),
        ("@user_script: 1: The user executing the script can't run this command or subcommand", "the user of Redis"),
        ("ERR invalid start ID for the interval", "Redis refuses XLEN (ERR)"),
        ("BUSY secret text of Redis", "Redis refuses XLEN (BUSY)"),
    ],
)
def test_a_refusal_is_told_without_the_text_of_redis(reply: str, told: str) -> None:
    assert explain("s", "XLEN", reply).startswith(told)
