"""
A stream on a simulated server, as a third backend of the tests in L{tests.support.backends}.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import attrs
import hiredis
import redis
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock

from eventsvc.redis.connection import Connection
from eventsvc.testing.clock import run_clock
from simulation.redis.values import Version
from simulation.servers.server import Server
from tests.support.backends import OnServer
from tests.support.simulated import Client, SimulatedEndpoint, make_server

T = TypeVar("T")


class SimulatedClient(redis.Redis):
    """The independent client of other tests, over a connection in memory."""

    def __init__(self, server: Server) -> None:
        super().__init__(protocol=2)
        self._client = Client(server.clock, server)

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command and return what the library makes of its reply."""
        name = args[0]
        reply = self._client.ask(*name.split(), *args[1:])
        if isinstance(reply, hiredis.ReplyError):
            raise redis.ResponseError(str(reply))
        options.pop("keys", None)
        return self.response_callbacks[name](reply, **options) if name in self.response_callbacks else reply


@attrs.define
class SimulatedServer:
    """What L{OnServer} needs of a server."""

    server: Server

    def client(self) -> Any:
        return SimulatedClient(self.server)


@attrs.define
class OnSimulation(OnServer):
    """A stream on a simulated server, on a fake clock."""

    @property
    def simulated(self) -> Server:
        made: Any = self.server
        server: Server = made.server
        return server

    @property
    def clock(self) -> Clock:
        clock: Any = self.simulated.clock
        return clock  # type: ignore[no-any-return]

    def leave(self) -> Deferred[Any]:
        leaving = gatherResults([connection.stopService() for connection in self.connections])
        run_clock(self.clock, 1.0)
        return leaving

    async def _connect(self, **more: Any) -> Connection:
        endpoint = SimulatedEndpoint(self.clock, self.simulated)
        connection = Connection(endpoint, self.clock, lambda: 0.5, retry_period=0.05, **more)
        self.connections.append(connection)
        connection.startService()
        await self.wait(connection.when_ready())
        return connection

    async def wait(self, asking: Deferred[T]) -> T:
        """Return the result of an operation, or raise its error; it must end within a second."""
        end = self.clock.seconds() + 1.0
        while not asking.called and self.clock.seconds() < end:
            run_clock(self.clock, 0.001)
        assert asking.called
        return await asking

    async def come_back(self) -> None:
        self.disconnect()
        run_clock(self.clock, 1.0)
        assert all(connection.ready for connection in self.connections)

    def pass_window(self) -> None:
        end = self.clock.seconds() + 100_000
        while self.client.keys("{NotificationStream}:keys:*"):
            assert self.clock.seconds() < end
            self.clock.advance(0.05)


def running(version: str) -> Iterator[OnSimulation]:
    """Yield a stream on a simulated server of a version, and close all connections at the end."""
    made = OnSimulation(SimulatedServer(make_server(Version(version))))  # type: ignore[arg-type]
    yield made
    assert made.leave().called
