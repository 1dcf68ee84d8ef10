"""
Tests for L{eventsvc.redis.connection} on a real server with real faults.
"""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from select import select
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from chaos.process import stable_port
from eventsvc.interfaces import Refused, Unknown
from eventsvc.redis.connection import Connection
from eventsvc.redis.errors import ErrorReply, NotConnected
from eventsvc.redis.session import Script
from eventsvc.redis.silence import REPLY_TIMEOUT
from tests.support.fake_connection import usable
from tests.support.processes import Server
from tests.support.producer_harness import in_thread, until
from tests.support.real_connection import logged, options_of, ready, started


@pytest_twisted.ensureDeferred
async def test_a_wrong_password_heals_once_it_is_right(each_server: Server) -> None:
    """Whether the client's or the server's password is corrected."""
    with each_server.client() as client, logged() as said:
        client.config_set("requirepass", "old")
        async with started(each_server.port, password="new") as connection:
            await until(lambda: said("no connection to Redis: WRONGPASS"))
            assert not usable(connection)
            client.config_set("requirepass", "new")
            await ready(connection)
            assert await connection.call("PING") == b"PONG"


@pytest_twisted.ensureDeferred
async def test_a_missing_password_heals_once_none_is_needed(each_server: Server) -> None:
    with each_server.client() as client, logged() as said:
        client.config_set("requirepass", "some")
        async with started(each_server.port) as connection:
            await until(lambda: said("no connection to Redis: NOAUTH"))
            client.config_set("requirepass", "")
            await ready(connection)


@pytest_twisted.ensureDeferred
async def test_a_user_needs_no_rights_but_those_for_its_work(each_server: Server) -> None:
    """It may not even PING; a forbidden command is refused and does not end the connection."""
    with each_server.client() as client:
        client.execute_command("ACL", "SETUSER", "worker", "on", ">pass", "~*", "+xlen")
        async with started(each_server.port, username="worker", password="pass") as connection:
            await ready(connection)
            assert await connection.call("XLEN", "stream") == 0
            with pytest.raises(ErrorReply) as caught:
                await connection.call("DEL", "stream")
            assert caught.value.code == "NOPERM"
            assert await connection.call("XLEN", "stream") == 0
            assert connection.connects == 1


@pytest_twisted.ensureDeferred
async def test_a_server_without_an_append_only_file_is_warned_of(each_server: Server) -> None:
    """Every server reports it; it is checked again at the next connection."""
    with each_server.client() as client, logged() as said:
        async with started(each_server.port) as connection:
            await ready(connection)
        assert not said("append-only file")
        client.config_set("appendonly", "no")
        async with started(each_server.port) as connection:
            await ready(connection)
        assert said("append-only file")


@pytest_twisted.ensureDeferred
async def test_a_database_is_selected_on_each_connection(server: Server) -> None:
    with server.client() as client:
        async with started(server.port, database=3) as connection:
            for number in range(2):
                await until(lambda number=number: connection.ready and connection.connects == number + 1)  # type: ignore[misc]
                await connection.call("SET", f"key{number}", "value")
                client.client_kill_filter(_type="normal", skipme=True)
                await until(lambda: not connection.ready)
        assert client.dbsize() == 0
        client.select(3)
        assert client.dbsize() == 2


@pytest_twisted.ensureDeferred
async def test_a_database_that_is_not_there_is_told_in_words(server: Server) -> None:
    with logged() as said:
        async with started(server.port, database=99) as connection:
            await until(lambda: said("no connection to Redis: ERR DB index is out of range"))
            assert not usable(connection)


@pytest_twisted.ensureDeferred
async def test_a_frozen_server_is_given_up_and_found_again(each_server: Server) -> None:
    """The command is unknown, because the server executes it once it resumes."""
    with logged() as said:
        async with started(each_server.port) as connection:
            await ready(connection)
            each_server.send(signal.SIGSTOP)
            with pytest.raises(Unknown, match="no reply within 2 s"):
                await connection.call("INCR", "counter")
            with pytest.raises(NotConnected):
                await connection.call("INCR", "counter")
            await until(lambda: said("no handshake within 2 s"))
            each_server.send(signal.SIGCONT)
            await ready(connection)
            assert await connection.call("GET", "counter") == b"1"


@pytest_twisted.ensureDeferred
async def test_a_server_killed_and_started_again_is_found_again(each_server: Server) -> None:
    async with started(each_server.port) as connection:
        for number in range(3):
            await ready(connection)
            each_server.end(signal.SIGKILL)
            await until(lambda: not usable(connection))
            await in_thread(each_server.start)
            await ready(connection)
            assert connection.connects == number + 2


@pytest_twisted.ensureDeferred
async def test_a_server_that_starts_later_is_found(each_server: Server) -> None:
    each_server.end()
    with logged() as said:
        async with started(each_server.port) as connection:
            await until(lambda: said("no connection to Redis: Connection refused"))
            await in_thread(each_server.start)
            await ready(connection)


@pytest_twisted.ensureDeferred
async def test_a_connection_killed_by_the_server_comes_back(server: Server) -> None:
    """Even while a read blocks on it; the reader gets the error at once."""
    with server.client() as client:
        async with started(server.port) as connection:
            await ready(connection)
            read = connection.call("BLPOP", "list", 0, timeout=60.0)
            await until(lambda: any(each["cmd"] == "blpop" for each in client.client_list()))
            client.client_kill_filter(_type="normal", skipme=True)
            with pytest.raises(Unknown, match=r"Redis closed the connection|the connection broke"):
                await read
            await ready(connection)
            assert connection.connects == 2


