"""
Sends the parts of a page that have changed, as server-sent events (HTML standard, 9.2).
"""

from __future__ import annotations

from typing import Any, Final

import attrs
import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from eventsvc.errors import Refused, Unknown
from eventsvc.net.background import run_in_background
from eventsvc.web.pages.templating import render_template
from eventsvc.web.pages.views import View

#: Seconds after which a browser is to connect again: less than a request may take.
LIFE: Final = 50.0
#: Seconds after which something is sent, so that a dead connection is noticed.
_QUIET: Final = 15.0
#: The most browsers that follow at once.
MOST: Final = 32


@attrs.define(eq=False)
class Followers:
    """The browsers that follow a page."""

    clock: IReactorTime
    _stopped: bool = attrs.field(default=False, init=False)
    _running: dict[Any, Deferred[None]] = attrs.field(factory=dict, init=False)
    _log = Logger()

    @property
    def is_full(self) -> bool:
        """Whether another one is to be refused."""
        return self._stopped or len(self._running) >= MOST

    def follow(self, request: Any, view: View) -> Deferred[None]:
        """Answer a request with what changes from now on; fire when the answer is complete."""
        running = run_in_background(self._send(request, view), self._log)
        ended = request.notifyFinish()
        ended.addErrback(lambda _: running.cancel())
        if running.called:
            return running
        self._running[request] = running
        return running.addBoth(self._forget, request)

    def _forget(self, _: object, request: Any) -> None:
        del self._running[request]

    def stop(self) -> None:
        """Complete all answers, and begin none: a browser asks again at once."""
        self._stopped = True
        for running in list(self._running.values()):
            running.cancel()

    async def _send(self, request: Any, view: View) -> None:
        ends = self.clock.seconds() + LIFE
        shown: dict[str, str] = {}
        quiet_until = self.clock.seconds() + _QUIET
        request.write(b"retry: 500\n\n")
        try:
            while self.clock.seconds() < ends:
                changed = await self._look(view, shown)
                if changed:
                    shown.update(changed)
                    request.write(b"data: %b\n\n" % msgspec.json.encode(changed))
                if changed or self.clock.seconds() >= quiet_until:
                    if not changed:
                        request.write(b": quiet\n\n")
                    quiet_until = self.clock.seconds() + _QUIET
                await deferLater(self.clock, view.every)
        except CancelledError:
            pass

    async def _look(self, view: View, shown: dict[str, str]) -> dict[str, str]:
        """Return the parts that are not as shown, by name; none while Redis does not answer."""
        try:
            context = await view.look()
        except (Refused, Unknown):
            return {}
        parts = {name: str(render_template(f"parts/{name}", context)) for name in view.parts}
        return {name: html for name, html in parts.items() if shown.get(name) != html}
