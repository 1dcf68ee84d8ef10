"""
What a consumer does now and then between two rounds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs


@attrs.define(eq=False)
class Chore:
    """
    Something done now and then between two rounds.

    @ivar every: seconds from its end to its next start.
    @ivar handled: after so many entries it is due earlier; C{None}: time
        alone counts.
    @ivar problem: why it was refused the last time; empty if it was not.
    """

    every: float
    work: Callable[[], Awaitable[object]]
    handled: int | None = None
    due: float = 0.0
    problem: str = ""
    _due_handled: int = attrs.field(default=0, init=False)

    def is_due(self, now: float, handled: int) -> bool:
        """Say whether to do it now, when so many entries were handled."""
        return self.due <= now or (self.handled is not None and handled >= self._due_handled)

    def end(self, now: float, handled: int) -> None:
        """Note that it was done or refused."""
        self.due = now + self.every
        self._due_handled = handled + (self.handled or 0)
