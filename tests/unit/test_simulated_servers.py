"""
Tests that simulated servers answer as real ones do, word by word.
"""

from __future__ import annotations

from collections.abc import Iterator

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulation.redis.values import User, Version
from tests.support.processes import running_server
from tests.support.simulated import Ask, Client, asking, asking_real, find_make, make_server, turn, versions

#: Facts that a fresh server of one version tells alike, whatever the machine.
SAME = [
    *(b"redis_version", b"role", b"connected_slaves", b"aof_enabled", b"loading", b"blocked_clients"),
    *(b"maxmemory", b"maxmemory_policy", b"aof_last_write_status"),
]


@pytest.fixture(params=versions(), scope="module")
def make(request: pytest.FixtureRequest) -> Iterator[tuple[Version, int]]:
    """Each make of server: its version, and the port of a real one."""
    with running_server(binary=find_make(request.param)) as real:
        yield request.param, real.port


@pytest.fixture
def both(make: tuple[Version, int]) -> Iterator[tuple[Ask, Ask]]:
    """Ask the simulated server of a version, and the real one."""
    version, port = make
    with asking_real(port) as ask_real:
        yield asking(make_server(version)), ask_real


@pytest.mark.parametrize(
    "command",
    [
        *("PING", "PING x", "PING a b", "ping", "ECHO x", "ECHO"),
        *("SELECT 0", "SELECT 99", "SELECT x", "SELECT"),
        *("AUTH x", "AUTH nobody x", "AUTH", "AUTH a b c"),
        *("CONFIG GET maxmemory", "CONFIG GET nosuch", "CONFIG GET MAXMEMORY-policy", "CONFIG GET min-replicas-*"),
        *("CONFIG GET", "CONFIG", "CONFIG NOSUCH", "CONFIG SET nosuch 1", "CONFIG SET maxmemory x"),
        *("CONFIG SET maxmemory", "CONFIG SET maxmemory 0"),
        *("ROLE", "ROLE x", "COMMAND NOSUCH", "CLIENT SETNAME a", "CLIENT", "CLIENT NOSUCH"),
        *("WAIT 0 10", "WAIT 1 10", "WAIT x 10", "WAIT 1", "WAIT 1 -1"),
        *("WAITAOF 1 0 10", "WAITAOF 0 0 10", "WAITAOF 0 1 10", "WAITAOF 2 0 10", "WAITAOF 1"),
        *("HELLO 9", "INFO nosuch", "QUIT"),
    ],
)
def test_the_words_are_those_of_a_real_server(both: tuple[Ask, Ask], command: str) -> None:
    """Of errors too, on each version."""
    ask, ask_real = both
    reply, real = ask(*command.split()), ask_real(*command.split())
    if command.startswith("CONFIG GET") and isinstance(real, list):
        reply, real = [dict(zip(each[::2], each[1::2])) for each in (reply, real)]
    assert reply == real


def test_the_version_of_the_words(both: tuple[Ask, Ask]) -> None:
    """A server says what it is: C{HELLO}, but for the number of the session and the modules."""
    ask, ask_real = both
    assert ask("HELLO", "2")[:6] == ask_real("HELLO", "2")[:6]
    names = [[each and each[0] for each in one("COMMAND", "INFO", "XAUTOCLAIM", "nosuch")] for one in both]
    assert names == [[b"xautoclaim", None]] * 2


def read_info(text: bytes) -> tuple[list[bytes], dict[bytes, bytes]]:
    """Return the sections of a reply to INFO, and its facts."""
    lines = text.splitlines()
    facts = dict(line.split(b":", 1) for line in lines if b":" in line)
    return [line for line in lines if line.startswith(b"#")], facts


@pytest.mark.parametrize("section", ["", "replication", "persistence", "clients"])
def test_what_info_tells(both: tuple[Ask, Ask], section: str) -> None:
    """All that a simulated server tells, a real one tells too, in the same order of sections."""
    ask, ask_real = both
    (sections, facts), (real_sections, real_facts) = (
        read_info(one(*["INFO", section][: 1 + bool(section)])) for one in (ask, ask_real)
    )
    assert sections == [each for each in real_sections if each in sections]
    assert facts.keys() <= real_facts.keys()
    assert {name for name in facts if facts[name].isdigit()} == {name for name in facts if real_facts[name].isdigit()}
    same = facts.keys() & {*SAME}
    assert {name: facts[name] for name in same} == {name: real_facts[name] for name in same}
    if section in ("", "replication"):
        assert len(facts[b"master_replid"]) == len(real_facts[b"master_replid"])


def test_a_password(both: tuple[Ask, Ask]) -> None:
    """A session must log in before it may do anything, and the order of the checks is the same."""
    for ask in both:
        assert ask("CONFIG", "SET", "requirepass", "secret") == b"OK"
    replies = [[one(*words) for words in (["AUTH", "no"], ["AUTH", "default", "secret"], ["PING"])] for one in both]
    assert replies[0] == replies[1]
    for ask in both:
        assert ask("CONFIG", "SET", "requirepass", "") == b"OK"


def test_a_right_that_is_missing(make: tuple[Version, int]) -> None:
    """Commands about the server need rights like all others."""
    version, port = make
    server = make_server(version)
    server.set_user(User(b"poor", denied=frozenset([b"role", b"config|get", b"wait", b"ping"])), b"secret")
    ask_simulated = asking(server)
    asked = (["AUTH", "poor", "secret"], ["ROLE"], ["CONFIG", "GET", "save"], ["WAIT", "0", "1"], ["PING"])
    answers = [ask_simulated(*words) for words in asked]
    with asking_real(port) as ask:
        subcommand = "-config" if version.is_old else "-config|get"
        ask("ACL", "SETUSER", "poor", "on", ">secret", "+@all", "-role", subcommand, "-wait", "-ping")
        assert answers == [ask(*words) for words in asked]


HOSTILE = b"\r\n$\x00"
COMMANDS = [("PING",), ("SET", HOSTILE, b"*1\r\n" * 9), ("GET", HOSTILE), ("nosuch",), ("XLEN", "s"), ("ECHO", "")]
PIPELINE = b"".join(map(hiredis.pack_command, COMMANDS))  # type: ignore[arg-type]


@given(st.lists(st.integers(1, len(PIPELINE) - 1), max_size=9, unique=True).map(sorted))
def test_commands_may_come_in_pieces(cuts: list[int]) -> None:
    """Cut anywhere, also within a word, they are answered in their order."""
    server = make_server()
    client = Client(server.clock, server)
    for start, end in zip([0, *cuts], [*cuts, len(PIPELINE)]):
        client.transport.write(PIPELINE[start:end])
        turn(server.clock)
    unknown = "-ERR unknown command 'nosuch', with args beginning with: "
    expected = [b"PONG", b"OK", b"*1\r\n" * 9, unknown, 0, b""]
    assert [client.receive() for _ in expected] == expected
    assert not client.replies


@pytest.mark.parametrize("data", [b"*-9\r\n", b"?\r\n", b"PING\r\n"])
def test_what_is_no_command_ends_the_session(data: bytes) -> None:
    """After what was sent before it is answered; it does not end the server."""
    server = make_server()
    client = Client(server.clock, server)
    client.send("PING")
    client.transport.write(data)
    turn(server.clock)
    assert client.receive() == b"PONG"
    assert client.receive().startswith("-ERR Protocol error")
    assert client.lost
    assert asking(server)("PING") == b"PONG"
