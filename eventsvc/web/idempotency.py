"""
The keys under which requests and events are remembered.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Final

from eventsvc.event import Event
from eventsvc.submission import IdempotencyKey
from eventsvc.web.answers import InvalidKey

#: A structured-field string (RFC 8941, 3.3.3), or bare printable text.
_QUOTED: Final = re.compile(rb'"((?:[ !#-\[\]-~]|\\["\\])*)"')
_BARE: Final = re.compile(rb"[!#-~]+")
_LONGEST_KEY: Final = 255


def read_key(values: Sequence[bytes], path: bytes, body: bytes) -> IdempotencyKey:
    """
    Return the idempotency key of a request.

    @param values: the values of all C{Idempotency-Key} headers.
    @param path: C{/event} or C{/events}; a key is for one stream anyway.
    @raise InvalidKey: there are several, or L{parse_key} rejects it.
    """
    if len(values) > 1:
        raise InvalidKey(f"Expected one Idempotency-Key, got {len(values)}")
    return IdempotencyKey(_digest(parse_key(values[0])), _digest(path + b"\n" + body))


def event_key(identity: bytes) -> IdempotencyKey:
    """Return the key of a CloudEvent; no C{Idempotency-Key} has its digest, because none begins with NUL."""
    return IdempotencyKey(_digest(b"\0" + identity))


def event_keys(events: Iterable[Event]) -> list[IdempotencyKey]:
    """Return the keys of those events that are CloudEvents."""
    return [event_key(event.identity) for event in events if event.identity is not None]


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
