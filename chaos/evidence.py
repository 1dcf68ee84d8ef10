"""
Gathers the evidence of a run, and builds the history for the checker.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import msgspec
from msgspec import Raw

from chaos import DEAD, FOREIGN, GROUP, STREAM
from chaos.deployment import Deployment
from chaos.entries import LOSSES, place_in_stream, read_entry
from chaos.lines import Line, parse_log
from eventsvc.event import Notification
from eventsvc.json_text import escape_breaks, in_one_line
from eventsvc.outcome import Outcome
from eventsvc.testing.history import Content, Handling, History, Op
from eventsvc.testing.history.content import content_of, differences


@attrs.frozen(kw_only=True)
class Evidence:
    """
    All evidence of a run.

    @ivar fault: begin and end of the fault.
    @ivar figures: metrics of the services, by name.
    @ivar beside: what became of the events of the second stream, if there is one.
    """

    history: History
    lines: Sequence[Line]
    fault: tuple[float, float]
    figures: Mapping[str, float] = attrs.field(factory=dict)
    beside: History | None = None

    def during(self) -> Iterator[Op]:
        """Return the attempts that were in progress during the fault."""
        begin, end = self.fault
        return (op for op in self.history.ops if op.invoked <= end and (op.ended is None or op.ended >= begin))

    def since_fault(self, by: str) -> Iterator[Line]:
        """Return the lines since the fault began, of the services whose name begins with C{by}."""
        return (line for line in self.lines if line.at >= self.fault[0] and line.process.startswith(by))


def gather(deployment: Deployment, ops: Path, fault: tuple[float, float], drained: bool) -> Evidence:
    """Gather the evidence of a run; Redis must still be running."""
    with deployment.redis() as client:
        kept = read_redis(client, recorded=deployment.recorder.entries)
    # Read the logs after Redis: entries that are acknowledged by then have been logged.
    names = [*deployment.producers, *deployment.consumers, *(["receiver"] if deployment.plan.receiver else [])]
    lines = sorted((line for name in names for line in read_log(deployment, name)), key=lambda line: line.at)
    history = tell(kept, [*read_ops(ops), *deployment.posted], lines, fault, drained, time.monotonic())
    history = attrs.evolve(
        history,
        wiped=deployment.wiped,
        rolled_back=deployment.rolled_back,
        promotions=deployment.replicas.promotions,
        causes=deployment.causes,
    )
    return Evidence(history=history, lines=lines, fault=fault, figures=deployment.figures())


def gather_beside(deployment: Deployment, ops: Path, fault: tuple[float, float]) -> History:
    """Return what became of the events of the second stream, which nobody reads."""
    with deployment.redis() as client:
        events = [read_entry(id, fields) for id, fields in client.xrange(deployment.plan.beside)]
    return History(ops=read_ops(ops), stream=[event for event in events if event is not None], fault=fault)


@attrs.frozen
class Kept:
    """
    The contents of Redis at one moment.

    @ivar entries: the stream, including recorded entries.
    @ivar dead: ids of the entries among the dead letters.
    @ivar pending: idle seconds of each pending entry, by id.
    @ivar last: id of the last entry that the group has read.
    """

    entries: Mapping[bytes, dict[bytes, bytes]]
    dead: Collection[bytes]
    pending: Mapping[bytes, float]
    last: bytes


def read_redis(client: Any, since: str = "-", recorded: Mapping[bytes, dict[bytes, bytes]] = {}) -> Kept:
    """
    Read the stream, its dead letters and its group.

    @param since: first entry to read.
    @param recorded: entries that may have been trimmed.
    """
    with client.pipeline() as moment:
        moment.xrange(STREAM, since)
        moment.xrange(DEAD)
        moment.xinfo_groups(STREAM)
        moment.xpending_range(STREAM, GROUP, "-", "+", 1_000_000)
        stored, letters, groups, pending = moment.execute()
    [last] = [group["last-delivered-id"] for group in groups if group["name"] == GROUP.encode()]
    rests = {row["message_id"]: row["time_since_delivered"] / 1000 for row in pending}
    return Kept({**recorded, **dict(stored)}, {fields[b"id"] for _, fields in letters}, rests, last)


def tell(
    kept: Kept, attempts: Sequence[Op], lines: Sequence[Line], fault: tuple[float, float], drained: bool, now: float
) -> History:
    """
    Return the history for the checker.

    @param lines: the logs of all services, ordered by time.
    @param now: when Redis was read.
    """
    order = sorted(kept.entries.items(), key=lambda entry: place_in_stream(entry[0]))
    events = {id: read_entry(id, fields) for id, fields in order}
    known = {id: event.id for id, event in events.items() if event is not None}
    contents = _contents([event for event in events.values() if event is not None], attempts)
    foreign = [
        Op("foreign", number, event.description, *fault, Outcome.OK, event.id)
        for number, event in enumerate(each for each in events.values() if each is not None and _is_foreign(each))
    ]
    quiet = now - max([fault[1], *(line.at for line in lines if line.id is not None)])
    unread = [id for id in known if place_in_stream(id) > place_in_stream(kept.last)]
    return History(
        ops=[*attempts, *foreign],
        stream=[event for event in events.values() if event is not None],
        handled=[
            Handling(line.id, line.process, line.at, line.failed, _restore(line.content, contents.get(line.id, ())))
            for line in lines
            if line.id is not None
        ],
        dead=[known[id] for id in kept.dead if id in known],
        pending={known[id]: min(rest, quiet) for id, rest in kept.pending.items() if id in known},
        waiting={known[id]: min([quiet, *kept.pending.values()]) for id in unread},
        drained=drained,
        fault=fault,
        alarms=sum(line.alarm in LOSSES and line.at >= fault[0] for line in lines),
        early_alarms=sum(line.alarm in LOSSES and line.at < fault[0] for line in lines),
    )


def _contents(stored: Sequence[Notification], attempts: Sequence[Op]) -> Mapping[int, Sequence[Content]]:
    """
    Return the contents that an event may have had, by its id: as it is stored, then as it was posted.

    A CloudEvent that was posted several times may have been stored with another
    text before Redis lost it.
    """
    posted: dict[str, list[Content]] = defaultdict(list)
    for op in attempts:
        if op.content is not None:
            posted[op.description].append(op.content)
    return {event.id: [content_of(event), *posted[event.description]] for event in stored}


def _restore(logged: Content | None, contents: Sequence[Content]) -> Content | None:
    """
    Return what a handler was given; the log has no line breaks, and escapes of some characters.

    @param contents: what it may have been given.
    """
    if logged is None:
        return None
    for whole in contents:
        line = attrs.evolve(whole, data=_one_line(whole.data), cloudevent=_one_line(whole.cloudevent))
        if not any(differences(line, logged)):
            return whole
    return logged


def _one_line(text: str) -> str:
    return escape_breaks(bytes(in_one_line(Raw(text.encode())))).decode()


def _is_foreign(event: Notification) -> bool:
    return event.id < 0 or event.description.startswith(FOREIGN)


def read_ops(path: Path) -> list[Op]:
    """Read the attempts that the workload has recorded."""
    return [msgspec.json.decode(line, type=Op) for line in path.read_bytes().splitlines()]


def read_log(deployment: Deployment, name: str) -> Iterator[Line]:
    """Read the log of a service."""
    return parse_log(deployment.processes[name].out.read_bytes(), name, time.time() - time.monotonic())
