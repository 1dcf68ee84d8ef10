"""
Tests for Sentinels with real failovers.
"""

from __future__ import annotations

import re
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import attrs
import pytest
import pytest_twisted
import redis.exceptions
from twisted.internet.interfaces import IHostnameResolver
from zope.interface import implementer

from chaos.process import stable_port
from chaos.suites import wait_until
from eventsvc.embedded import NoServer
from eventsvc.redis.connection import Connection
from eventsvc.redis.switches import SentinelConnection
from eventsvc.settings import RedisSettings
from eventsvc.settings.addresses import Address
from eventsvc.tap.parts.connection import make_connection
from tests.support.certificates import Authority
from tests.support.fake_connection import usable
from tests.support.helm import ROOT
from tests.support.processes import Server
from tests.support.producer_harness import in_thread, pause, until
from tests.support.real_connection import logged, reactor, ready, started
from tests.support.sentinels import TLS, Deployment, running_deployment
from tests.support.server_binaries import find_binary

#: The user of the docs, and what it is given.
(RULES,) = re.findall(r"^ACL SETUSER eventsvc-sentinel (.+)$", (ROOT / "docs" / "security.md").read_text(), re.M)
PASSWORD = re.findall(r">(\S+)", RULES)[0]


def binary(name: str) -> str:
    try:
        return find_binary(name)
    except NoServer as remedy:
        pytest.skip(str(remedy))


def addresses(deployment: Deployment, host: str = "127.0.0.1") -> tuple[Address, ...]:
    return tuple(Address(host, sentinel.port) for sentinel in deployment.sentinels)


@asynccontextmanager
async def following(settings: RedisSettings) -> AsyncIterator[SentinelConnection]:
    """Run a connection, with all descriptors closed at the end."""
    before = set(reactor.getReaders())
    connection = make_connection(reactor, attrs.evolve(settings, retry_period=0.2))
    assert isinstance(connection, SentinelConnection)
    connection.startService()
    try:
        await ready(connection)
        yield connection
    finally:
        await connection.stopService()
        await until(lambda: set(reactor.getReaders()) <= before)


@attrs.define
class Watch:
    """Notes when a Sentinel first names another primary than one."""

    seen: float = 0.0


@contextmanager
def watching(deployment: Deployment, old: int) -> Iterator[Watch]:
    watch, ended = Watch(), Event()

    def look() -> None:
        while not ended.wait(0.005) and not watch.seen:
            if any(deployment.named_by(sentinel) not in (0, old) for sentinel in deployment.sentinels):
                watch.seen = time.monotonic()

    thread = Thread(target=look)
    thread.start()
    try:
        yield watch
    finally:
        ended.set()
        thread.join()


def kill(deployment: Deployment, primary: Server) -> None:
    primary.end(signal.SIGKILL)


def freeze(deployment: Deployment, primary: Server) -> None:
    primary.send(signal.SIGSTOP)


def step_down(deployment: Deployment, primary: Server) -> None:
    deployment.fail_over()


def limited_client(sentinel: Server) -> Any:
    return redis.Redis(port=sentinel.port, username="eventsvc-sentinel", password=PASSWORD, protocol=2)


@pytest.mark.parametrize(
    ("server", "end"),
    [("valkey-9", kill), ("valkey-9", freeze), ("redis-7.0", step_down), ("redis-6.2", freeze)],
    ids=["valkey-9 kill", "valkey-9 freeze", "redis-7.0 step down", "redis-6.2 freeze"],
)
@pytest_twisted.ensureDeferred
async def test_a_failover_is_followed(server: str, end: Callable[[Deployment, Server], None]) -> None:
    """
    With the user of the docs, before any Sentinel names the new primary, and with one session more.

    Before, nothing moves although one Sentinel restarts.
    """
    user = [f"user eventsvc-sentinel {RULES}"]
    with running_deployment(binary(server), sentinel_lines=user) as deployment:
        settings = RedisSettings(
            sentinels=addresses(deployment), sentinel_username="eventsvc-sentinel", sentinel_password=PASSWORD
        )
        with logged() as said:
            async with following(settings) as connection:
                sentinel, old = deployment.sentinels[2], deployment.primary()
                sentinel.end()
                await until(lambda: said(f"no announcements from Sentinel 127.0.0.1:{sentinel.port}"))
                sentinel.start()
                await until(lambda: said(f"Sentinel 127.0.0.1:{sentinel.port} announces again"))
                await in_thread(lambda: wait_until(deployment.is_settled))
                assert connection.connects == 1
                with watching(deployment, old.port) as watch:
                    end(deployment, old)
                    await until(
                        lambda: connection.primary.target != Address("127.0.0.1", old.port) and connection.ready
                    )
                    usable_at = time.monotonic()
                    await until(lambda: watch.seen)
                assert usable_at < watch.seen
                assert (await connection.call("ROLE"))[0] == b"master"
                assert connection.connects == 2
                assert not said("lacks a right")
        for command in ("SENTINEL FAILOVER mymaster", "SENTINEL SET mymaster quorum 1", "SENTINEL RESET *", "INFO"):
            with limited_client(deployment.sentinels[0]) as client, pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*command.split())


