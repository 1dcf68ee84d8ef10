"""
Replicas of a real server.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from chaos.suites import wait_until
from tests.support.processes import Server, running_server


def connected_replicas(server: Server) -> int:
    """Return how many replicas a primary lists."""
    with server.client() as client:
        return len(listed(client)[1])


def listed(client: redis.Redis) -> tuple[int, dict[int, int]]:
    """Return how much a primary has written, and how much each replica has confirmed, by its port."""
    _, written, replicas = client.execute_command("ROLE")
    return written, {int(port): int(confirmed) for _, port, confirmed in replicas}


@contextmanager
def running_replica(server: Server, directory: Path) -> Iterator[Server]:
    """
    Run a replica of a primary, with its files in a directory, which has confirmed a write.

    # Note [Listed and deaf]

    A replica confirms what it has loaded.  If that arrives before the primary has
    seen the end of the child that sent it, the primary lists the replica with this
    offset, and sends it nothing until it confirms again, up to a second later::

        child:    ... the last of the data                      ends
        replica:                             loaded, ACK n                           ACK n
        primary:                                     (too early)   lists n   (keeps writes)   sends them

    So what it confirms must have been written after it was listed.

    Source: C{replconfCommand} of Redis 7.0, C{repl_start_cmd_stream_on_ack}.
    """
    directory.mkdir(exist_ok=True)
    with running_server("--dir", str(directory), binary=server.binary) as replica, server.client() as client:
        client.config_set("repl-diskless-sync-delay", 0)
        with replica.client() as itself:
            itself.replicaof("127.0.0.1", server.port)

        def follows() -> bool:
            written, before = listed(client)
            client.publish("anything", "")  # which replicas are sent too
            client.wait(max(len(before), 1), 50)
            _, after = listed(client)
            return replica.port in before and after.get(replica.port, 0) > written

        wait_until(follows)
        yield replica
