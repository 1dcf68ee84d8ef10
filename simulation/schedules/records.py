"""
What is kept of a run, and goes from one process to another.
"""

from __future__ import annotations

import msgspec

from simulation.schedules.choices import Schedule


class Meeting(msgspec.Struct, frozen=True):
    """
    A fault that began.

    @ivar kind: of the fault.
    @ivar role: what its target is.
    @ivar phase: what that was doing; empty: nothing.
    """

    kind: str
    role: str
    phase: str


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """
    What is kept of a run.

    @ivar broken: the promises that it broke, one sentence each.
    @ivar missing: why its evidence does not suffice.
    @ivar meetings: the faults that began.
    @ivar ledger: the counts behind the verdict.
    @ivar recovery: seconds from the end of the last fault until all was stored and handled; C{None}: never.
    @ivar simulated: seconds on the clock of the world.
    @ivar processor: seconds of processor time that it took.
    @ivar digest: of everything that happened: equal for equal runs.
    """

    schedule: Schedule
    broken: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    meetings: tuple[Meeting, ...] = ()
    ledger: dict[str, int] = {}
    recovery: float | None = None
    simulated: float = 0.0
    processor: float = 0.0
    digest: str = ""

    @property
    def state(self) -> str:
        """Return C{held}, C{broke} or C{no evidence}."""
        return "broke" if self.broken else "no evidence" if self.missing else "held"


def fails_alike(record: Record, other: Record) -> bool:
    """Return whether two runs broke the same promise first, or both lack evidence."""
    if not record.broken or not other.broken:
        return record.state == other.state != "held"
    kinds = {sentence.partition(":")[0] for sentence in record.broken}
    return any(sentence.partition(":")[0] in kinds for sentence in other.broken)
