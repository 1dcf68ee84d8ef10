"""
Tests that our own connections, logs and waits work with simulated servers as they do with real ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from eventsvc.event import EVENT_FIELD
from eventsvc.interfaces import Refused, Unknown
from eventsvc.redis.connection import Connection
from eventsvc.redis.durability import Durability, OnDisk, OnReplicas
from eventsvc.redis.log import RedisEventLog, stream_opener
from eventsvc.redis.sentinels import Sentinels
from eventsvc.settings.addresses import Address
from eventsvc.submission import AppendReply, BatchOutcome, Kept, Submission
from eventsvc.tap.parts.connection import connection_by_sentinels
from eventsvc.testing.clock import run_clock
from simulation.redis.values import User, Version
from simulation.servers.deployment import Deployment
from simulation.servers.node import Node
from simulation.servers.server import Server
from tests.support.fake_connection import messages
from tests.support.simulated import SimulatedEndpoint, asking, make_deployment, make_pair, make_server, versions

STREAM = "NotificationStream"


@attrs.define(eq=False)
class Connected:
    """A connection of ours to simulated servers, and what it logs."""

    connection: Connection
    clock: Any
    lines: Sequence[Any]

    def run(self, seconds: float = 1.0) -> None:
        run_clock(self.clock, seconds)

    def says(self, words: str) -> bool:
        """Return whether this was logged."""
        return any(words in line for line in messages(self.lines))

    def finish(self, asking: Deferred[Any], seconds: float = 3.0) -> Any:
        """Return the result of an operation; raise its error."""
        found: list[Any] = []
        asking.addBoth(found.append)
        end = self.clock.seconds() + seconds
        while not found and self.clock.seconds() < end:
            self.run(0.01)
        [result] = found
        if isinstance(result, Failure):
            result.raiseException()
        return result

    def append(self, sequence: int, durability: Durability | None = None) -> AppendReply:
        """Append a batch of one event."""
        log = RedisEventLog(self.connection, STREAM, durability=durability)
        batch = [Submission((sequence,), (b"%d" % sequence,))]
        reply: AppendReply = self.finish(log.append(b"id", sequence, batch, sequence))
        return reply

    @property
    def peer(self) -> str:
        session = self.connection.session
        return session.peer if session is not None and self.connection.ready else ""


Connect = Callable[..., Connected]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Make connections that are stopped at the end, with nothing left of them."""
    made: list[Connected] = []
    with capturedLogs() as lines:

        def connect(to: Node | Deployment, **more: Any) -> Connected:
            clock: Any = to.clock
            common = {"clock": clock, "jitter": lambda: 0.5, "prepare": stream_opener(STREAM), **more}
            connection = (
                by_sentinels(to, common)
                if isinstance(to, Deployment)
                else Connection(endpoint=SimulatedEndpoint(clock, to), **common)
            )
            made.append(Connected(connection, clock, lines))
            connection.startService()
            run_clock(clock, 1.0)
            return made[-1]

        yield connect
        for each in made:
            stopped = each.connection.stopService()
            each.run(0.0)
            assert stopped.called


def by_sentinels(deployment: Deployment, common: dict[str, Any]) -> Connection:
    clock = common["clock"]
    nodes = {Address(node.host, node.port): node for node in deployment.nodes}

    def make_endpoint(address: Address) -> Any:
        return SimulatedEndpoint(clock, nodes[address])

    watching = {
        Address(each.host, each.port): make_endpoint(Address(each.host, each.port)) for each in deployment.sentinels
    }
    return connection_by_sentinels(Sentinels(watching, clock, "mymaster"), make_endpoint, True, common)


def texts(server: Server) -> list[bytes]:
    """Return the events in the stream of a server."""
    rows = asking(server)("XRANGE", STREAM, "-", "+")
    return [fields[1] for _, fields in rows if fields[0] == EVENT_FIELD]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda server: server.follow(make_server(clock=server.clock, host="10.0.0.9")), "is a read-only replica"),
        (lambda server: asking(server)("CONFIG", "SET", "requirepass", "x"), "Redis denies access"),
        (lambda server: server.pause(), "no handshake within 2 s"),
        (lambda server: server.kill(), "refused"),
        (lambda server: server.set_user(User(denied=frozenset([b"ping"]))), ""),
        (lambda server: server.set_user(User(denied=frozenset([b"role", b"info", b"command"]))), ""),
        (lambda server: (server.kill(), server.start(loading=9.0)), "Redis is starting"),
    ],
    ids=["replica", "password", "paused", "dead", "no ping", "poor", "loading"],
)
def test_a_handshake_ends_as_with_a_real_server(connect: Connect, change: Any, problem: str) -> None:
    server = make_server()
    change(server)
    connected = connect(server)
    connected.run(3.0)
    assert connected.connection.ready is not bool(problem)
    assert problem in connected.connection.problem


def test_it_reconnects_when_a_server_has_started_again(connect: Connect) -> None:
    server = make_server()
    connected = connect(server)
    assert connected.append(1).outcome is BatchOutcome.APPENDED
    server.kill()
    connected.run(3.0)
    assert not connected.connection.ready
    server.start()
    connected.run(3.0)
    assert connected.append(2) == AppendReply(BatchOutcome.LOST, kept=Kept(0, 0))  # it kept no file


def test_a_paused_server_is_given_up(connect: Connect) -> None:
    """What it was sent before is done when it goes on, and the next attempt is a duplicate."""
    server = make_server()
    connected = connect(server)
    server.pause()
    with pytest.raises(Unknown):
        connected.append(1)
    server.resume()
    connected.run(3.0)
    assert connected.append(1).outcome is BatchOutcome.DUPLICATE
    assert texts(server) == [b"1"]


