"""
Decides when the socket of a connection is read.
"""

from __future__ import annotations

from typing import Any

import attrs

from eventsvc.web.arrivals import READ, READ_LARGE, Arrivals, Reservation


@attrs.define(eq=False)
class Inflow:
    """
    Pauses a socket, and lets a large request arrive only when there is room for it.

    @ivar transport: is read C{read_size} bytes at a time.
    @ivar producer: pauses and resumes the transport.
    @ivar is_held: whether the socket is paused.
    @ivar has_key: whether the last request with a reservation has an idempotency key.
    """

    transport: Any
    producer: Any
    is_held: bool = attrs.field(default=False, init=False)
    has_key: bool = attrs.field(default=False, init=False)
    reservation: Reservation | None = attrs.field(default=None, init=False)
    _is_wanted: bool = attrs.field(default=True, init=False)

    @property
    def waits_for_room(self) -> bool:
        """Whether a large request waits for room to arrive."""
        return self.reservation is not None and not self.reservation.granted

    def want(self, is_wanted: bool) -> None:
        """Set whether more bytes are wanted."""
        self._is_wanted = is_wanted
        self._update()

    def reserve(self, size: int, has_key: bool, arrivals: Arrivals) -> None:
        """Let a body of this many bytes arrive, now or once there is room; further calls have no effect."""
        if self.reservation is None:
            self.has_key = has_key
            self.reservation = arrivals.reserve(size, self._on_grant)
            if self.reservation.granted:
                self.transport.read_size = READ_LARGE
            self._update()

    def _on_grant(self) -> None:
        self.transport.read_size = READ_LARGE
        self._update()

    def release(self) -> None:
        """Give the reservation back, because the body is in the queue or dropped."""
        if self.reservation is not None:
            reservation, self.reservation = self.reservation, None
            self.transport.read_size = READ
            self._update()
            reservation.release()

    def _update(self) -> None:
        is_held = not self._is_wanted or self.waits_for_room
        if is_held is not self.is_held:
            self.is_held = is_held
            if is_held:
                self.producer.pauseProducing()
            else:
                self.producer.resumeProducing()
