"""
Judges a run: the promises of every history, and that everything ends well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from twisted.logger import LogLevel, formatEvent

from chaos.entries import LOSSES, place_in_stream, read_entry
from eventsvc.consumer.service import Consumer
from eventsvc.outcome import Outcome
from eventsvc.redis.connection import Connection
from eventsvc.testing.history import Expectations, History, Verdict, check
from simulation.schedules.choices import Schedule
from simulation.world.excuses import (
    alarm_of,
    causes_of,
    excuse,
    find_forgotten,
    has_lost_old,
    name_lives,
    places_of,
    without_gone,
)
from simulation.world.handlers import POISON
from simulation.world.process import Process
from simulation.world.servers import Stored
from simulation.world.timeline import MOST
from simulation.world.world import World

#: Seconds after the last fault, or the last request, within which all must be stored and handled.
BOUND: Final = 60.0
#: Seconds in which a process stops: what it may wait for handlers, clients and Redis, and the longest pause of it.
_STOP: Final = 40.0
#: Seconds that services have to find out what Redis has lost, once they are connected.
LOOK_AROUND: Final = 3.0
#: Faults because of which handlers fail, and because of which calls of handlers do not end.
_FAILING: Final = frozenset({"fail", "hang", "slow"})
_ENDING: Final = frozenset({"kill", "leave", "pause"})
#: More than any run sets aside.
_ANY: Final = 10_000


def bound_of(world: World) -> float:
    """
    Return for how many seconds after the last fault, or the last request, something may be left to do.

    "Any number of events in a row that can never be handled hold up the others for minutes at most": one that is the
    head of the line in an outage is tried alone for a minute after it.
    """
    if world.setup.concurrency > 1 or not any(
        alarm_of(event) == "handler_failing" for life in world.lives for _, event in life.log
    ):
        return BOUND
    is_poisoned = any(POISON in op.description for client in world.clients.values() for op in client.ops)
    return 4 * BOUND if is_poisoned else BOUND


def is_settled(world: World) -> bool:
    """Return whether all services have had time to look at Redis, and nobody has anything left to do."""
    changes = [world.account.last, *(rollback.at for rollback in world.account.rollbacks)]
    if world.timeline.now < max(changes) + LOOK_AROUND:
        return False
    if any(client.open or not client.done for client in world.clients.values()):
        return False
    if not all(_is_ready(process) for process in world.processes.values() if process.service is not None):
        return False
    servers = world.servers
    if servers.divided():
        return False
    return servers.last_read() == servers.last_entry() and not servers.pending() - _undecided(world)


def _undecided(world: World) -> set[bytes]:
    """
    Return the ids of entries that no handler can handle, with consumers that have no others.

    "Once another event has been handled": only that tells them from an outage, and clients have ended.
    """
    parts = (part for process in world.processes.values() if process.alive for part in process.service or ())
    found: set[bytes] = set()
    for part in parts:
        if isinstance(part, Consumer) and part.in_flight.needs_another:
            entries = part.in_flight.entries.values()
            found |= {each.id.encode() for each in entries if POISON.encode() in b"".join((each.fields or {}).values())}
    return found


def count_connects(world: World) -> int:
    """Return how often services have connected to Redis."""
    parts = (part for life in world.lives for part in life.service or ())
    return sum(part.connects for part in parts if isinstance(part, Connection))


def _is_ready(process: Process) -> bool:
    """Return whether a service has reached Redis; one that has ended for good is not asked."""
    return not process.alive or all(part.ready for part in process.service if isinstance(part, Connection))


def judge(world: World, schedule: Schedule, history: History, settled: bool) -> tuple[Verdict, Sequence[str]]:
    """Return the verdict on a run, and more promises that it broke."""
    kinds = {choice.kind for choice in schedule.choices}
    setup = schedule.setup
    alone = setup.consumers == 1 and not history.rolled_back
    one = alone and not kinds & {"fail", "hang", "again", "slow"}
    # What is lost as documented, because its producer ended with Redis, is evidence too: it was answered 200.
    was_told = any(op.outcome is Outcome.OK for client in world.clients.values() for op in client.ops)
    expect = Expectations(
        least_ok=0 if was_told else 1,
        doomed=(POISON, "no event at"),
        set_aside=_may_be_set_aside(world, schedule),
        rest_at_most=bound_of(world) / 2,
        in_order=one and setup.concurrency == 1 and POISON not in "".join(op.description for op in history.ops),
        in_order_of_key=alone and setup.concurrency > 1,
        repeat_within=2.0,
    )
    return check(history, expect), [*_not_settled(world, settled), *find_forgotten(world)]


def _may_be_set_aside(world: World, schedule: Schedule) -> int:
    """
    Return how many events may be set aside that a handler could have handled.

    "An outage of what the handler needs makes two dead letters at most for each consumer and each of its starts."
    "An event that kills its process becomes a dead letter after C{CONSUMER_MAX_DELIVERIES} + 1 deliveries": what was
    with the handler each time that a consumer died may be given up, sooner if handlers failed too.
    A handler that is now slower and now faster than its timeout is no outage: it fails on single events.
    """
    kinds = [choice.kind for choice in schedule.choices if choice.target.startswith("consumer")]
    ends, failing = (sum(kind in those for kind in kinds) for those in (_ENDING, _FAILING))
    if schedule.setup.settings.get("CONSUMER_MAX_DELIVERIES") == "2":  # one whose reply was lost is spent too
        failing += kinds.count("stumble")
    if ends >= (2 if failing else int(schedule.setup.settings.get("CONSUMER_MAX_DELIVERIES", "5"))):
        return _ANY
    timeout = float(schedule.setup.settings.get("CONSUMER_HANDLER_TIMEOUT", "inf"))
    if any(each.kind == "slow" and 0.5 * each.amount < timeout < 1.5 * each.amount for each in schedule.choices):
        return _ANY
    lives = sum(life.name.startswith("consumer") for life in world.lives)
    return 2 * lives * failing


def _not_settled(world: World, settled: bool) -> Iterator[str]:
    if world.timeline.count >= MOST:
        yield "too much happened: something goes on without an end"
    if not settled:
        bound = bound_of(world)
        open = [name for name, client in world.clients.items() if client.open or not client.done]
        if open:
            yield f"never answered 200 within {bound:g} s after all faults ended: {', '.join(open)}"
        for name, process in world.processes.items():
            if process.service is not None and not _is_ready(process):
                yield f"not ready again {bound:g} s after the fault, while Redis answered on its link: {name}"
    for process in world.lives:
        if process.signalled_at is not None:
            end = world.timeline.now if process.ended_at is None else process.ended_at
            if end - process.signalled_at > _STOP:
                yield f"not stopped {end - process.signalled_at:.1f} s after SIGTERM: {process.name}"
        for error in process.errors:
            yield f"an exception reached the reactor: {process.name}: {error!r}"
        for at, event in process.log:
            if "log_failure" in event and event["log_level"] is LogLevel.critical:
                words = f"{formatEvent(dict(event))}: {event['log_failure'].value!r}"
                yield f"an unexpected failure: {process.name} at {at:.3f}: {words}"


def tell(world: World, schedule: Schedule) -> History:
    """Return the history of a run for the checker."""
    servers, account = world.servers, world.account
    entries = servers.entries()
    order = sorted(entries, key=place_in_stream)
    events = {id: read_entry(id, entries[id]) for id in order}
    known = {id: event.id for id, event in events.items() if event is not None}
    stream = [event for event in events.values() if event is not None]
    last = place_in_stream(servers.last_read())
    rest = world.timeline.now - max(account.last, schedule.setup.seconds)
    retained = float(schedule.setup.settings.get("REDIS_RETAIN_SECONDS", "30"))
    wiped = [rollback.at for rollback in account.rollbacks if rollback.at - rollback.since > retained]
    losses = {"lost"} if any(rollback.after.offset == 0 for rollback in account.rollbacks) else LOSSES
    alarms = [at for process in world.lives for at, event in process.log if alarm_of(event) in losses]
    ops = [op for client in world.clients.values() for op in client.ops]
    ids, undecided = {event.id for event in stream}, _undecided(world)
    places = places_of(world, _id_of)
    excused = name_lives(world, excuse(world, ops, ids, places))
    return History(
        ops=excused,
        stream=stream,
        handled=without_gone(world, excused, ids, places),
        causes=causes_of(account),
        dead=[known[id] for id in servers.dead() if id in known],
        pending={known[id]: 0.0 if id in undecided else rest for id in servers.pending() if id in known},
        waiting={known[id]: rest for id in known if place_in_stream(id) > last},
        drained=True,
        wiped=max(wiped) if wiped else None,
        rolled_back=bool(account.rollbacks),
        alarms=0 if has_lost_old(world, ops, ids, places) else len(alarms),
        ended=[*world.unexpected],
    )


def _id_of(entry: Stored) -> int | None:
    event = read_entry(entry.id, entry.fields)
    return None if event is None else event.id