def test_sentinels_lead_to_the_primary_and_to_the_next_one(connect: Connect) -> None:
    """Before any Sentinel names it: from the first announcement that concerns it."""
    deployment = make_deployment()
    connected = connect(deployment)
    assert connected.peer == "10.0.0.1:6379"
    assert connected.append(1).outcome is BatchOutcome.APPENDED
    connected.run(0.1)
    deployment.servers[0].kill()
    assert deployment.fail_over()
    connected.run(0.3)
    assert connected.peer == "10.0.0.2:6379"
    assert [each.epoch for each in deployment.sentinels] == [0, 0, 0]
    assert connected.append(2).outcome is BatchOutcome.APPENDED
    connected.run(9.0)
    assert connected.connection.connects == 2
    assert texts(deployment.servers[2]) == [b"1", b"2"]


def test_a_lagging_replica_that_is_promoted_has_forgotten(connect: Connect) -> None:
    deployment = make_deployment()
    connected = connect(deployment)
    connected.append(1)
    connected.run(0.1)
    for server in deployment.servers[1:]:
        assert server.link is not None
        server.link.cut(connected.clock.seconds())
    connected.append(2)
    assert deployment.fail_over()
    connected.run(2.0)
    assert connected.append(3) == AppendReply(BatchOutcome.LOST, kept=Kept(1, 1))
    connected.run(12.0)
    assert [texts(server) for server in deployment.servers] == [[b"1"]] * 3


def test_a_failover_that_is_undone_leads_back(connect: Connect) -> None:
    """See the Note [A primary that no Sentinel names yet] in L{eventsvc.redis.switches}."""
    deployment = make_deployment()
    connected = connect(deployment)
    assert deployment.fail_over()
    connected.run(0.3)
    assert connected.peer == "10.0.0.2:6379"
    connected.append(1)
    deployment.sentinels[0].kill()
    connected.run(20.0)
    assert connected.peer == "10.0.0.1:6379"
    assert connected.append(2) == AppendReply(BatchOutcome.LOST, kept=Kept(0, 0))


def test_a_minority_that_is_outdated_is_outvoted(connect: Connect) -> None:
    deployment = make_deployment()
    deployment.isolate(deployment.sentinels[1])
    deployment.servers[0].pause()
    assert deployment.fail_over()
    connected = connect(deployment)
    connected.run(2.0)
    assert deployment.sentinels[1].named is deployment.servers[0]
    assert connected.peer == "10.0.0.2:6379"


@pytest.mark.parametrize("version", versions())
def test_no_wait_is_satisfied_by_what_was_written_before(connect: Connect, version: Version) -> None:
    """As on a real server: see the Note [A wait that proves nothing] in L{eventsvc.redis.durability}."""
    primary, replica = make_pair(version)
    clock: Any = primary.clock
    durability = OnReplicas(clock, 1, longest=0.2)
    connected = connect(primary, find_problem=durability.find_problem)
    replica.pause()
    for again in range(2):
        other = connect(primary) if again else connected
        for _ in range(2):
            with pytest.raises(Unknown):
                other.append(1, durability)
    replica.resume()
    clock.advance(1)
    assert connected.append(1, durability).outcome is BatchOutcome.DUPLICATE
    assert texts(replica) == [b"1"]


def test_a_demotion_during_the_wait(connect: Connect) -> None:
    """Redis answers UNBLOCKED, which elsewhere means that nothing was done; here the event is stored."""
    primary, replica = make_pair()
    clock: Any = primary.clock
    durability = OnReplicas(clock, 1, longest=1.5)
    connected = connect(primary)
    replica.pause()
    log = RedisEventLog(connected.connection, STREAM, durability=durability)
    waiting = log.append(b"id", 1, [Submission((1,), (b"1",))], 1)
    connected.run(0.1)
    primary.follow(make_server(clock=clock, host="10.0.0.3"))
    with pytest.raises(Unknown):
        connected.finish(waiting)


@pytest.mark.parametrize(
    ("version", "settings", "problem"),
    [
        (Version.VALKEY_9_1, {"appendonly": "yes", "appendfsync": "always"}, ""),
        (Version.VALKEY_9_1, {"appendonly": "yes"}, "needs appendfsync always"),
        (Version.VALKEY_9_1, {}, "needs an append-only file"),
        (Version.REDIS_7_0, {"appendonly": "yes"}, "needs Redis 7.2 or newer"),
        (Version.REDIS_6_2, {"appendonly": "yes"}, "needs Redis 7.2 or newer"),
    ],
)
def test_what_the_disk_needs(connect: Connect, version: Version, settings: dict[str, str], problem: str) -> None:
    server = make_server(version)
    for name, value in settings.items():
        asking(server)("CONFIG", "SET", name, value)
    durability = OnDisk(server.clock)
    connected = connect(server, find_problem=durability.find_problem)
    assert problem in connected.connection.problem
    if not problem:
        assert connected.append(1, durability).outcome is BatchOutcome.APPENDED
        server.lose_power()
        server.start()
        assert texts(server) == [b"1"]


def test_a_right_that_is_taken_away_is_a_refusal(connect: Connect) -> None:
    """In every session at once, on each script, before anything is written."""
    for version in Version:
        server = make_server(version)
        connected = connect(server)
        connected.append(1)
        server.set_user(User(denied=frozenset([b"set"])))
        with pytest.raises(Refused, match="Redis denies access"):
            connected.append(2)
        server.set_user(User())
        assert connected.append(2).outcome is BatchOutcome.APPENDED
        assert texts(server) == [b"1", b"2"]
