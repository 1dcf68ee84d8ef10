"""
The judge: what clients were told, held against what the stream and the
handlers got.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final, Literal

import attrs

from eventsvc.event import Notification

Outcome = Literal["ok", "refused", "unknown"]
State = Literal["held", "broke", "no evidence"]

#: How many of the same findings a verdict spells out.
_SPELL_OUT: Final = 3


@attrs.frozen
class Op:
    """
    One attempt to store one event.  Attempts of one description are attempts
    to store the same event, under one C{Idempotency-Key}; else a description
    is used once.

    @ivar client: who posted it.
    @ivar number: counts the attempts of a client.
    @ivar invoked: when it began, in seconds.
    @ivar ended: when its outcome was known; C{None}: it never was.
    @ivar outcome: C{ok} (answered 200), C{refused} (surely not stored) or
        C{unknown}.
    @ivar id: the C{Event-Id} of an C{ok} answer.
    """

    client: str
    number: int
    description: str
    invoked: float
    ended: float | None
    outcome: Outcome
    id: int | None = None


@attrs.frozen
class History:
    """
    Everything that was seen of a run.

    @ivar stream: the events in the stream, in its order.
    @ivar handled: ids as the handlers got them, in that order; C{None}: nobody
        looked.
    @ivar dead: ids set aside.
    @ivar pending: ids delivered but not acknowledged.
    @ivar drained: all faults were over, all attempts had ended and the
        consumers had nothing left to do when the stream was read.
    @ivar fault: from when to when something was broken, in the seconds of the
        attempts.
    @ivar wiped: when Redis lost its data, if it did.  What was stored before
        may be gone then, but the loss must have been alarmed.
    @ivar alarms: how many alarms of lost data were raised.
    """

    ops: Sequence[Op]
    stream: Sequence[Notification]
    handled: Sequence[int] | None = None
    dead: Sequence[int] = ()
    pending: Sequence[int] = ()
    drained: bool = True
    fault: tuple[float, float] | None = None
    wiped: float | None = None
    alarms: int = 0


@attrs.frozen
class Verdict:
    """
    What the judge found.

    @ivar broken: the promises that were broken, a sentence each.
    @ivar missing: why a promise may have been kept only by accident.
    @ivar ledger: the figures it stands on.
    @ivar silence: the longest time without a 200, in seconds.
    @ivar recovery: seconds from the end of the fault to the first 200 of an
        attempt that ended after it; C{None} if there was none.
    """

    broken: tuple[str, ...]
    missing: tuple[str, ...]
    ledger: Mapping[str, int]
    silence: float
    recovery: float | None

    @property
    def state(self) -> State:
        return "broke" if self.broken else "no evidence" if self.missing else "held"

    @property
    def held(self) -> bool:
        return self.state == "held"

    def describe(self) -> str:
        """The verdict in words, a line each."""
        figures = ", ".join(f"{name} {figure}" for name, figure in self.ledger.items())
        return "\n".join([self.state, *self.broken, *self.missing, figures])


def check(history: History, least_ok: int = 1, least_each: int = 0, in_order: bool = False) -> Verdict:
    """
    Judge a run.

    @param least_ok: fewer events answered 200 prove nothing.
    @param least_each: as many attempts must have begun before, during and
        after the fault.
    @param in_order: each event must have been handled for the first time in
        the order of the stream: one consumer, one event at a time.
    """
    ledger = _count(history)
    return Verdict(
        broken=tuple(_spell_out(_broken(history, in_order))),
        missing=tuple(_missing(history, ledger, least_ok, least_each)),
        ledger=ledger,
        silence=_silence(history.ops),
        recovery=_recovery(history),
    )


def _broken(history: History, in_order: bool) -> Iterator[tuple[str, str]]:
    """The kind of each finding, and what it was found on."""
    stored: dict[str, list[int]] = defaultdict(list)
    for notification in history.stream:
        stored[notification.description].append(notification.id)
    attempts: dict[str, list[Op]] = defaultdict(list)
    for op in history.ops:
        attempts[op.description].append(op)

    gone = False
    for description, ops in attempts.items():
        ids = stored.pop(description, [])
        outcomes = {op.outcome for op in ops}
        confirmed = {op.id for op in ops if op.outcome == "ok"}
        if len(ids) > 1:
            yield "stored more than once", description
        if outcomes == {"refused"} and ids:
            yield "refused, but stored", description
        if not confirmed:
            continue
        if len(confirmed) > 1:
            yield "answered with more than one id", description
        if not ids and history.wiped is not None and min(op.invoked for op in ops) <= history.wiped:
            gone = True
        elif not ids:
            yield "answered 200, but not stored", description
        elif not confirmed <= set(ids):
            yield "stored under another id than it was answered", description
    for description in stored:
        yield "stored, but never sent: an event was damaged or made up", description
    if gone and not history.alarms:
        yield "lost by Redis without an alarm", "data"

    yield from _out_of_order(history)
    if history.handled is not None:
        yield from _badly_handled(history, history.handled, in_order)


def _out_of_order(history: History) -> Iterator[tuple[str, str]]:
    """
    What began after another was confirmed must stand behind it.  It can't be
    told of events that were attempted more than once.
    """
    position = {notification.id: index for index, notification in enumerate(history.stream)}
    attempts = Counter(op.description for op in history.ops)
    confirmed = [
        (op.invoked, op.ended, position[op.id], op.description)
        for op in history.ops
        if op.ended is not None and op.id in position and attempts[op.description] == 1
    ]
    ended = sorted((end, place) for _, end, place, _ in confirmed)
    furthest, done = -1, 0
    for invoked, _, place, description in sorted(confirmed):
        while done < len(ended) and ended[done][0] < invoked:
            furthest = max(furthest, ended[done][1])
            done += 1
        if place < furthest:
            yield "stored before an event that was confirmed earlier", description


def _badly_handled(history: History, handled: Sequence[int], in_order: bool) -> Iterator[tuple[str, str]]:
    known = {notification.id: notification.description for notification in history.stream}
    seen, dead, pending = set(handled), set(history.dead), set(history.pending)
    for id, description in known.items():
        if id not in seen | dead | pending:
            yield "stored, but neither handled, set aside nor pending", description
    if history.wiped is None:
        for id in seen - known.keys():
            yield "handled, but not in the stream", str(id)
    if in_order:
        first = [id for id in dict.fromkeys(handled) if id in known]
        wanted = [id for id in known if id in seen]
        for got, want in zip(first, wanted):
            if got != want:
                yield "handled out of order", known[got]
                break


def _missing(history: History, ledger: Mapping[str, int], least_ok: int, least_each: int) -> Iterator[str]:
    if not history.drained:
        yield "the run was not drained"
    if ledger["ok"] < least_ok:
        yield f"{ledger['ok']} events were answered 200, fewer than {least_ok}"
    if any(op.ended is None and op.outcome != "unknown" for op in history.ops):
        yield "an attempt has an outcome, but no end"
    if history.fault is None or not least_each:
        return
    begin, end = history.fault
    for name, count in (
        ("before", sum(op.invoked < begin for op in history.ops)),
        ("during", sum(begin <= op.invoked <= end for op in history.ops)),
        ("after", sum(op.invoked > end for op in history.ops)),
    ):
        if count < least_each:
            yield f"{count} attempts began {name} the fault, fewer than {least_each}"
    if _recovery(history) is None:
        yield "no event was answered 200 after the fault"


def _count(history: History) -> dict[str, int]:
    outcomes = Counter(op.outcome for op in history.ops)
    unsure = {op.description for op in history.ops if op.outcome == "unknown"}
    sure = {op.description for op in history.ops if op.outcome == "ok"}
    handled = history.handled or ()
    return {
        "sent": len(history.ops),
        "ok": outcomes["ok"],
        "refused": outcomes["refused"],
        "unknown": outcomes["unknown"],
        "stored": len(history.stream),
        "stored though unknown": sum(each.description in unsure - sure for each in history.stream),
        "handled": len(set(handled)),
        "handled again": len(handled) - len(set(handled)),
        "set aside": len(set(history.dead)),
        "pending": len(set(history.pending)),
    }


def _silence(ops: Sequence[Op]) -> float:
    moments = [op.invoked for op in ops][:1] + sorted(op.ended or 0.0 for op in ops if op.outcome == "ok")
    return max((later - earlier for earlier, later in pairwise(moments)), default=0.0)


def _recovery(history: History) -> float | None:
    if history.fault is None:
        return None
    end = history.fault[1]
    after = [op.ended for op in history.ops if op.outcome == "ok" and op.ended is not None and op.ended > end]
    return min(after) - end if after else None


def _spell_out(findings: Iterator[tuple[str, str]]) -> Iterator[str]:
    kinds: dict[str, list[str]] = defaultdict(list)
    for kind, what in findings:
        kinds[kind].append(what)
    for kind, whats in kinds.items():
        shown = ", ".join(repr(what[:80]) for what in whats[:_SPELL_OUT])
        more = f" and {len(whats) - _SPELL_OUT} more" if len(whats) > _SPELL_OUT else ""
        yield f"{kind}: {shown}{more}"
