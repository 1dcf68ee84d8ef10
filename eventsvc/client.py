"""
Posts events over HTTP and classifies the outcome as ok, refused or unknown.
"""

from __future__ import annotations

from typing import Any, Final

import attrs
import msgspec
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, TimeoutError, ensureDeferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, ConnectionRefusedError, DNSLookupError
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.ssl import optionsForClientTLS
from twisted.web.client import URI, Agent, HTTPConnectionPool, ResponseNeverReceived, _HTTP11ClientFactory
from twisted.web.error import SchemeNotSupported
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from eventsvc.event import Event, encode_event
from eventsvc.outcome import Outcome


@attrs.frozen
class Posted:
    """
    The result of an attempt to store an event.

    @ivar id: the id of the event; C{None} unless it is stored.
    @ivar why: why the event is not known to be stored.
    """

    outcome: Outcome
    id: int | None = None
    why: str = ""


#: Errors that mean no connection was made, so no request was sent.
_NOT_SENT: Final = (ConnectError, ConnectionRefusedError, DNSLookupError)


class _Problem(msgspec.Struct):
    title: str = ""
    description: str = ""
    stored: str = ""


@attrs.frozen(eq=False)
class Client:
    """
    Posts events to one producer.

    @ivar http: treq's client; its pool keeps the connections.
    @ivar timeout: seconds a request may take.
    """

    http: HTTPClient
    url: str
    clock: IReactorTime
    timeout: float = 10.0

    async def post(self, event: Event, key: str | None = None) -> Posted:
        """Post an event; every error becomes one of the three outcomes."""
        try:
            return await ensureDeferred(self._ask(event, key)).addTimeout(self.timeout, self.clock)
        except CancelledError:
            raise
        except TimeoutError:
            return Posted(Outcome.UNKNOWN, why=f"no answer within {self.timeout:g} s")
        except _NOT_SENT as error:
            return Posted(Outcome.REFUSED, why=f"no connection: {error}")
        except Exception as error:
            return Posted(Outcome.UNKNOWN, why=f"{type(error).__name__}: {error}")

    async def _ask(self, event: Event, key: str | None) -> Posted:
        headers = Headers({b"Content-Type": [b"application/json"]})
        if key is not None:
            headers.setRawHeaders(b"Idempotency-Key", [b'"%s"' % key.encode()])
        try:
            response = await self.http.post(f"{self.url}/event", data=encode_event(event), headers=headers)
        except ResponseNeverReceived as error:
            if any(reason.check(CancelledError) for reason in error.reasons):
                raise CancelledError from None
            raise
        body = await response.content()
        return _classify(response.code, response.headers.getRawHeaders(b"Event-Id"), body)


def _classify(status: int, ids: list[bytes] | None, body: bytes) -> Posted:
    if status == 200 and ids and ids[0].isdigit():
        return Posted(Outcome.OK, int(ids[0]))
    try:
        problem = msgspec.json.decode(body, type=_Problem)
    except msgspec.DecodeError:
        problem = _Problem(title=body[:100].decode("utf-8", "replace"))
    why = f"{status} {problem.title}: {problem.description}"
    # 409: another request with this key is still running, and may store the event
    if (400 <= status < 500 and status != 409) or problem.stored == "no":
        return Posted(Outcome.REFUSED, why=why)
    return Posted(Outcome.UNKNOWN, why=why)


class _QuietFactory(_HTTP11ClientFactory):
    noisy = False


@implementer(IAgentEndpointFactory)
@attrs.frozen
class _Endpoints:
    """
    Makes the endpoint for an address.

    @ivar trust_root: as in L{make_client}.
    """

    reactor: Any
    trust_root: Any

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        if uri.scheme not in (b"http", b"https"):
            raise SchemeNotSupported(f"Unsupported scheme: {uri.scheme!r}")
        # A refused connection is reported only after the delay before the next
        # address.
        endpoint: IStreamClientEndpoint = HostnameEndpoint(
            self.reactor, uri.host, uri.port, timeout=2.0, attemptDelay=0.02
        )
        if uri.scheme == b"http":
            return endpoint
        return wrapClientTLS(optionsForClientTLS(uri.host.decode(), trustRoot=self.trust_root), endpoint)


def make_client(reactor: Any, url: str, connections: int, timeout: float = 10.0, trust_root: Any = None) -> Client:
    """
    Return a client with its own pool of C{connections} persistent connections.

    @param url: URL of the producer, beginning with C{http:} or C{https:}.
    @param timeout: seconds a request may take.
    @param trust_root: whose certificates to trust, as C{optionsForClientTLS} takes it; by default the system's.
    """
    pool = HTTPConnectionPool(reactor, persistent=True)
    pool.maxPersistentPerHost = connections
    pool._factory = _QuietFactory
    pool.retryAutomatically = False  # a second attempt could store a second event
    agent = Agent.usingEndpointFactory(reactor, _Endpoints(reactor, trust_root), pool)
    return Client(HTTPClient(agent), url, reactor, timeout)
