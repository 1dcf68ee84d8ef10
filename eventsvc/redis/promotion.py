"""
Waits until a replica that is being promoted is a primary.
"""

from __future__ import annotations

from typing import Final

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from eventsvc.redis.endpoint import MakeEndpoint
from eventsvc.redis.questions import credentials
from eventsvc.redis.sentinels import ASK_TIMEOUT, brief_session
from eventsvc.settings.addresses import Address

#: Seconds that a replica has to become a primary, and its Sentinels then have to name it.
PATIENCE: Final = 5.0
#: Seconds between two questions.
_PAUSE: Final = 0.05


@attrs.frozen(eq=False)
class Promotion:
    """
    Asks a server for its role, on connections of its own.

    @ivar username: the user of Redis, as C{password}.
    """

    make_endpoint: MakeEndpoint
    clock: IReactorTime
    username: str = ""
    password: str = attrs.field(default="", repr=False)

    async def is_done(self, address: Address) -> bool:
        """Return C{True} once the server is a primary, C{False} if it is none after L{PATIENCE}."""
        end = self.clock.seconds() + PATIENCE
        while self.clock.seconds() < end:
            asking = Deferred.fromCoroutine(self._is_primary(address))
            try:
                if await asking.addTimeout(ASK_TIMEOUT, self.clock):
                    return True
            except CancelledError:
                raise
            except Exception:
                pass  # away, or it says nothing: no primary yet
            await deferLater(self.clock, _PAUSE)
        return False

    async def _is_primary(self, address: Address) -> bool:
        async with brief_session(self.make_endpoint(address), self.clock) as session:
            if words := credentials(self.username, self.password):
                await session.call("AUTH", *words)
            match await session.call("ROLE"):
                case [b"master", *_]:
                    return True
        return False
