"""
The results of many runs, and of planted bugs, as values that go to JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from simulation.schedules.coverage import Coverage
from simulation.schedules.records import Record

#: How many of the slowest recoveries, and of the runs that failed, are kept.
SLOWEST: Final = 12
FAILED: Final = 20


class Recovered(msgspec.Struct, frozen=True):
    """
    A run that held, and how long it took after its last fault.

    @ivar seconds: until all was stored and handled.
    """

    seed: int
    seconds: float
    kinds: tuple[str, ...]


class Failed(msgspec.Struct, frozen=True):
    """
    A run that did not hold.

    @ivar files: names of its schedule and its story, beside the report.
    """

    seed: int
    state: str
    findings: tuple[str, ...]
    files: tuple[str, ...] = ()


class Summary(msgspec.Struct):
    """
    The results of many runs.

    @ivar first: the first seed.
    @ivar day: when they began.
    @ivar elapsed: seconds they took, on all cores.
    @ivar simulated: seconds on the clocks of their worlds.
    @ivar processor: seconds of processor time.
    @ivar ledger: the sums of the counts behind the verdicts.
    """

    first: int
    day: str = ""
    runs: int = 0
    broke: int = 0
    no_evidence: int = 0
    elapsed: float = 0.0
    simulated: float = 0.0
    processor: float = 0.0
    ledger: dict[str, int] = {}
    coverage: Coverage = msgspec.field(default_factory=Coverage)
    slowest: list[Recovered] = []
    failed: list[Failed] = []

    def add(self, record: Record, files: Sequence[str] = ()) -> None:
        """Count a run."""
        self.runs += 1
        self.broke += record.state == "broke"
        self.no_evidence += record.state == "no evidence"
        self.simulated += record.simulated
        self.processor += record.processor
        for name, count in record.ledger.items():
            self.ledger[name] = self.ledger.get(name, 0) + count
        self.coverage.add(record)
        if record.state != "held":
            if len(self.failed) < FAILED:
                findings = (*record.broken, *record.missing)
                self.failed.append(Failed(record.schedule.seed, record.state, findings, tuple(files)))
        elif record.recovery is not None:
            self._note_recovery(record, record.recovery)

    def _note_recovery(self, record: Record, seconds: float) -> None:
        if len(self.slowest) == SLOWEST and seconds <= self.slowest[-1].seconds:
            return
        kinds = tuple(choice.kind for choice in record.schedule.choices)
        self.slowest.append(Recovered(record.schedule.seed, seconds, kinds))
        self.slowest.sort(key=lambda each: -each.seconds)
        del self.slowest[SLOWEST:]

    @property
    def held(self) -> bool:
        """Whether every promise was kept, and every run had evidence."""
        return self.runs > 0 and not self.broke and not self.no_evidence

    @property
    def speed(self) -> float:
        """How many simulated seconds a second of processor time makes."""
        return self.simulated / self.processor if self.processor else 0.0

    def describe(self) -> str:
        """Return the results in a sentence."""
        failures = f"{self.broke} broke a promise, {self.no_evidence} had no evidence"
        return (
            f"{self.runs:,} schedules from seed {self.first}: {failures if not self.held else 'all held'}; "
            f"{self.simulated / 3600:,.1f} simulated hours in {self.elapsed:,.0f} s, "
            f"{self.speed:,.0f} simulated seconds for each of processor time"
        )


class Search(msgspec.Struct, frozen=True):
    """
    The search for a planted bug.

    @ivar schedules: how many were run, the one that found it included.
    @ivar seed: of the schedule that found it; C{None} if none did.
    @ivar finding: what the judge said.
    @ivar seconds: of processor time.
    """

    bug: str
    schedules: int
    seed: int | None = None
    finding: str = ""
    seconds: float = 0.0

    @property
    def found(self) -> bool:
        return self.seed is not None

    def describe(self) -> str:
        """Return the result in a line."""
        if not self.found:
            return f"{self.bug}: MISSED in {self.schedules} schedules"
        return f"{self.bug}: found by schedule {self.schedules} (seed {self.seed}): {self.finding}"
