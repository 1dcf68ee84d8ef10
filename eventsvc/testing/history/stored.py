"""
Compares the answers of clients with the stream.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from math import inf

from eventsvc.outcome import Outcome
from eventsvc.testing.history.records import Finding, History, Op

#: Begin and end of an attempt, the place of the event in the stream, and its description.
_Placed = tuple[float, float, int, str]


def find_badly_stored(history: History) -> Iterator[Finding]:
    """Find events whose answers do not agree with the stream."""
    stored: dict[str, list[int]] = defaultdict(list)
    for notification in history.stream:
        stored[notification.description].append(notification.id)
    attempts: dict[str, list[Op]] = defaultdict(list)
    for op in history.ops:
        attempts[op.description].append(op)

    wiped = False
    for description, ops in attempts.items():
        ids = stored.pop(description, [])
        if len(ids) > 1:
            yield "stored more than once", description
        if ids and _is_refused(ops):
            yield "refused, but stored", description
        early, lasting = _confirmed(history, ops, set(ids))
        if len(lasting) > 1:
            yield "answered with more than one id", description
        if early and not ids and not lasting:
            wiped = True
        elif not lasting <= set(ids) or (len(ops) == 1 and not early <= set(ids)):
            yield "stored under another id than it was answered" if ids else "answered 200, but not stored", description
    for description in stored:
        yield "stored, but never sent: the event was corrupted or invented", description
    if wiped and not history.alarms:
        yield "Redis lost data, but no alarm was raised", ""


def _confirmed(history: History, ops: Sequence[Op], ids: set[int]) -> tuple[set[int | None], set[int | None]]:
    """
    Return the ids that an event was answered with: those that may have been lost,
    and those that were not.

    The first are of attempts that began before Redis lost its data.  An event that
    is posted again after that may have a new id.

    @param ids: under which it is stored: of those that it may have, the one that it has counts.
    """
    confirmed = [op for op in ops if op.outcome is Outcome.OK]
    early = {op.id for op in confirmed if history.wiped is not None and op.invoked <= history.wiped}
    lasting = {op.id for op in confirmed} - early
    if may_have_new_id(history, ops):
        lasting = (early | lasting) & ids or lasting
    if len(lasting) == 1 and _may_have_unknown_id(history, ops):
        lasting = set(ids) or lasting
    return early, lasting


def may_have_new_id(history: History, ops: Sequence[Op]) -> bool:
    """
    Return whether an event may be stored under one of several ids that it was answered with.

    Redis had lost it when a client posted it again to another producer, before
    the first producer could give it back.
    """
    return history.rolled_back and len({op.client for op in ops}) > 1


def _may_have_unknown_id(history: History, ops: Sequence[Op]) -> bool:
    """
    Return whether an event may be stored under an id that no answer has told.

    An attempt that had no answer yet stored it on a server that was replaced, and then was the primary again: what a
    later attempt stored meanwhile was given back to it, and its key was there already.
    """
    later = [op.invoked for op in ops if op.outcome is Outcome.OK]
    return history.rolled_back and any(op.invoked < at and not _is_answered(op, at) for op in ops for at in later)


def _is_answered(op: Op, at: float) -> bool:
    """Return whether a client knew at a time what came of an attempt."""
    return op.outcome is not Outcome.UNKNOWN and op.ended is not None and op.ended <= at


def _is_refused(ops: Sequence[Op]) -> bool:
    """
    Return whether the last answer about an event says that it is not stored.

    The answer is false if an earlier attempt stored the event; a later attempt
    may store it.
    """
    refused = [op.invoked for op in ops if op.outcome is Outcome.REFUSED]
    others = [inf if op.ended is None else op.ended for op in ops if op.outcome is not Outcome.REFUSED]
    return bool(refused) and max(others, default=-inf) < max(refused)


def find_out_of_order(history: History) -> Iterator[Finding]:
    """
    Find events stored before an event that was confirmed before they were sent.

    Events that were attempted more than once are not checked, because it is
    unknown which attempt stored them.  If producers gave back events to Redis,
    those of each client are checked on their own.
    """
    position = {notification.id: index for index, notification in enumerate(history.stream)}
    attempts = Counter(op.description for op in history.ops)
    lines: dict[str, list[_Placed]] = defaultdict(list)
    for op in history.ops:
        if op.ended is not None and op.id in position and attempts[op.description] == 1:
            line = op.client if history.rolled_back else ""
            lines[line].append((op.invoked, op.ended, position[op.id], op.description))
    for confirmed in lines.values():
        yield from _before_earlier(confirmed)


def _before_earlier(confirmed: Sequence[_Placed]) -> Iterator[Finding]:
    ended = sorted((end, place) for _, end, place, _ in confirmed)
    furthest, done = -1, 0
    for invoked, _, place, description in sorted(confirmed):
        while done < len(ended) and ended[done][0] < invoked:
            furthest = max(furthest, ended[done][1])
            done += 1
        if place < furthest:
            yield "stored before an event that was confirmed earlier", description
