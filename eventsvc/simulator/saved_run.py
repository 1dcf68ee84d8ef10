"""
The file of a run: what was asked for, what came of it, and how it went over time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Final

import msgspec

#: What the member C{format} of each file says.
FORMAT: Final = "eventsvc load 1"
#: Seconds; charts divide by it.
_LEAST_STEP: Final = 0.001


#: A number of events that fits in a float.
_Count = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]


class InvalidRun(ValueError):
    """A file is not that of a run; the text says why."""


class Interval(msgspec.Struct, kw_only=True, frozen=True):
    """The events that ended in a stretch of time, by outcome, and the latencies of their requests."""

    ok: _Count = 0
    refused: _Count = 0
    unknown: _Count = 0
    dropped: _Count = 0
    latency: str = ""


class Followed(msgspec.Struct, kw_only=True, frozen=True):
    """What the stream and the group did with the events that were answered 200."""

    accepted: _Count
    stored: _Count
    handled: _Count
    set_aside: _Count
    lost: _Count
    unseen: _Count
    handled_after: str = ""


class Verdict(msgspec.Struct, kw_only=True, frozen=True):
    """Whether a threshold was met."""

    threshold: str
    shown: str
    value: float | None
    held: bool


class Run(msgspec.Struct, kw_only=True, frozen=True):
    """
    A run.

    Distributions are HDR histograms of microseconds, in the text form V2 of that library.

    @ivar began: RFC 3339, UTC.
    @ivar seconds: how long it posted.
    @ivar sent: number of events posted.
    @ivar requests: number of requests that had an answer, or time for one.
    @ivar percentiles: of C{latency}, in seconds, for programs that do not read histograms.
    @ivar latency: from the time at which each request was to be made.
    @ivar service: from the time at which it was made.
    @ivar step: seconds of each interval.
    @ivar problems: the most frequent reasons why events were not stored, with their numbers.
    """

    format: str = FORMAT
    version: str
    target: str
    settings: Mapping[str, str | float | int | None]
    began: str
    seconds: float
    sent: _Count
    requests: _Count
    ok: _Count
    refused: _Count
    unknown: _Count
    dropped: _Count
    percentiles: Mapping[str, float | None]
    latency: str
    service: str
    step: float
    intervals: Annotated[Sequence[Interval], msgspec.Meta(max_length=1_000)]
    problems: Mapping[str, _Count] = {}
    thresholds: Sequence[Verdict] = ()
    followed: Followed | None = None

    @property
    def offered(self) -> float:
        """Events that arrived per second."""
        return (self.sent + self.dropped) / max(self.seconds, 1e-9)

    @property
    def achieved(self) -> float:
        """Events that were stored per second."""
        return self.ok / max(self.seconds, 1e-9)

    def share(self, count: int) -> float | None:
        """Return a number of events as a share of those that arrived; C{None} if there were none."""
        return count / arrived if (arrived := self.sent + self.dropped) else None


def encode_run(run: Run) -> bytes:
    """Return the text of a file."""
    return msgspec.json.format(msgspec.json.encode(run)) + b"\n"


def decode_run(text: bytes) -> Run:
    """
    Read the text of a file.

    @raise InvalidRun: it is not one that L{encode_run} wrote.
    """
    try:
        run = msgspec.json.decode(text, type=Run)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRun(f"this is not the file of a run: {error}") from None
    if run.format != FORMAT:
        raise InvalidRun(f"expected the format {FORMAT!r}, got {run.format[:40]!r}")
    if run.step < _LEAST_STEP or run.seconds < 0:
        raise InvalidRun(f"expected a step of at least {_LEAST_STEP} s, and no negative duration")
    return run
