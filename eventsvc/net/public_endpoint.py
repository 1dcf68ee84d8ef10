"""
Connects to public addresses only.
"""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import (
    IHostnameResolver,
    IProtocol,
    IProtocolFactory,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
    IStreamClientEndpoint,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from eventsvc.net.public_address import is_public


class PrivateAddress(Exception):
    """A name has no public address, so no connection was attempted; the text says which it has."""


# Note [One look-up for each connection]
#
# A check of the name before the connection checks another answer than the one
# that is connected to:
#
#     we: look up the name  -> 203.0.113.5, public: go on
#                                       the name's owner: now it is 127.0.0.1
#     we: connect to the name (looks it up again) -> 127.0.0.1
#
# So the check sits between the resolver and the endpoint: the endpoint sees
# public addresses only, and connects to these numbers without another look-up.


@implementer(IStreamClientEndpoint)
@attrs.frozen
class PublicEndpoint:
    """
    Looks up a name, and connects to those of its addresses that are public.

    Fails with L{PrivateAddress} if there are addresses and none is public.

    @ivar reactor: provides C{IReactorTCP}, C{IReactorTime} and C{nameResolver}.
    """

    reactor: Any
    host: str
    port: int
    timeout: float

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        refused: list[str] = []
        checked = _CheckedReactor(self.reactor, _CheckedResolver(self.reactor.nameResolver, refused))
        endpoint = HostnameEndpoint(checked, self.host, self.port, timeout=self.timeout, attemptDelay=0.02)

        def explain(failure: Failure) -> Failure:
            if not refused or checked.attempts:
                return failure
            return Failure(PrivateAddress(f"{self.host} is {', '.join(refused)}, which is not a public address"))

        return endpoint.connect(protocolFactory).addErrback(explain)


@implementer(IReactorPluggableNameResolver)
@attrs.define
class _CheckedReactor:
    """A reactor with another resolver, that counts attempts to connect."""

    reactor: Any
    nameResolver: IHostnameResolver
    attempts: int = 0

    def connectTCP(self, *arguments: Any, **options: Any) -> Any:
        self.attempts += 1
        return self.reactor.connectTCP(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.reactor, name)


@implementer(IHostnameResolver)
@attrs.frozen
class _CheckedResolver:
    """Passes on public addresses, and collects the others."""

    resolver: Any
    refused: list[str]

    def resolveHostName(self, resolutionReceiver: Any, *arguments: Any, **options: Any) -> Any:
        checked = _CheckedAddresses(resolutionReceiver, self.refused)
        return self.resolver.resolveHostName(checked, *arguments, **options)


@implementer(IResolutionReceiver)
@attrs.frozen
class _CheckedAddresses:
    receiver: Any
    refused: list[str]

    def resolutionBegan(self, resolutionInProgress: Any) -> None:
        self.receiver.resolutionBegan(resolutionInProgress)

    def addressResolved(self, address: Any) -> None:
        if is_public(address.host):
            self.receiver.addressResolved(address)
        else:
            self.refused.append(address.host)

    def resolutionComplete(self) -> None:
        self.receiver.resolutionComplete()
