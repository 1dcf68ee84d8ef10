"""
The reader loop: read, decide, handle, acknowledge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from eventsvc.background import run_in_background
from eventsvc.delivery import Entry, Handle, PassOver, SetAside, decide
from eventsvc.event import Notification
from eventsvc.interfaces import IEventGroup, Refused, Unknown

#: Entries read at once.
_COUNT: Final = 100
#: Seconds after a failed round.
_PAUSE: Final = 0.05


@attrs.define(eq=False, slots=False)
class Consumer(Service):
    """
    Gives each event of a group to a handler, and acknowledges it after.

    @ivar handler: takes a L{Notification}; may return a Deferred or a coroutine.
    @ivar block: longest wait for new events, in seconds.
    """

    group: IEventGroup
    handler: Callable[[Notification], Any]
    clock: IReactorTime
    block: float = 5.0
    handled: int = attrs.field(default=0, init=False)
    _running: Deferred[None] | None = attrs.field(default=None, init=False)
    _log = Logger()

    def startService(self) -> None:
        super().startService()
        self._running = run_in_background(self._run(), self._log)

    def stopService(self) -> Deferred[None]:
        super().stopService()
        if self._running is not None:
            self._running.cancel()
        return succeed(None)

    async def _run(self) -> None:
        while True:
            try:
                await self._consume()
            except CancelledError:
                raise
            except (Refused, Unknown) as error:
                self._log.warn("starting again: {error}", error=error)
            except Exception:
                self._log.failure("the reader loop failed in an unexpected way")
            await deferLater(self.clock, _PAUSE)

    async def _consume(self) -> None:
        """One connection's life: own pending entries first, then new ones."""
        await self.group.open()
        after = "0"
        while entries := await self.group.read_pending(after, _COUNT):
            await self._handle_all(entries)
            after = entries[-1].id
        while True:
            await self._handle_all(await self.group.read(_COUNT, self.block))

    async def _handle_all(self, entries: Sequence[Entry]) -> None:
        done = [entry.id for entry in entries if await self._handle(entry)]
        if done:
            await self.group.acknowledge(done)

    async def _handle(self, entry: Entry) -> bool:
        """Handle an entry; say if it may be acknowledged."""
        match decide(entry):
            case PassOver():
                return True
            case SetAside(reason, error):
                self._log.error("{id} is {reason}: {error}", id=entry.id, reason=reason, error=error)
                return False
            case Handle(notification):
                try:
                    await maybeDeferred(self.handler, notification)
                except CancelledError:
                    raise
                except Exception:
                    self._log.failure("the handler failed on {id}", id=entry.id)
                    return False
                self.handled += 1
                return True
