"""
The bytes of large requests, in arrival and until they are in the queue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

import attrs

#: Bytes that a connection is read by while it holds no L{Reservation}, and with one.
READ: Final = 4_096
READ_LARGE: Final = 65_536
#: Bytes that are kept while requests wait for their answers; past them the socket waits.
READ_AHEAD: Final = READ


@attrs.define(eq=False)
class Reservation:
    """
    A request's part of the bytes that all may hold.

    @ivar granted: whether its bytes may come; until then its connection is not to be read.
    """

    arrivals: Arrivals
    size: int
    on_grant: Callable[[], object]
    granted: bool = False

    def release(self) -> None:
        """The bytes are gone, or will not come; may be called again."""
        self.arrivals.release(self)


@attrs.define(eq=False)
class Arrivals:
    """
    Bounds the bytes of all requests that are not yet in the queue, together with those in it.

    # Note [Bytes in arrival]

    A connection may hold L{eventsvc.web.turns.SMALL} bytes without asking.  For a
    request of more it reserves the whole size before it reads on.  Were
    bytes counted as they come, many bodies could each have half of what they
    need, and none could end::

        1 MiB free:   A gets 0.5    B gets 0.5    A waits for B    B waits for A

    Reservations are granted in order, so that a large one is not passed over for ever.
    One is granted even without room if there is no other: so the largest
    always gets through, and the bound is passed by no more than that one.

    @ivar bound: bytes, those of the queue among them.
    @ivar queued: bytes in the queue.
    @ivar held: bytes reserved.
    """

    bound: int = 16_777_216
    queued: Callable[[], int] = lambda: 0
    held: int = attrs.field(default=0, init=False)
    _line: deque[Reservation] = attrs.field(factory=deque, init=False)

    def reserve(self, size: int, on_grant: Callable[[], object]) -> Reservation:
        """
        Reserve bytes, now or later.

        @param on_grant: called if it is later.
        """
        reservation = Reservation(self, size, on_grant)
        if not self._line and self._fits(size):
            self._grant(reservation)
        else:
            self._line.append(reservation)
        return reservation

    def release(self, reservation: Reservation) -> None:
        if reservation.granted:
            self.held -= reservation.size
        reservation.size = 0
        self.grant()

    def grant(self) -> None:
        """Let those in who fit by now."""
        line = self._line
        while line and (not line[0].size or self._fits(line[0].size)):
            reservation = line.popleft()
            if reservation.size:
                self._grant(reservation)
                reservation.on_grant()

    def _fits(self, size: int) -> bool:
        return self.held + self.queued() + size <= self.bound or not self.held

    def _grant(self, reservation: Reservation) -> None:
        reservation.granted = True
        self.held += reservation.size


def bounded_by_queue(appender: Any) -> Arrivals:
    """Arrivals that share the bound of an appender's queue."""
    backlog = appender.backlog
    arrivals = Arrivals(backlog.limits.queue_bytes, lambda: backlog.size)
    backlog.on_room.append(arrivals.grant)
    return arrivals
