"""
What the judge allows for, each beside its line of docs/guarantees.md.

Everything here is computed from what happened to the servers and to the processes, never from the mere list of
faults: what was not lost by them is not excused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf
from typing import Any, Final

import attrs

from eventsvc.outcome import Outcome
from eventsvc.testing.history import Cause, Handling, Op
from simulation.servers.history import Position
from simulation.world.account import Account, Rollback
from simulation.world.process import Process
from simulation.world.servers import Stored
from simulation.world.world import World

#: Seconds within which a producer detects what Redis has lost, and gives it back ("at once or within ten seconds").
_DETECTED: Final = 10.0
#: Seconds after a fault within which consumers confirm what they could not confirm meanwhile.
_CONFIRMED: Final = 5.0
#: Seconds for which a producer keeps what was confirmed.
_RETAINED: Final = 30.0
#: What a producer says that stops without an answer of Redis.
_UNSURE: Final = "stopping without an answer"
#: Positions of the writes that stored an event, by the id of the event.
Places = Mapping[int, Sequence[Position]]


def places_of(world: World, id_of: Callable[[Stored], int | None]) -> Places:
    """
    Return where events were ever stored; nothing is known of any if Redis has never gone back.

    @param id_of: returns the id of the event of an entry, if it has one.
    """
    places: dict[int, list[Position]] = defaultdict(list)
    for each in world.servers.stored if world.account.rollbacks else ():
        id = id_of(each)
        if id is not None:
            places[id].append(each.position)
    return places


def excuse(world: World, ops: Sequence[Op], kept: set[int], places: Places) -> Sequence[Op]:
    """
    Take back the answers about events that are lost with their producer.

    "What dies, and what is lost", the rows with "the producer, and at the same moment ...", and "Redis loses
    events, and the producer that had confirmed them has ended".  An event that Redis never had is not excused.

    @param kept: the ids of the events that Redis has in the end.
    """
    return [
        attrs.evolve(op, outcome=Outcome.UNKNOWN, id=None)
        if op.outcome is Outcome.OK and op.id not in kept and _is_lost(world, op, places)
        else op
        for op in ops
    ]


def has_lost_old(world: World, ops: Sequence[Op], kept: set[int], places: Places) -> bool:
    """Return whether Redis lost events that were confirmed too long ago to be given back: then an alarm is right."""
    return any(
        _is_old(op, each)
        for op in ops
        if op.outcome is Outcome.OK and op.id is not None and op.id not in kept
        for position in places.get(op.id, ())
        for each in _losses(world, position)
    )


def name_lives(world: World, ops: Sequence[Op]) -> Sequence[Op]:
    """
    Name the life of the producer in attempts too, once Redis has gone back.

    "One id for one key, across a failover": a producer that was restarted is another one.
    """
    if not world.account.rollbacks:
        return ops
    ends = [(life.name, life.ended_at) for life in world.lives if life.ended_at is not None]
    return [
        attrs.evolve(
            op, client=f"{op.client} {sum(_producer_of(op) == name and end <= op.invoked for name, end in ends)}"
        )
        for op in ops
    ]


def _producer_of(op: Op) -> str:
    return op.client.partition(">")[2]


def _is_lost(world: World, op: Op, places: Places) -> bool:
    positions = () if op.id is None else places.get(op.id, ())
    return any(
        _may_lose(world, position)
        and any(_is_old(op, each) or _had_ended(world, op, each) for each in _losses(world, position))
        for position in positions
    )


def _is_old(op: Op, rollback: Rollback) -> bool:
    """Return whether an event was confirmed too long ago to be retained; giving it back makes it no younger."""
    return op.ended is not None and rollback.at - op.ended > _RETAINED


def _losses(world: World, position: Position) -> Iterator[Rollback]:
    return (each for each in world.account.rollbacks if each.loses(position))


def _may_lose(world: World, position: Position) -> bool:
    """
    Return whether C{REDIS_DURABILITY} allows that an event is lost that was stored by this write.

    C{disk}: only a failover loses it, to a server that lacks it: its own server starts again with it.
    C{replicas}: one of them has had it; another one was promoted, or the primary has started again with an older
    file, and all of them have followed it.
    """
    match world.setup.durability:
        case "disk":
            return all(each.promotes for each in _losses(world, position))
        case "replicas":
            return any(each.has(position) for each in world.account.held)
    return True


def _had_ended(world: World, op: Op, rollback: Rollback) -> bool:
    """
    Return whether the producer that answered had ended before it could give the event back.

    One that stops in order asks Redis once more, and says so if it gets no answer.
    """
    assert op.ended is not None
    calm = world.account.calm_after(max(rollback.at, op.ended), _DETECTED)
    return any(
        life.name == _producer_of(op)
        and life.ended_at is not None
        and op.invoked <= life.ended_at <= (rollback.at if _has_asked(life) else calm + _DETECTED)
        for life in world.lives
    )


def _has_asked(life: Process) -> bool:
    """Return whether a process has ended in order, after Redis had said what it knows."""
    return life.exit_code == 0 and not any(_UNSURE in event.get("log_format", "") for _, event in life.log)


def without_gone(world: World, ops: Sequence[Op], kept: set[int], places: Places) -> Sequence[Handling]:
    """
    Leave out the events that were handled, and went with an earlier state of Redis.

    Redis had them once, and no client was told that they are stored under this id: none was told anything, or all the
    id under which another producer has stored the event meanwhile, "one id for one key, across a failover".
    """
    unsure = {op.description for op in ops if op.outcome is Outcome.UNKNOWN}
    told = {op.id for op in ops if op.outcome is Outcome.OK}

    def is_gone(each: Handling) -> bool:
        is_untold = each.id not in told or world.descriptions[each.id] in unsure
        return is_untold and each.id not in kept and bool(places.get(each.id))

    return [each for each in world.handlings if not is_gone(each)]


def causes_of(account: Account) -> Sequence[Cause]:
    """
    Return the reasons why events may have been handled again.

    "It failed, or its process ended before the acknowledgement was sent.  A kill repeats the events of about the
    last 100 ms": and those of the time in which it could not reach Redis.
    "What the producer stores again" is another entry: a consumer that was suspended meanwhile still handles the first.
    """
    return [_stretch(each, account) for each in account.causes]


def _stretch(cause: Cause, account: Account) -> Cause:
    match cause.kind:
        case "ended":
            return attrs.evolve(cause, begin=account.disturbed_since(cause.begin, _CONFIRMED))
        case "anew":
            return attrs.evolve(cause, end=account.calm_after(cause.end - _CONFIRMED, 0.0) + _CONFIRMED)
    return cause


def find_forgotten(world: World) -> Iterator[str]:
    """
    Yield a finding for each entry that the only consumer handled again although it remembers it.

    "An entry whose acknowledgement went back keeps its C{stream_id}.  The consumer that acknowledged it remembers
    its last 100,000 entries, and does not handle it again", unless it has found its group gone meanwhile, which
    counts only after Redis has lost everything.  "What the producer stores again" is another entry, even if the
    clock of Redis went back too, so that it gets the C{stream_id} that it had.
    """
    done: dict[tuple[str, int], list[float]] = defaultdict(list)
    emptied = min((each.at for each in world.account.rollbacks if each.after.offset == 0), default=inf)
    anew = [at for life in world.lives for at, event in life.log if alarm_of(event) == "group_recreated"]
    gone = [at for at in anew if at >= emptied]
    stores = _count_stores(world)
    for handling, entry in zip(world.handlings, world.entries) if world.setup.consumers == 1 else ():
        before, id = done[entry, handling.id], entry.rpartition(" ")[2]
        if before and len(before) >= stores.get(id, 1) + sum(before[0] <= at <= handling.at for at in gone):
            yield f"handled again by a consumer that remembers it: {id}"
        elif not handling.failed:
            before.append(handling.at)


def _count_stores(world: World) -> Mapping[str, int]:
    """Return how often each entry was stored, by its id: more than once if Redis lost it before."""
    stores: dict[str, list[Position]] = defaultdict(list)
    for each in world.servers.stored if world.account.rollbacks else ():
        found = stores[each.id.decode()]
        if not any(each.position.has(position) for position in found):
            found.append(each.position)
    return {id: len(found) for id, found in stores.items()}


def alarm_of(event: Mapping[str, Any]) -> str:
    """Return the alarm that a log event raises; empty if it raises none."""
    return event.get("details", {}).get("alarm", "")  # type: ignore[no-any-return]
