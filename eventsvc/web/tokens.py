"""
Who may post: bearer tokens (RFC 6750), of which only the SHA-256 is known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from hmac import compare_digest
from typing import ClassVar, Final

import attrs

from eventsvc.web.meter import Meter

_BEARER: Final = re.compile(rb"bearer +([A-Za-z0-9\-._~+/]+=*)", re.IGNORECASE)


class Rejected(Exception):
    """
    A request is rejected for its token; the text never contains the token.

    @cvar reason: the label of the metric.
    @ivar written: the bytes of the last answer to such a request, after their C{Date}.
    """

    reason: ClassVar[str]
    written: tuple[bytes, bytes] = (b"", b"")


class Unauthorized(Rejected):
    """A request has no valid token."""

    reason = "unauthorized"


class Forbidden(Rejected):
    """The token may not write to this stream."""

    reason = "forbidden"


class TooManyRequests(Rejected):
    """
    The token is past its rate.

    @ivar retry_after: whole seconds until it may post again, at least 1.
    @ivar stored: what the answer says about the events.
    """

    reason = "rate"

    def __init__(self, name: str, retry_after: int, stored: str) -> None:
        super().__init__(f"The token {name!r} is past its rate")
        self.retry_after = retry_after
        self.stored = stored


@attrs.frozen
class Token:
    """
    What one token may do.

    @ivar digest: the SHA-256 of the token.
    @ivar streams: the streams it may write to; C{None} for all.
    @ivar expires: nanoseconds since 1970; C{None} for never.
    @ivar meter: its rate; C{None} for no limit.
    """

    name: str
    digest: bytes = attrs.field(repr=False)
    streams: frozenset[str] | None = None
    expires: int | None = None
    meter: Meter | None = attrs.field(default=None, repr=False)

    def check_stream(self, name: str) -> None:
        """
        Check that the token may write to a stream.

        @raise Forbidden: it may not.
        """
        if self.streams is not None and name not in self.streams:
            raise Forbidden(f"The token {self.name!r} may not write to the stream {name!r}")

    def expired(self) -> Unauthorized:
        """Return the error of a request that comes too late."""
        return Unauthorized(f"The token {self.name!r} has expired")

    def charge(self, events: int) -> None:
        """Charge more events of a request that was let in, such as the rest of a batch."""
        if self.meter is not None:
            self.meter.charge(events)


@attrs.frozen
class Tokens:
    """
    All valid tokens.

    # Note [Look-up by digest]

    The time of a look-up in a dict depends on how much of the sought key is equal
    to a kept one.  A client that could choose the key would find a token byte by
    byte.  Here the key is the SHA-256 of what the client sent: it cannot choose
    that, and a digest that is nearly right says nothing about the token.

    @ivar by_digest: each token, by the SHA-256 of it.
    """

    by_digest: Mapping[bytes, Token] = attrs.field(factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.by_digest)

    def find(self, authorization: Sequence[bytes], now: int) -> Token:
        """
        Return the token of a request.

        @param authorization: the values of all its C{Authorization} headers.
        @param now: nanoseconds since 1970.
        @raise Unauthorized: there is no such header, or several; it has no bearer
            token; or that is unknown or has expired.
        """
        if len(authorization) != 1:
            raise Unauthorized(f"Expected one Authorization header, got {len(authorization)}")
        bearer = _BEARER.fullmatch(authorization[0])
        if bearer is None:
            raise Unauthorized("Expected `Authorization: Bearer TOKEN`")
        digest = sha256(bearer[1]).digest()
        token = self.by_digest.get(digest)
        if token is None or not compare_digest(token.digest, digest):
            raise Unauthorized("The token is not known")
        if token.expires is not None and token.expires <= now:
            raise token.expired()
        return token

    def inherit(self, before: Tokens, now: int) -> Tokens:
        """
        Return these tokens with the meters of those that were there before, so that their debts stay.

        A request in progress may still hold the token from before and charge it,
        so the meter is the same object.

        @param now: nanoseconds of the monotonic clock.
        """
        old = before.by_digest
        return Tokens({digest: _inherit(token, old.get(digest), now) for digest, token in self.by_digest.items()})


def _inherit(token: Token, before: Token | None, now: int) -> Token:
    if token.meter is None or before is None or before.meter is None:
        return token
    before.meter.adjust(now, token.meter)
    return attrs.evolve(token, meter=before.meter)
