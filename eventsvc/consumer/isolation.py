"""
Has an event handled alone that may have killed its process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from eventsvc.event import Entry

#: Seconds that an entry waits to be alone, and is alone, at most.
_LONGEST: Final = 30.0

#: Deliveries of an entry that are not suspicious: the first, which a read counts
#: for entries that nobody begins too, and one that may have died with others.
_NOT_SUSPICIOUS: Final = 2


@attrs.define(eq=False)
class Isolation:
    """
    Decides how many entries the handler may have, and makes it one for an entry
    whose process has died twice.

    # Note [Bystanders]

    When a process is killed, each entry that the handler had has spent a
    delivery.  Which of them killed it, nobody knows, and after enough kills all
    would be given up.  So an entry that was begun a second time, and whose
    delivery has not ended then either, is handled alone::

        1st process:  4 5 6 7 begin, killed      each was delivered once
        2nd process:  4 5 6 7 begin, killed      twice
        3rd process:  4 ends, 5 ends, 6: killed  only 6 has spent another
        4th process:  6: killed ...              until 6 is given up
        last:         7 ends

    It needs less memory too, if all of them together have killed it.

    It is alone until the first call has ended, however it ends: the process has
    survived it.  An entry that takes longer than L{_LONGEST} seconds holds up the
    others no longer, nor does one that never ends keep another waiting.

    @ivar resume: called when more entries may begin.
    @ivar slots: how many entries or batches the handler may have now.
    """

    clock: IReactorTime
    concurrency: int
    resume: Callable[[], None]
    slots: int = attrs.field(init=False)
    #: the one that waits to be alone, or is
    _id: str | None = attrs.field(default=None, init=False)
    _timer: IDelayedCall | None = attrs.field(default=None, init=False)

    @slots.default
    def _all(self) -> int:
        return self.concurrency

    def admits(self, entry: Entry, is_idle: bool) -> bool:
        """
        Return whether an entry that was read before may begin.  No other begins
        then, if it has to be alone.

        @param is_idle: whether the handler has no other.
        """
        if self.concurrency == 1 or entry.deliveries <= _NOT_SUSPICIOUS:
            return True
        has_waited = entry.id == self._id and self._timer is None
        if entry.id != self._id:
            self._id = entry.id
            self._start_timer()
        if not is_idle and not has_waited:
            return False
        self.slots = 1
        self._start_timer()
        return True

    def end(self, id: str) -> None:
        """Note that the first call for an entry has ended, or that there is none."""
        if id == self._id:
            self._id = None
            self.stop()
            self.slots = self.concurrency
            self.resume()

    def stop(self) -> None:
        """Wait no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start_timer(self) -> None:
        self.stop()
        self._timer = self.clock.callLater(_LONGEST, self._expire)

    def _expire(self) -> None:
        self._timer = None
        self.slots = self.concurrency
        self.resume()
