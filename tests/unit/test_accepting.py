"""
Tests for L{eventsvc.tap.accepting} and its listener, on real sockets, without a running reactor.
"""

from __future__ import annotations

import errno
import os
import resource
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.main import CONNECTION_LOST
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from eventsvc.tap.accepting import BACKLOG
from eventsvc.tap.process import Listener


class Counted(Factory):
    """Counts its connections."""

    noisy = False
    fails = False

    def __init__(self) -> None:
        self.protocols: list[Any] = []

    @property
    def made(self) -> int:
        return len(self.protocols)

    def buildProtocol(self, addr: Any) -> Protocol:
        if self.fails:
            raise ZeroDivisionError
        protocol = Protocol()
        self.protocols.append(protocol)
        return protocol


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener(MemoryReactorClock(), 0, Counted(), "127.0.0.1")
    made.privilegedStartService()
    yield made
    ended = Failure(ConnectionDone())
    if made.listening.connected:
        made.listening.connectionLost(ended)
    for protocol in made.factory.protocols:
        protocol.transport.connectionLost(ended)


def connect(listener: Listener) -> socket.socket:
    return socket.create_connection(("127.0.0.1", listener.port), timeout=2.0)


@pytest.mark.skipif(
    int(Path("/proc/sys/net/core/somaxconn").read_text()) < BACKLOG, reason="the system allows no such backlog"
)
def test_hundreds_connect_while_none_is_accepted(listener: Listener) -> None:
    """Without room in the backlog a client would retry only after a second."""
    clients = [connect(listener) for _ in range(300)]
    while listener.factory.made < 300:
        listener.listening.doRead()
    for client in clients:
        client.close()


def test_a_connection_that_cannot_be_accepted_is_told_once_and_accepted_later(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reactor does not spin meanwhile."""
    port, reactor = listener.listening, listener.reactor
    real = port.socket

    class Full:
        def accept(self) -> Any:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    port.socket = Full()
    with connect(listener), capturedLogs() as logs:
        for _ in range(100):
            port.doRead()
            assert not port.reactor.getReaders()
            reactor.advance(0.5)
            assert port.reactor.getReaders()
        port.socket = real
        port.doRead()
    assert listener.factory.made == 1
    assert [event["problem"] for event in logs] == [os.strerror(errno.EMFILE)]


def test_a_connection_that_was_reset_meanwhile_is_passed_over(listener: Listener) -> None:
    port = listener.listening
    real, errors = port.socket, [errno.ECONNABORTED, errno.EPERM]

    class Resetting:
        def accept(self) -> Any:
            if errors:
                raise OSError(errors.pop(), "gone")
            return real.accept()

    port.socket = Resetting()
    with connect(listener):
        port.doRead()
    port.socket = real
    assert listener.factory.made == 1


def test_a_connection_that_fails_keeps_no_other_from_being_accepted(listener: Listener) -> None:
    listener.factory.fails = True
    with connect(listener), capturedLogs() as logs:
        listener.listening.doRead()
    listener.factory.fails = False
    with connect(listener):
        listener.listening.doRead()
    assert listener.factory.made == 1
    assert [event["log_failure"].type for event in logs] == [ZeroDivisionError]


def test_a_port_that_is_closed_while_it_rests_stays_closed(listener: Listener) -> None:
    port, reactor = listener.listening, listener.reactor
    port._pause(OSError(errno.EMFILE, "full"))
    port.stopListening()
    reactor.advance(1.0)
    assert not port.reactor.getReaders()


@pytest.mark.parametrize(("soft", "hard", "limit"), [(50, 100, 100), (100, 100, 100)])
def test_a_process_takes_the_descriptors_that_it_may_have(soft: int, hard: int, limit: int) -> None:
    words = "from eventsvc.tap.accepting import *; print(raise_descriptor_limit(), resource.getrlimit(7)[0])"
    output = subprocess.run(
        [sys.executable, "-c", words],
        check=True,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard)),
    ).stdout
    assert output.split() == [f"{limit}"] * 2


def test_a_connection_is_read_by_as_much_as_its_protocol_wants(listener: Listener) -> None:
    """A connection that is reset is lost."""
    with connect(listener) as client:
        listener.listening.doRead()
        (protocol,) = listener.factory.protocols
        received: list[bytes] = []
        protocol.dataReceived = received.append
        assert protocol.transport.doRead() is None
        client.sendall(b"x" * 10_000)
        for size in 10, 4_096, 65_536:
            protocol.transport.read_size = size
            protocol.transport.doRead()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert [len(data) for data in received] == [10, 4_096, 10_000 - 10 - 4_096]
    assert protocol.transport.doRead() is CONNECTION_LOST
