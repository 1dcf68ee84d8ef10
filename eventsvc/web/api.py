"""
The routes: each parses, asks the appender, and renders.
"""

from __future__ import annotations

import hashlib
import re
from importlib.resources import files
from typing import Any, Final

import attrs
from klein import Klein
from twisted.internet.defer import CancelledError
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import Request
from werkzeug.exceptions import HTTPException

from eventsvc.event import MAX_BYTES, decode_event, decode_events
from eventsvc.interfaces import IAppender, IdempotencyKey
from eventsvc.web.answers import (
    Answer,
    BodyTooLarge,
    InvalidKey,
    all_stored,
    answer_for,
    stored,
    unexpected,
)

_OPENAPI: Final = files("eventsvc.web").joinpath("openapi.json").read_bytes()

#: A structured-field string (RFC 8941, 3.3.3), or printable text as it is.
_QUOTED: Final = re.compile(rb'"((?:[ !#-\[\]-~]|\\["\\])*)"')
_BARE: Final = re.compile(rb"[!#-~]+")
_LONGEST_KEY: Final = 255


def read_key(value: bytes | None, route: bytes, body: bytes) -> IdempotencyKey | None:
    """
    What an C{Idempotency-Key} header stands for.

    @raise InvalidKey: it is neither a structured-field string nor a token.
    """
    if value is None:
        return None
    quoted = _QUOTED.fullmatch(value)
    key = re.sub(rb"\\(.)", rb"\1", quoted[1]) if quoted else value
    if not key or len(key) > _LONGEST_KEY or not (quoted or _BARE.fullmatch(value)):
        raise InvalidKey(
            f"Expected a quoted string or a token of 1 to {_LONGEST_KEY} characters, "
            f"got {value[:300].decode('latin-1')!r}"
        )
    return IdempotencyKey(_digest(key), _digest(route + b"\n" + body))


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


@attrs.define(eq=False, slots=False)
class Api:
    """The HTTP interface of the producer."""

    app = Klein()
    appender: IAppender
    _log = Logger()

    @app.route("/event", methods=["POST"])
    async def post_event(self, request: Request) -> bytes:
        body = read_body(request)
        event = decode_event(body)
        ids = await self.appender.append([event], _key_of(request, b"/event", body))
        return render(request, stored(ids[0]))

    @app.route("/events", methods=["POST"])
    async def post_events(self, request: Request) -> bytes:
        body = read_body(request)
        events = decode_events(body)
        ids = await self.appender.append(events, _key_of(request, b"/events", body))
        return render(request, all_stored(ids))

    @app.route("/openapi.json", methods=["GET"])
    def get_openapi(self, request: Request) -> bytes:
        return render(request, Answer(200, ((b"Content-Type", b"application/json"),), _OPENAPI))

    @app.handle_errors(HTTPException, Exception)
    def render_error(self, request: Any, failure: Failure) -> bytes:
        error = failure.value
        if isinstance(error, CancelledError):
            return b""  # the client is gone
        answer = answer_for(error, request.method.decode("latin-1"))
        if answer is None:
            self._log.failure("a request failed in an unexpected way", failure)
            answer = unexpected()
        return render(request, answer)


Api.app.url_map.merge_slashes = False
Api.app.url_map.strict_slashes = True
Api.app.url_map.redirect_defaults = False


def read_body(request: Any) -> bytes:
    """
    The body of a request.

    @raise BodyTooLarge: it was larger than a request may be; it was not kept.
    """
    if request.too_large:
        raise BodyTooLarge(f"Expected a body of at most {MAX_BYTES} bytes")
    body: bytes = request.content.read()
    return body


def _key_of(request: Request, route: bytes, body: bytes) -> IdempotencyKey | None:
    values = request.requestHeaders.getRawHeaders(b"Idempotency-Key")
    if values is not None and len(values) > 1:
        raise InvalidKey("Expected one Idempotency-Key, got several")
    return read_key(values[0] if values else None, route, body)


def render(request: Request, answer: Answer) -> bytes:
    """Set status and headers of a response, and give its body."""
    request.setResponseCode(answer.status)
    for name, value in answer.headers:
        request.setHeader(name, value)
    request.setHeader(b"Content-Length", b"%d" % len(answer.body))
    return answer.body
