"""
Maintenance that a consumer does between two rounds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs


@attrs.define(eq=False)
class Chore:
    """
    A maintenance task, done between two rounds.

    @ivar every: seconds from its end to its next start.
    @ivar handled: number of handled entries after which it is due earlier;
        C{None}: only time counts.
    @ivar problem: why Redis refused it the last time; empty if it did not.
    """

    every: float
    work: Callable[[], Awaitable[object]]
    handled: int | None = None
    due: float = 0.0
    problem: str = ""
    _due_handled: int = attrs.field(default=0, init=False)

    def is_due(self, now: float, handled: int) -> bool:
        """Return whether it is due, by the clock or by the count of handled entries."""
        return self.due <= now or (self.handled is not None and handled >= self._due_handled)

    def end(self, now: float, handled: int) -> None:
        """Schedule the next time, after it was done or refused."""
        self.due = now + self.every
        self._due_handled = handled + (self.handled or 0)
