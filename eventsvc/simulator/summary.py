"""
The result of a run as text, and whether it met its thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from eventsvc.simulator.latency import Latencies
from eventsvc.simulator.saved_run import Followed, Run, Verdict
from eventsvc.simulator.thresholds import Threshold, show_milliseconds

#: The percentiles that are shown.
PERCENTILES: Final = (50.0, 90.0, 95.0, 99.0, 99.9)
_NAMES: Final = [f"p{percent:g}" for percent in PERCENTILES]
#: The most reasons that are shown, and characters of each.
_REASONS: Final = 5
_REASON: Final = 100


def measure_figure(run: Run, threshold: Threshold) -> float | None:
    """Return the figure that a threshold is about; C{None} if there is not enough to tell."""
    latency = Latencies.decode(run.latency)
    if threshold.percentile is not None:
        return latency.percentile(threshold.percentile)
    match threshold.figure:
        case "max":
            return latency.most
        case "mean":
            return latency.mean
        case "rate":
            return run.achieved if run.sent else None
        case "errors":
            return run.share(run.refused + run.unknown + run.dropped)
        case other:
            return run.share({"refused": run.refused, "unknown": run.unknown, "dropped": run.dropped}[other])


def judge(run: Run, thresholds: Sequence[Threshold]) -> Sequence[Verdict]:
    """Return whether each threshold was met."""
    values = [measure_figure(run, each) for each in thresholds]
    return [
        Verdict(threshold=each.text, shown=each.show(value), value=value, held=each.holds(value))
        for each, value in zip(thresholds, values)
    ]


def has_held(run: Run) -> bool:
    """Return whether all thresholds were met, and whether all that was followed is known to be handled."""
    return all(each.held for each in run.thresholds) and (run.followed is None or is_complete(run.followed))


def is_complete(followed: Followed) -> bool:
    """Return whether every event that was answered 200 was handled or set aside."""
    return followed.handled + followed.set_aside == followed.accepted


def describe_followed(followed: Followed) -> str:
    """Return in words what became of the events that were answered 200."""
    parts = [f"stored {followed.stored:,}", f"handled {followed.handled:,}"]
    if followed.set_aside:
        parts.append(f"set aside {followed.set_aside:,}")
    if waiting := followed.stored - followed.handled - followed.set_aside:
        parts.append(f"not handled {waiting:,}")
    if followed.unseen:
        parts.append(f"not seen {followed.unseen:,}")
    return ", ".join([*parts, f"lost {followed.lost:,}"])


def show_latencies(latencies: Latencies) -> list[str]:
    """Return the percentiles and the largest value, in milliseconds."""
    values = [*map(latencies.percentile, PERCENTILES), latencies.most]
    return [show_milliseconds(value).removesuffix(" ms") for value in values]


def summarize(run: Run, saved: str = "") -> str:
    """
    Return the result of a run for a terminal of 80 columns.

    @param saved: path of its file.
    """
    settings = run.settings
    how = f"{settings['rate']:g}/s {settings['arrival']}, {settings['batch']} in each request, seed {settings['seed']}"
    lines = [
        f"Simulator   {run.target}, {run.seconds:.1f} s",
        f"            {how}",
        f"Events      sent {run.sent:,}, offered {run.offered:,.1f}/s, stored {run.achieved:,.1f}/s",
        f"            ok {run.ok:,}, refused {run.refused:,}, unknown {run.unknown:,}, dropped {run.dropped:,}",
        _row("ms", [*_NAMES, "max"]),
        _row("Latency", show_latencies(Latencies.decode(run.latency))) + "  from the intended time",
        _row("  service", show_latencies(Latencies.decode(run.service))) + "  from the request",
    ]
    if run.followed is not None:
        lines.append(_row("  handled", show_latencies(Latencies.decode(run.followed.handled_after))) + "  by the group")
        lines.append(f"Group       {describe_followed(run.followed)}")
    for number, verdict in enumerate(run.thresholds):
        head = "" if number else "Thresholds"
        lines.append(f"{head:<12}{'met' if verdict.held else 'NOT MET'}  {verdict.threshold}  ({verdict.shown})")
    for number, (why, count) in enumerate(list(run.problems.items())[:_REASONS]):
        lines.append(f"{'' if number else 'Not stored':<12}{count:,} x {_shorten(why)}")
    if saved:
        lines.append(f"Saved       {saved}; for a page: eventsvc report {saved}")
    return "\n".join(lines)


def _row(name: str, cells: Sequence[str]) -> str:
    return f"{name:<12}" + "".join(f"{cell:>7}" for cell in cells)


def _shorten(text: str) -> str:
    plain = "".join(each if each.isprintable() else " " for each in text)
    return plain if len(plain) <= _REASON else plain[: _REASON - 1] + "…"
