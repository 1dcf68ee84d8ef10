"""
Charts of a run: latency by outcome, rates in and out, backlog.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from typing import Final

from chaos.evidence import Evidence
from eventsvc.charts import Frame, Points, Series, draw_durations, draw_lines
from eventsvc.outcome import Outcome

#: Seconds of one step of a line.
_STEP: Final = 0.25


def draw_charts(evidence: Evidence, began: float = 0.0, changes: Sequence[float] = ()) -> Sequence[str]:
    """
    Draw all charts of a run as SVG, with the same time axis.

    @param began: the time at which the axis has 0.
    @param changes: times at which a fault began or ended.
    """
    ops = evidence.history.ops
    handled = sorted(line.at for line in evidence.lines if line.id is not None)
    begun = sorted(op.invoked for op in ops)
    ended = sorted(op.ended for op in ops if op.ended is not None)
    stored = sorted(op.ended for op in ops if op.outcome is Outcome.OK and op.ended is not None)
    moments = [*begun, *ended, *handled, *evidence.fault]
    span = min(moments), max(moments)
    frame = Frame(span, began, evidence.fault, [at for at in changes if span[0] <= at <= span[1]])
    times = _steps(frame.span)
    answers = [
        Series(
            outcome.value,
            outcome.value,
            [(op.invoked, op.ended - op.invoked) for op in ops if op.outcome is outcome and op.ended is not None],
        )
        for outcome in Outcome
    ]
    rates = [Series("stored", "ok", _rate(stored, times)), Series("handled", "out", _rate(handled, times))]
    waiting = [
        Series("not answered", "unknown", _difference(begun, ended, times)),
        Series("stored, not handled", "out", _difference(stored, _first_handled(evidence), times)),
    ]
    return [
        draw_durations("time to answer", answers, frame, dots=True),
        draw_lines("events per second", rates, frame),
        draw_lines("events waiting", waiting, frame),
    ]


def _first_handled(evidence: Evidence) -> list[float]:
    """Return the times at which events that were answered 200 were first handled, in ascending order."""
    confirmed = {op.id for op in evidence.history.ops if op.outcome is Outcome.OK}
    first: dict[int, float] = {}
    for line in evidence.lines:
        if line.id in confirmed and line.id is not None:
            first.setdefault(line.id, line.at)
    return sorted(first.values())


def _difference(come: Sequence[float], gone: Sequence[float], times: Sequence[float]) -> Points:
    """Return at each time how many had come and not gone."""
    return [(at, max(0.0, float(bisect_right(come, at) - bisect_right(gone, at)))) for at in times]


def _steps(span: tuple[float, float]) -> list[float]:
    begin, end = span
    return [begin + _STEP * number for number in range(int((end - begin) / _STEP) + 2)]


def _rate(moments: Sequence[float], times: Sequence[float]) -> Points:
    counts = Counter(int((moment - times[0]) // _STEP) for moment in moments)
    return [(at, counts[number] / _STEP) for number, at in enumerate(times)]
