"""
Replicas of a real server.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chaos.suites import wait_until
from tests.support.processes import Server, running_server


def connected_replicas(server: Server) -> int:
    """Return how many replicas a primary lists."""
    with server.client() as client:
        return len(client.execute_command("ROLE")[2])


@contextmanager
def running_replica(server: Server, directory: Path) -> Iterator[Server]:
    """Run a replica of a primary, with its files in a directory, which has confirmed a write."""
    directory.mkdir(exist_ok=True)
    before = connected_replicas(server)
    with running_server("--dir", str(directory), binary=server.binary) as replica, server.client() as client:
        client.config_set("repl-diskless-sync-delay", 0)
        with replica.client() as itself:
            itself.replicaof("127.0.0.1", server.port)

        def follows() -> bool:
            client.publish("anything", "")  # which replicas are sent too
            client.wait(before + 1, 50)
            return [offset for *_, offset in client.execute_command("ROLE")[2] if offset != b"0"][before:] != []

        wait_until(follows)
        yield replica
