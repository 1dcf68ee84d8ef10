"""
Flushes what a handler has buffered.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.defer import DeferredLock

from eventsvc.consumer.handler_call import HandlerMistake, call


def nothing_to_flush() -> None:
    """Do nothing: the flush of a handler that buffers nothing."""


@attrs.define(eq=False)
class Flush:
    """
    Calls the C{flush} of a handler, and counts the calls that fail.

    Flushes run one at a time: two at once could each take what the other's
    entries need.

    @ivar failed: failed flushes so far.
    """

    function: Callable[[], object] = nothing_to_flush
    failed: int = attrs.field(default=0, init=False)
    _lock: DeferredLock = attrs.field(factory=DeferredLock, init=False)

    @property
    def is_needed(self) -> bool:
        """Whether the handler has a C{flush}."""
        return self.function is not nothing_to_flush

    async def run(self, failed_before: int) -> None:
        """
        Flush what the handler has buffered, or raise what the handler raises.

        @param failed_before: L{failed} when the handler was called for the first
            of the events that are flushed.
        @raise HandlerMistake: another flush has failed since, and may have
            contained these events.
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