def certify(directory: Path, host: str) -> TLS:
    authority = Authority()
    identity = authority.issue(host)
    files = TLS(directory / "cert.pem", directory / "key.pem", directory / "ca.pem")
    files.certificate.write_bytes(identity.certificate_pem())
    files.key.write_bytes(identity.key_pem())
    files.authority.write_bytes(authority.pem())
    return files


@pytest_twisted.ensureDeferred
async def test_names_and_tls_are_those_of_redis(tmp_path: Path) -> None:
    """Sentinels and servers speak nothing but TLS, and their certificates are verified for their names."""
    tls = certify(tmp_path, "localhost")
    program = binary("redis-7.0")
    if not speaks_tls(program, tls):
        pytest.skip("this redis-7.0 speaks no TLS: install that of Debian")
    with running_deployment(program, host="localhost", tls=tls) as deployment:
        settings = RedisSettings(sentinels=addresses(deployment, "localhost"), tls=True, tls_ca=str(tls.authority))
        async with following(settings) as connection:
            assert str(connection.primary.target) == f"localhost:{deployment.servers[0].port}"
            step_down(deployment, deployment.servers[0])
            await until(lambda: connection.connects == 2 and connection.ready)
            assert (await connection.call("ROLE"))[0] == b"master"
        with logged() as said:
            wrong = attrs.evolve(settings, sentinels=addresses(deployment), retry_period=0.2)
            stray = make_connection(reactor, wrong)
            stray.startService()
            await until(lambda: said("TLS failed: the certificate is for another host"))
            await stray.stopService()


def speaks_tls(program: str, tls: TLS) -> bool:
    server = Server(
        options=[word for pair in tls.settings(stable_port()).items() for word in (f"--{pair[0]}", pair[1])]
    )
    server.binary = program
    port = int(server.options[server.options.index("--tls-port") + 1])
    server.port, server.more = port, {"ssl": True, "ssl_ca_certs": str(tls.authority), "host": "localhost"}
    try:
        server.start()
    except AssertionError:
        return False
    finally:
        server.end()
    return True


@pytest_twisted.ensureDeferred
async def test_what_is_no_sentinel_is_said_to_be_none(each_server: Server) -> None:
    settings = RedisSettings(sentinels=(Address("127.0.0.1", each_server.port),), retry_period=0.2)
    problem = f"no Sentinel names a primary of mymaster: 127.0.0.1:{each_server.port}: "
    with logged() as said:
        connection = make_connection(reactor, settings)
        connection.startService()
        await until(lambda: said(problem + "is no Sentinel"))
        assert not usable(connection)
        await connection.stopService()


@pytest_twisted.ensureDeferred
async def test_an_address_that_moves_is_looked_up_anew() -> None:
    """As that of a virtual IP, a Service or a name: each attempt asks again where it is."""
    port = stable_port()
    first, second = (
        Server(port, ("--bind", f"127.0.0.{number}"), more={"host": f"127.0.0.{number}"}) for number in (1, 2)
    )
    names: dict[str, str] = {"redis.test": "127.0.0.1"}
    with resolving(names):
        try:
            first.start()
            async with started(port, host="redis.test") as connection:
                await ready(connection)
                second.start()
                names["redis.test"] = "127.0.0.2"
                await pause(0)
                assert connection.connects == 1
                first.end()
                await until(lambda: connection.connects == 2 and connection.ready)
                assert peer_of(connection) == f"127.0.0.2:{port}"
        finally:
            first.end()
            second.end()


def peer_of(connection: Connection) -> str:
    session: Any = connection._session
    return str(session.peer)


@implementer(IHostnameResolver)
@attrs.frozen(eq=False)
class Table:
    """Resolves some names."""

    names: dict[str, str]
    other: Any

    def resolveHostName(self, resolutionReceiver: Any, hostName: str, *more: Any, **options: Any) -> Any:
        return self.other.resolveHostName(resolutionReceiver, self.names.get(hostName, hostName), *more, **options)


@contextmanager
def resolving(names: dict[str, str]) -> Iterator[None]:
    """Have the reactor look names up in a table, and leave all others to the system."""
    before = reactor.installNameResolver(Table(names, reactor.nameResolver))
    try:
        yield
    finally:
        reactor.installNameResolver(before)
