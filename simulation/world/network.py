"""
The network of a simulated world: connections over which bytes take time, or do not arrive.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import attrs
from twisted.internet.error import ConnectionLost, ConnectionRefusedError, TimeoutError

from simulation.world.timeline import Happening, Timeline
from simulation.world.transport import Transport, Way

#: Called with each message that is sent: the transport, and the bytes.
Watcher = Callable[[Transport, bytes], None]


@attrs.define(eq=False)
class Network:
    """
    All connections, and the ways that they take.

    @ivar seed: of the time that messages take.
    @ivar watchers: see each message that is sent.
    @ivar names: to which host each leads; all others are hosts.
    """

    timeline: Timeline
    seed: int
    watchers: list[Watcher] = attrs.field(factory=list, init=False)
    ends: dict[Transport, None] = attrs.field(factory=dict, init=False)
    names: dict[str, Callable[[], str]] = attrs.field(factory=dict, init=False)
    _ways: dict[tuple[str, str], Way] = attrs.field(factory=dict, init=False)
    _listening: dict[tuple[str, int], tuple[Any, Any]] = attrs.field(factory=dict, init=False)
    _port: int = attrs.field(default=40_000, init=False)

    def way(self, source: str, target: str) -> Way:
        """Return one direction between two hosts."""
        way = self._ways.get((source, target))
        if way is None:
            way = self._ways[source, target] = Way(source, target, Random(f"{self.seed} {source} {target}"))
        return way

    def resolve(self, name: str) -> str:
        """Return the host to which a name leads."""
        return self.names[name]() if name in self.names else name

    def listen(self, process: Any, port: int, factory: Any) -> bool:
        """Let connections to a port be made; return whether it was free."""
        holder, _ = self._listening.get((process.host, port), (None, None))
        if holder is not None and holder.alive:
            return False
        self._listening[process.host, port] = (process, factory)
        return True

    def stop_listening(self, process: Any, port: int) -> None:
        """Let no more connections to a port be made."""
        if self._listening.get((process.host, port), (None, None))[0] is process:
            del self._listening[process.host, port]

    def connect(
        self, process: Any, host: str, port: int, made: Callable[[Transport], Any], failed: Callable[[Exception], None]
    ) -> Callable[[], None]:
        """
        Connect to a port.

        @param made: returns the protocol, which is told of its connection after.
        @return: gives up.
        """
        attempt = _Attempt(self, process, host, port, made, failed)
        attempt.begin()
        return attempt.give_up

    def pair(self, process: Any, port: int, acceptor: Any, factory: Any) -> Transport:
        """Make both ends of a connection, and let the other end accept it; return the first."""
        self._port += 1
        here = Transport(self, process, self.way(process.host, acceptor.host), self._port, port)
        there = Transport(self, acceptor, self.way(acceptor.host, process.host), port, self._port)
        here.peer, there.peer = there, here
        self.ends[here] = self.ends[there] = None
        self.timeline.add(self.timeline.now, acceptor, self._accept, there, factory, is_message=True)
        return here

    def _accept(self, end: Transport, factory: Any) -> None:
        if end.lost:
            return
        end.serve(factory.buildProtocol(end.getPeer()))

    def forget(self, end: Transport) -> None:
        self.ends.pop(end, None)

    def between(self, one: str, other: str) -> list[Transport]:
        """Return the connections between two hosts, one end of each."""
        return [end for end in list(self.ends) if end.way.source == one and end.way.target == other]

    def drop(self, process: Any, with_word: bool = True) -> None:
        """
        Forget the connections and ports of a process that has ended.

        @param with_word: whether its kernel tells the other ends.
        """
        for end in list(self.ends):
            if end.process is process:
                end.lost = True
                self.forget(end)
                if with_word:
                    end.reset_peer()
        for key, (holder, _) in list(self._listening.items()):
            if holder is process:
                del self._listening[key]

    def silence(self, source: str, target: str, silent: bool) -> None:
        """Let nothing arrive in one direction, or let everything arrive that was held."""
        way = self.way(source, target)
        way.silences += 1 if silent else -1
        if not way.silences:
            held, way.held = way.held, {}
            for end in held:
                end.release()


@attrs.define(eq=False)
class _Attempt:
    """An attempt to connect."""

    network: Network
    process: Any
    host: str
    port: int
    made: Callable[[Transport], Any]
    failed: Callable[[Exception], None]
    _ended: bool = attrs.field(default=False, init=False)
    _next: Happening | None = attrs.field(default=None, init=False)

    def begin(self) -> None:
        there = self.network.way(self.process.host, self.host)
        timeline = self.network.timeline
        if not there.silent and not self.network.way(self.host, self.process.host).silent:
            self._next = timeline.add(timeline.seconds() + there.delay(), None, self._ask)

    def _ask(self) -> None:
        """The request to connect arrives."""
        network, process = self.network, self.process
        back = network.way(self.host, process.host)
        holder, factory = network._listening.get((self.host, self.port), (None, None))
        if self._ended or not process.alive or back.silent or self.host in process.world.dark:
            return
        at = network.timeline.now + back.delay()
        if holder is None or not holder.alive or back.refuses or network.way(process.host, self.host).refuses:
            self._next = network.timeline.add(at, process, self._fail, ConnectionRefusedError(), is_message=True)
            return
        end = network.pair(process, self.port, holder, factory)
        self._next = network.timeline.add(at, process, self._connected, end, is_message=True)

    def _connected(self, end: Transport) -> None:
        self._ended = True
        if end.lost:
            self.failed(ConnectionLost())
            return
        end.serve(self.made(end))

    def _fail(self, why: Exception) -> None:
        self._ended = True
        self.failed(why)

    def give_up(self, why: Exception | None = None) -> None:
        if not self._ended:
            self._ended = True
            if self._next is not None and self._next.active():
                self._next.cancel()
            self.failed(why or TimeoutError())
