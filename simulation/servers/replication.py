"""
How the writes of a primary reach a replica, and how it confirms them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from simulation.servers.history import History, Position

if TYPE_CHECKING:
    from simulation.servers.member import Member

#: Seconds from one server to the next.
DELAY: Final = 0.0005
#: Seconds of silence after which a server gives a connection up (C{repl-timeout}).
TIMEOUT: Final = 60.0


@attrs.define(eq=False)
class Link:
    """
    The connection of a replica to its primary.

    What has arrived is computed from the time when it was written, so that no write needs a timer.

    @ivar history: that of the primary, which the replica follows.
    @ivar before: the state of the replica until the link works.
    @ivar delay: seconds that a write takes to the replica.
    @ivar back: seconds that its confirmation takes.
    @ivar is_cut: whether the network between the two is broken.
    @ivar since: when the link came up, or comes up; C{None} while it is down.
    """

    primary: Member
    replica: Member
    history: History
    before: Position
    delay: float = DELAY
    back: float = DELAY
    is_cut: bool = False
    since: float | None = None
    _begun: bool = False
    _received: int = 0
    _confirmed: int = -1
    _heard: float = 0.0

    def position(self, now: float) -> Position:
        """Return the state of the replica."""
        if self.since is not None and now >= self.since + self.delay:
            self._begun = True
            self._received = max(self._received, self.history.at(now - self.delay))
        return Position(self.history, self._received) if self._begun else self.before

    def confirmed(self, now: float) -> int:
        """Return the offset that the primary knows the replica to have; -1 if it does not follow yet."""
        if self.since is not None and now >= self.since + self.delay + self.back:
            self._confirmed = max(self._confirmed, self.history.at(now - self.delay - self.back))
            self._heard = now
        return self._confirmed

    def confirms_at(self, offset: int) -> float | None:
        """Return when the primary knows that the replica has a write, if nothing changes; C{None} while it is down."""
        if self.since is None:
            return None
        return max(self.since, self.history.time(offset)) + self.delay + self.back

    def silence(self, now: float) -> float | None:
        """
        Return for how many seconds the primary has heard nothing; C{None} if it has given the replica up.

        The end of a process is noticed at once, a broken network and a paused process are not.
        """
        if self.confirmed(now) < 0 or not (self.primary.up and self.replica.up) or now - self._heard >= TIMEOUT:
            return None
        return now - self._heard

    def look(self, now: float, after: float = 0.0) -> None:
        """
        Come up or go down, as both servers and the network allow; what is on its way is lost.

        @param after: seconds until it is up.
        """
        works = self.primary.runs and self.replica.runs and not self.is_cut
        if works and self.since is None:
            self.since = now + after
        elif not works and self.since is not None:
            self._freeze(now)
            self.since = None
        self.primary.links_changed()

    def cut(self, now: float) -> None:
        """Break the network between the two."""
        self.is_cut = True
        self.look(now)

    def heal(self, now: float) -> None:
        """Mend the network: the replica gets what it lacks."""
        self.is_cut = False
        self.look(now)

    def slow_down(self, now: float, delay: float) -> None:
        """Change the seconds that a write takes to the replica from now on."""
        self._freeze(now)
        self.delay = delay
        self.primary.links_changed()

    def follow(self, history: History, now: float) -> None:
        """Follow another history of the same primary, which has begun again."""
        self.before = self.position(now)
        self.history = history
        self._begun, self._received, self._confirmed = False, 0, -1
        self.since = None
        self.look(now)

    def _freeze(self, now: float) -> None:
        self.position(now)
        self.confirmed(now)
