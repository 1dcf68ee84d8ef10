"""
Which faults met which phases, in many runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from simulation.schedules.kinds import KINDS, Kind
from simulation.schedules.records import Record

#: The phase of a target that was not there, or did nothing.
NOTHING: Final = "nothing"


class Coverage(msgspec.Struct):
    """
    Counts the faults of runs by what they met.

    @ivar met: how often, by kind, role and phase.
    @ivar chosen: how many faults there were to be, by kind.
    """

    met: dict[str, dict[str, dict[str, int]]] = {}
    chosen: dict[str, int] = {}

    def add(self, record: Record) -> None:
        """Count the faults of a run."""
        for choice in record.schedule.choices:
            self.chosen[choice.kind] = self.chosen.get(choice.kind, 0) + 1
        for meeting in record.meetings:
            phases = self.met.setdefault(meeting.kind, {}).setdefault(meeting.role, {})
            phase = meeting.phase or NOTHING
            phases[phase] = phases.get(phase, 0) + 1

    @property
    def columns(self) -> Sequence[tuple[str, str]]:
        """The roles and phases that were met, in order."""
        return sorted(
            {(role, phase) for roles in self.met.values() for role, phases in roles.items() for phase in phases}
        )

    def count(self, kind: str, role: str, phase: str) -> int:
        """Return how often a kind of fault met a phase of a role."""
        return self.met.get(kind, {}).get(role, {}).get(phase, 0)

    def find_gaps(self, kinds: Mapping[str, Kind] = KINDS) -> Sequence[str]:
        """Return the kinds of faults that never met anything."""
        return [name for name in kinds if not any(self._phases(name) - {NOTHING})]

    def _phases(self, kind: str) -> set[str]:
        return {phase for phases in self.met.get(kind, {}).values() for phase in phases}
