"""
What a connection owes its client.
"""

from __future__ import annotations

from typing import Final, Protocol

import attrs
from twisted.logger import Logger
from twisted.python.failure import Failure

from eventsvc.interfaces import Waiting
from eventsvc.web.answers import Answer, answer_for, stored, to_bytes, unexpected
from eventsvc.web.site import TIME_IS_UP

_log: Final = Logger()

#: What a client is told: the id of its event, or why there is none.
Result = tuple[int, ...] | Exception | Answer


class Debtor(Protocol):
    """Who answers."""

    def go_on(self) -> None:
        """See to the answers that are known by now."""


@attrs.define(eq=False)
class Owed:
    """
    A request that is to be answered.

    @ivar result: what it is to be told, once that is known.
    @ivar request: what waits to be stored.
    """

    debtor: Debtor
    result: Result | None = None
    request: Waiting | None = None

    def tell(self, result: tuple[int, ...] | Exception) -> None:
        """Take what became of it."""
        self.result = result
        self.request = None  # which knows us: no work for the garbage collector
        self.debtor.go_on()

    def drop(self) -> None:
        """Its time is over, or its client is gone."""
        if self.result is None:
            self.result = TIME_IS_UP
            if self.request is not None:
                self.request.abandon()


def response(result: Result, date: bytes, last: bool) -> bytes:
    """
    The bytes of the answer to a C{POST /event}.

    @param last: the connection ends with it.
    """
    if isinstance(result, tuple):
        if not last:
            # What to_bytes would make of it, in a tenth of the time.
            return b"HTTP/1.1 200 OK\r\nDate: %b\r\nEvent-Id: %d\r\nContent-Length: 0\r\n\r\n" % (date, result[0])
        result = stored(result[0])
    elif isinstance(result, Exception):
        result = _answer_for(result)
    return to_bytes(result, date, last)


def _answer_for(error: Exception) -> Answer:
    answer = answer_for(error, "POST")
    if answer is None:
        _log.failure("a request failed in an unexpected way", Failure(error))
        answer = unexpected()
    return answer
