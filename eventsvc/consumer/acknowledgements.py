"""
Sends the acknowledgements of a consumer, and keeps those that Redis has not
confirmed.
"""

from __future__ import annotations

from typing import Final

import attrs
from twisted.python.failure import Failure

from eventsvc.consumer.in_flight import InFlight
from eventsvc.interfaces import IEventGroup, Refused, Unknown

#: Ids in one call.
_PAGE: Final = 1_000


@attrs.define(eq=False)
class Acknowledgements:
    """
    Acknowledges entries that are done, and keeps the unconfirmed ids.

    # Note [Unconfirmed acknowledgement]

    An acknowledgement travels in one write with the next read, and nobody
    waits for its reply.  When the connection is lost in between, the entry may
    still be pending, and would be handled again after the reconnection::

        us:     handled 5,  XACK 5 ->           read own pending -> 5 again
        link:                        cut here

    So ids stay in C{unconfirmed} until the reply has come.  They are sent
    again first thing on a new connection, before own pending entries are read.
    An acknowledgement that is refused starts a new round as a lost connection
    does: nothing more is read until it is confirmed.
    """

    group: IEventGroup
    in_flight: InFlight
    unconfirmed: set[str] = attrs.field(factory=set, init=False)
    _problem: BaseException | None = attrs.field(default=None, init=False)

    def send(self) -> None:
        """
        Acknowledge what is done, without waiting for the reply.

        Raises L{Refused} or L{Unknown} if an earlier acknowledgement failed.
        """
        if self._problem is not None:
            raise self._problem
        done = self.in_flight.take_done()
        if not done:
            return
        self.unconfirmed.update(done)

        def confirmed(_: None) -> None:
            self.unconfirmed.difference_update(done)

        def failed(failure: Failure) -> None:
            failure.trap(Refused, Unknown)
            self._problem = failure.value

        self.group.acknowledge(done).addCallbacks(confirmed, failed)

    async def confirm(self) -> None:
        """Acknowledge everything done and unconfirmed, and wait for the replies."""
        self._problem = None
        self.unconfirmed.update(self.in_flight.take_done())
        ids = sorted(self.unconfirmed)
        for start in range(0, len(ids), _PAGE):
            page = ids[start : start + _PAGE]
            await self.group.acknowledge(page)
            self.unconfirmed.difference_update(page)
