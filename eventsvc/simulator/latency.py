"""
Distributions of durations in HDR histograms: merged and compared without loss.
"""

from __future__ import annotations

import attrs
from hdrh.histogram import HdrHistogram

#: The largest duration that is told apart, in microseconds: an hour.
_MOST = 3_600_000_000
#: Significant digits.
_DIGITS = 3


def _make() -> HdrHistogram:
    return HdrHistogram(1, _MOST, _DIGITS)


@attrs.define
class Latencies:
    """Durations in seconds, of which three digits are kept."""

    _counts: HdrHistogram = attrs.field(factory=_make)

    def record(self, seconds: float) -> None:
        self._counts.record_value(min(max(round(seconds * 1e6), 1), _MOST))

    def merge(self, other: Latencies) -> None:
        """Add the durations of another distribution."""
        self._counts.add(other._counts)

    @property
    def count(self) -> int:
        return int(self._counts.total_count)

    @property
    def mean(self) -> float | None:
        return self._counts.get_mean_value() / 1e6 if self.count else None

    @property
    def most(self) -> float | None:
        return self._counts.get_max_value() / 1e6 if self.count else None

    def percentile(self, percent: float) -> float | None:
        """Return the duration that so many percent do not exceed; C{None} if there are too few to tell."""
        if self.count * (100 - percent) < 100 - 1e-9:
            return None
        return float(self._counts.get_value_at_percentile(percent)) / 1e6

    def encode(self) -> str:
        """Return all counts as text, compressed."""
        return str(self._counts.encode().decode())

    @classmethod
    def decode(cls, text: str) -> Latencies:
        """
        Return what L{encode} wrote.

        @raise ValueError: the text is something else.
        """
        latencies = cls()
        if text:
            try:
                latencies._counts.decode_and_add(text.encode())
            except Exception as error:  # whatever zlib, base64 and the library raise
                raise ValueError(f"not an HDR histogram: {error}") from None
        return latencies
