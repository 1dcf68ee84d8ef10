"""
What each outcome is told to a client: the one table from errors to answers.
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

#: Seconds after which a client may try again.
RETRY_AFTER: Final = b"1"


class InvalidKey(ValueError):
    """An C{Idempotency-Key} that is no structured-field string and no token."""


@attrs.frozen
class Answer:
    """An HTTP response."""

    status: int
    headers: Sequence[tuple[bytes, bytes]] = ()
    body: bytes = b""


_JSON: Final = (b"Content-Type", b"application/json")


def json_answer(status: int, body: object, headers: Sequence[tuple[bytes, bytes]] = ()) -> Answer:
    """An answer with a JSON body."""
    return Answer(status, (_JSON, *headers), msgspec.json.encode(body))


def problem(
    status: int, title: str, description: str, headers: Sequence[tuple[bytes, bytes]] = (), **more: str
) -> Answer:
    """An answer with an error body."""
    return json_answer(status, {"status": status, "title": title, "description": description, **more}, headers)


def stored(id: int) -> Answer:
    """One event is in the stream."""
    return Answer(HTTPStatus.OK, ((b"Event-Id", b"%d" % id),))


def all_stored(ids: Sequence[int]) -> Answer:
    """All events of a batch are in the stream."""
    return json_answer(HTTPStatus.OK, {"accepted": len(ids), "ids": [str(id) for id in ids]})


def not_found() -> Answer:
    """There is nothing at that path."""
    return problem(404, "Endpoint Not Found", "Endpoint Not Found")


def body_too_large(description: str) -> Answer:
    """A body of more bytes or events than a request may carry."""
    return problem(413, "Request body too large", description)


def unavailable(description: str, stored: str) -> Answer:
    """
    The events were not confirmed.

    @param stored: C{no} if they are surely nowhere, or else C{unknown}.
    """
    return problem(503, "Redis Client error", description, ((b"Retry-After", RETRY_AFTER),), stored=stored)


#: The answer to a request that was under way for too long.
TIME_IS_UP: Final = unavailable("The request took too long", "unknown")


def unexpected() -> Answer:
    """The answer to a fault of our own; its cause is in the log alone."""
    return problem(500, "Internal Server Error", "An unexpected error; see the log of the service")


def answer_for(error: BaseException | None, method: str) -> Answer | None:
    """
    The answer an error is told by.

    @return: C{None} if the error is none of those that are expected.
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
        case TooManyEvents() | TooLarge():
            return body_too_large(str(error))
        case KeyConflict():
            return problem(422, "Idempotency-Key", str(error))
        case Refused():
            return unavailable(str(error), "no")
        case Unknown():
            return unavailable(str(error), "unknown")
        case _:
            return None


def to_bytes(answer: Answer, date: bytes, last: bool = False) -> bytes:
    """
    The whole response, as L{render} and twisted.web would have it.

    @param last: the connection ends with it.
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
    """Set status and headers of a response, and give its body."""
    request.setResponseCode(answer.status, _phrase(answer))
    for name, value in answer.headers:
        request.setHeader(name, value)
    request.setHeader(b"Content-Length", b"%d" % len(answer.body))
    return answer.body


def _phrase(answer: Answer) -> bytes:
    return HTTPStatus(answer.status).phrase.encode()
