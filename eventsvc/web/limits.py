"""
The limits on requests and connections, and the answers when they are exceeded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from eventsvc.event import MAX_BYTES
from eventsvc.web.answers import RETRY_AFTER, Answer, body_too_large, problem, unavailable

#: Most bytes in a request line and its headers, and most headers.
MAX_HEAD_BYTES: Final = 16_384
MAX_HEADERS: Final = 100
#: Most digits of a Content-Length that is parsed as a number.
MAX_LENGTH_DIGITS: Final = 15
#: Most connections at once, if the system allows that many descriptors.
MAX_CONNECTIONS: Final = 10_000
#: Seconds after which an idle connection is closed.  Common clients close
#: theirs sooner, so that no request arrives while the server closes.
IDLE: Final = 300.0
#: Seconds a new connection has for its first byte.
FIRST_BYTE: Final = 10.0
#: Seconds for which idle connections stay open after the server begins to drain, by default.
GRACE: Final = 0.5
#: Seconds within which a client must read its last answer.
LINGER: Final = 2.0
#: Paths of probes, which are answered on refused connections too.
PROBES: Final = frozenset((b"/health/live", b"/health/ready", b"/metrics", b"/backlog"))


def _refusal(status: HTTPStatus, description: str) -> Answer:
    return problem(status, status.phrase, description)


HEAD_TOO_LARGE: Final = _refusal(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    f"Expected at most {MAX_HEADERS} headers and {MAX_HEAD_BYTES} bytes of them",
)
BODY_TOO_LARGE: Final = body_too_large(f"Expected a body of at most {MAX_BYTES} bytes")
TOO_SLOW: Final = _refusal(HTTPStatus.REQUEST_TIMEOUT, "The request did not arrive in time")


def _too_many_connections(description: str, stored: str) -> Answer:
    return problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Too many connections",
        description,
        ((b"Retry-After", RETRY_AFTER),),
        stored=stored,
    )


_OF_ALL: Final = "The server holds as many connections as it may"
_OF_ADDRESS: Final = "The server holds as many connections of this address as it may"
TOO_MANY_CONNECTIONS: Final = _too_many_connections(_OF_ALL, "no")
TOO_MANY_OF_ADDRESS: Final = _too_many_connections(_OF_ADDRESS, "no")
#: The same for a request that may have a key: an earlier request with that key may be stored.
PERHAPS_REPEATED: Final = {
    TOO_MANY_CONNECTIONS: _too_many_connections(_OF_ALL, "unknown"),
    TOO_MANY_OF_ADDRESS: _too_many_connections(_OF_ADDRESS, "unknown"),
}


def no_room(has_key: bool) -> Answer:
    """Return the answer to a large request for which there was no room in time."""
    return unavailable("The server holds as many bytes of requests as it may", "unknown" if has_key else "no")


def bad_request(description: str) -> Answer:
    """Return the answer to bytes that are not an HTTP request, or an ambiguous one."""
    return _refusal(HTTPStatus.BAD_REQUEST, description)


NOT_TLS: Final = bad_request("Expected HTTP without TLS on this port")

#: A header, without the end of its line.
HEADER: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[^\0\r\n]*"
#: The beginning of a request: a letter of its method, or the blank line that
#: may precede it.
_FIRST: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]|\r(?:\n|\Z)")
_TRAILER: Final = re.compile(HEADER)
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")


def check_begun(head: bytes, first: bool) -> Answer | None:
    """
    Refuse the beginning of a head that no further bytes can make valid.

    @param head: complete or partial lines.
    @param first: whether it begins with the request line.
    @return: C{None} if it may become valid.
    """
    if first and head and not _FIRST.match(head):
        return NOT_TLS if head.startswith(b"\x16") else bad_request("The bytes are not an HTTP/1.1 request")
    if _BARE_LF.search(head):
        return bad_request("Expected each line of the head to end in CR LF")
    return None


#: uri-host [ ":" port ] (RFC 9110, 7.2; RFC 3986, 3.2.2)
_HOST: Final = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?",
)


_ABSOLUTE: Final = re.compile(rb"https?://([^/?#@]+)(/[^?]*)?(\?.*)?", re.IGNORECASE | re.DOTALL)


def origin_form(target: bytes) -> bytes:
    """
    Return the target of a request without its scheme and host (RFC 9112, 3.2.2).

    A target whose host is invalid is returned unchanged: no route matches it.
    """
    found = _ABSOLUTE.fullmatch(target)
    if found is None or not _HOST.fullmatch(found[1]):
        return target
    return (found[2] or b"/") + (found[3] or b"")


def check_length(value: bytes) -> Answer | None:
    """
    Refuse a C{Content-Length} that is not a number, or is too large.

    @return: C{None} if it is valid.
    """
    if not value.isdigit():
        return bad_request("Expected Content-Length to be a number")
    if len(value) > MAX_LENGTH_DIGITS or int(value) > MAX_BYTES:
        return BODY_TOO_LARGE
    return None


def check_trailers(lines: Sequence[bytes]) -> Answer | None:
    """
    Refuse malformed headers after a chunked body; valid ones are ignored.

    @return: C{None} if they are valid.
    """
    if all(_TRAILER.fullmatch(line) for line in lines):
        return None
    return bad_request("Expected each line after the last chunk to be a header")


def check_head(
    version: bytes, hosts: Sequence[bytes], lengths: Sequence[bytes], encodings: Sequence[bytes]
) -> Answer | None:
    """
    Refuse a request that two servers could interpret differently.

    @param version: C{HTTP/1.1} or C{HTTP/1.0}.
    @param hosts: the values of all C{Host} headers.
    @param lengths: the values of all C{Content-Length} headers.
    @param encodings: the values of all C{Transfer-Encoding} headers.
    @return: C{None} if it is valid.
    """
    if len(hosts) > 1 or (not hosts and version == b"HTTP/1.1"):
        return bad_request(f"Expected one Host header, got {len(hosts)}")
    if hosts and not _HOST.fullmatch(hosts[0]):
        return bad_request("Expected Host to be a name or an address, and perhaps a port")
    if len(lengths) > 1:
        return bad_request(f"Expected one Content-Length, got {len(lengths)}")
    if encodings and (lengths or version != b"HTTP/1.1" or [each.lower() for each in encodings] != [b"chunked"]):
        return bad_request("Expected a Content-Length, or in HTTP/1.1 Transfer-Encoding: chunked")
    return None
