"""
Looks at a stream: its groups, their consumers, dead letters, and the server.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from eventsvc.redis.connection import Connection
from eventsvc.redis.measuring import explain, measure
from eventsvc.redis.questions import parse_info
from eventsvc.redis.scripts import dead_letters, load_script
from eventsvc.redis.session import Argument
from eventsvc.stream_state import ConsumerState, GroupState, ReplicaState, ServerState, StreamState

_SURVEY: Final = load_script("survey.lua")

#: The most groups, and the most consumers of all groups, that are looked at.
MOST_GROUPS: Final = 20
MOST_CONSUMERS: Final = 500


async def survey(connection: Connection, stream: str) -> StreamState:
    """
    Return the state of a stream; it costs the same however long the stream is.

    What the user of Redis may not ask is not known, and told in C{problems}.

    @raise Refused: Redis refuses, or is not connected.
    @raise Unknown: there was no answer.
    """
    limits: list[Argument] = [dead_letters(stream), MOST_GROUPS, MOST_CONSUMERS]
    now, length, dead, group_count, rows, info, refused = await connection.run(_SURVEY, [stream], limits)
    measured = [await measure(connection, stream, name) for name, *_ in rows]
    words = list(map(_text, refused))
    problems = [
        explain(key, command, reply, rights="")
        for command, key, reply in zip(words[::3], words[1::3], words[2::3], strict=True)
    ]
    return StreamState(
        stream=stream,
        now=now / 1000,
        length=length,
        dead=dead,
        groups=[
            GroupState(
                _text(name),
                measures,
                _text(last),
                count,
                None if consumers is None else list(map(_read_consumer, consumers)),
            )
            for measures, (name, last, count, consumers) in zip(measured, rows, strict=True)
        ],
        group_count=group_count,
        server=read_server(info or b""),
        problems=list(dict.fromkeys([*problems, *(measures.problem for measures in measured if measures.problem)])),
    )


def read_server(info: bytes) -> ServerState:
    """Return what a reply to C{INFO} says of the server."""
    facts = {name.decode("latin-1"): _text(value) for name, value in parse_info(info).items()}

    def number(name: str) -> int | None:
        text = facts.get(name, "")
        return int(text) if text.isdecimal() else None

    used, not_counted = number("used_memory"), number("mem_not_counted_for_evict")
    offset = number("master_repl_offset") or 0
    aof = facts.get("aof_enabled")
    return ServerState(
        product="valkey" if "valkey_version" in facts else "redis" if facts else "",
        version=facts.get("valkey_version") or facts.get("redis_version", ""),
        role={"master": "primary", "slave": "replica"}.get(facts.get("role", ""), facts.get("role", "")),
        replicas=[_read_replica(facts[name], offset) for name in _replica_names(facts)],
        memory=None if used is None else used - (not_counted or 0),
        max_memory=number("maxmemory"),
        policy=facts.get("maxmemory_policy", ""),
        append_only=None if aof is None else aof != "0",
        uptime=number("uptime_in_seconds"),
        clients=number("connected_clients"),
    )


def _replica_names(facts: dict[str, str]) -> Sequence[str]:
    return [name for name in facts if name.startswith("slave") and name[5:].isdecimal()]


def _read_replica(text: str, offset: int) -> ReplicaState:
    """Return what a line such as C{ip=10.0.0.1,port=6379,state=online,offset=42,lag=0} says."""
    about = dict(part.partition("=")[::2] for part in text.split(","))

    def number(name: str) -> int:
        return int(about.get(name, "")) if about.get(name, "").isdecimal() else 0

    return ReplicaState(
        address=f"{about.get('ip', '')}:{about.get('port', '')}",
        state=about.get("state", ""),
        lag=number("lag"),
        behind=max(0, offset - number("offset")),
    )


def _read_consumer(row: Sequence[Any]) -> ConsumerState:
    name, pending, idle = row
    return ConsumerState(_text(name), pending, idle / 1000)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")
