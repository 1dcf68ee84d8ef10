"""
Sets entries aside on a real server.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eventsvc.redis.scripts import dead_letters, load_script
from tests.support.processes import Server

STREAM = "NotificationStream"
DEAD = dead_letters(STREAM)
GROUP = "demo_consumer_group"

_SET_ASIDE = load_script("rights.lua", "set_aside.lua")


def set_aside(
    server: Server,
    fields: Mapping[Any, Any],
    reason: str = "failed",
    error: str = "ValueError: no",
    deliveries: int = 5,
) -> str:
    """Add an entry, set it aside, and return the id of its dead letter."""
    with server.client() as client:
        if not client.exists(STREAM):
            client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
        entry = client.xadd(STREAM, fields)
        client.xreadgroup(GROUP, "consumer", {STREAM: ">"})
        client.eval(_SET_ASIDE.text, 2, STREAM, DEAD, GROUP, "consumer", entry, reason, error, deliveries)
        [(id, _)] = client.xrevrange(DEAD, count=1)
        return str(id.decode())


def set_events_aside(server: Server, count: int) -> list[str]:
    """Set events aside, and return the ids of their dead letters."""
    return [set_aside(server, {"EventStream": f'{{"id":{number}}}'}) for number in range(count)]


def dead_ids(server: Server) -> list[str]:
    """Return the ids of all dead letters."""
    with server.client() as client:
        return [id.decode() for id, _ in client.xrange(DEAD)]


def stream_fields(server: Server) -> list[dict[bytes, bytes]]:
    """Return the fields of the entries in the stream."""
    with server.client() as client:
        return [fields for _, fields in client.xrange(STREAM)]
