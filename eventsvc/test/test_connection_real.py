"""
The connection on a real server that is broken in every way at hand.
"""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor as installed_reactor
from twisted.internet.protocol import Protocol
from twisted.internet.ssl import PrivateCertificate
from twisted.logger import capturedLogs
from twisted.protocols.portforward import ProxyFactory, ProxyServer

from eventsvc.interfaces import Unknown
from eventsvc.redis.connection import Connection
from eventsvc.redis.endpoint import make_endpoint
from eventsvc.redis.session import ErrorReply, NotConnected, Script
from eventsvc.settings import InvalidSettings, RedisSettings
from eventsvc.tap.parts import make_connection
from eventsvc.test.certificates import Authority
from eventsvc.test.connecting import messages, usable
from eventsvc.test.processes import Server, running_server
from eventsvc.test.rig import in_thread, until

reactor: Any = installed_reactor


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A server that may be broken."""
    with running_server() as server:
        yield server


@asynccontextmanager
async def started(port: int, **more: Any) -> AsyncIterator[Connection]:
    """A connection that is given some patience by nobody."""
    connection = make_connection(reactor, RedisSettings(port=port, retry_period=0.2, **more))
    connection.startService()
    try:
        yield connection
    finally:
        await connection.stopService()


@contextmanager
def logged() -> Iterator[Callable[[str], bool]]:
    """Whether something was logged by now."""
    with capturedLogs() as events:
        yield lambda words: any(words in line for line in messages(events))


@pytest_twisted.ensureDeferred
async def test_a_wrong_password_heals_once_it_is_right(own_server: Server) -> None:
    """Whether it is the user's that is corrected, or that of the server."""
    with own_server.client() as client, logged() as said:
        client.config_set("requirepass", "old")
        async with started(own_server.port, password="new") as connection:
            await until(lambda: said("no connection to Redis: WRONGPASS"))
            assert not usable(connection)
            client.config_set("requirepass", "new")
            await connection.when_ready()
            assert await connection.call("PING") == b"PONG"


@pytest_twisted.ensureDeferred
async def test_a_missing_password_heals_once_none_is_needed(own_server: Server) -> None:
    with own_server.client() as client, logged() as said:
        client.config_set("requirepass", "some")
        async with started(own_server.port) as connection:
            await until(lambda: said("no connection to Redis: NOAUTH"))
            client.config_set("requirepass", "")
            await connection.when_ready()


@pytest_twisted.ensureDeferred
async def test_a_user_needs_no_rights_but_those_for_its_work(own_server: Server) -> None:
    """It may not even PING; and what it may not do is refused and does not end the connection."""
    with own_server.client() as client:
        client.execute_command("ACL", "SETUSER", "worker", "on", ">pass", "~*", "+xlen")
        async with started(own_server.port, username="worker", password="pass") as connection:
            await connection.when_ready()
            assert await connection.call("XLEN", "stream") == 0
            with pytest.raises(ErrorReply, match="NOPERM"):
                await connection.call("DEL", "stream")
            assert await connection.call("XLEN", "stream") == 0
            assert connection.connects == 1


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
async def test_a_frozen_server_is_given_up_and_found_again(own_server: Server) -> None:
    """The command is unknown: it is carried out once the server goes on."""
    with logged() as said:
        async with started(own_server.port) as connection:
            await connection.when_ready()
            own_server.send(signal.SIGSTOP)
            with pytest.raises(Unknown, match="no reply within 2 s"):
                await connection.call("INCR", "counter")
            with pytest.raises(NotConnected):
                await connection.call("INCR", "counter")
            await until(lambda: said("no handshake within 2 s"))
            own_server.send(signal.SIGCONT)
            await connection.when_ready()
            assert await connection.call("GET", "counter") == b"1"


@pytest_twisted.ensureDeferred
async def test_a_server_killed_and_started_again_is_found_again(own_server: Server) -> None:
    with logged() as said:
        async with started(own_server.port) as connection:
            for number in range(3):
                await connection.when_ready()
                own_server.end(signal.SIGKILL)
                await until(lambda: said("no connection to Redis: Connection refused"))
                assert not usable(connection)
                await in_thread(own_server.start)
                await connection.when_ready()
                assert connection.connects == number + 2


