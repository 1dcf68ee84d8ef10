"""
The account of a run: what was done to the deployment, and what that excuses.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal

import attrs

from eventsvc.testing.history import Cause, Op

#: Seconds within which a consumer handles the entries it has claimed, and a
#: consumer that was blocked finishes those it had in flight.
TAKEN_UP: Final = 4.0


@attrs.define(eq=False)
class Account:
    """
    Keeps account of one run.

    @ivar journal: the changes made to the deployment, with their times.
    @ivar wiped: when the events that may be lost were confirmed at the latest, if any may be lost.
    @ivar rolled_back: whether Redis has returned to an earlier state.
    @ivar posted: events that a fault has posted.
    @ivar causes: reasons why events may have been handled again.
    @ivar complaints: sentences about failures during the fault.
    """

    journal: list[tuple[float, str]] = attrs.field(factory=list, init=False)
    wiped: float | None = attrs.field(default=None, init=False)
    rolled_back: bool = attrs.field(default=False, init=False)
    posted: list[Op] = attrs.field(factory=list, init=False)
    causes: list[Cause] = attrs.field(factory=list, init=False)
    complaints: list[str] = attrs.field(factory=list, init=False)

    def note(self, words: str) -> None:
        """Record a change, with its time."""
        self.journal.append((time.monotonic(), words))

    def lose_data(self, retained: float | None = None) -> None:
        """
        Record that Redis loses data now, which the producers give back.

        @param retained: seconds that the producers retain events, if the run is longer.
        """
        self.rolled_back = True
        if retained is not None:
            self.wiped = time.monotonic() - retained

    @contextmanager
    def rolling_back(self) -> Iterator[None]:
        """Record that Redis returns to an earlier state: events whose acknowledgements are lost are handled again."""
        self.lose_data()
        with self.causing("anew"):
            yield

    @contextmanager
    def causing(self, kind: Literal["ended", "takeover", "anew"], consumer: str | None = None) -> Iterator[None]:
        """
        Record that events may be handled again because of the code inside.

        Entries that were claimed meanwhile may be handled some time later.
        """
        begin = time.monotonic()
        try:
            yield
        finally:
            late = TAKEN_UP if kind == "takeover" else 0.0
            self.causes.append(Cause(kind, begin, time.monotonic() + late, consumer))
