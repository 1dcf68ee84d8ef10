"""
Tests for what simulated servers keep, lose and hand over.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from simulation.servers.history import History, Position, fork
from simulation.servers.server import Server
from tests.support.simulated import Client, asking, make_pair, make_server


def set_up(*, appendonly: str = "yes", appendfsync: str = "everysec") -> tuple[Server, Any]:
    """Return a server that keeps a file, and its clock."""
    server = make_server()
    clock: Any = server.clock
    asking(server)("CONFIG", "SET", "appendonly", appendonly, "appendfsync", appendfsync)
    return server, clock


def writes(server: Server, clock: Any, *texts: str, every: float = 0.4) -> None:
    """Add to a stream, with a pause after each."""
    ask = asking(server)
    for text in texts:
        ask("XADD", "s", "*", "f", text)
        clock.advance(every)


def kept(server: Server) -> list[bytes]:
    """Return the texts in the stream."""
    return [fields[1] for _, fields in asking(server)("XRANGE", "s", "-", "+")]


@pytest.mark.parametrize(
    ("appendonly", "appendfsync", "after_kill", "after_loss"),
    [
        ("yes", "always", b"abcd", b"abcd"),
        ("yes", "everysec", b"abcd", b"abc"),
        ("yes", "no", b"abcd", b""),
        ("no", "always", b"", b""),
    ],
)
def test_what_a_crash_leaves(appendonly: str, appendfsync: str, after_kill: bytes, after_loss: bytes) -> None:
    """The end of a process loses nothing of its file, the end of the machine what was not synced."""
    for end, left in (("kill", after_kill), ("lose_power", after_loss)):
        server, clock = set_up(appendonly=appendonly, appendfsync=appendfsync)
        writes(server, clock, "a", "b", "c", "d")
        getattr(server, end)()
        assert not server.up
        server.start()
        assert b"".join(kept(server)) == left
        writes(server, clock, "e")
        assert b"".join(kept(server)) == left + b"e"


def test_a_server_that_loads_says_so() -> None:
    server, clock = set_up()
    server.kill()
    server.start(loading=2.0)
    ask = asking(server)
    assert ask("PING") == ask("XLEN", "s") == "-LOADING Valkey is loading the dataset in memory"
    assert ask("ROLE") == [b"master", 0, []]
    clock.advance(2)
    assert ask("PING") == b"PONG"


def test_a_full_disk_loses_one_write_that_was_answered() -> None:
    """It is answered, and not in the file; all others are refused.  With room again, nothing is lost."""
    for ending, left in (("kill", b"a"), ("clear_disk", b"abd")):
        server, clock = set_up()
        writes(server, clock, "a")
        server.fill_disk()
        ask = asking(server)
        assert str(ask("XADD", "s", "*", "f", "b")).startswith("b'")
        for refused in (ask("XADD", "s", "*", "f", "c"), ask("PING")):
            assert refused.startswith("-MISCONF ")
        getattr(server, ending)()
        if not server.up:
            server.start()
        else:
            assert ask("PING") == b"PONG"
            writes(server, clock, "d")
        assert b"".join(kept(server)) == left


def test_a_full_disk_ends_a_server_that_syncs_always() -> None:
    """Before it answers: measured on a small disk."""
    server, clock = set_up(appendfsync="always")
    writes(server, clock, "a")
    server.fill_disk()
    client = Client(clock, server)
    client.send("XADD", "s", "*", "f", "b")
    assert client.take() == []
    assert client.lost
    server.start()
    assert kept(server) == [b"a"]


def test_what_a_lagging_replica_lacks_is_lost_by_its_promotion() -> None:
    primary, replica = make_pair()
    clock: Any = primary.clock
    link = replica.link
    assert link is not None
    writes(primary, clock, "a")
    link.slow_down(clock.seconds(), 0.6)
    writes(primary, clock, "b", "c", every=0.4)
    assert kept(replica) == [b"a", b"b"]
    primary.kill()
    replica.promote()
    clock.advance(9)
    assert kept(replica) == [b"a", b"b"]
    writes(replica, clock, "d")
    primary.start()
    primary.follow(replica)
    clock.advance(1)
    assert kept(primary) == [b"a", b"b", b"d"]


def test_a_promoted_replica_whose_power_fails_has_what_was_on_its_disk() -> None:
    """What had arrived within the last second was not synced, whoever wrote it."""
    primary, replica = make_pair()
    clock: Any = primary.clock
    for server in (primary, replica):
        asking(server)("CONFIG", "SET", "appendonly", "yes")
    writes(primary, clock, "a", "b", "c", "d")
    for seconds, left in ((0.1, b"abc"), (0.5, b"abcd")):
        replica.promote()
        clock.advance(seconds)
        replica.lose_power()
        replica.start()
        assert b"".join(kept(replica)) == left
        replica.follow(primary)
        clock.advance(0.7)


def test_a_cut_replica_catches_up() -> None:
    primary, replica = make_pair()
    clock: Any = primary.clock
    assert replica.link is not None
    replica.link.cut(clock.seconds())
    writes(primary, clock, "a", "b")
    assert kept(replica) == []
    replica.link.heal(clock.seconds())
    clock.advance(0.01)
    assert kept(replica) == [b"a", b"b"]


def test_replicas_follow_a_primary_that_comes_back_empty() -> None:
    """Without a file a primary that starts again wipes them."""
    primary, replica = make_pair()
    clock: Any = primary.clock
    writes(primary, clock, "a")
    primary.kill()
    clock.advance(1)
    assert kept(replica) == [b"a"]
    primary.start()
    clock.advance(1)
    assert kept(replica) == []


def test_a_replica_forgets_what_its_primary_has_lost() -> None:
    """It had more than the file of the primary."""
    primary, replica = make_pair()
    clock: Any = primary.clock
    asking(primary)("CONFIG", "SET", "appendonly", "yes")
    writes(primary, clock, "a", "b", "c", "d")
    primary.lose_power()
    assert kept(replica) == [b"a", b"b", b"c", b"d"]
    primary.start()
    clock.advance(1)
    assert kept(replica) == kept(primary) == [b"a", b"b", b"c"]
    assert replica.position() == primary.position()


def test_a_replica_starts_again_as_one() -> None:
    primary, replica = make_pair()
    clock: Any = primary.clock
    replica.kill()
    writes(primary, clock, "a")
    assert asking(primary)("ROLE")[2] == []
    replica.start()
    clock.advance(1)
    assert asking(replica)("ROLE")[0] == b"slave"
    assert kept(replica) == [b"a"]


def test_a_server_that_goes_on_runs_what_it_was_sent_while_it_was_paused() -> None:
    """Also of a client that has given up: the bytes are in its kernel.  As primary, as it still thinks it is."""
    primary, replica = make_pair()
    clock: Any = primary.clock
    clients = [Client(clock, primary) for _ in range(2)]
    primary.pause()
    for client in clients:
        client.send("XADD", "s", "*", "f", "late")
        client.send("ROLE")
    assert clients[0].take() == []
    clients[1].transport.abortConnection()
    clients[1].take()
    replica.promote()
    primary.resume()
    [_, role] = clients[0].take()
    assert role[0] == b"master"
    assert kept(primary) == [b"late", b"late"]
    primary.follow(replica)
    clock.advance(1)
    assert kept(primary) == []


def test_a_wait_that_ends_while_its_server_is_paused_is_answered_later() -> None:
    server, clock = set_up()
    ask = asking(server)
    ask("XGROUP", "CREATE", "s", "g", "$", "MKSTREAM")
    client = Client(clock, server)
    client.send("XREADGROUP", "GROUP", "g", "c", "BLOCK", 1000, "STREAMS", "s", ">")
    assert client.take() == []
    server.pause()
    clock.advance(5)
    assert client.take() == []
    server.resume()
    assert client.take() == [None]


def test_waitaof_waits_for_the_disk() -> None:
    """Of this server, and for the report of a replica that keeps a file, which comes once a second."""
    primary, replica = make_pair()
    clock: Any = primary.clock
    ask = asking(primary)
    ask("CONFIG", "SET", "appendonly", "yes", "appendfsync", "always")
    ask("SET", "a", "1")
    assert ask("WAITAOF", "1", "0", "0") == [1, 0]
    assert ask("WAITAOF", "1", "1", "3000") == [1, 0]
    asking(replica)("CONFIG", "SET", "appendonly", "yes")
    ask("SET", "a", "2")
    begun = clock.seconds()
    assert ask("WAITAOF", "1", "1", "0") == [1, 1]
    assert 0 < clock.seconds() - begun <= 1.1
    ask("CONFIG", "SET", "appendfsync", "everysec")
    clock.advance(0.5)
    ask("SET", "a", "3")
    begun = clock.seconds()
    assert ask("WAITAOF", "1", "0", "0")[0] == 1
    assert 0 < clock.seconds() - begun <= 1.0


WORDS = st.sampled_from("write write cut heal slow promote follow kill loss start look pass".split())


@settings(max_examples=150)
@given(st.lists(st.tuples(WORDS, st.integers(0, 2), st.integers(0, 2)), max_size=30))
def test_all_servers_end_alike(steps: list[tuple[str, int, int]]) -> None:
    """
    Whatever happens to three servers, replicas end with the data of their primary.

    And each server, whenever it is looked at, has what an independent replay of its history has.
    """
    clock = Clock()
    servers = [make_server(clock=clock, host=f"10.0.0.{number}") for number in range(3)]
    for server in servers:
        server.settings.values[b"appendonly"] = b"yes"
    for server in servers[1:]:
        server.follow(servers[0])
    for number, (word, one, other) in enumerate(steps):
        happen(servers, word, one, other, number)
        clock.advance(0.3)
    for server in servers:
        if not server.up:
            server.start()
    primary = next(server for server in servers if server.link is None)
    for server in servers:
        if server is not primary and (server.link is None or server.link.primary is not primary):
            server.follow(primary)
        if server.link is not None:
            server.link.heal(clock.seconds())
    clock.advance(9)
    assert [kept(server) for server in servers] == [kept(primary)] * 3
    assert [server.position() for server in servers] == [primary.position()] * 3


def happen(servers: list[Server], word: str, one: int, other: int, number: int) -> None:
    """Let one thing happen, if it can."""
    server, second = servers[one], servers[other]
    now = server.clock.seconds()
    match word:
        case "write" if server.up:
            asking(server)("XADD", "s", "*", "f", f"{number}")
        case "cut" if server.link:
            server.link.cut(now)
        case "heal" if server.link:
            server.link.heal(now)
        case "slow" if server.link:
            server.link.slow_down(now, 0.1 + other / 2)
        case "promote" if server.up:
            server.promote()
        case "follow" if server.up and second.link is None and server is not second:
            server.follow(second)
        case "kill" if server.up:
            server.kill()
        case "loss" if server.up:
            server.lose_power()
        case "start" if not server.up:
            server.start()
        case "look" if server.up:
            assert kept(server) == replayed(server)


def replayed(server: Server) -> list[bytes]:
    """Return what an empty server has after all that this one has been told."""
    position = server.position()
    fresh = make_server()
    for effects, now in position.history.between(0, position.offset):
        fresh.state.keyspace.apply(effects, now)
    return kept(fresh)


def test_a_position_of_an_earlier_life_is_found() -> None:
    """A history contains what it goes on from, and nothing that came after the fork."""
    first = History("1")
    for number in range(5):
        first.append(number, f"{number}")
    second = fork(Position(first, 3), "2")
    second.append(9, "x")
    assert list(second.between(1, 4)) == ["1", "2", "x"]
    assert [second.contains(Position(first, offset)) for offset in (0, 3, 4)] == [True, True, False]
    assert [first.contains(Position(second, offset)) for offset in (3, 4)] == [False, False]
    assert [second.at(moment) for moment in (0.0, 8.9, 9.0)] == [3, 3, 4]
