"""
Makes endpoints of Redis and of Sentinels, with or without TLS.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NoReturn

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.ssl import optionsForClientTLS
from twisted.python.failure import Failure

from eventsvc.net.pem import read_trust_root
from eventsvc.settings.addresses import Address

#: Seconds a TCP connection may take.
CONNECT_TIMEOUT: Final = 2.0

#: Returns the endpoint of an address; names are resolved anew at each connection.
MakeEndpoint = Callable[[Address], IStreamClientEndpoint]


def connect(endpoint: IStreamClientEndpoint, factory: IProtocolFactory) -> Deferred[Any]:
    """
    Connect to an endpoint.

    # Note [Cancelled attempts]

    Endpoints of Twisted fail with an error of their own when they are cancelled.  Whoever retries after each
    error, and ends when it is cancelled, would take that for a failed attempt, and never end::

        stop:      cancels the attempt, waits for the loop
        endpoint:  ConnectingCancelledError
        loop:      "no connection", tries again in a moment, ...

    So a cancelled attempt fails with C{CancelledError}, as every other Deferred; with a timeout it is a timeout.
    """
    return endpoint.connect(factory).addErrback(_cancelled)


def _cancelled(failure: Failure) -> NoReturn:
    failure.trap(ConnectingCancelledError)
    raise CancelledError


def endpoint_maker(reactor: Any, tls: bool, authorities: str) -> MakeEndpoint:
    """
    Return what makes the endpoint of an address.

    @param tls: whether to use TLS and verify the certificate for the host of the address.
    @param authorities: path of a PEM file to trust instead of the system's.
    @raise InvalidSettings: that file contains no certificates.
    """
    trust = read_trust_root("REDIS_TLS_CA", authorities) if tls else None

    def make(address: Address) -> IStreamClientEndpoint:
        # A refused connection is only reported when the delay before the next
        # address is over, so that delay is part of every reconnection.
        endpoint = HostnameEndpoint(reactor, address.host, address.port, timeout=CONNECT_TIMEOUT, attemptDelay=0.02)
        return wrapClientTLS(optionsForClientTLS(address.host, trustRoot=trust), endpoint) if tls else endpoint

    return make
