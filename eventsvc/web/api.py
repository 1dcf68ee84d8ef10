"""
The routes of the producer: each parses a request, calls the appender and renders its answer.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from importlib.resources import files
from io import BytesIO
from typing import Any, Final

import attrs
from twisted.web.http import Request
from werkzeug.exceptions import MethodNotAllowed

from eventsvc.event import Event, decode_event, decode_events
from eventsvc.interfaces import IAppender, QueueFull
from eventsvc.submission import IdempotencyKey
from eventsvc.web.answers import Answer, InvalidKey, all_stored, render, stored
from eventsvc.web.arrivals import Arrivals, bounded_by_queue
from eventsvc.web.health import Health, serve_health
from eventsvc.web.routing import make_app
from eventsvc.web.turns import Turns

_OPENAPI: Final = files("eventsvc.web").joinpath("openapi.json").read_bytes()

#: A structured-field string (RFC 8941, 3.3.3), or bare printable text.
_QUOTED: Final = re.compile(rb'"((?:[ !#-\[\]-~]|\\["\\])*)"')
_BARE: Final = re.compile(rb"[!#-~]+")
_LONGEST_KEY: Final = 255

#: The events of a request, and its idempotency key.
Parsed = tuple[Sequence[Event], IdempotencyKey | None]


@attrs.define(eq=False, slots=False)
class Api:
    """The HTTP interface of the producer."""

    app = make_app()
    serve_health(app)
    appender: IAppender
    health: Health
    turns: Turns = attrs.field(init=False)
    arrivals: Arrivals = attrs.field(init=False)

    @turns.default
    def _make_turns(self) -> Turns:
        return Turns(self.appender)

    @arrivals.default
    def _make_arrivals(self) -> Arrivals:
        return bounded_by_queue(self.appender)

    @app.route("/event", methods=["POST"])
    async def post_event(self, request: Request) -> bytes:
        ids = await self._append(request, parse_event)
        return render(request, stored(ids[0]))

    @app.route("/events", methods=["POST"])
    async def post_events(self, request: Request) -> bytes:
        ids = await self._append(request, parse_events)
        return render(request, all_stored(ids))

    async def _append(self, request: Any, parse: Callable[[bytes, Sequence[bytes]], Parsed]) -> Sequence[int]:
        """Append the events of a request, once the queue has room for them."""
        body, keys = read_body(request), key_headers(request)
        full: QueueFull | None = None
        is_over = False
        while True:
            if full is not None or not self.turns.is_open:
                is_over = await request.wait_for_turn(self.turns, len(body), full)
            if is_over:
                raise self.appender.give_up(*parse(body, keys))
            try:
                stored = self.appender.begin_append(*parse(body, keys), request.waiting_since)
            except QueueFull as error:
                full = error.with_traceback(None)  # its frames would keep the events in memory
            else:
                break
        del body  # the body is freed while its events wait
        request.leave_arrivals()
        return await stored

    @app.route("/openapi.json", methods=["GET"])
    def get_openapi(self, request: Request) -> bytes:
        return render(request, Answer(200, ((b"Content-Type", b"application/json"),), _OPENAPI))


def read_body(request: Any) -> bytes:
    """
    Return the body of a POST, and remove it from the request.

    @raise MethodNotAllowed: the method is not exactly C{POST}; Klein's routes ignore its case.
    """
    if request.method != b"POST":
        raise MethodNotAllowed(["POST"])
    content, request.content = request.content, BytesIO()
    body: bytes = content.getvalue()
    return body


def key_headers(request: Request) -> Sequence[bytes]:
    """Return the values of all C{Idempotency-Key} headers of a request."""
    values: Sequence[bytes] = request.requestHeaders.getRawHeaders(b"Idempotency-Key", ())
    return values


def parse_event(body: bytes, keys: Sequence[bytes]) -> Parsed:
    """
    Parse the body of a C{POST /event} into its event and idempotency key.

    @param keys: the values of all C{Idempotency-Key} headers.
    @raise InvalidEvent: as L{decode_event}.
    @raise InvalidKey: as L{read_key}.
    """
    return [decode_event(body)], read_key(keys, b"/event", body) if keys else None


def parse_events(body: bytes, keys: Sequence[bytes]) -> Parsed:
    """Parse the body of a C{POST /events}; otherwise as L{parse_event}."""
    return decode_events(body), read_key(keys, b"/events", body)


def read_key(values: Sequence[bytes], route: bytes, body: bytes) -> IdempotencyKey | None:
    """
    Return the idempotency key of a request, or C{None} if it has none.

    @raise InvalidKey: there are several, or L{parse_key} rejects it.
    """
    if not values:
        return None
    if len(values) > 1:
        raise InvalidKey(f"Expected one Idempotency-Key, got {len(values)}")
    return IdempotencyKey(_digest(parse_key(values[0])), _digest(route + b"\n" + body))


def parse_key(value: bytes) -> bytes:
    """
    Return the key in the value of a header; a key is the same quoted or bare.

    @raise InvalidKey: it is neither a structured-field string nor a token.
    """
    quoted = _QUOTED.fullmatch(value)
    key = re.sub(rb"\\(.)", rb"\1", quoted[1]) if quoted else value
    if not 1 <= len(key) <= _LONGEST_KEY or not (quoted or _BARE.fullmatch(value)):
        raise InvalidKey(
            f"Expected a quoted string or a token of 1 to {_LONGEST_KEY} characters, "
            f"got {value[:300].decode('latin-1')!r}"
        )
    return key


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()
