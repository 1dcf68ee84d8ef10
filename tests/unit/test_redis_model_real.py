"""
Tests that the model of Redis in the simulation does what real servers do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from chaos.suites import wait_until
from eventsvc.embedded import NoServer
from simulation.redis.group import Group
from simulation.redis.keyspace import Keyspace
from simulation.redis.values import Version
from tests.support.processes import running_server
from tests.support.redis_differences import MAKES, Wire, find_difference, find_replica_difference
from tests.support.server_binaries import find_binary

#: Sequences on each server; `python -m tests.support.redis_differences 10000` runs more.
SHARE = 30

all_versions = pytest.mark.parametrize("version", Version)


def wire_of(version: Version) -> tuple[str, str]:
    name = MAKES[version]
    try:
        return name, find_binary(name)
    except NoServer as remedy:
        pytest.skip(str(remedy))


@all_versions
@pytest.mark.processes
def test_the_model_answers_as_a_real_server(version: Version) -> None:
    """Random commands and scripts have the same replies on both, rights, memory, replicas and odd words included."""
    _, binary = wire_of(version)
    with running_server(binary=binary) as server, closing(Wire(server.port)) as wire:
        for seed in range(SHARE):
            difference = find_difference(wire, version, seed)
            assert difference is None or not difference.is_certain, f"seed {seed}\n{difference}"


def node_steps() -> Iterator[list[list[bytes]]]:
    """Yield entries that just fit into one node of a stream, or just do not."""
    for first in (b"x", b"x" * 70, b"x" * 300, b"-70000", b"9" * 18):
        for length in range(4080 - len(first) - 60, 4100 - len(first)):
            yield [[b"XADD", b"s", b"1-1", b"a", first], [b"XADD", b"s", b"1-2", b"a", b"y" * length]]
    for sequence in (1, 127, 128, 4095, 4096, 40_000, 9_000_000, 3_000_000_000, 1 << 40):
        for length in range(3960, 4060):
            ids = (b"5-%d" % sequence, b"6-1", b"%d-0" % (sequence + 6), b"%d-0" % (sequence + 7))
            yield [[b"XADD", b"s", id, b"a", b"z" * size] for id, size in zip(ids, (1, 1, 1, length))]
    yield [[b"XADD", b"s", b"1-%d" % index, b"a", b""] for index in range(1, 302)]


@all_versions
@pytest.mark.processes
def test_nodes_end_where_those_of_a_real_server_end(version: Version) -> None:
    """What C{XTRIM} with C{~} removes is a matter of single bytes."""
    _, binary = wire_of(version)
    counts = set()
    with running_server(binary=binary) as server, closing(Wire(server.port)) as wire:
        for commands in node_steps():
            model = Keyspace(version)
            *_, real = wire.ask([b"DEL", b"s"], *commands, [b"XINFO", b"STREAM", b"s"])
            for command in commands:
                model.execute(command, 1000)
            found = model.execute([b"XINFO", b"STREAM", b"s"], 1000)
            assert isinstance(found, list)
            assert found[3] == real[3], commands
            counts.add(real[3])
    assert counts == {1, 2, 4}


@all_versions
@pytest.mark.processes
def test_replicas_hold_what_real_ones_hold(version: Version, tmp_path: Path) -> None:
    """The effects of commands are what a real primary tells its replicas."""
    _, binary = wire_of(version)
    with ExitStack() as opened:
        for name in ("primary", "replica"):
            tmp_path.joinpath(name).mkdir()
        servers = [
            opened.enter_context(running_server("--dir", str(tmp_path / name), binary=binary))
            for name in ("primary", "replica")
        ]
        primary, replica = (opened.enter_context(closing(Wire(server.port))) for server in servers)
        replica.ask([b"REPLICAOF", b"127.0.0.1", b"%d" % servers[0].port])
        wait_until(lambda: b"master_link_status:up" in replica.ask([b"INFO", b"replication"])[0])
        found = [find_replica_difference(primary, replica, version, seed) for seed in range(SHARE)]
    assert set(found) - {None} == {""}


@pytest.mark.processes
def test_a_difference_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the model forgot to count deliveries, the comparison would say so."""
    deliver = Group.deliver

    def deliver_once(self: Group, id: int, consumer: bytes, now: int, deliveries: int) -> None:
        deliver(self, id, consumer, now, min(deliveries, 1))

    monkeypatch.setattr(Group, "deliver", deliver_once)
    _, binary = wire_of(Version.VALKEY_9_1)
    with running_server(binary=binary) as server, closing(Wire(server.port)) as wire:
        found = [find_difference(wire, Version.VALKEY_9_1, seed) for seed in range(SHARE)]
    assert any(each is not None and each.is_certain for each in found)