@pytest_twisted.ensureDeferred
async def test_a_server_that_starts_later_is_found(own_server: Server) -> None:
    own_server.end()
    with logged() as said:
        async with started(own_server.port) as connection:
            await until(lambda: said("no connection to Redis: Connection refused"))
            await in_thread(own_server.start)
            await connection.when_ready()


@pytest_twisted.ensureDeferred
async def test_a_connection_killed_by_the_server_comes_back(server: Server) -> None:
    """Also while a read blocks on it: who reads is told at once."""
    with server.client() as client:
        async with started(server.port) as connection:
            await connection.when_ready()
            read = connection.call("BLPOP", "list", 0, timeout=60.0)
            await until(lambda: any(each["cmd"] == "blpop" for each in client.client_list()))
            client.client_kill_filter(_type="normal", skipme=True)
            with pytest.raises(Unknown, match="Redis closed the connection|the connection broke"):
                await read
            await connection.when_ready()
            assert connection.connects == 2


@pytest_twisted.ensureDeferred
async def test_a_server_with_too_many_clients_is_asked_again(own_server: Server) -> None:
    with own_server.client() as client, logged() as said:
        client.config_set("maxclients", 1)
        async with started(own_server.port) as connection:
            await until(lambda: said("max number of clients reached"))
            assert not usable(connection)
            client.config_set("maxclients", 100)
            await connection.when_ready()


@pytest_twisted.ensureDeferred
async def test_a_server_that_may_drop_data_is_warned_of(own_server: Server) -> None:
    with own_server.client() as client, logged() as said:
        async with started(own_server.port) as connection:
            await connection.when_ready()
            assert not said("noeviction")
            client.config_set("maxmemory", "1gb")
            client.config_set("maxmemory-policy", "volatile-lru")
            connection.abort("told to")
            await connection.when_ready()
            assert said("Set its maxmemory-policy to noeviction; it is volatile-lru")


@pytest_twisted.ensureDeferred
async def test_a_script_is_known_again_after_the_server_forgot_it(server: Server) -> None:
    script = Script("return redis.call('INCR', KEYS[1])")
    with server.client() as client:
        async with started(server.port) as connection:
            await connection.when_ready()
            assert await connection.run(script, ["counter"], []) == 1
            client.script_flush()
            assert await connection.run(script, ["counter"], []) == 2


@pytest_twisted.ensureDeferred
async def test_a_process_that_was_held_up_does_not_blame_redis(server: Server) -> None:
    """The time for a reply is over, but the reply is there and only has to be read."""
    async with started(server.port) as connection:
        await connection.when_ready()
        answer = connection.call("PING", timeout=0.05)
        connection.flush()
        time.sleep(0.1)  # a handler that blocks
        assert await answer == b"PONG"
        assert connection.connects == 1


def options_of(connection: Connection, layers: int) -> list[int]:
    """How a connection notices that its peer is gone, asked of the system."""
    session: Any = connection._session
    tcp = session.transport
    for _ in range(layers):
        tcp = tcp.transport
    names = [
        *((socket.SOL_SOCKET, socket.SO_KEEPALIVE), (socket.IPPROTO_TCP, socket.TCP_NODELAY)),
        *((socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT), (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)),
    ]
    return [tcp.socket.getsockopt(*name) for name in names]


@pytest_twisted.ensureDeferred
async def test_a_peer_that_is_gone_is_noticed(server: Server) -> None:
    async with started(server.port) as connection:
        await connection.when_ready()
        assert options_of(connection, layers=0) == [1, 1, 2_000, 5]


class Eavesdropper(ProxyServer):
    """Notes what comes out of the tunnel."""

    def dataReceived(self, data: bytes) -> None:
        self.factory.heard.append(data)
        super().dataReceived(data)


