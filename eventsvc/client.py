"""
Posts events over HTTP and classifies the outcome as ok, refused or unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

import attrs
import msgspec
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, TimeoutError, ensureDeferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, ConnectionRefusedError, DNSLookupError
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.ssl import optionsForClientTLS
from twisted.web.client import (
    URI,
    Agent,
    HTTPConnectionPool,
    ResponseFailed,
    ResponseNeverReceived,
    _HTTP11ClientFactory,
)
from twisted.web.error import SchemeNotSupported
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from eventsvc.cloudevent import BATCHED, STRUCTURED
from eventsvc.event import Event
from eventsvc.event_message import encode_event
from eventsvc.outcome import Outcome, Posted, PostedBatch

__all__ = ["Client", "Outcome", "Posted", "PostedBatch", "make_client"]

_JSON: Final = b"application/json"
#: Errors that mean no connection was made, so no request was sent.
_NOT_SENT: Final = (ConnectError, ConnectionRefusedError, DNSLookupError)


class _Problem(msgspec.Struct):
    title: str = ""
    description: str = ""
    stored: str = ""


_Id = Annotated[str, msgspec.Meta(pattern="^[0-9]{1,19}$")]


class _Accepted(msgspec.Struct):
    ids: tuple[_Id, ...]


@attrs.frozen(eq=False)
class Client:
    """
    Posts events to one producer.

    @ivar http: treq's client; its pool keeps the connections.
    @ivar url: URL of the producer, or of a stream: C{.../streams/NAME}.
    @ivar timeout: seconds a request may take.
    @ivar token: who posts; empty if the producer takes events from anybody.
    """

    http: HTTPClient
    url: str
    clock: IReactorTime
    timeout: float = 10.0
    token: str = attrs.field(default="", repr=False)

    async def post(self, event: Event, key: str | None = None) -> Posted:
        """
        Post an event; every error becomes one of the three outcomes.

        @param key: the idempotency key.  A CloudEvent needs none: its C{source}
            and C{id} are one.
        """
        posted = await self._post("/event", [event], key)
        return Posted(posted.outcome, posted.ids[0] if posted.ids else None, posted.why)

    async def post_batch(self, events: Sequence[Event], key: str | None = None) -> PostedBatch:
        """
        Post events that are stored together or not at all; as L{post}.

        @param events: CloudEvents, or others.  The trace context of the first is
            that of all, because it belongs to the request.
        @raise ValueError: some are CloudEvents and some are not.
        """
        if len({event.cloudevent is None for event in events}) > 1:
            raise ValueError("a batch has either CloudEvents or other events, not both")
        return await self._post("/events", events, key)

    async def _post(self, path: str, events: Sequence[Event], key: str | None) -> PostedBatch:
        try:
            body, headers = _compose(path, events)
            if key is not None:
                if not key.isprintable():
                    raise ValueError("an idempotency key has no control characters")  # Twisted would replace some
                headers.setRawHeaders(b"Idempotency-Key", [b'"%s"' % key.encode()])
        except ValueError as error:  # such as half a surrogate pair
            return PostedBatch(Outcome.REFUSED, why=f"not sent: {error}")
        if self.token:
            headers.setRawHeaders(b"Authorization", [b"Bearer " + self.token.encode()])
        try:
            posted = await ensureDeferred(self._ask(path, body, headers)).addTimeout(self.timeout, self.clock)
        except CancelledError:
            raise
        except TimeoutError:
            return PostedBatch(Outcome.UNKNOWN, why=f"no answer within {self.timeout:g} s")
        except _NOT_SENT as error:
            return PostedBatch(Outcome.REFUSED, why=f"no connection: {error}")
        except ResponseFailed as error:
            return PostedBatch(Outcome.UNKNOWN, why=f"the answer was lost: {error.reasons[0].getErrorMessage()}")
        except Exception as error:
            return PostedBatch(Outcome.UNKNOWN, why=f"{type(error).__name__}: {error}")
        if posted.outcome is Outcome.OK and len(posted.ids) != len(events):
            return PostedBatch(Outcome.UNKNOWN, why=f"200 with {len(posted.ids)} ids for {len(events)} events")
        return posted

    async def _ask(self, path: str, body: bytes, headers: Headers) -> PostedBatch:
        try:
            response = await self.http.post(f"{self.url}{path}", data=body, headers=headers, allow_redirects=False)
        except ResponseNeverReceived as error:
            if any(reason.check(CancelledError) for reason in error.reasons):
                raise CancelledError from None
            raise
        return _classify(response.code, response.headers.getRawHeaders(b"Event-Id"), await response.content())


def _compose(path: str, events: Sequence[Event]) -> tuple[bytes, Headers]:
    """Return the body that carries events, and its headers."""
    texts = [encode_event(event) for event in events]
    first = events[0] if events else Event("")
    is_batch, is_cloudevent = path == "/events", first.cloudevent is not None
    content_type = _JSON if not is_cloudevent else BATCHED if is_batch else STRUCTURED
    headers = Headers({b"Content-Type": [content_type]})
    if first.traceparent is not None:
        headers.setRawHeaders(b"traceparent", [first.traceparent.encode()])
    if first.tracestate is not None:
        headers.setRawHeaders(b"tracestate", [first.tracestate.encode()])
    return (b"[" + b",".join(texts) + b"]" if is_batch else texts[0]), headers


def _classify(status: int, ids: list[bytes] | None, body: bytes) -> PostedBatch:
    if status == 200:
        if ids and ids[0].isdigit():
            return PostedBatch(Outcome.OK, (int(ids[0]),))
        try:
            accepted = msgspec.json.decode(body, type=_Accepted)
            return PostedBatch(Outcome.OK, tuple(map(int, accepted.ids)))
        except (msgspec.DecodeError, UnicodeDecodeError):
            return PostedBatch(Outcome.UNKNOWN, why="200 without the id of an event")
    try:
        problem = msgspec.json.decode(body, type=_Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        problem = _Problem(title=body[:100].decode("utf-8", "replace"))
    why = f"{status} {problem.title}: {problem.description}"
    # 409: another request with this key is still running, and may store the event
    if (400 <= status < 500 and status not in (409, 429)) or problem.stored == "no":
        return PostedBatch(Outcome.REFUSED, why=why)
    return PostedBatch(Outcome.UNKNOWN, why=why)


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


def make_client(
    reactor: Any, url: str, connections: int, timeout: float = 10.0, trust_root: Any = None, token: str = ""
) -> Client:
    """
    Return a client with its own pool of C{connections} persistent connections.

    @param url: URL of the producer, beginning with C{http:} or C{https:}; or of a stream, C{.../streams/NAME}.
    @param timeout: seconds a request may take.
    @param trust_root: whose certificates to trust, as C{optionsForClientTLS} takes it; by default the system's.
    @param token: who posts, if the producer asks for it.
    """
    pool = HTTPConnectionPool(reactor, persistent=True)
    pool.maxPersistentPerHost = connections
    pool._factory = _QuietFactory
    pool.retryAutomatically = False  # a second attempt could store a second event
    agent = Agent.usingEndpointFactory(reactor, _Endpoints(reactor, trust_root), pool)
    return Client(HTTPClient(agent), url, reactor, timeout, token)
