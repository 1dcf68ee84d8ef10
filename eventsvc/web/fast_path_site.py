"""
The HTTP server with the fast path in front.
"""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.web.http import datetimeToString

from eventsvc.web.admission import Connection
from eventsvc.web.answers import Answer
from eventsvc.web.api import Api
from eventsvc.web.channel import Channel
from eventsvc.web.fast_path import FastPath
from eventsvc.web.limits import FIRST_BYTE, IDLE, MAX_CONNECTIONS
from eventsvc.web.request_heads import RequestHeads
from eventsvc.web.site import BoundedSite

#: Seconds between two looks at the deadlines of all connections.
_SWEEP: Final = 1.0


class FastPathSite(BoundedSite):
    """
    Begins each connection with a L{FastPath}.

    Deadlines are seen to once a second: so a request that takes too long may
    take a second more.

    @ivar date: as it stands in answers; at most a second old.
    """

    def __init__(
        self,
        api: Api,
        timeout: float,
        clock: IReactorTime,
        max_connections: int,
        idle: float,
        first_byte: float,
        per_address: int,
    ) -> None:
        super().__init__(api, timeout, clock, max_connections, idle, first_byte, per_address)
        self.appender = api.appender
        self.turns = api.turns
        self.heads = RequestHeads()
        self.date = b""
        self._sweeping: IDelayedCall | None = None

    def buildProtocol(self, addr: Any) -> Any:
        return FastPath(self)

    def build_channel(self) -> Channel:
        """What takes a connection over from the fast path."""
        channel: Channel = super().buildProtocol(None)
        return channel

    def admit(self, connection: Connection) -> Answer | None:
        refusal = super().admit(connection)
        if self._sweeping is None:
            self._sweep()
        return refusal

    def _sweep(self) -> None:
        self._sweeping = self.reactor.callLater(_SWEEP, self._sweep) if self.connections else None
        self.date = datetimeToString()
        now = self.reactor.seconds()
        for connection in [each for each in self.connections if each.deadline <= now]:
            connection.expire()


def make_fast_path_site(
    api: Api,
    timeout: float,
    clock: IReactorTime,
    max_connections: int = MAX_CONNECTIONS,
    idle: float = IDLE,
    first_byte: float = FIRST_BYTE,
    per_address: int = 0,
) -> FastPathSite:
    """Serve the routes as L{eventsvc.web.site.make_site}, with the fast path in front."""
    return FastPathSite(api, timeout, clock, max_connections, idle, first_byte, per_address)
