"""
Maps every outcome and error to its HTTP answer, in one table.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

import attrs
import msgspec
from twisted.web.http import Request
from werkzeug.exceptions import MethodNotAllowed, NotFound

from eventsvc.event import InvalidEvent, TooManyEvents
from eventsvc.interfaces import KeyConflict, KeyRunning, Refused, TooLarge, Unknown
from eventsvc.web.encoding import BodyTooLarge, UnsupportedCoding
from eventsvc.web.tokens import Forbidden, Rejected, TooManyRequests

#: Seconds after which a client may retry.
RETRY_AFTER: Final = b"1"


class InvalidKey(ValueError):
    """The C{Idempotency-Key} is neither a structured-field string nor a token."""


@attrs.frozen
class Answer:
    """An HTTP response."""

    status: int
    headers: Sequence[tuple[bytes, bytes]] = ()
    body: bytes = b""


_JSON: Final = (b"Content-Type", b"application/json")


def json_answer(status: int, body: object, headers: Sequence[tuple[bytes, bytes]] = ()) -> Answer:
    """Return an answer with a JSON body."""
    return Answer(status, (_JSON, *headers), msgspec.json.encode(body))


def problem(
    status: int, title: str, description: str, headers: Sequence[tuple[bytes, bytes]] = (), **more: str
) -> Answer:
    """Return an answer with an error body."""
    return json_answer(status, {"status": status, "title": title, "description": description, **more}, headers)


def stored(id: int) -> Answer:
    """Return the answer for one event that is in the stream."""
    return Answer(HTTPStatus.OK, ((b"Event-Id", b"%d" % id),))


def all_stored(ids: Sequence[int]) -> Answer:
    """Return the answer for a batch whose events are all in the stream."""
    # A string for each id would take three times as long.
    texts = msgspec.json.encode(ids)[1:-1].replace(b",", b'","')
    return Answer(HTTPStatus.OK, (_JSON,), b'{"accepted":%d,"ids":["%b"]}' % (len(ids), texts))


def not_found() -> Answer:
    """Return the answer for an unknown path."""
    return problem(404, "Endpoint Not Found", "Endpoint Not Found")


def body_too_large(description: str) -> Answer:
    """Return the answer for a body with more bytes or events than a request may carry."""
    return problem(413, "Request body too large", description)


def unavailable(description: str, stored: str) -> Answer:
    """
    Return the answer for events that Redis did not confirm.

    @param stored: C{no} if they are certainly not stored, or else C{unknown}.
    """
    return problem(503, "Redis Client error", description, ((b"Retry-After", RETRY_AFTER),), stored=stored)


#: The answer to a request that took too long.
TIME_IS_UP: Final = unavailable("The request took too long", "unknown")


def unexpected() -> Answer:
    """Return the answer for an unexpected error; its cause is only in the log."""
    return problem(500, "Internal Server Error", "An unexpected error; see the log of the service")


def answer_for(error: BaseException | None, method: str) -> Answer | None:
    """
    Return the answer for an error.

    @return: C{None} if the error is not an expected one.
    """
    match error:
        case InvalidEvent():
            return problem(400, "Error unmarshalling body", str(error))
        case InvalidKey():
            return problem(400, "Idempotency-Key", str(error))
        case NotFound():
            return not_found()
        case MethodNotAllowed():
            allow = ", ".join(sorted(error.valid_methods or ()))
            return problem(405, method, "Method Not Allowed", ((b"Allow", allow.encode()),))
        case KeyRunning():
            return problem(409, "Idempotency-Key", str(error), ((b"Retry-After", RETRY_AFTER),))
        case TooManyEvents() | TooLarge() | BodyTooLarge():
            return body_too_large(str(error))
        case UnsupportedCoding():
            return problem(415, "Unsupported Media Type", str(error), ((b"Accept-Encoding", error.accept),))
        case KeyConflict():
            return problem(422, "Idempotency-Key", str(error))
        case Rejected():
            return _answer_for_rejection(error)
        case Refused():
            return unavailable(str(error), "no")
        case Unknown():
            return unavailable(str(error), "unknown")
        case _:
            return None


def _answer_for_rejection(error: Rejected) -> Answer:
    match error:
        case TooManyRequests():
            headers = ((b"Retry-After", b"%d" % error.retry_after),)
            return problem(429, "Too Many Requests", str(error), headers, stored=error.stored)
        case Forbidden():
            return problem(403, "Forbidden", str(error))
        case _:
            return problem(401, "Unauthorized", str(error), ((b"WWW-Authenticate", b"Bearer"),))


def to_bytes(answer: Answer, date: bytes, last: bool = False) -> bytes:
    """
    Return the whole response, with the same bytes that L{render} and twisted.web write.

    @param last: whether the connection closes after it.
    """
    lines = [
        b"HTTP/1.1 %d %b" % (answer.status, _phrase(answer)),
        b"Date: %b" % date,
        *[b"%b: %b" % header for header in answer.headers],
        b"Content-Length: %d" % len(answer.body),
    ]
    if last:
        lines.append(b"Connection: close")
    return b"\r\n".join([*lines, b"", answer.body])


def render(request: Request, answer: Answer) -> bytes:
    """Set status and headers of a response, and return its body."""
    request.setResponseCode(answer.status, _phrase(answer))
    for name, value in answer.headers:
        request.setHeader(name, value)
    if answer.status != HTTPStatus.NO_CONTENT:  # which may have no length (RFC 9110, 8.6)
        request.setHeader(b"Content-Length", b"%d" % len(answer.body))
    return answer.body


def _phrase(answer: Answer) -> bytes:
    return HTTPStatus(answer.status).phrase.encode()
