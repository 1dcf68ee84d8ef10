"""
The load of a run, in its own process: events arrive at their own rate, however
slow the producers are, and the outcome of each attempt is recorded.

C{python -m chaos.workload LOAD URL...}, where C{LOAD} is JSON, writes a line for
each attempt to standard output.  SIGTERM ends the arrivals.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from itertools import count
from random import Random
from typing import Any, Final

import attrs
import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from chaos.impolite import half_close, reset
from chaos.mixture import Mixture, Post
from chaos.posting import Answered, post
from eventsvc.client import Client, make_client
from eventsvc.outcome import Outcome
from eventsvc.simulator.traffic import arrivals
from eventsvc.testing.history import Op

#: The most attempts for events that may be posted again, and the seconds between two.
_ATTEMPTS: Final = 40
_PAUSE: Final = 0.25


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """
    The load of a scenario.

    @ivar rate: events per second of all clients together.
    @ivar mixed: share of events that are not plain: Event Messages with data, and
        CloudEvents in all modes.  CloudEvents are posted again until they are
        stored, and some of them even after that.
    @ivar keyed: share of events with an Idempotency-Key; these are posted again
        until they are stored.
    @ivar large: share of events of some kilobytes.
    @ivar poison: share of events that handlers fail on; never two in a row,
        because a consumer takes several for an outage.
    @ivar impolite: share of events whose client resets the connection, or
        closes its half of it, while it waits for the answer.
    @ivar huge: every C{huge}-th event has C{huge_bytes}; 0 for none.
    @ivar failover: whether an event that certainly did not reach a producer is
        posted to another.
    @ivar stream: where events are posted to; by default to the first stream.
    """

    rate: float = 100.0
    clients: int = 2
    seed: int = 1
    mixed: float = 0.3
    keyed: float = 0.0
    large: float = 0.05
    poison: float = 0.0
    impolite: float = 0.0
    huge: int = 0
    huge_bytes: int = 900_000
    failover: bool = False
    stream: str = ""


@attrs.define(eq=False)
class Workload:
    """
    Posts events, and writes a line for each attempt.

    @ivar posters: a client for each producer, in the order of the links.
    """

    reactor: Any
    load: Load
    urls: Sequence[str]
    random: Random
    posters: Sequence[Client]
    mixture: Mixture
    arrived: int = 0
    #: events that have arrived with others, before their time
    early: int = 0
    in_flight: int = 0
    ended: bool = False
    numbers: Any = attrs.field(factory=count)
    landed: Deferred[None] = attrs.field(factory=Deferred)
    _is_poison: bool = False

    async def run(self) -> None:
        """Post until L{end}, then wait for the attempts in flight."""
        start: float = self.reactor.seconds()
        for arrival in arrivals(self.load.rate, self.random):
            await deferLater(self.reactor, max(0.0, start + arrival - self.reactor.seconds()))
            if self.ended:
                break
            if self.early:
                self.early -= 1
                continue
            self.in_flight += 1
            Deferred.fromCoroutine(self._see_through()).addBoth(self._land)
        if self.in_flight:
            await self.landed

    def end(self) -> None:
        """End the arrivals."""
        self.ended = True

    def _land(self, result: object) -> None:
        self.in_flight -= 1
        if result is not None:
            sys.stderr.write(f"{result}\n")
        if self.ended and not self.in_flight and not self.landed.called:
            self.landed.callback(None)

    async def _see_through(self) -> None:
        """
        Post the events of one request, and retry if nothing is stored twice.

        After the end of the arrivals there is one more attempt: the producers may
        be broken for good.
        """
        number = next(self.numbers)
        client = self.random.randrange(self.load.clients)
        request = self._draw(f"{self.load.seed}-{client}-{number}")
        impolite = self.random.random() < self.load.impolite
        for attempt in range(_ATTEMPTS if request.repeatable else 1):
            begin, is_last = self._now(), self.ended
            answered = await self._post(client, request, impolite)
            outcome = answered.outcome
            if outcome is Outcome.REFUSED and (attempt or request.repeated) and not answered.is_promise:
                outcome = Outcome.UNKNOWN  # the outcome of the earlier attempts is not known
            self._write(client, request, begin, outcome, answered.ids)
            if outcome is Outcome.OK or is_last:
                return
            sys.stderr.write(f"{request.parts[0][0][:40]}: {answered}\n")
            impolite = False
            await deferLater(self.reactor, _PAUSE)

    def _draw(self, name: str) -> Post:
        description = self._describe(name)
        self.arrived += 1
        is_huge = bool(self.load.huge) and self.arrived % self.load.huge == 0
        if is_huge:
            description = f"{description} ".ljust(self.load.huge_bytes, "x")
        key = name if self.random.random() < self.load.keyed else None
        request = self.mixture.draw(description, key, is_plain=is_huge or self._is_poison)
        self.early += len(request.parts) - 1
        return request

    async def _post(self, client: int, request: Post, impolite: bool) -> Answered:
        at = client % len(self.posters)
        if impolite:
            way = self.random.choice((reset, half_close))
            return await way(self.reactor, self.urls[at], request, self.random.uniform(0.0, 0.01))
        answered = await post(self.posters[at], request)
        if self.load.failover and not answered.is_sent:
            answered = await post(self.posters[(at + 1) % len(self.posters)], request)
        return answered

    def _describe(self, name: str) -> str:
        """Return a unique description."""
        words = "öffnen, 開く, \u2028 \\ \" 'quoted' " if self.random.random() < 0.2 else "open"
        if self.random.random() < self.load.large:
            words *= self.random.randrange(100, 2_000) // len(words) + 1
        self._is_poison = self.random.random() < self.load.poison and not self._is_poison
        if self._is_poison:
            words = f"poison {words}"
        return f"{name} {words}"

    def _now(self) -> float:
        now: float = self.reactor.seconds()
        return now

    def _write(self, client: int, request: Post, begin: float, outcome: Outcome, ids: Sequence[int]) -> None:
        """Write a line for each event of a request."""
        end = self._now()
        for place, (description, content) in enumerate(request.parts):
            id = ids[place] if place < len(ids) else None
            op = Op(f"{client}", next(self.numbers), description, begin, end, outcome, id, content)
            sys.stdout.buffer.write(msgspec.json.encode(op) + b"\n")
        sys.stdout.buffer.flush()


async def main(reactor: Any, load: str, *urls: str) -> None:
    """Post until SIGTERM."""
    import time

    reactor.seconds = time.monotonic  # the same time for all processes
    parsed = msgspec.json.decode(load, type=Load)
    random = Random(parsed.seed)
    posters = [make_client(reactor, url, connections=64) for url in urls]
    mixture = Mixture(random, parsed.mixed, parsed.large, f"/chaos/{parsed.seed}", parsed.stream)
    workload = Workload(reactor, parsed, urls, random, posters, mixture)
    reactor.callWhenRunning(signal.signal, signal.SIGTERM, lambda *_: reactor.callFromThread(workload.end))
    await workload.run()


if __name__ == "__main__":
    react(main, sys.argv[1:])
