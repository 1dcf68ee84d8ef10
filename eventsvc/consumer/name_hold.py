"""
Detects two processes that use the same consumer name, and gives the name up.
"""

from __future__ import annotations

from typing import Final

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from eventsvc.interfaces import IEventGroup, Refused, Unknown

#: Seconds between two checks.
EVERY: Final = 2.0

#: Seconds by which two readings of one end may differ.
_TOLERANCE: Final = 0.5


@attrs.define(eq=False)
class NameHold:
    """
    Holds the name of this consumer, and detects when another process holds it.

    Two processes with one name share one list of pending entries: each takes up
    what the other has in flight, and events are handled twice.

    # Note [A name that is left behind]

    A process holds its name for C{lifetime} seconds, even after it is killed.
    The next process finds the name held, which must not count as a clash.  But
    the remaining time of a dead process falls as fast as time passes::

        killed:   15 s left | 13 | 11 | 9 ...                     | ours
        alive:    15 s left | 13 | 14: renewed | 12 | 13: renewed, so it is in use

    It takes two renewals, because the server's clock may be set back once.

    # Note [Leaving]

    A consumer that Redis removes loses its pending entries.  So one script looks
    for them and removes it.  A process that starts with the same name meanwhile
    has read something or it has not::

        old:    nothing pending   | looks: 5 is pending, stays
        new:           reads 5    |

        old:    nothing pending   | looks, is removed |
        new:           waits for 5                    | 5 arrives: Redis makes the consumer again

    A consumer whose name another process holds does not remove it.

    @ivar token: identifies this process.
    @ivar lifetime: seconds for which the name is held; several times the time
        between two checks.
    @ivar in_use: whether another process uses the name.
    """

    group: IEventGroup
    clock: IReactorTime
    token: str
    lifetime: float
    in_use: bool = attrs.field(default=False, init=False)
    _until: float | None = attrs.field(default=None, init=False)
    _renewals: int = attrs.field(default=0, init=False)
    _log = Logger()

    async def check(self) -> None:
        """Hold the name, or find out whether another process does."""
        left = await self.group.hold_name(self.token, self.lifetime)
        if not left:
            if self.in_use:
                self._log.info("no other process uses the name of this consumer any more")
            self.in_use, self._until, self._renewals = False, None, 0
            return
        until = self.clock.seconds() + left
        if self._until is not None and until > self._until + _TOLERANCE:
            self._renewals += 1
        self._until = until
        if self._renewals == 2 and not self.in_use:
            self.in_use = True
            self._log.critical(
                "another process uses the name of this consumer: events are handled twice. "
                "Give each process its own REDIS_CONSUMER, or none",
                details={"alarm": "consumer_name_in_use"},
            )

    async def leave(self) -> None:
        """Remove this consumer from its group, unless it has pending entries or another process holds its name."""
        try:
            await self.group.leave(self.token)
        except (Refused, Unknown) as error:
            self._log.info("cannot leave the group, others remove this consumer later: {error}", error=error)