@attrs.define
class Tunnel:
    """A server that speaks TLS, in front of one that does not."""

    server: Server
    listening: Any = None
    heard: list[bytes] = attrs.field(factory=list)
    ends: list[Any] = attrs.field(factory=list)

    @property
    def port(self) -> int:
        port: int = self.listening.getHost().port
        return port

    async def show(self, certificate: PrivateCertificate) -> None:
        """Be whom the certificate is for, on the same port."""
        port = await self.leave()
        factory: Any = ProxyFactory("127.0.0.1", self.server.port)
        factory.noisy = False
        factory.heard = self.heard
        factory.protocol = Eavesdropper
        factory.buildProtocol = self._keep(factory.buildProtocol)
        self.listening = reactor.listenSSL(port, factory, certificate.options(), interface="127.0.0.1")

    def _keep(self, build: Callable[[Any], Protocol]) -> Callable[[Any], Protocol]:
        def build_and_keep(address: Any) -> Protocol:
            self.ends.append(build(address))
            end: Protocol = self.ends[-1]
            return end

        return build_and_keep

    async def leave(self) -> int:
        """Close it, and give its port back."""
        if self.listening is None:
            return 0
        port = self.port
        await self.listening.stopListening()
        await until(lambda: all(not end.connected for end in self.ends))
        return port


@asynccontextmanager
async def tunnel_to(server: Server) -> AsyncIterator[Tunnel]:
    tunnel = Tunnel(server)
    try:
        yield tunnel
    finally:
        await tunnel.leave()


@pytest.fixture
def authority() -> Authority:
    return Authority()


def trusting(authority: Authority, directory: Path) -> dict[str, Any]:
    """Settings to trust an authority, among others."""
    path = directory / "trusted.pem"
    path.write_bytes(Authority().pem() + b"# the other\n" + authority.pem())
    return {"host": "localhost", "tls": True, "tls_ca": str(path), "password": "secret"}


@pytest_twisted.ensureDeferred
async def test_tls_is_spoken_with_a_server_that_proves_to_be_the_right_one(
    own_server: Server, authority: Authority, tmp_path: Path
) -> None:
    """And under it a peer that is gone is noticed as without."""
    with own_server.client() as client:
        client.config_set("requirepass", "secret")
    async with tunnel_to(own_server) as tunnel:
        await tunnel.show(authority.issue("localhost"))
        async with started(tunnel.port, **trusting(authority, tmp_path)) as connection:
            await connection.when_ready()
            assert options_of(connection, layers=1) == [1, 1, 2_000, 5]
            big = b"\x00" * 1_000_000
            await connection.call("SET", "key", big)
            answer = connection.call("GET", "key")
            connection.flush()
            assert await answer == big
        assert any(b"secret" in data for data in tunnel.heard)


@pytest.mark.parametrize("wrong", ["authority", "host"])
@pytest_twisted.ensureDeferred
async def test_a_server_that_proves_to_be_another_is_told_nothing(
    own_server: Server, authority: Authority, tmp_path: Path, wrong: str
) -> None:
    """It is refused in words, the password stays with us, and the right one is found once it is there."""
    with own_server.client() as client:
        client.config_set("requirepass", "secret")
    words = "certificate verify failed" if wrong == "authority" else "the certificate is for another host"
    impostor = Authority().issue("localhost") if wrong == "authority" else authority.issue("example.org")
    with logged() as said:
        async with tunnel_to(own_server) as tunnel:
            await tunnel.show(impostor)
            async with started(tunnel.port, **trusting(authority, tmp_path)) as connection:
                await until(lambda: len(tunnel.ends) > 3 and said(f"no connection to Redis: TLS failed: {words}"))
                assert not usable(connection)
                assert tunnel.heard == []
                await tunnel.show(authority.issue("localhost"))
                await connection.when_ready()


@pytest_twisted.ensureDeferred
async def test_a_server_that_speaks_no_tls_is_told_nothing(
    server: Server, authority: Authority, tmp_path: Path
) -> None:
    with logged() as said:
        async with started(server.port, **trusting(authority, tmp_path)) as connection:
            await until(lambda: said("no connection to Redis: "))
            assert not usable(connection)


@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"])
def test_a_file_without_authorities_is_a_wrong_setting(tmp_path: Path, content: bytes | None) -> None:
    """Told at the start, not at each attempt to connect."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidSettings, match=r"REDIS_TLS_CA='.*ca.pem': expected a file of PEM certificates"):
        make_endpoint(reactor, "localhost", 6379, True, str(path))
