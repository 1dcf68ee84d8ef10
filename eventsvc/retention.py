"""
Keeps the stream at its length, without ever passing an entry that a group has
not acknowledged.
"""

from __future__ import annotations

from typing import Final

import attrs
from twisted.internet.interfaces import IReactorTime

from eventsvc.interfaces import IEventGroup

#: The longest one round of trimming may hold up the reader, in seconds.
_LONGEST: Final = 0.2


@attrs.define(eq=False)
class Retention:
    """
    Trims a stream in small steps.

    @ivar max_len: entries kept as history.
    """

    group: IEventGroup
    clock: IReactorTime
    max_len: int
    #: entries removed so far
    trimmed: int = attrs.field(default=0, init=False)

    async def trim(self) -> None:
        """Trim until nothing more may go, or time is up."""
        end = self.clock.seconds() + _LONGEST
        while removed := await self.group.trim(self.max_len):
            self.trimmed += removed
            if self.clock.seconds() >= end:
                return
