"""
Bounds the memory of large requests from their arrival until they are in the queue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

import attrs

#: Bytes per read from a connection without a L{Reservation}, and with one.
READ: Final = 4_096
READ_LARGE: Final = 65_536
#: Bytes kept while requests wait for their answers; beyond that the socket is not read.
READ_AHEAD: Final = READ


@attrs.define(eq=False)
class Reservation:
    """
    The bytes reserved for one request.

    @ivar granted: whether the body may arrive; until then its connection must not be read.
    """

    arrivals: Arrivals
    size: int
    on_grant: Callable[[], object]
    granted: bool = False

    def release(self) -> None:
        """Give the bytes back; further calls have no effect."""
        self.arrivals.release(self)


@attrs.define(eq=False)
class Arrivals:
    """
    Bounds the bytes of all large requests, in the queue and on their way to it.

    # Note [Bytes in arrival]

    A connection may hold L{eventsvc.web.turns.SMALL} bytes without a reservation.
    For a larger request it reserves the whole size before it reads on.  If
    bytes were counted as they arrive, many bodies could each get half of what
    they need, and none could complete::

        1 MiB free:   A gets 0.5    B gets 0.5    A waits for B    B waits for A

    Reservations are granted in order, so that a large one is not starved.
    If no other is held, a reservation is granted even without room.  So the
    largest request always gets through, and exceeds the bound by at most its size.

    @ivar bound: the most bytes, including those in the queue.
    @ivar queued: returns the bytes in the queue.
    @ivar held: the bytes reserved.
    """

    bound: int = 16_777_216
    queued: Callable[[], int] = lambda: 0
    held: int = attrs.field(default=0, init=False)
    _line: deque[Reservation] = attrs.field(factory=deque, init=False)

    def reserve(self, size: int, on_grant: Callable[[], object]) -> Reservation:
        """
        Reserve bytes, now or later.

        @param on_grant: called when the bytes are granted later.
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
        """Grant the reservations that fit now."""
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
    """Return arrivals that share the byte limit of an appender's queue."""
    backlog = appender.backlog
    arrivals = Arrivals(backlog.limits.queue_bytes, lambda: backlog.size)
    backlog.on_room.append(arrivals.grant)
    return arrivals
