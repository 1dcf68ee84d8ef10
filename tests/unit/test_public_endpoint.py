"""
Tests for L{eventsvc.net.public_endpoint}, in memory: which addresses are
connected to, and what is said of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError, DNSLookupError
from twisted.internet.interfaces import IHostnameResolver
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from zope.interface import implementer

from eventsvc.net.public_endpoint import PrivateAddress, PublicEndpoint


@implementer(IHostnameResolver)
@attrs.define
class Names:
    """Gives another answer each time it is asked, the last one for ever."""

    answers: list[Sequence[str]]
    asked: list[str] = attrs.field(factory=list)

    def resolveHostName(  # type: ignore[override]
        self, receiver: Any, hostName: str, portNumber: int = 0, *_: Any, **__: Any
    ) -> Any:
        self.asked.append(hostName)
        receiver.resolutionBegan(None)
        for each in self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]:
            make = IPv6Address if ":" in each else IPv4Address
            receiver.addressResolved(make("TCP", each, portNumber))
        receiver.resolutionComplete()
        return None


@attrs.define
class World:
    """An endpoint in front of a reactor in memory."""

    names: Names
    reactor: MemoryReactorClock = attrs.field(factory=MemoryReactorClock)

    def connect(self) -> Deferred[Any]:
        self.reactor.nameResolver = self.names
        endpoint = PublicEndpoint(self.reactor, "hooks.example", 443, timeout=10.0)
        return endpoint.connect(Factory.forProtocol(Protocol))

    def connected_to(self) -> list[str]:
        """The addresses of attempts so far, after the time that lies between two."""
        for _ in range(10):
            self.reactor.advance(0.02)
        return [host for host, *_ in self.reactor.tcpClients]


def world(*answers: Sequence[str]) -> World:
    return World(Names(list(answers)))


def failure(connecting: Deferred[Any]) -> Failure:
    """Why there is no connection."""
    result: Any = connecting.result
    assert isinstance(result, Failure)
    return result


@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:169.254.169.254", "fd00:ec2::254", "64:ff9b::a00:1"])
def test_an_address_that_is_not_public_is_not_connected_to(address: str) -> None:
    all_private = world([address])
    connecting = all_private.connect()
    assert all_private.connected_to() == []
    error = failure(connecting).value
    assert type(error) is PrivateAddress
    assert str(error) == f"hooks.example is {address}, which is not a public address"
    connecting.addErrback(lambda _: None)


def test_only_the_public_addresses_of_a_name_are_connected_to() -> None:
    mixed = world(["10.0.0.1", "8.8.8.8", "::1", "2606:4700::1111"])
    connecting = mixed.connect()
    assert mixed.connected_to() == ["8.8.8.8", "2606:4700::1111"]
    connecting.cancel()
    connecting.addErrback(lambda _: None)


def test_the_checked_address_is_the_one_that_is_connected_to() -> None:
    """A name that is private at the next look-up gains nothing: there is none."""
    rebinding = world(["8.8.8.8"], ["127.0.0.1"])
    connecting = rebinding.connect()
    assert rebinding.connected_to() == ["8.8.8.8"]
    assert rebinding.names.asked == ["hooks.example"]
    connecting.cancel()
    connecting.addErrback(lambda _: None)


def test_each_connection_is_checked() -> None:
    rebinding = world(["8.8.8.8"], ["127.0.0.1"])
    first, second = rebinding.connect(), rebinding.connect()
    assert rebinding.connected_to() == ["8.8.8.8"]
    assert type(failure(second).value) is PrivateAddress
    second.addErrback(lambda _: None)
    first.cancel()
    first.addErrback(lambda _: None)


def test_a_public_address_that_refuses_is_the_reason_that_is_given() -> None:
    """Not the private one beside it."""
    mixed = world(["10.0.0.1", "8.8.8.8"])
    connecting = mixed.connect()
    [(_, _, factory, *_)] = mixed.reactor.tcpClients
    factory.clientConnectionFailed(mixed.reactor.connectors[0], Failure(ConnectionRefusedError()))
    assert mixed.connected_to() == ["8.8.8.8"]
    assert failure(connecting).check(ConnectionRefusedError)
    connecting.addErrback(lambda _: None)


def test_a_name_without_an_address_is_no_private_address() -> None:
    nowhere = world([])
    connecting = nowhere.connect()
    assert failure(connecting).check(DNSLookupError)
    connecting.addErrback(lambda _: None)
