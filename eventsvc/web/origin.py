"""
Decides which web pages may post events.

A browser sends the origin of the page with each POST of a script or a form.
The events of a page are refused unless the page comes from the producer's own
host or its origin is allowed.  So no page that somebody happens to open can
post to a producer in that person's network.

# Note [DNS rebinding]

Its own host is what the client says in C{Host}.  A page can defeat this
comparison: it comes from C{evil.example}, whose name then gets the address of
the producer, so that C{Origin} and C{Host} agree::

    browser                        DNS of evil.example       producer
      | GET / of evil.example  --->  203.0.113.1 (the page)
      | POST /event            --->  10.0.0.5
      |   Host: evil.example, Origin: http://evil.example  --->  same: stored

Only a secret that the page does not know stops this: tokens, or TLS, because
the producer's certificate is not valid for that name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import attrs

from eventsvc.settings.origins import ANY, normalize_origin
from eventsvc.web.answers import Answer
from eventsvc.web.tokens import Forbidden

_VARY: Final = (b"Vary", b"Origin")
_EXPOSED: Final = b"Event-Id, Retry-After"
_ALLOWED: Final = (
    b"Authorization",
    b"Content-Type",
    b"Content-Encoding",
    b"Idempotency-Key",
    b"traceparent",
    b"tracestate",
)
#: The headers of the attributes of a CloudEvent.
_ATTRIBUTE: Final = re.compile(rb"ce-[a-z0-9]+")
#: Seconds for which a browser may remember a preflight; Chrome's limit.
_MAX_AGE: Final = b"7200"


def check_origin(origins: Sequence[bytes], hosts: Sequence[bytes], allowed: frozenset[bytes]) -> bytes | None:
    """
    Refuse a request of a web page of another host whose origin is not allowed.

    The producer's own scheme is unknown behind a proxy that ends TLS, so
    http://host and https://host are both its own host.

    @param origins: the values of all C{Origin} headers.
    @param hosts: the values of all C{Host} headers.
    @param allowed: normalized origins, or L{ANY}.
    @return: the origin, if the answer needs L{cors_headers}; C{None} if there is
        none, or it is the own host.
    @raise Forbidden: the text names the origin.
    """
    if not origins:
        return None
    if len(origins) > 1:
        raise Forbidden(f"Expected one Origin, got {len(origins)}")
    origin = normalize_origin(origins[0])
    if origin is not None and _is_own(origin, hosts):
        return None
    if allowed == ANY or origin in allowed:
        return origins[0]
    raise Forbidden(f"Pages of the origin {origins[0][:300].decode('latin-1')!r} may not post events")


def _is_own(origin: bytes, hosts: Sequence[bytes]) -> bool:
    scheme = origin.partition(b"://")[0]
    return (
        scheme in (b"http", b"https")
        and len(hosts) == 1
        and normalize_origin(b"%b://%b" % (scheme, hosts[0])) == origin
    )


def cors_headers(origin: bytes) -> Sequence[tuple[bytes, bytes]]:
    """Return the headers that let a page of another host read an answer (Fetch standard, 3.3.3)."""
    return (
        (b"Access-Control-Allow-Origin", origin),
        (b"Access-Control-Expose-Headers", _EXPOSED),
        _VARY,
    )


def let_read(answer: Answer, origin: bytes | None) -> Answer:
    """Return an answer with L{cors_headers}, if it is for a page of another host."""
    return answer if origin is None else attrs.evolve(answer, headers=(*answer.headers, *cors_headers(origin)))


def is_preflight(method: bytes, origins: Sequence[bytes], requested_methods: Sequence[bytes]) -> bool:
    """
    Return whether a request asks what a page of another host may send (Fetch standard, 3.3.2).

    @param requested_methods: the values of all C{Access-Control-Request-Method} headers.
    """
    return method == b"OPTIONS" and bool(origins) and bool(requested_methods)


def answer_preflight(origin: bytes, requested_headers: Sequence[bytes]) -> Answer:
    """
    Answer a preflight of a page that may post events.

    The browser compares the answer with the request that it is about to send.

    @param origin: the value of C{Origin}, after L{check_origin}.
    @param requested_headers: the values of all C{Access-Control-Request-Headers} headers.
    """
    names = [name.strip(b" \t").lower() for name in b",".join(requested_headers).split(b",")]
    attributes = sorted({name for name in names if _ATTRIBUTE.fullmatch(name)})
    return Answer(
        204,
        (
            (b"Access-Control-Allow-Origin", origin),
            (b"Access-Control-Allow-Methods", b"POST"),
            (b"Access-Control-Allow-Headers", b", ".join([*_ALLOWED, *attributes])),
            (b"Access-Control-Max-Age", _MAX_AGE),
            _VARY,
        ),
    )
