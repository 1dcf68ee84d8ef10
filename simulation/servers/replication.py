"""
How the writes of a primary reach a replica, and how it confirms them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from simulation.servers.history import History, Position

if TYPE_CHECKING:
    from simulation.servers.server import Server

#: Seconds from one server to the next.
DELAY: Final = 0.0005


@attrs.define(eq=False)
class Link:
    """
    The connection of a replica to its primary.

    What has arrived is computed from the time when it was written, so that no write needs a timer.

    @ivar history: that of the primary, which the replica follows.
    @ivar before: the state of the replica until the link works.
    @ivar delay: seconds that a write takes to the replica.
    @ivar back: seconds that its confirmation takes.
    @ivar since: when the link came up; C{None} while it is down.
    """

    primary: Server
    replica: Server
    history: History
    before: Position
    since: float | None = None
    delay: float = DELAY
    back: float = DELAY
    _begun: bool = False
    _received: int = 0
    _confirmed: int = -1

    def position(self, now: float) -> Position:
        """Return the state of the replica."""
        if self.is_in_sync(now):
            self._begun = True
            self._received = max(self._received, self.history.at(now - self.delay))
        return Position(self.history, self._received) if self._begun else self.before

    def is_in_sync(self, now: float) -> bool:
        """Return whether the link is up and the replica follows."""
        return self.since is not None and now >= self.since + self.delay

    def confirmed(self, now: float) -> int:
        """Return the offset that the primary knows the replica to have; -1 if it does not follow yet."""
        if self.since is not None and now >= self.since + self.delay + self.back:
            self._confirmed = max(self._confirmed, self.history.at(now - self.delay - self.back))
        return self._confirmed if self.since is not None else -1

    def confirms_at(self, offset: int) -> float | None:
        """Return when the primary knows that the replica has a write, if nothing changes; C{None} while it is down."""
        if self.since is None:
            return None
        return max(self.since, self.history.time(offset)) + self.delay + self.back

    def cut(self, now: float) -> None:
        """Stop: what is on its way is lost."""
        self._freeze(now)
        self.since = None
        self.primary.links_changed()

    def heal(self, now: float, after: float = 0.0) -> None:
        """Go on; what is missing arrives after a time."""
        if self.since is None:
            self.since = now + after
            self.primary.links_changed()

    def follow(self, history: History, now: float) -> None:
        """Follow another history of the same primary, which has begun again."""
        self.before = self.position(now)
        self.history = history
        self._begun, self._received, self._confirmed = False, 0, -1
        self.since = None
        self.heal(now)

    def slow_down(self, now: float, delay: float) -> None:
        """Change the time that a write takes from now on."""
        self._freeze(now)
        self.delay = delay
        self.primary.links_changed()

    def _freeze(self, now: float) -> None:
        self.position(now)
        self.confirmed(now)
