"""
Reads the head of a plain C{POST /event} without a full parser.
"""

from __future__ import annotations

import re
from typing import Final

import attrs

from eventsvc.web.limits import MAX_HEAD_BYTES, MAX_HEADERS, check_begun, check_head, check_length

#: The beginning of such a head.
START: Final = b"POST /event HTTP/1.1\r\n"
#: The end of every head.
END: Final = b"\r\n\r\n"

#: The longest head that is cached, in bytes, and the most heads.
_LONGEST: Final = 1_024
_MOST: Final = 1_024

_PLAIN: Final = re.compile(re.escape(START) + rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[^\0\r\n]*\r\n)+\r\n")
_TELLING: Final = re.compile(
    rb"\r\n(host|content-length|transfer-encoding|expect|connection|idempotency-key):[ \t]*([^\r]*)", re.IGNORECASE
)


@attrs.frozen
class Head:
    """
    @ivar length: of the body, in bytes.
    @ivar keys: the values of all C{Idempotency-Key} headers.
    """

    length: int
    keys: tuple[bytes, ...] = ()


def could_begin(data: bytes) -> bool:
    """Return whether a plain C{POST /event} may begin with these bytes."""
    return (data.startswith(START) and check_begun(data, first=True) is None) or START.startswith(data)


def read_head(data: bytes) -> Head | None:
    """
    Read a head, up to and including its blank line.

    @return: C{None} if it has anything that a plain request does not have,
        valid or not.
    """
    if len(data) > MAX_HEAD_BYTES or data.count(b"\n") - 2 > MAX_HEADERS or not _PLAIN.fullmatch(data):
        return None
    found: dict[bytes, list[bytes]] = {}
    for name, value in _TELLING.findall(data):
        found.setdefault(name.lower(), []).append(value.rstrip(b" \t"))
    lengths = found.get(b"content-length", [])
    if (
        len(lengths) != 1
        or check_length(lengths[0])
        or check_head(b"HTTP/1.1", found.get(b"host", []), lengths, found.get(b"transfer-encoding", []))
        or b"expect" in found
        or any(value.lower() != b"keep-alive" for value in found.get(b"connection", []))
    ):
        return None
    return Head(int(lengths[0]), tuple(found.get(b"idempotency-key", [])))


@attrs.define(eq=False)
class RequestHeads:
    """
    Caches parsed heads, because a client sends the same head with each request.

    # Note [Heads that come once]

    A head with a unique value, such as a C{traceparent}, is never sent again.
    If every head were cached, unique ones would evict the repeated ones.  So a
    head is cached when it comes the second time; until then only its hash is
    kept.  A client that sends many distinct heads twice can evict the cache,
    but the only cost is that heads are read again.

    @ivar cache: the parsed heads, by their bytes.
    """

    cache: dict[bytes, Head] = attrs.field(factory=dict)
    _seen: set[int] = attrs.field(factory=set)

    def learn(self, data: bytes) -> Head | None:
        """Read a head that is not in the cache, as L{read_head}, and cache it the second time."""
        head = read_head(data)
        if head is not None and not head.keys and len(data) <= _LONGEST:
            self._remember(data, head)
        return head

    def _remember(self, data: bytes, head: Head) -> None:
        mark = hash(data)
        if mark not in self._seen:
            if len(self._seen) >= _MOST:
                self._seen.clear()
            self._seen.add(mark)
        else:
            if len(self.cache) >= _MOST:
                self.cache.clear()
            self.cache[data] = head
