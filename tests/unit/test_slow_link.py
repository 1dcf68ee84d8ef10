"""
Tests with a real server behind a slow link, where a long transfer is not silence.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.protocols.portforward import ProxyFactory

from eventsvc.event import Event
from eventsvc.interfaces import Unknown
from eventsvc.redis.silence import bytes_under_way
from tests.support.certificates import Authority
from tests.support.fake_connection import usable
from tests.support.processes import Server
from tests.support.producer_harness import pause, read_stream, running_producer, until
from tests.support.real_connection import ready, started
from tests.support.slow_link import slow_link

MEGABYTE = [Event("x" * 1_000) for _ in range(1_000)]


@pytest_twisted.ensureDeferred
async def test_a_megabyte_over_a_slow_link_is_stored_and_so_is_what_stands_behind_it(server: Server) -> None:
    """It takes longer than the timeout of a reply; if aborted, it would restart and never arrive."""
    with slow_link(server.port, rate=400_000) as link:
        async with running_producer(attrs.evolve(server, port=link.port), wait=30.0) as producer:
            large = producer.appender.append(MEGABYTE)
            small = producer.appender.append([Event("innocent")])
            assert len(await large) == 1_000
            assert len(await small) == 1
            assert producer.connection.connects == 1
    assert len(read_stream(server)) == 1_001


@pytest_twisted.ensureDeferred
async def test_a_large_reply_over_a_slow_link_is_read(server: Server) -> None:
    """Such as a page of large entries."""
    with server.client() as client:
        client.set("large", "x" * 1_500_000)
    with slow_link(server.port, rate=400_000) as link:
        async with started(link.port) as connection:
            await ready(connection)
            assert len(await connection.call("GET", "large")) == 1_500_000
            assert connection.connects == 1


@pytest_twisted.ensureDeferred
async def test_large_calls_and_replies_pass_a_slow_link_under_tls(server: Server, tmp_path: Path) -> None:
    """A link that then stalls is given up."""
    authority = Authority()
    (tmp_path / "ca.pem").write_bytes(authority.pem())
    front: Any = reactor
    port = front.listenSSL(0, ProxyFactory("127.0.0.1", server.port), authority.issue("localhost"), 5, "127.0.0.1")
    try:
        with slow_link(port.getHost().port, rate=400_000) as link:
            async with started(link.port, host="localhost", tls=True, tls_ca=str(tmp_path / "ca.pem")) as connection:
                await ready(connection)
                assert await connection.call("SET", "large", b"x" * 1_500_000) == b"OK"
                assert len(await connection.call("GET", "large")) == 1_500_000
                assert connection.connects == 1
                link.flows.clear()
                with pytest.raises(Unknown):
                    await connection.call("SET", "large", b"x" * 1_500_000)
    finally:
        await port.stopListening()


@pytest.mark.parametrize("size", [100, 300_000, 10_000_000])
@pytest_twisted.ensureDeferred
async def test_a_link_that_stands_still_is_given_up_whatever_is_asked_on_it(server: Server, size: int) -> None:
    """Neither bytes in the system's buffer nor health checks count as progress."""
    with slow_link(server.port, rate=400_000) as link:
        async with started(link.port) as connection:
            await ready(connection)
            link.flows.clear()
            answers: list[Deferred[object]] = [connection.call("SET", "key", b"x" * size)]
            while usable(connection):
                answers.append(connection.call("PING"))
                await pause(0.25)
                assert len(answers) < 60
            for answer in answers:
                with pytest.raises(Unknown):
                    await answer


@pytest_twisted.ensureDeferred
async def test_a_link_that_stands_still_in_the_midst_of_a_call_is_given_up(server: Server) -> None:
    with slow_link(server.port, rate=400_000) as link:
        async with started(link.port) as connection:
            await ready(connection)
            answer = connection.call("SET", "key", b"x" * 10_000_000)
            await pause(3.0)
            assert usable(connection)
            link.flows.clear()
            with pytest.raises(Unknown, match=r"no reply within 2 s|the connection broke"):
                await answer


@pytest_twisted.ensureDeferred
async def test_what_is_under_way_is_known(server: Server) -> None:
    """It includes the buffers of the transport and of the system."""
    with slow_link(server.port, rate=400_000) as link:
        async with started(link.port) as connection:
            await ready(connection)
            session = connection._session
            assert session is not None
            await until(lambda: bytes_under_way(session.transport) == 0)
            link.flows.clear()
            connection.call("SET", "key", b"x" * 10_000_000).addErrback(lambda _: None)
            assert 9_000_000 < bytes_under_way(session.transport) < 10_000_100
    assert bytes_under_way(session.transport) == 0
