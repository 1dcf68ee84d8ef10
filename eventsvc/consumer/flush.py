"""
Flushes what a handler keeps back.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.defer import DeferredLock

from eventsvc.consumer.handler_call import HandlerMistake, call


def nothing_to_flush() -> None:
    """Do nothing: the flush of a handler that keeps nothing back."""


@attrs.define(eq=False)
class Flush:
    """
    Calls the C{flush} of a handler, and counts the calls that fail.

    Two flushes at once could each take what the other's entries need, so they
    wait for each other.

    @ivar failed: flushes that failed so far.
    """

    function: Callable[[], object] = nothing_to_flush
    failed: int = attrs.field(default=0, init=False)
    _lock: DeferredLock = attrs.field(factory=DeferredLock, init=False)

    @property
    def is_needed(self) -> bool:
        """Whether the handler keeps anything back."""
        return self.function is not nothing_to_flush

    async def run(self, failed_before: int) -> None:
        """
        Flush what the handler keeps, or raise what the handler raises.

        @param failed_before: how many flushes had failed when the first of the
            handlers began whose events are flushed.
        @raise HandlerMistake: a flush for other events failed since, and may
            have had these in it.
        """
        if not self.is_needed:
            return
        async with self._lock:
            try:
                unfinished = call(self.function)
                if unfinished is not None:
                    await unfinished
            except Exception:
                self.failed += 1
                raise
        if self.failed != failed_before:
            raise HandlerMistake("a flush for other events failed, and may have lost this one")
