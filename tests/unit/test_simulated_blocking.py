"""
Tests for commands of simulated servers that are answered later: reads that wait, and waits for replicas.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

from chaos.suites import wait_until
from simulation.redis.values import Version
from tests.support.processes import Server as RealServer
from tests.support.processes import running_server
from tests.support.replicas import running_replica
from tests.support.simulated import (
    Ask,
    Client,
    RealClient,
    asking,
    asking_real,
    find_make,
    make_pair,
    make_server,
    versions,
)

READ = ("XREADGROUP", "GROUP", "g", "c", "BLOCK", "400", "STREAMS", "s", ">")
ADD = ("XADD", "s", "1-1", "f", "v")
TROUBLES: dict[str, Sequence[Sequence[str]]] = {
    "an entry": [ADD],
    "nothing": [],
    "another stream": [("XADD", "t", "1-1", "f", "v")],
    "deleted": [("DEL", "s")],
    "wiped": [("FLUSHALL",)],
    "another type": [("SET", "s", "x")],
    "group destroyed": [("XGROUP", "DESTROY", "s", "g")],
    "made again": [("DEL", "s"), ADD],
    "made again with its group": [("DEL", "s"), ("XGROUP", "CREATE", "s", "g", "0", "MKSTREAM"), ADD],
    "added and removed": [ADD, ("XDEL", "s", "1-1")],
}


@pytest.fixture(params=versions(), scope="module")
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Version, RealServer]]:
    """Each version, and a real server of it."""
    directory = str(tmp_path_factory.mktemp("primary"))
    with running_server("--dir", directory, binary=find_make(request.param)) as real:
        yield request.param, real


def happens(ask: Ask, reader: Any, events: Sequence[Sequence[str]]) -> list[Any]:
    """Let a session wait, something happen, and return what the session is answered."""
    ask("FLUSHALL")
    ask("XGROUP", "CREATE", "s", "g", "$", "MKSTREAM")
    reader.send(*READ)
    reader.send("PING")
    wait_until(lambda: b"blocked_clients:1" in ask("INFO", "clients"))
    for words in events:
        ask(*words)
    return [reader.receive(), reader.receive(), ask("XPENDING", "s", "g")]


@pytest.mark.parametrize("events", TROUBLES.values(), ids=TROUBLES)
def test_what_a_read_that_waits_is_told(pair: tuple[Version, RealServer], events: Sequence[Sequence[str]]) -> None:
    """As by a real server, also of a stream that is gone; what is sent behind it is answered after it."""
    version, real = pair
    server = make_server(version)
    told = happens(asking(server), Client(server.clock, server), events)
    with asking_real(real.port) as ask, RealClient(real.port) as reader:
        assert told == happens(ask, reader, events)


def test_readers_of_one_group_are_served_in_turn() -> None:
    """Each entry comes to one of them, the one that has waited longest first."""
    server = make_server()
    ask = asking(server)
    ask("XGROUP", "CREATE", "s", "g", "$", "MKSTREAM")
    readers = [Client(server.clock, server) for _ in range(3)]
    for reader in readers:
        reader.send("XREADGROUP", "GROUP", "g", "c", "COUNT", 1, "BLOCK", 0, "STREAMS", "s", ">")
        assert reader.take() == []
    ask("EVAL", "for i = 1, 2 do redis.call('XADD', KEYS[1], i .. '-1', 'f', i) end", "1", "s")
    first, second = (reader.receive() for reader in readers[:2])
    assert [first[0][1][0][0], second[0][1][0][0]] == [b"1-1", b"2-1"]
    assert readers[2].take() == []


def test_a_demoted_server_ends_the_sessions_that_wait() -> None:
    """As L{test_what_a_read_that_waits_is_told}: measured on all three."""
    primary, replica = make_pair()
    ask = asking(primary)
    ask("XGROUP", "CREATE", "s", "g", "$", "MKSTREAM")
    reader = Client(primary.clock, primary)
    reader.send(*READ)
    assert reader.take() == []
    replica.promote()
    primary.follow(replica)
    assert reader.receive() == (
        "-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)"
    )
    assert reader.lost


def wait_for_a_replica(ask: Ask, other: Ask, replica: Any) -> list[Any]:
    """
    Return how many replicas are counted: of a write, while the only one is stopped, by a session that has
    written nothing, once the replica goes on, and after it has died.
    """
    counts = [ask("SET", "a", "1"), ask("WAIT", "1", "2000")]
    replica.pause()
    counts += [ask("SET", "a", "2"), ask("WAIT", "1", "50"), ask("WAIT", "0", "50")]
    counts += [other("WAIT", "1", "50"), other("GET", "a"), other("WAIT", "1", "50")]
    counts += [other("SET", "b", "1", "XX"), other("WAIT", "1", "50")]
    replica.resume()
    counts += [ask("WAIT", "1", "2000"), other("WAIT", "1", "2000")]
    replica.kill()
    wait_until(lambda: ask("ROLE")[2] == [])
    return [*counts, ask("WAIT", "1", "50"), other("WAIT", "0", "50")]


@attrs.frozen
class Stopped:
    """A real server that can be stopped as a simulated one."""

    server: RealServer

    def pause(self) -> None:
        self.server.send(signal.SIGSTOP)

    def resume(self) -> None:
        self.server.send(signal.SIGCONT)

    def kill(self) -> None:
        self.server.end()


def test_what_wait_counts(pair: tuple[Version, RealServer], tmp_path: Path) -> None:
    """
    As a real server, also where that proves nothing.

    See the Note [A wait that proves nothing] in L{eventsvc.redis.durability}.
    """
    version, real = pair
    server, replica = make_pair(version)
    counts = wait_for_a_replica(asking(server), asking(server), replica)
    with running_replica(real, tmp_path) as stopped, asking_real(real.port) as ask, asking_real(real.port) as other:
        assert counts == wait_for_a_replica(ask, other, Stopped(stopped))


def test_what_a_replica_says(pair: tuple[Version, RealServer], tmp_path: Path) -> None:
    """Of itself, of reads and writes, and of waits; its primary lists it."""
    version, real = pair
    server, replica = make_pair(version)
    commands = ("SET a 1", "GET a", "WAIT 1 10", "WAITAOF 0 1 10", "XREADGROUP GROUP g c BLOCK 9 STREAMS s >", "PING")

    def told(ask: Ask, ask_primary: Ask) -> list[Any]:
        ask_primary("SET", "a", "x")
        ask_primary("WAIT", "1", "2000")
        [role, _, _, state, offset] = ask("ROLE")
        [[name, primary_offset, [[_, _, confirmed]]]] = [ask_primary("ROLE")]
        info = ask("INFO", "replication")
        return [
            *(role, state, offset <= primary_offset, name, 0 < int(confirmed) <= primary_offset),
            *(b"role:slave" in info, b"master_link_status:up" in info, b"connected_slaves:0" in info),
            *(ask(*command.split()) for command in commands),
        ]

    replies = told(asking(replica), asking(server))
    with running_replica(real, tmp_path) as other, asking_real(other.port) as ask, asking_real(real.port) as primary:
        assert replies == told(ask, primary)


def test_a_read_that_waits_is_woken_within_a_read_that_is_answered() -> None:
    """What a session has sent behind its read wakes others in turn."""
    server = make_server()
    ask = asking(server)
    ask("XGROUP", "CREATE", "s", "g", "$", "MKSTREAM")
    ask("XGROUP", "CREATE", "t", "g", "$", "MKSTREAM")
    first, second = Client(server.clock, server), Client(server.clock, server)
    first.send("XREADGROUP", "GROUP", "g", "c", "BLOCK", 0, "STREAMS", "s", ">")
    first.send("XADD", "t", "2-2", "f", "v")
    second.send("XREADGROUP", "GROUP", "g", "c", "BLOCK", 0, "STREAMS", "t", ">")
    assert first.take() == second.take() == []
    ask(*ADD)
    assert first.take() == [[[b"s", [[b"1-1", [b"f", b"v"]]]]], b"2-2"]
    assert second.take() == [[[b"t", [[b"2-2", [b"f", b"v"]]]]]]
