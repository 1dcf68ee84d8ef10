"""
Decides at the door who may post, and counts who may not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import attrs

from eventsvc.web.tokens import Forbidden, Rejected, Token, Tokens, TooManyRequests, Unauthorized

_SECOND: Final = 1_000_000_000
#: The most errors that are kept.
_MOST: Final = 1_024
_REASONS: Final = (Unauthorized.reason, Forbidden.reason, TooManyRequests.reason)


@attrs.define(eq=False)
class Access:
    """
    The tokens that are valid now, with the clocks to check them by.

    # Note [What depends on the head alone]

    L{identify} depends on the head of a request and on the tokens.  Its result,
    a token or an error, may be kept for a head that comes again, until
    C{on_change} is called.  L{refuse} must be called for each request.

    @ivar monotonic: returns nanoseconds of the monotonic clock.
    @ivar wall_clock: returns nanoseconds since 1970.
    @ivar on_change: called after the tokens have changed.
    @ivar rejected: the requests that were rejected, by reason.
    """

    tokens: Tokens
    monotonic: Callable[[], int]
    wall_clock: Callable[[], int]
    on_change: list[Callable[[], object]] = attrs.field(factory=list)
    rejected: dict[str, int] = attrs.field(factory=lambda: dict.fromkeys(_REASONS, 0), init=False)
    _refusals: dict[tuple[str, int, str], TooManyRequests] = attrs.field(factory=dict, init=False, repr=False)

    def identify(self, authorization: Sequence[bytes], stream: str) -> Token:
        """
        Return the token of a request; nothing is counted.

        @param authorization: the values of all its C{Authorization} headers.
        @raise Unauthorized, Forbidden: it has none that may write to the stream.
        """
        token = self.tokens.find(authorization, self.wall_clock())
        token.check_stream(stream)
        return token

    def refuse(self, token: Token, stored: str = "no") -> Rejected | None:
        """
        Let a request in and charge one event, or return why it is refused; call it once for each request.

        @param stored: what the answer to a refused request says about its events.
        """
        if token.expires is not None and token.expires <= self.wall_clock():
            return token.expired()
        if token.meter is not None and (wait := token.meter.take(self.monotonic())):
            return self._find_refusal(token.name, -(-wait // _SECOND), stored)
        return None

    def _find_refusal(self, name: str, seconds: int, stored: str) -> Rejected:
        """Return the error of a token past its rate; making a new one for each request would double its cost."""
        refusal = self._refusals.get((name, seconds, stored))
        if refusal is None:
            if len(self._refusals) >= _MOST:
                self._refusals.clear()
            refusal = self._refusals[name, seconds, stored] = TooManyRequests(name, seconds, stored)
        return refusal

    def count(self, error: Rejected) -> None:
        """Count a request that is answered with this error."""
        self.rejected[error.reason] += 1

    def replace(self, tokens: Tokens) -> None:
        """Use other tokens from now on; those that stay keep their debts."""
        self.tokens = tokens.inherit(self.tokens, self.monotonic())
        for call in self.on_change:
            call()