@pytest_twisted.ensureDeferred
async def test_a_server_with_too_many_clients_is_asked_again(each_server: Server) -> None:
    with each_server.client() as client, logged() as said:
        client.config_set("maxclients", 1)
        async with started(each_server.port) as connection:
            await until(lambda: said("max number of clients reached"))
            assert not usable(connection)
            client.config_set("maxclients", 100)
            await ready(connection)


@pytest_twisted.ensureDeferred
async def test_a_server_that_may_drop_data_is_warned_of(each_server: Server) -> None:
    with each_server.client() as client, logged() as said:
        async with started(each_server.port) as connection:
            await ready(connection)
            assert not said("noeviction")
            client.config_set("maxmemory", "1gb")
            client.config_set("maxmemory-policy", "volatile-lru")
            connection.abort("told to")
            await ready(connection)
            assert said("Set its maxmemory-policy to noeviction; it is volatile-lru")


@pytest_twisted.ensureDeferred
async def test_a_script_is_known_again_after_the_server_forgot_it(server: Server) -> None:
    script = Script("return redis.call('INCR', KEYS[1])")
    with server.client() as client:
        async with started(server.port) as connection:
            await ready(connection)
            assert await connection.run(script, ["counter"], []) == 1
            client.script_flush()
            assert await connection.run(script, ["counter"], []) == 2


@pytest_twisted.ensureDeferred
async def test_a_process_that_was_held_up_does_not_blame_redis(server: Server) -> None:
    """The deadline has passed, but the reply has arrived and only needs to be read."""
    async with started(server.port) as connection:
        await ready(connection)
        session: Any = connection._session
        answer = connection.call("PING", timeout=0.05)
        assert select([session.transport.socket], [], [], 30.0)[0]
        time.sleep(0.1)  # a handler that blocks
        assert await answer == b"PONG"
        assert connection.connects == 1


@pytest_twisted.ensureDeferred
async def test_a_peer_that_is_gone_is_noticed(server: Server) -> None:
    async with started(server.port) as connection:
        await ready(connection)
        assert options_of(connection, layers=0) == [1, 1, 2_000, 5]


@pytest_twisted.ensureDeferred
async def test_a_replica_is_not_used_until_it_is_the_primary(each_server: Server) -> None:
    """It would serve reads, but refuse every write."""
    with each_server.client() as client, logged() as said:
        client.execute_command("REPLICAOF", "127.0.0.1", stable_port())
        async with started(each_server.port) as connection:
            address = f"127.0.0.1:{each_server.port}"
            await until(lambda: said(f"no connection to Redis: Redis at {address} is a read-only replica"))
            assert not usable(connection)
            client.execute_command("REPLICAOF", "NO", "ONE")
            await ready(connection)


WRITE = Script("return redis.call('INCR', KEYS[1])")
FIND_OUT: dict[str, Callable[[Connection], Deferred[Any]]] = {
    "script": lambda connection: connection.run(WRITE, ["counter"], []),
    "command": lambda connection: connection.call("INCR", "counter"),
    "check": lambda connection: connection.check(),
}


@pytest.mark.parametrize("how", FIND_OUT)
@pytest_twisted.ensureDeferred
async def test_a_primary_that_is_demoted_is_left(each_server: Server, how: str) -> None:
    """Whether a script, a command or the idle check detects it first."""
    with each_server.client() as client:
        async with started(each_server.port) as connection:
            await ready(connection)
            assert await connection.run(WRITE, ["counter"], []) == 1
            client.execute_command("REPLICAOF", "127.0.0.1", stable_port())
            with suppress(Refused):
                await FIND_OUT[how](connection)
            assert not usable(connection)
            client.execute_command("REPLICAOF", "NO", "ONE")
            await ready(connection)


REFUSALS: dict[str, tuple[str | int, ...]] = {
    "OOM": ("CONFIG", "SET", "maxmemory", 1),
    "NOREPLICAS": ("CONFIG", "SET", "min-replicas-to-write", 1),
    "WRONGTYPE": ("SET", "stream", "no stream"),
    "NOPERM": ("ACL", "SETUSER", "default", "-xadd"),
}


@pytest.mark.parametrize("code", REFUSALS)
@pytest.mark.parametrize("how", ["call", "pcall"])
@pytest_twisted.ensureDeferred
async def test_a_script_whose_first_write_is_refused_is_refused(each_server: Server, code: str, how: str) -> None:
    """However the server words it, and whether the script raises or returns the error."""
    script = Script(f"return redis.{how}('XADD', KEYS[1], '*', 'a', 'b')")
    with each_server.client() as client:
        async with started(each_server.port) as connection:
            await ready(connection)
            client.execute_command(*REFUSALS[code])
            with pytest.raises(ErrorReply) as caught:
                await connection.run(script, ["stream"], [])
            assert caught.value.code == code


@pytest_twisted.ensureDeferred
async def test_the_system_is_told_to_send_at_once_and_to_notice_a_dead_peer(server: Server) -> None:
    """Keepalive probes begin within a minute, and unconfirmed data times out with the reply."""
    async with started(server.port) as connection:
        await ready(connection)
        session: Any = connection._session
        tcp = session.transport.socket
        assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert tcp.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 1000 * REPLY_TIMEOUT
            assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) < 60
