"""
The promises that every run must keep, and the checks for them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from math import inf

import attrs

from eventsvc.outcome import Outcome
from eventsvc.testing.history.alterations import find_altered
from eventsvc.testing.history.records import Finding, Handling, History, Op
from eventsvc.testing.history.stored import find_badly_stored, find_out_of_order, may_have_new_id


@attrs.frozen(kw_only=True)
class Expectations:
    """
    The promises of one run, in addition to those of every run.

    @ivar least_ok: with fewer events answered 200 there is no evidence.
    @ivar least_each: number of attempts that must have begun before, during
        and after the fault, each.
    @ivar in_order: whether events must have been handled for the first time in
        stream order: one consumer, one event at a time.
    @ivar all_ok: whether every event must have been answered 200 in the end,
        except those in flight when Redis lost its data.
    @ivar alarm: whether an alarm of lost data must have been raised; if false,
        there must be none unless Redis lost data.
    @ivar recover_within: the most seconds from the end of the fault to the
        first 200, and until all services are ready.
    @ivar in_order_of_key: whether events of one key must have been handled for
        the first time in stream order: one consumer, many events at a time.
    @ivar doomed: texts in the descriptions of events that no handler can
        handle: these may be set aside.
    @ivar set_aside: the most other events that may be set aside, because
        handlers fail for a while.
    @ivar rest_at_most: the most seconds that an event may be at rest.
    @ivar silence_at_most: the most seconds without a 200, as in
        L{History.silence}.
    @ivar work_on: number of events that must be handled during the fault.
    @ivar resume_within: the most seconds from the end of the fault to the next
        event that is handled.
    @ivar take_over_within: the most seconds from a promotion to the first 200 after
        it, as in L{History.takeovers}.
    @ivar repeat_within: the most seconds between the end of a handler and the
        acknowledgement: a consumer that ends repeats no older events.
    """

    least_ok: int = 1
    least_each: int = 0
    in_order: bool = False
    all_ok: bool = False
    alarm: bool = False
    in_order_of_key: bool = False
    doomed: Sequence[str] = ()
    set_aside: int = 0
    recover_within: float = inf
    rest_at_most: float = inf
    silence_at_most: float = inf
    work_on: int = 0
    resume_within: float = inf
    take_over_within: float = inf
    repeat_within: float = 1.0


def find_broken(history: History, expect: Expectations) -> Iterator[Finding]:
    """Yield a finding for each promise that was broken."""
    yield from find_badly_stored(history)
    yield from find_out_of_order(history)
    yield from find_altered(history)
    if history.handled is not None:
        yield from _badly_handled(history)
        yield from _handled_out_of_order(history, expect)
        yield from _needlessly_repeated(history, history.handled, expect.repeat_within)
    yield from _left_lying(history, expect.rest_at_most)
    yield from _not_recovered(history, expect)
    yield from _not_at_work(history, expect)
    yield from _set_aside(history, expect)
    if expect.all_ok:
        yield from _not_served(history)
    if expect.alarm and not history.alarms:
        yield "no alarm was raised, but one was expected", ""
    if history.alarms and not expect.alarm and history.wiped is None:
        yield "an alarm of lost data was raised, but none were lost", ""
    if history.early_alarms:
        yield "an alarm of lost data was raised before the fault", ""
    for words in history.ended:
        yield words, ""


def _badly_handled(history: History) -> Iterator[Finding]:
    known = _descriptions(history)
    handled = history.handled_ids
    seen = set(handled)
    accounted = seen.union(history.dead, history.pending, history.waiting)
    for id, description in known.items():
        if id not in accounted:
            yield "stored, but neither handled, set aside nor pending", description
    unknown = seen - known.keys() - _other_ids(history)
    if history.wiped is None and len(unknown) > _may_be_gone(history, known.values()):
        for id in unknown:
            yield "handled, but not in the stream", str(id)


def _other_ids(history: History) -> set[int | None]:
    """Return the ids of events that may be stored under another id that they were answered with."""
    attempts: dict[str, list[Op]] = defaultdict(list)
    for op in history.ops:
        attempts[op.description].append(op)
    return {op.id for ops in attempts.values() if may_have_new_id(history, ops) for op in ops}


def _may_be_gone(history: History, stored: Collection[str]) -> int:
    """
    Return the number of events that may have been handled, and are not in the stream any more.

    Their producers died, or gave up, before they knew whether Redis has them.  A client
    may have posted them again since: then they are stored under another id.
    """
    if not history.rolled_back:
        return 0
    confirmed = {op.description for op in history.ops if op.outcome is Outcome.OK}
    unsure = Counter(op.description for op in history.ops if op.outcome is Outcome.UNKNOWN)
    unsure.subtract(set(stored) - confirmed)  # one of the attempts is what is stored
    return sum(count for count in unsure.values() if count > 0)


def _handled_out_of_order(history: History, expect: Expectations) -> Iterator[Finding]:
    """Find the first event of each line whose events were not handled for the first time in stream order."""
    known = _descriptions(history)
    first = [id for id in dict.fromkeys(history.handled_ids) if id in known]
    lines: dict[str, list[int]] = defaultdict(list)
    for notification in history.stream:
        if expect.in_order:
            lines["handled out of order"].append(notification.id)
        if expect.in_order_of_key and notification.key is not None:
            lines[f"handled out of the order of its key {notification.key!r}"].append(notification.id)
    for words, ids in lines.items():
        members = set(ids)
        got = [id for id in first if id in members]
        handled = set(got)
        for one, wanted in zip(got, (id for id in ids if id in handled)):
            if one != wanted:
                yield words, known[one]
                break


def _set_aside(history: History, expect: Expectations) -> Iterator[Finding]:
    """Find events that were set aside although a handler could have handled them."""
    known = _descriptions(history)
    named = [known.get(id, str(id)) for id in history.dead]
    others = [name for name in named if not any(text in name for text in expect.doomed)]
    if len(others) > expect.set_aside:
        for name in others:
            yield "set aside, but a handler could have handled it", name


def _needlessly_repeated(history: History, handled: Sequence[Handling], within: float) -> Iterator[Finding]:
    """
    Find events that were handled again without a cause.

    Without this check a consumer that never acknowledges would pass.
    """
    known = _descriptions(history)
    times: dict[int, list[Handling]] = defaultdict(list)
    for handling in handled:
        times[handling.id].append(handling)
    for id, each in times.items():
        for first, second in pairwise(each):
            if not first.failed and not any(cause.excuses(first, second, within) for cause in history.causes):
                yield "handled again without a cause", known.get(id, str(id))


def _not_served(history: History) -> Iterator[Finding]:
    """
    Find events that were never answered 200.

    An event in flight when Redis lost its data may stay in doubt: nobody can
    tell whether it was stored.
    """
    served = {op.description for op in history.ops if op.outcome is Outcome.OK or _is_torn(op, history.wiped)}
    for description in sorted({op.description for op in history.ops} - served):
        yield "never answered 200", description


def _is_torn(op: Op, wiped: float | None) -> bool:
    ended = inf if op.ended is None else op.ended
    return op.outcome is Outcome.UNKNOWN and wiped is not None and op.invoked <= wiped <= ended


def _left_lying(history: History, at_most: float) -> Iterator[Finding]:
    known = _descriptions(history)
    for kind, rests in (
        ("delivered to a consumer, then left pending", history.pending),
        ("stored, but read by no consumer", history.waiting),
    ):
        for id, rest in rests.items():
            if rest > at_most:
                yield f"{kind} for more than {at_most:g} s after all faults ended", known.get(id, str(id))


def _not_recovered(history: History, expect: Expectations) -> Iterator[Finding]:
    took, within = history.recovery, expect.recover_within
    if took is not None and took > within:
        yield f"the first 200 came {took:.1f} s after the fault, later than {within:g}", ""
    if took is None and history.tried > within:
        yield f"no event was answered 200 in the {history.tried:.1f} s after the fault", ""
    for seconds in history.takeovers:
        if seconds > expect.take_over_within:
            yield f"the first 200 came {seconds:.1f} s after a promotion, later than {expect.take_over_within:g}", ""
    for name, unfit in history.unfit.items():
        if unfit > within:
            yield f"not ready again {within:g} s after the fault, while Redis answered on its link", name


def _not_at_work(history: History, expect: Expectations) -> Iterator[Finding]:
    """Find gaps in the work during the whole run, not only after the fault."""
    if history.silence > expect.silence_at_most:
        yield f"no event was answered 200 for {history.silence:.1f} s, longer than {expect.silence_at_most:g}", ""
    if history.fault is not None and history.handled is not None:
        begin, end = history.fault
        handled = len({each.id for each in history.handled if begin <= each.at <= end and not each.failed})
        if handled < expect.work_on:
            yield f"{handled} events were handled during the fault, fewer than {expect.work_on}", ""
        later = [each.at for each in history.handled if each.at > end and not each.failed]
        pause = min(later) - end if later else inf
        if pause > expect.resume_within:
            yield f"the next event was handled {pause:.1f} s after the fault, later than {expect.resume_within:g}", ""


def _descriptions(history: History) -> Mapping[int, str]:
    return {notification.id: notification.description for notification in history.stream}
