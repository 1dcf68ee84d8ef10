"""
Numbers, times and sizes as people read them; C{-} stands for what is not known.
"""

from __future__ import annotations

from time import gmtime, strftime
from typing import Final

UNKNOWN: Final = "-"


def count(value: float | None) -> str:
    """Return a whole number with commas."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def rate(value: float | None) -> str:
    """Return events per second, with the digits that matter."""
    if value is None:
        return UNKNOWN
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def duration(seconds: float | None) -> str:
    """Return a duration in its largest sensible unit."""
    if seconds is None:
        return UNKNOWN
    if seconds == 0:
        return "0 s"
    for least, size, unit in ((172_800, 86_400, "d"), (7_200, 3_600, "h"), (120, 60, "min")):
        if seconds >= least:
            return f"{seconds / size:,.0f} {unit}"
    if seconds >= 1:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    milliseconds = seconds * 1000
    return f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.2g} ms"


def size(value: float | None) -> str:
    """Return a number of bytes."""
    if value is None:
        return UNKNOWN
    for least, unit in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if value >= least:
            return f"{value / least:,.1f} {unit}"
    return f"{value:.0f} B"


def clock(seconds: float | None) -> str:
    """Return a time in UTC with milliseconds; of a time that no calendar has, the number."""
    if seconds is None:
        return UNKNOWN
    try:
        return f"{strftime('%Y-%m-%d %H:%M:%S', gmtime(int(seconds)))}.{int(seconds * 1000) % 1000:03}"
    except (OverflowError, ValueError, OSError):
        return str(seconds)


def entry_time(id: str) -> float:
    """Return the time in an entry's id, in seconds since 1970."""
    return int(id.partition("-")[0]) / 1000
