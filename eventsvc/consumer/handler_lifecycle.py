"""
Starts and stops the handler of a consumer.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.reflect import safe_str

from eventsvc.consumer.bound_handler import BoundHandler, HandlerTimeout, end_within
from eventsvc.consumer.handler_call import finish_call


@attrs.define(eq=False)
class HandlerLifecycle:
    """
    Calls the C{start} and C{stop} of a handler, each at most once.

    @ivar exit: called with a sentence when the handler cannot start.
    @ivar is_stopping: whether the consumer stops, which cancels a start.
    """

    handler: BoundHandler
    exit: Callable[[str], object]
    clock: IReactorTime
    is_stopping: bool = attrs.field(default=False, init=False)
    _started: bool = attrs.field(default=False, init=False)
    _log = Logger()

    async def start(self) -> bool:
        """Start the handler; return C{False} if it cannot, and the process is asked to end."""
        await deferLater(self.clock, 0)  # the loop of asyncio runs only then
        try:
            await finish_call(self.handler.start)
        except Exception as error:
            if isinstance(error, CancelledError) and self.is_stopping:
                raise
            self._log.failure("the handler cannot start")
            self.exit(f"the handler cannot start: {safe_str(error) or type(error).__name__}")
            return False
        self._started = True
        return True

    async def stop(self, seconds: float) -> None:
        """Stop the handler if it was started; give up after so many seconds."""
        if not self._started:
            return
        self._started = False
        try:
            await end_within(finish_call(self.handler.stop), seconds, self.clock)
        except HandlerTimeout:
            self._log.warn("the handler did not stop within {seconds:g} s", seconds=seconds)
        except Exception:
            self._log.failure("the handler failed to stop")
