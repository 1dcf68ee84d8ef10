"""
Clients of a simulated world: they post over HTTP, and keep a record of what they were answered.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Any, Final

import attrs
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from chaos.mixture import Mixture, Post, plain
from chaos.posting import Answered, classify, not_sent
from eventsvc.outcome import Outcome
from eventsvc.testing.history import Content, Op
from simulation.world.transport import Transport

#: The port of producers.
PORT: Final = 8080
#: Seconds that a request may take.
PATIENCE: Final = 10.0
#: Seconds after the first attempt, the second one ..., and after all later ones, until the next.
_PAUSES: Final = (0.25, 0.5, 1.0, 2.0, 4.0)
#: Of a client so many requests at least come between two with poison: several in a row look like an outage.
_APART: Final = 3
#: The most events of a batch.
_MOST: Final = 5


class _Connection(Protocol):
    """A connection of a client, for one request after another."""

    transport: Any

    def __init__(self, client: Client, producer: str) -> None:
        self.client, self.producer = client, producer
        self.request: _Attempt | None = None
        self.is_open = False
        self._received = b""

    def connectionMade(self) -> None:
        self.is_open = True
        if self.request is not None:
            self.transport.write(self.request.bytes)

    def post(self, request: _Attempt) -> None:
        self.request = request
        if self.is_open:
            self.transport.write(request.bytes)

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        head, blank, rest = self._received.partition(b"\r\n\r\n")
        if not blank:
            return
        status, *lines = head.split(b"\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        length = int(headers.get(b"content-length", b"0"))
        if len(rest) < length:
            return
        self._received = b""
        request, self.request = self.request, None
        if headers.get(b"connection", b"").lower() == b"close":
            self.is_open = False
            self.transport.loseConnection()
        else:
            self.client.idle(self)
        if request is not None:
            request.end(classify(int(status.split()[1]), headers.get(b"event-id"), rest))

    def abandon(self) -> None:
        """Close without waiting for the answer."""
        self.request, self.is_open = None, False
        if self.transport is not None:
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.is_open = False
        self.client.lost(self)
        request, self.request = self.request, None
        if request is not None:
            request.end(Answered(Outcome.UNKNOWN, why=f"{reason.getErrorMessage()}"))


@attrs.define(eq=False)
class _Attempt:
    """One attempt to post a request."""

    client: Client
    post: Post
    number: int
    begin: float
    bytes: bytes
    producer: str = ""
    connection: _Connection | None = None
    timer: Any = None
    ended: bool = False

    def late(self) -> None:
        connection = self.connection
        if connection is not None:
            connection.abandon()
        self.end(Answered(Outcome.UNKNOWN, why="no answer in time"))

    def end(self, answered: Answered) -> None:
        if not self.ended:
            self.ended = True
            if self.timer is not None and self.timer.active():
                self.timer.cancel()
            self.client.answered(self, answered)


@attrs.define(eq=False)
class Client:
    """
    Posts requests at random times, and those that may be posted again until they are stored.

    @ivar rate: requests per second.
    @ivar haste: how many times as many while it is in a hurry.
    @ivar producers: where it posts; to the next one if it cannot connect.
    @ivar poison: the share of plain events that no handler can handle.
    @ivar patience: seconds that it waits for an answer.
    @ivar ends: when it posts for the last time.
    @ivar open: number of requests that are not finished.
    @ivar ops: its record.
    """

    process: Any
    producers: Sequence[str]
    random: Random
    rate: float
    keyed: float
    batched: float
    mixed: float
    poison: float
    ends: float
    haste: float = 1.0
    patience: float = PATIENCE
    open: int = attrs.field(default=0, init=False)
    done: bool = attrs.field(default=False, init=False)
    ops: list[Op] = attrs.field(factory=list, init=False)
    _mixture: Mixture = attrs.field(init=False)
    _idle: dict[str, list[_Connection]] = attrs.field(factory=dict, init=False)
    _numbers: int = attrs.field(default=0, init=False)
    _poisoned: int = attrs.field(default=-_APART, init=False)
    _hurries_until: float = attrs.field(default=0.0, init=False)
    _coming: IDelayedCall | None = attrs.field(default=None, init=False)

    @_mixture.default
    def _make_mixture(self) -> Mixture:
        return Mixture(self.random, 1.0, 0.0, f"/{self.process.name}")

    def start(self) -> None:
        """Begin to post: once soon."""
        self._coming = self.process.reactor.callLater(self.random.random(), self._arrive)

    def _next(self) -> None:
        reactor = self.process.reactor
        hurries = reactor.seconds() < self._hurries_until
        pause = self.random.expovariate(self.rate * (self.haste if hurries else 1.0))
        left = self.ends - reactor.seconds()
        if pause >= left:
            self._coming = reactor.callLater(max(0.0, left), self._end)
        else:
            self._coming = reactor.callLater(pause, self._arrive)

    def hurry(self, until: float) -> None:
        """Post more often until a time."""
        self._hurries_until = until
        if self.haste != 1.0 and self._coming is not None and self._coming.active():
            self._coming.cancel()
            self._next()

    def _arrive(self) -> None:
        self._next()
        self.open += 1
        self._try(self._draw(), 0, self.random.randrange(len(self.producers)))

    def _end(self) -> None:
        """Post for the last time, until it is stored: so each run has evidence, whatever was lost before."""
        self.done = True
        self.open += 1
        self._numbers += 1
        name = f"{self.process.name}-{self._numbers}"
        self._try(plain(name, name), 0, self.random.randrange(len(self.producers)))

    def _draw(self) -> Post:
        random = self.random
        self._numbers += 1
        name = f"{self.process.name}-{self._numbers}"
        lot = random.random()
        if lot < self.batched:
            return self._batch(name)
        if random.random() < self.mixed:
            return self._mixture.draw(name, name if random.random() < self.keyed else None)
        if random.random() < self.poison and self._numbers - self._poisoned > _APART:
            self._poisoned = self._numbers
            name = f"{name} poison"
        return plain(name, name if random.random() < self.keyed else None)

    def _batch(self, name: str) -> Post:
        names = [f"{name}.{place}" for place in range(self.random.randint(2, _MOST))]
        keyed = self.random.random() < self.keyed
        headers = [("Idempotency-Key", f'"{name}"')] if keyed else []
        lines = [json.dumps({"description": each}) for each in names]
        return Post("/events", headers, "\n".join(lines).encode(), [(each, Content()) for each in names], keyed)

    # One attempt

    def _try(self, post: Post, number: int, at: int) -> None:
        reactor = self.process.reactor
        attempt = _Attempt(self, post, number, reactor.seconds(), _request(post))
        attempt.timer = reactor.callLater(self.patience, attempt.late)
        self._send(attempt, at, len(self.producers))

    def _send(self, attempt: _Attempt, at: int, tries: int) -> None:
        producer = attempt.producer = self.producers[at % len(self.producers)]
        idle = self._idle.get(producer)
        if idle:
            connection = idle.pop()
            attempt.connection = connection
            connection.post(attempt)
            return

        def made(end: Transport) -> _Connection | None:
            if attempt.ended:
                return None
            attempt.connection = connection = _Connection(self, producer)
            connection.post(attempt)
            return connection

        def failed(error: Exception) -> None:
            if attempt.ended:
                return
            if tries > 1:
                self._send(attempt, at + 1, tries - 1)
            else:
                attempt.end(not_sent(error))

        self.process.world.network.connect(self.process, producer, PORT, made, failed)

    def idle(self, connection: _Connection) -> None:
        """A connection may be used again."""
        self._idle.setdefault(connection.producer, []).append(connection)

    def lost(self, connection: _Connection) -> None:
        """A connection is lost."""
        idle = self._idle.get(connection.producer, [])
        if connection in idle:
            idle.remove(connection)

    def answered(self, attempt: _Attempt, answered: Answered) -> None:
        """An attempt has ended."""
        post, outcome = attempt.post, answered.outcome
        if outcome is Outcome.REFUSED and (attempt.number or post.repeated) and not answered.is_promise:
            outcome = Outcome.UNKNOWN  # the outcome of the earlier attempts is not known
        if not post.repeatable and outcome is Outcome.OK and len(answered.ids) != len(post.parts):
            outcome = Outcome.UNKNOWN
        now = self.process.reactor.seconds()
        for place, (description, content) in enumerate(post.parts):
            id = answered.ids[place] if place < len(answered.ids) else None
            number = len(self.ops)
            client = f"{self.process.name}>{attempt.producer}"  # each producer has a line of its own
            self.ops.append(Op(client, number, description, attempt.begin, now, outcome, id, content))
        self.process.world.tell(self.process, f"posted {post.parts[0][0]}: {outcome.value} {answered.why}")
        if outcome is not Outcome.OK and post.repeatable:
            at = self.random.randrange(len(self.producers))
            pause = _PAUSES[min(attempt.number, len(_PAUSES) - 1)]
            self.process.reactor.callLater(pause, self._try, post, attempt.number + 1, at)
        else:
            self.open -= 1


def _request(post: Post) -> bytes:
    headers = "".join(f"{name}: {value}\r\n" for name, value in post.headers)
    head = f"POST {post.path} HTTP/1.1\r\nHost: producer\r\nContent-Length: {len(post.body)}\r\n{headers}\r\n"
    return head.encode("utf-8") + post.body
