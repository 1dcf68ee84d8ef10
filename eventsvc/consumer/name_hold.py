"""
Notices that two processes are one consumer by name.
"""

from __future__ import annotations

from typing import Final

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from eventsvc.interfaces import IEventGroup

#: Seconds between two looks.
EVERY: Final = 2.0

#: Seconds by which two readings of one end may differ.
_TOLERANCE: Final = 0.5


@attrs.define(eq=False)
class NameHold:
    """
    Says that this process has the name of its consumer, and notices when
    another process says so.

    Two processes of one name share one list of pending entries: each takes up
    what the other has in flight, and events are handled twice.

    # Note [A name that is left behind]

    What a process has said holds for C{lifetime} seconds, also if it is killed.
    The process that comes after it finds the name held, and must not take that
    for a clash.  But of a dead process the time that is left falls as fast as
    time passes::

        killed:   15 s left | 13 | 11 | 9 ...                     | ours
        alive:    15 s left | 13 | 14: renewed | 12 | 13: renewed, so it is in use

    Twice, because the clock of the server may have been set back once.

    @ivar token: names this process, and no other.
    @ivar lifetime: seconds for which the name is held; several times as long
        as it takes to come to the next look.
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
        """Hold the name, or see who does."""
        left = await self.group.hold_name(self.token, self.lifetime)
        if not left:
            if self.in_use:
                self._log.info("the name of this consumer is its own again")
            self.in_use, self._until, self._renewals = False, None, 0
            return
        until = self.clock.seconds() + left
        if self._until is not None and until > self._until + _TOLERANCE:
            self._renewals += 1
        self._until = until
        if self._renewals == 2 and not self.in_use:
            self.in_use = True
            self._log.critical(
                "another process is the same consumer by name: events are handled twice. "
                "Give each a REDIS_CONSUMER of its own, or none",
                details={"alarm": "consumer_name_in_use"},
            )
