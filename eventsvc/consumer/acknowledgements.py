"""
Sends the acknowledgements of a consumer, and keeps those that Redis has not
confirmed.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from itertools import chain
from typing import Final

import attrs
from twisted.python.failure import Failure

from eventsvc.consumer.in_flight import InFlight
from eventsvc.event import Entry
from eventsvc.interfaces import IEventGroup, Refused, Unknown

#: Ids in one call.
_PAGE: Final = 1_000


@attrs.define(eq=False)
class Acknowledgements:
    """
    Acknowledges entries that are done, and keeps the unconfirmed ones.

    # Note [Unconfirmed acknowledgement]

    An acknowledgement travels in one write with the next read, and nobody
    waits for its reply.  When the connection is lost in between, the entry may
    still be pending, and would be handled again after the reconnection::

        us:     handled 5,  XACK 5 ->           read own pending -> 5 again
        link:                        cut here

    So entries stay L{unconfirmed} until the reply has come.  They are
    acknowledged again first thing on a new connection, before own pending
    entries are read, if Redis still has them pending with the same bytes: see
    the Note [Redis goes back].  An acknowledgement that is refused starts a new round as a lost connection
    does: nothing more is read until it is confirmed.

    # Note [Done before a read]

    A handler may end while a chore is done or idle entries are claimed, after
    the round has acknowledged.  Then nothing is in flight, so the read waits
    long for new entries, and the acknowledgement would wait behind it::

        round:    nothing is done  trim   read, for seconds  XACK 5
        handler:  5                5 is done

    So a round acknowledges again right before it reads.
    """

    group: IEventGroup
    in_flight: InFlight
    #: the entries of each acknowledgement that Redis has not confirmed
    _unconfirmed: list[Sequence[Entry]] = attrs.field(factory=list, init=False)
    _problem: BaseException | None = attrs.field(default=None, init=False)

    @property
    def unconfirmed(self) -> Sequence[Entry]:
        """The entries whose acknowledgement Redis has not confirmed."""
        return list(chain.from_iterable(self._unconfirmed))

    def send(self) -> None:
        """
        Acknowledge what is done, without waiting for the reply.

        Raises L{Refused} or L{Unknown} if an earlier acknowledgement failed.
        """
        if self._problem is not None:
            raise self._problem
        if not self.in_flight.done or self.in_flight.in_doubt:
            return
        done = self.in_flight.take_done()
        unconfirmed = self._unconfirmed
        unconfirmed.append(done)

        def confirmed(_: None) -> None:
            unconfirmed.pop(0)  # replies come in order

        def failed(failure: Failure) -> None:
            failure.trap(Refused, Unknown)
            self._problem = failure.value

        self.group.acknowledge([entry.id for entry in done]).addCallbacks(confirmed, failed)

    def begin(self) -> None:
        """Begin a round: what is done is unconfirmed, and an earlier failure is over."""
        self._problem = None
        self._unconfirmed = [[*self.unconfirmed, *self.in_flight.take_done()]]

    async def confirm(self, ours: Container[str]) -> None:
        """Acknowledge what is unconfirmed and among these ids, wait for the replies, and drop the rest."""
        ids = [entry.id for entry in self.unconfirmed if entry.id in ours]
        self.in_flight.recent.keep(entry for entry in self.unconfirmed if entry.id not in ours)
        for start in range(0, len(ids), _PAGE):
            await self.group.acknowledge(ids[start : start + _PAGE])
        self._unconfirmed = []
