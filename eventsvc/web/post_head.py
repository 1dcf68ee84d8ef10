"""
What path and headers of a POST say about its events, for both paths through the server.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import attrs
import msgspec
from msgspec.structs import force_setattr
from twisted.internet.defer import Deferred
from twisted.web.http_headers import Headers

from eventsvc.cloudevent import BATCHED, STRUCTURED, decode_batched, decode_binary, decode_structured, read_headers
from eventsvc.event import MAX_BYTES, Event, InvalidEvent
from eventsvc.event_message import decode_event, decode_events
from eventsvc.interfaces import QueueFull, Result, Waiting
from eventsvc.submission import IdempotencyKey
from eventsvc.web.access import Access
from eventsvc.web.answers import Answer, answer_for
from eventsvc.web.destinations import Destinations, Route
from eventsvc.web.encoding import decode_body
from eventsvc.web.idempotency import event_keys, read_key
from eventsvc.web.origin import answer_preflight, check_origin, is_preflight
from eventsvc.web.responses import Completed
from eventsvc.web.tokens import Forbidden, Rejected, Token
from eventsvc.web.trace_context import read_trace_context

#: The events of a request, and their keys.
Parsed = tuple[Sequence[Event], Sequence[IdempotencyKey]]


class Form(enum.Enum):
    """How a body carries events."""

    #: Event Messages
    PLAIN = "plain"
    STRUCTURED = "structured"
    BINARY = "binary"
    BATCHED = "batched"


#: Of a head that is not in binary mode.
_NO_ATTRIBUTES: Final[Mapping[str, str]] = MappingProxyType({})
#: The form of each Content-Type that says one, and the path it may be posted to.
_FORMS: Final = {STRUCTURED: (Form.STRUCTURED, b"/event"), BATCHED: (Form.BATCHED, b"/events")}


class PostHead(msgspec.Struct, eq=False):
    """
    The head of a POST.

    @ivar keys: the values of all C{Idempotency-Key} headers.
    @ivar attributes: those of a CloudEvent in binary mode.
    @ivar codings: the values of all C{Content-Encoding} headers.
    @ivar trace: C{traceparent} and C{tracestate}.
    @ivar origin: of the web page that posts, if it is not a page of this host.
    @ivar error: why every request with this head is refused, whatever its body.
    @ivar is_plain: whether the head says nothing but that the body is one Event Message.
    @ivar is_guarded: whether L{refuse} may refuse it.
    @ivar has_key: whether an earlier request may have stored the same events.
    """

    route: Route
    form: Form = Form.PLAIN
    keys: tuple[bytes, ...] = ()
    content_type: bytes | None = None
    attributes: Mapping[str, str] = _NO_ATTRIBUTES
    codings: tuple[bytes, ...] = ()
    trace: tuple[str | None, str | None] = (None, None)
    access: Access | None = None
    token: Token | None = None
    error: Exception | None = None
    origin: bytes | None = None
    is_plain: bool = False
    is_guarded: bool = False
    has_key: bool = False

    def __post_init__(self) -> None:
        is_plain = self.form is Form.PLAIN
        self.has_key = not is_plain or bool(self.keys)
        self.is_guarded = self.error is not None or self.token is not None
        self.is_plain = is_plain and self.route.path == b"/event" and not (self.keys or self.codings or self.trace[0])

    def submit(
        self, body: bytes, answer: Callable[[Waiting, Result], None], since: float | None = None
    ) -> Waiting | Completed:
        """
        Let a request in and store its events; as L{IAppender.submit}.

        @return: the answer, if L{refuse} refuses the request.
        @raise Exception: as L{parse} too.
        """
        if self.is_guarded and (refused := self.refuse()) is not None:
            return Completed(refused)
        try:
            events, keys = ([decode_event(body)], ()) if self.is_plain else self.parse(body)
            waiting: Waiting = self.route.destination.appender.submit(events, keys, answer, since)
            return waiting
        except QueueFull:
            self.charge(-1)
            raise

    def begin(self, body: bytes, since: float | None = None) -> Deferred[Sequence[int]]:
        """Let a request in and store its events; as L{submit}, but as L{IAppender.begin_append}."""
        self.admit()
        try:
            events, keys = self.parse(body)
            begun: Deferred[Sequence[int]] = self.route.destination.appender.begin_append(events, keys, since)
        except QueueFull:
            self.charge(-1)
            raise
        self.charge(len(events) - 1)
        return begun

    def give_up(self, body: bytes) -> Exception:
        """Return the error for a request that found no room; as L{IAppender.give_up}."""
        error: Exception = self.route.destination.appender.give_up(*self.parse(body))
        return error

    def admit(self) -> None:
        """
        Let one request in, as L{refuse}.

        @raise Exception: it is refused.
        """
        refused = self.refuse()
        if refused is not None:
            raise refused.with_traceback(None)

    def refuse(self) -> Exception | None:
        """
        Let one request in and charge it, before its body is parsed; or return why it is refused.

        It is refused for C{error}, or because the token has expired or is past its rate.
        """
        refused, access = self.error, self.access
        if access is not None:
            if refused is None and self.token is not None:
                refused = access.refuse(self.token, "unknown" if self.has_key else "no")
            if isinstance(refused, Rejected):
                access.count(refused)
        return refused

    def charge(self, events: int) -> None:
        """Charge more events of a request that was let in, or less."""
        if self.token is not None:
            self.token.charge(events)

    def parse(self, body: bytes) -> Parsed:
        """
        Return the events of a request, and their keys.

        @raise InvalidEvent: as L{decode_event} and its like.
        @raise TooManyEvents: there are too many events.
        @raise UnsupportedCoding, BodyTooLarge: as L{decode_body}.
        @raise InvalidKey: as L{read_key}.
        """
        if self.is_plain:
            return [decode_event(body)], ()
        if self.codings:
            body = decode_body(body, self.codings, MAX_BYTES)
        events = self._decode(body)
        if self.trace[0] is not None:
            for event in events:
                force_setattr(event, "traceparent", self.trace[0])
                force_setattr(event, "tracestate", self.trace[1])
        if self.keys:
            if self.form is Form.BINARY and events[0].cloudevent is not None:
                body = bytes(events[0].cloudevent)
            return events, (read_key(self.keys, self.route.path, body),)
        return events, event_keys(events)

    def _decode(self, body: bytes) -> Sequence[Event]:
        form = self.form
        if form is Form.PLAIN:
            return [decode_event(body)] if self.route.path == b"/event" else decode_events(body)
        if form is Form.STRUCTURED:
            return [decode_structured(body)]
        return (
            decode_batched(body) if form is Form.BATCHED else [decode_binary(self.attributes, self.content_type, body)]
        )


@attrs.frozen(eq=False)
class PostReader:
    """
    Reads the heads of POSTs.

    @ivar access: who may post; C{None}: everybody.
    @ivar origins: the origins of web pages that may post.
    """

    destinations: Destinations
    access: Access | None = None
    origins: frozenset[bytes] = frozenset()

    def read(self, path: bytes, headers: Mapping[bytes, Sequence[bytes]]) -> PostHead | None:
        """
        Read a head.

        @param headers: the values of each header, by its name in lower case.
        @return: C{None} if no events are posted to the path.
        """
        route = self.destinations.find(path)
        if route is None:
            return None
        token = origin = None
        try:
            if b"origin" in headers:
                origin = check_origin(headers[b"origin"], headers.get(b"host", ()), self.origins)
            if self.access is not None:
                token = self.access.identify(headers.get(b"authorization", ()), route.destination.stream)
            form, attributes = _read_form(route.path, headers)
        except Exception as error:
            keys = tuple(headers.get(b"idempotency-key", ()))
            return PostHead(route, keys=keys, access=self.access, error=error, origin=origin)
        types = headers.get(b"content-type", ())
        return PostHead(
            route,
            form,
            tuple(headers.get(b"idempotency-key", ())),
            types[0] if types else None,
            attributes,
            tuple(headers.get(b"content-encoding", ())),
            read_trace_context(headers[b"traceparent"], headers.get(b"tracestate", ()))
            if b"traceparent" in headers
            else (None, None),
            self.access,
            token,
            origin=origin,
        )

    def read_preflight(self, path: bytes, headers: Mapping[bytes, Sequence[bytes]]) -> Answer | None:
        """
        Return the answer to the preflight of a web page of another host.

        @return: C{None} if it is none, or no events are posted to the path.
        """
        origins = headers.get(b"origin", ())
        if not is_preflight(b"OPTIONS", origins, headers.get(b"access-control-request-method", ())):
            return None
        try:
            origin = check_origin(origins, headers.get(b"host", ()), self.origins)
        except Forbidden as error:
            return answer_for(error, "OPTIONS")
        if origin is None or self.destinations.find(path) is None:
            return None
        return answer_preflight(origin, headers.get(b"access-control-request-headers", ()))


def _read_form(path: bytes, headers: Mapping[bytes, Sequence[bytes]]) -> tuple[Form, Mapping[str, str]]:
    """
    Return how the body carries events, and the attributes in the headers.

    @raise InvalidEvent: a CloudEvent is malformed, or posted to the wrong path.
    """
    types = headers.get(b"content-type", ())
    if b"ce-specversion" not in headers and not (types and b"cloudevents" in types[0].lower()):  # nearly always
        return Form.PLAIN, _NO_ATTRIBUTES
    media = types[0].partition(b";")[0].strip(b" \t").lower() if types else b""
    form, wanted = _FORMS.get(media, (Form.PLAIN, path))
    if form is Form.PLAIN and b"ce-specversion" in headers:
        form, wanted = Form.BINARY, b"/event"
    if wanted != path:
        raise InvalidEvent(f"A CloudEvent in {form.value} mode is posted to {wanted.decode()}")
    if form is not Form.PLAIN and len(types) > 1:
        raise InvalidEvent(f"Expected one Content-Type header, got {len(types)}")
    return form, read_headers(headers) if form is Form.BINARY else _NO_ATTRIBUTES


def by_name(headers: Headers) -> Mapping[bytes, Sequence[bytes]]:
    """Return the values of each header, by its name in lower case."""
    return {name.lower(): values for name, values in headers.getAllRawHeaders()}


def may_have_key(headers: Headers) -> bool:
    """Return whether an earlier request may have stored the events of a request with these headers."""
    if headers.hasHeader(b"Idempotency-Key") or headers.hasHeader(b"ce-specversion"):
        return True
    return any(b"cloudevents" in value.lower() for value in headers.getRawHeaders(b"Content-Type", ()))
