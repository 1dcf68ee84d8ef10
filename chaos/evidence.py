"""
From what a run left behind to what the judge is shown of it.
"""

from __future__ import annotations

import time
from calendar import timegm
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import msgspec

from chaos import FAILED
from chaos.deployment import DEAD, GROUP, STREAM, Deployment
from eventsvc.event import EVENT_FIELD, MARKER_FIELD, InvalidEvent, Notification, decode_notification
from eventsvc.outcome import Outcome
from eventsvc.testing.history import Handling, History, Op

#: The alarms by which a service says that events may have been lost.
_LOSSES: Final = {"lost", "group_recreated", "trimmed_pending"}

#: Clocks are stepped by whole hours; no run is as long as half of one.
_STEP: Final = 3600.0


@attrs.frozen
class Line:
    """
    A line of a service's log, with the time of the attempts.

    @ivar id: of the event that was handled, if the line is of one.
    @ivar failed: the handler failed on it.
    @ivar alarm: the kind of alarm, if the line is one.
    """

    at: float
    process: str
    level: str
    message: str
    id: int | None = None
    failed: bool = False
    alarm: str = ""


@attrs.frozen(kw_only=True)
class Evidence:
    """
    All that was seen of a run.

    @ivar fault: from when to when something was broken.
    @ivar figures: what the services counted, by name.
    """

    history: History
    lines: Sequence[Line]
    fault: tuple[float, float]
    figures: Mapping[str, float] = attrs.field(factory=dict)

    def during(self) -> Iterator[Op]:
        """The attempts that were under way while something was broken."""
        begin, end = self.fault
        return (op for op in self.history.ops if op.invoked <= end and (op.ended is None or op.ended >= begin))

    def since_fault(self, by: str) -> Iterator[Line]:
        """The lines since the fault began, of the services whose name begins so."""
        return (line for line in self.lines if line.at >= self.fault[0] and line.process.startswith(by))


def gather(deployment: Deployment, ops: Path, fault: tuple[float, float], drained: bool) -> Evidence:
    """Read what a run left behind; Redis must still be there."""
    with deployment.redis() as client:
        kept = read_redis(client, recorded=deployment.recorded)
    # After that: what is acknowledged by then has been logged.
    lines = sorted(
        (line for name in (*deployment.producers, *deployment.consumers) for line in read_log(deployment, name)),
        key=lambda line: line.at,
    )
    history = tell(kept, read_ops(ops), lines, fault, drained, time.monotonic())
    history = attrs.evolve(history, wiped=deployment.wiped, causes=deployment.causes)
    return Evidence(history=history, lines=lines, fault=fault, figures=deployment.figures())


@attrs.frozen
class Kept:
    """
    What Redis had at one moment.

    @ivar entries: the stream, with what was read along.
    @ivar pending: ids of entries, and for how many seconds each has been.
    @ivar last: where the group has read to.
    """

    entries: Mapping[bytes, dict[bytes, bytes]]
    dead: Collection[bytes]
    pending: Mapping[bytes, float]
    last: bytes


def read_redis(client: Any, since: str = "-", recorded: Mapping[bytes, dict[bytes, bytes]] = {}) -> Kept:
    """
    Read the stream and what belongs to it.

    @param since: from which entry on.
    @param recorded: entries that may be trimmed by now.
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
    What is to be judged.

    @param lines: the logs of all services, in the order of time.
    @param now: when Redis was read.
    """
    order = sorted(kept.entries.items(), key=lambda entry: _place(entry[0]))
    events = {id: _read(id, fields) for id, fields in order}
    known = {id: event.id for id, event in events.items() if event is not None}
    foreign = [
        Op("foreign", number, event.description, *fault, Outcome.OK, event.id)
        for number, event in enumerate(event for event in events.values() if event is not None and event.id < 0)
    ]
    quiet = now - max([fault[1], *(line.at for line in lines if line.id is not None)])
    unread = [id for id in known if _place(id) > _place(kept.last)]
    return History(
        ops=[*attempts, *foreign],
        stream=[event for event in events.values() if event is not None],
        handled=[Handling(line.id, line.process, line.at, line.failed) for line in lines if line.id is not None],
        dead=[known[id] for id in kept.dead if id in known],
        pending={known[id]: min(rest, quiet) for id, rest in kept.pending.items() if id in known},
        waiting={known[id]: min([quiet, *kept.pending.values()]) for id in unread},
        drained=drained,
        fault=fault,
        alarms=sum(line.alarm in _LOSSES for line in lines),
    )


def _read(id: bytes, fields: dict[bytes, bytes]) -> Notification | None:
    """
    The event of an entry; none for the marker.

    What does not parse must be set aside: it is taken for an event of a
    negative id, so that the judge follows it too.
    """
    if MARKER_FIELD in fields:
        return None
    try:
        return decode_notification(fields.get(EVENT_FIELD, b""), id.decode())
    except InvalidEvent:
        time, number = _place(id)
        return Notification(-(time * 1_000 + number), f"no event at {id.decode()}", "", id.decode())


def _place(id: bytes) -> tuple[int, int]:
    time, _, number = id.partition(b"-")
    return int(time), int(number)


def read_ops(path: Path) -> list[Op]:
    """The attempts that the workload wrote down."""
    return [msgspec.json.decode(line, type=Op) for line in path.read_bytes().splitlines()]


def read_log(deployment: Deployment, name: str) -> Iterator[Line]:
    """The JSON lines of a service, in order; the last may have been cut by its end."""
    return parse_log(deployment.processes[name].out.read_bytes(), name, time.time() - time.monotonic())


def parse_log(log: bytes, name: str, offset: float) -> Iterator[Line]:
    """
    The JSON lines of a service, in order; the last may have been cut.

    @param offset: what the time of day has more than that of the attempts.  It
        changes where the clock was stepped.
    """
    before = None
    for text in log.splitlines():
        try:
            line: dict[str, Any] = msgspec.json.decode(text)
        except msgspec.DecodeError:
            continue
        message = line["message"]
        failed = message == FAILED
        id = line.get("id") if failed or message == "event" else None
        if "error" in line:
            message = f"{message}: {line['error']}"
        at = _seconds(line["time"]) - offset
        stepped = _STEP * round((at - (at if before is None else before)) / _STEP)
        offset, at = offset + stepped, at - stepped
        before = at
        yield Line(at, name, line["level"], message, id, failed, line.get("alarm", ""))


def _seconds(timestamp: str) -> float:
    """RFC 3339 in UTC as seconds since the epoch."""
    whole, _, fraction = timestamp.rstrip("Z").partition(".")
    return timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) + float(f"0.{fraction or 0}")
