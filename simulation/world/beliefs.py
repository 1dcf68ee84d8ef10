"""
What each side of a world believes, as sentences for stories.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from eventsvc.consumer.service import Consumer
from eventsvc.event import EVENT_FIELD
from eventsvc.tap.parts.connection import AppenderService
from simulation.world.world import World


def believe(world: World, subjects: Collection[str]) -> Mapping[str, list[str]]:
    """
    Return what each process believes, a sentence each.

    @param subjects: the descriptions of events that the sentences are to be about.
    """
    beliefs: dict[str, list[str]] = {}
    for name, client in world.clients.items():
        beliefs[name] = [*_of_client(client.ops, subjects)]
    for name, process in world.processes.items():
        if name.startswith(("producer", "consumer")):
            beliefs[name] = [*_of_service(process.service)] if process.alive else ["has ended"]
    for name, server in world.servers.by_name.items():
        beliefs[name] = [*_of_server(world, server, subjects)]
    return beliefs


def _of_client(ops: Collection[Any], subjects: Collection[str]) -> Iterator[str]:
    counts = Counter(op.outcome.value for op in ops)
    yield ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())) or "has posted nothing"
    for op in ops:
        if op.description in subjects:
            id = "" if op.id is None else f", as {op.id}"
            ended = "without an end" if op.ended is None else f"until {op.ended:.3f}"
            yield f"{op.description!r}, from {op.invoked:.3f} {ended}: {op.outcome.value}{id}"


def _of_service(service: Any) -> Iterator[str]:
    for part in service:
        match part:
            case AppenderService():
                appender = part.appender
                backlog = appender.backlog
                yield (
                    f"Redis has batches up to {appender.retained.sequence}, {appender.retained.total} events; "
                    f"{backlog.events} events wait; gave back {appender.counts.restored}"
                )
            case Consumer():
                flight = part.in_flight
                words = [
                    f"handled {flight.counts.handled}",
                    f"in flight {', '.join(flight.entries) or 'nothing'}",
                    f"not confirmed {', '.join(entry.id for entry in part.acknowledgements.unconfirmed) or 'nothing'}",
                ]
                yield "; ".join([*words, part.problem]).removesuffix("; ")


def _of_server(world: World, server: Any, subjects: Collection[str]) -> Iterator[str]:
    role = "primary" if server.link is None else f"replica of {server.link.primary.host}"
    yield f"{role}, {'up' if server.up else 'down'}, offset {server.position().offset}"
    found = world.servers.ask(server, b"XRANGE", b"NotificationStream", b"-", b"+")
    entries = found if isinstance(found, list) else []
    if entries:
        yield f"{len(entries)} entries, from {entries[0][0].decode()} to {entries[-1][0].decode()}"
    texts = [(id.decode(), dict(zip(fields[::2], fields[1::2])).get(EVENT_FIELD, b"")) for id, fields in entries]
    for subject in subjects:
        held = [id for id, text in texts if f'"description":"{subject}"'.encode() in text]
        yield f"{subject!r} is {'entry ' + ' and '.join(held) if held else 'not there'}"
