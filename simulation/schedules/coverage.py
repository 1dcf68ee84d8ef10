"""
Which faults met which phases, in many runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import attrs

from simulation.schedules.kinds import KINDS, Kind
from simulation.schedules.records import Record

#: Of a fault that met nothing: its target was not there, or did nothing.
NOTHING = "nothing"


@attrs.define
class Coverage:
    """
    Counts the faults of runs by kind, and by what they met: a role and its phase.

    @ivar met: how often, by kind and by role and phase.
    @ivar runs: how many runs are counted.
    @ivar chosen: how many faults they were to have, by kind.
    """

    met: dict[str, Counter[tuple[str, str]]] = attrs.field(factory=dict)
    runs: int = 0
    chosen: Counter[str] = attrs.field(factory=Counter)

    def add(self, record: Record) -> None:
        """Count the faults of a run."""
        self.runs += 1
        self.chosen.update(choice.kind for choice in record.schedule.choices)
        for meeting in record.meetings:
            self.met.setdefault(meeting.kind, Counter())[meeting.role, meeting.phase or NOTHING] += 1

    @property
    def phases(self) -> Sequence[tuple[str, str]]:
        """All roles and phases that were met, in order."""
        return sorted({column for row in self.met.values() for column in row})

    def count(self, kind: str, role: str, phase: str) -> int:
        """Return how often a kind of fault met a phase of a role."""
        return self.met.get(kind, Counter())[role, phase]

    def find_gaps(self, kinds: Mapping[str, Kind] = KINDS) -> Sequence[str]:
        """Return the kinds of faults that never met anything."""
        return [
            name
            for name in kinds
            if not any(count for (_, phase), count in self.met.get(name, Counter()).items() if phase != NOTHING)
        ]


def cover(records: Iterable[Record]) -> Coverage:
    """Return the coverage of runs."""
    coverage = Coverage()
    for record in records:
        coverage.add(record)
    return coverage
