"""
Trims the stream to its bounds, and never an entry that a group has not
acknowledged.
"""

from __future__ import annotations

from typing import Final

import attrs
from twisted.internet.interfaces import IReactorTime

from eventsvc.consumer.chore import Chore
from eventsvc.interfaces import IEventGroup
from eventsvc.memory import HISTORY_SHARE, Memory

#: Seconds between two rounds of trimming, and the most handled entries.  A consumer that waits for its handler does
#: little else, so this is how often it asks Redis anything.
_EVERY: Final = 1.0
_MOST: Final = 10_000
#: The longest one round of trimming may hold up the reader, in seconds.
_LONGEST: Final = 0.2


@attrs.define(eq=False)
class Retention:
    """
    Trims a stream in small steps.

    History is what every group has acknowledged.  It is kept while there is room
    for it, and gives way before new events are refused.

    @ivar max_len: entries kept as history.
    @ivar hard_max: stream length at which the producer refuses new events.
    @ivar share: of the server's memory, past which no history is kept.
    @ivar memory: what the server used when it was last asked.
    """

    group: IEventGroup
    clock: IReactorTime
    max_len: int
    hard_max: int = 1_000_000
    share: float = HISTORY_SHARE
    memory: Memory = attrs.field(factory=Memory, init=False)
    #: entries removed so far
    trimmed: int = attrs.field(default=0, init=False)

    @property
    def length(self) -> int:
        """The length to trim to while memory is not short."""
        return min(self.max_len, int(self.hard_max * HISTORY_SHARE))

    @property
    def headroom(self) -> int:
        """How many entries may be added to L{length} before the producer refuses."""
        return self.hard_max - self.length

    @property
    def chore(self) -> Chore:
        """The chore that trims, in time before the producer refuses."""
        return Chore(_EVERY, self.trim, handled=max(1, min(self.headroom // 4, _MOST)))

    async def trim(self) -> None:
        """Trim until nothing more may be trimmed, or the time is up."""
        end = self.clock.seconds() + _LONGEST
        while removed := await self.group.trim(await self._keep()):
            self.trimmed += removed
            if self.clock.seconds() >= end:
                return

    async def _keep(self) -> int:
        """Return how many entries to keep: none while the server's memory is short."""
        self.memory = await self.group.memory()
        return 0 if self.memory.share > self.share else self.length
