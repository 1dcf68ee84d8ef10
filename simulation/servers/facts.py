"""
What a server says about itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from simulation.redis.values import Version

if TYPE_CHECKING:
    from simulation.servers.server import Server

#: By version, the name of the product and its release.
RELEASES: Final = {
    Version.REDIS_6_2: (b"redis", b"6.2.14"),
    Version.REDIS_7_0: (b"redis", b"7.0.15"),
    Version.VALKEY_9_1: (b"valkey", b"9.1.2"),
}


def role(server: Server) -> list[Any]:
    """Return the reply to C{ROLE}."""
    now = server.clock.seconds()
    link = server.link
    if link is not None:
        state = b"connected" if link.silence(now) is not None else b"sync" if link.since is not None else b"connect"
        offset = link.position(now).offset if state == b"connected" else -1
        return [b"slave", link.primary.host.encode(), link.primary.port, state, offset]
    replicas = [
        [each.replica.host.encode(), b"%d" % each.replica.port, b"%d" % max(0, each.confirmed(now))]
        for each in server.replicas
        if each.silence(now) is not None
    ]
    return [b"master", server.history.end, replicas]


def info(server: Server, wanted: Sequence[bytes]) -> bytes:
    """Return the reply to C{INFO}: the sections that are wanted, or all."""
    everything = not wanted or not _EVERYTHING.isdisjoint(wanted)
    return b"\r\n".join([_write(name, server) for name in _SECTIONS if everything or name in wanted])


def _write(name: bytes, server: Server) -> bytes:
    facts = "".join([f"{key}:{value}\r\n" for key, value in _SECTIONS[name](server).items()])
    return b"# %b\r\n%b" % (name.capitalize(), facts.encode())


def _server(server: Server) -> Mapping[str, Any]:
    product, release = (word.decode() for word in RELEASES[server.version])
    if product == "valkey":
        facts = {"redis_version": "7.2.4", "server_name": product, "valkey_version": release}
    else:
        facts = {"redis_version": release}
    return {**facts, "run_id": server.history.id, "tcp_port": server.port}


def _clients(server: Server) -> Mapping[str, Any]:
    return {"connected_clients": len(server.sessions), "blocked_clients": len(server.reading) + len(server.waiting)}


def _memory(server: Server) -> Mapping[str, Any]:
    return {
        "used_memory": server.keyspace().used_memory,
        "maxmemory": server.settings.number(b"maxmemory"),
        "maxmemory_policy": server.settings.values[b"maxmemory-policy"].decode(),
        "mem_not_counted_for_evict": 0,
    }


def _persistence(server: Server) -> Mapping[str, Any]:
    return {
        "loading": int(server.is_loading),
        "aof_enabled": int(server.settings.values[b"appendonly"] == b"yes"),
        "aof_last_write_status": "ok" if server.disk.full is None else "err",
    }


def _replication(server: Server) -> Mapping[str, Any]:
    now, link = server.clock.seconds(), server.link
    facts: dict[str, Any] = {"role": "master" if link is None else "slave"}
    if link is not None:
        facts |= {
            "master_host": link.primary.host,
            "master_port": link.primary.port,
            "master_link_status": "up" if link.silence(now) is not None else "down",
            "slave_repl_offset": link.position(now).offset,
        }
    facts["connected_slaves"] = len(server.replicas)
    for number, each in enumerate(server.replicas):
        silence, offset = each.silence(now), max(0, each.confirmed(now))
        state = "wait_bgsave" if silence is None else "online"
        where = f"ip={each.replica.host},port={each.replica.port}"
        facts[f"slave{number}"] = f"{where},state={state},offset={offset},lag={int(silence or 0)}"
    return facts | {"master_replid": server.position().history.id, "master_repl_offset": server.position().offset}


_EVERYTHING: Final = frozenset((b"all", b"default", b"everything"))
_SECTIONS: Final[Mapping[bytes, Callable[[Server], Mapping[str, Any]]]] = {
    b"server": _server,
    b"clients": _clients,
    b"memory": _memory,
    b"persistence": _persistence,
    b"replication": _replication,
}
