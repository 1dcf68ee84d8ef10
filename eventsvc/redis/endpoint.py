"""
Makes the endpoint of Redis, with or without TLS.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates

from eventsvc.settings.reading import InvalidSettings

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
    trust = trustRootFromCertificates(_read_certificates(authorities)) if authorities else None
    return wrapClientTLS(optionsForClientTLS(host, trustRoot=trust), endpoint)


def _read_certificates(path: str) -> list[Certificate]:
    pem = rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----"
    try:
        found = [Certificate.loadPEM(each) for each in re.findall(pem, Path(path).read_bytes(), re.DOTALL)]
    except Exception as problem:  # OpenSSL has many
        raise InvalidSettings(f"REDIS_TLS_CA={path!r}: expected a file of PEM certificates ({problem})") from None
    if not found:
        raise InvalidSettings(f"REDIS_TLS_CA={path!r}: expected a file of PEM certificates, but it contains none")
    return found
