"""
Makes the endpoint of Redis, with or without TLS.
"""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.ssl import optionsForClientTLS

from eventsvc.net.pem import read_trust_root

#: Seconds a TCP connection may take.
CONNECT_TIMEOUT: Final = 2.0


def make_endpoint(reactor: Any, host: str, port: int, tls: bool, authorities: str) -> IStreamClientEndpoint:
    """
    Return the endpoint to connect to.

    @param tls: whether to use TLS and verify the certificate for C{host}.
    @param authorities: path of a PEM file to trust instead of the system's.
    @raise InvalidSettings: that file contains no certificates.
    """
    # A refused connection is only reported when the delay before the next
    # address is over, so that delay is part of every reconnection.
    endpoint: IStreamClientEndpoint = HostnameEndpoint(reactor, host, port, timeout=CONNECT_TIMEOUT, attemptDelay=0.02)
    if not tls:
        return endpoint
    trust = read_trust_root("REDIS_TLS_CA", authorities)
    return wrapClientTLS(optionsForClientTLS(host, trustRoot=trust), endpoint)
