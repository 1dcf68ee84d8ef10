"""
Reads the head of a plain C{POST} of one event without a full parser.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import attrs
import msgspec

from eventsvc.web.limits import HEADER, MAX_HEAD_BYTES, MAX_HEADERS, check_begun, check_head, check_length
from eventsvc.web.post_head import PostHead, PostReader

#: The beginnings of such a head.
_STARTS: Final = (b"POST /event HTTP/1.1\r\n", b"POST /streams/")
#: The end of every head.
END: Final = b"\r\n\r\n"

#: The longest head that is cached, in bytes, and the most heads.
_LONGEST: Final = 1_024
_MOST: Final = 1_024

_PLAIN: Final = re.compile(
    rb"POST ((?:/streams/[A-Za-z0-9._~:-]+)?/event) HTTP/1\.1\r\n"
    rb"(?:" + HEADER + rb"\r\n)+\r\n"
)
_TELLING: Final = re.compile(
    rb"\r\n(host|content-length|transfer-encoding|expect|connection|idempotency-key|content-type|content-encoding"
    rb"|authorization|origin|traceparent|tracestate|ce-[^:]*):[ \t]*([^\r]*)",
    re.IGNORECASE,
)
#: Headers that a plain request does not have.
_LEFT_ALONE: Final = frozenset((b"expect", b"content-encoding", b"origin"))


class Head(msgspec.Struct, eq=False):
    """
    @ivar length: of the body, in bytes.
    """

    length: int
    post: PostHead


def could_begin(data: bytes) -> bool:
    """Return whether a plain head may begin with these bytes."""
    if data.startswith(_STARTS):
        return check_begun(data, first=True) is None
    return any(start.startswith(data) for start in _STARTS)


def read_head(data: bytes) -> tuple[int, bytes, Mapping[bytes, Sequence[bytes]]] | None:
    """
    Read a head, up to and including its blank line.

    @return: the length of the body, the path and the values of the headers that
        tell something, by name; C{None} if it has anything that a plain request
        does not have, valid or not.
    """
    if len(data) > MAX_HEAD_BYTES or data.count(b"\n") - 2 > MAX_HEADERS:
        return None
    plain = _PLAIN.fullmatch(data)
    if plain is None:
        return None
    found: dict[bytes, list[bytes]] = {}
    for name, value in _TELLING.findall(data):
        found.setdefault(name.lower(), []).append(value.rstrip(b" \t"))
    lengths = found.get(b"content-length", [])
    if (
        len(lengths) != 1
        or check_length(lengths[0])
        or check_head(b"HTTP/1.1", found.get(b"host", []), lengths, found.get(b"transfer-encoding", []))
        or not _LEFT_ALONE.isdisjoint(found)
        or any(value.lower() != b"keep-alive" for value in found.get(b"connection", []))
    ):
        return None
    return int(lengths[0]), plain[1], found


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

    @ivar cache: the parsed heads, by their bytes; emptied when the tokens change.
    """

    posts: PostReader
    cache: dict[bytes, Head] = attrs.field(factory=dict)
    _seen: set[int] = attrs.field(factory=set)

    def __attrs_post_init__(self) -> None:
        if self.posts.access is not None:
            self.posts.access.on_change.append(self.cache.clear)

    def learn(self, data: bytes) -> Head | None:
        """Read a head that is not in the cache, as L{read_head}, and cache it the second time."""
        found = read_head(data)
        if found is None:
            return None
        length, path, headers = found
        post = self.posts.read(path, headers)
        if post is None:
            return None
        head = Head(length, post)
        if not post.keys and len(data) <= _LONGEST:
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
