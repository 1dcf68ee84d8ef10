"""
How fast events flow, from the heartbeats of all processes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from eventsvc.dashboard.percentiles import merge, percentile, subtract
from eventsvc.heartbeat import Heartbeat, SeenHeartbeat, Spread

#: Seconds without a heartbeat after which a process counts as silent.
SILENT: Final = 10.0


@attrs.frozen(kw_only=True)
class Rates:
    """
    Events per second of all processes together, and percentiles in seconds; C{None} is not known.

    @ivar append_p50: how long Redis takes for a batch.
    @ivar age_p50: how old an event is when it was handled.
    """

    accepted: float | None = None
    refused: float | None = None
    unknown: float | None = None
    handled: float | None = None
    failed: float | None = None
    dead: float | None = None
    append_p50: float | None = None
    append_p99: float | None = None
    age_p50: float | None = None
    age_p99: float | None = None


def is_comparable(before: Heartbeat | None, now: Heartbeat) -> bool:
    """Return whether what was counted is recent: since an earlier heartbeat, or since a start of seconds ago."""
    return before is not None or now.uptime <= SILENT


def per_second(name: str, before: Heartbeat | None, now: Heartbeat) -> float | None:
    """Return how fast a figure of a process grew; since its start if it is new and there is no earlier heartbeat."""
    passed = now.uptime - (before.uptime if before else 0.0)
    if name not in now.figures or passed <= 0 or not is_comparable(before, now):
        return None
    return max(0.0, now.figures[name] - (before.figures.get(name, 0.0) if before else 0.0)) / passed


def find_rates(seen: Sequence[SeenHeartbeat], earlier: Mapping[str, Heartbeat]) -> Rates:
    """
    Return the rates of all processes that are not silent.

    @param earlier: a heartbeat of each process to compare with, by id.
    """
    pairs = [(earlier.get(each.heartbeat.id), each.heartbeat) for each in seen if each.age < SILENT]

    def total(name: str) -> float | None:
        rates = [rate for before, now in pairs if (rate := per_second(name, before, now)) is not None]
        return sum(rates) if rates else None

    def spread(name: str) -> Spread | None:
        return merge(
            [
                subtract(now.spreads[name], before.spreads.get(name) if before else None)
                for before, now in pairs
                if name in now.spreads and is_comparable(before, now)
            ]
        )

    append, age = spread("append"), spread("age")
    return Rates(
        **{name: total(name) for name in ("accepted", "refused", "unknown", "handled", "failed", "dead")},
        append_p50=percentile(append, 0.5),
        append_p99=percentile(append, 0.99),
        age_p50=percentile(age, 0.5),
        age_p99=percentile(age, 0.99),
    )
