"""
Runs one schedule.
"""

from __future__ import annotations

import gc
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import attrs

from eventsvc.testing.history import History
from simulation.schedules.choices import Schedule
from simulation.schedules.records import Record
from simulation.schedules.story import Line, subjects_of
from simulation.world.beliefs import believe
from simulation.world.faults import Faults
from simulation.world.judge import LOOK_AROUND, bound_of, count_connects, is_settled, judge, tell
from simulation.world.surroundings import surroundings
from simulation.world.timeline import MOST
from simulation.world.world import World

#: Seconds between two looks whether everything is settled.
_LOOK: Final = 0.25
#: Garbage is collected after so many runs.
_RUNS: Final = 100
#: Seconds of processor time after which a run is interrupted; every run that ends takes less.
_MOST_PROCESSOR: Final = 120.0
_processor = time.process_time
_runs = 0
#: Worlds that are kept until the next collection.
_ended: list[World] = []


class Endless(BaseException):
    """Interrupts a process that does not return; not an L{Exception}, so that the process cannot catch it and go on."""


@attrs.frozen
class Run:
    """
    A run, its verdict, and what happened.

    @ivar history: what the judge was told.
    """

    world: World
    record: Record
    history: History

    @property
    def journal(self) -> list[Line]:
        """All that happened, in order."""
        return self.world.journal

    @property
    def beliefs(self) -> Mapping[str, list[str]]:
        """What each process believed at the end, a sentence each."""
        return believe(self.world, subjects_of(self.record))


def run(schedule: Schedule) -> Run:
    """Run a schedule until everything is settled, and judge it."""
    began = _processor()
    world = World(schedule.seed, schedule.setup)
    with surroundings(world), _interrupted(world):
        faults = Faults(world, schedule.choices)
        world.start()
        settled = _run_until_settled(world, faults, schedule)
        history = tell(world, schedule)
        verdict, more = judge(world, schedule, history, settled)
        world.close()
        _collect(world)  # here, because what finalizers say of earlier worlds is of no interest
    end = max(world.account.last, schedule.setup.seconds)
    record = Record(
        schedule=schedule,
        broken=(*verdict.broken, *more),
        missing=verdict.missing,
        meetings=tuple(faults.meetings),
        ledger=dict(verdict.ledger),
        recovery=world.timeline.now - end if settled else None,
        simulated=world.timeline.now,
        processor=_processor() - began,
        digest=world.wire.digest(),
    )
    return Run(world, record, history)


@contextmanager
def _interrupted(world: World) -> Iterator[None]:
    """Interrupt a process that does not return, and so make that a finding."""

    def interrupt(*_: object) -> None:
        name = getattr(world.timeline.current, "name", "the world")
        raise Endless(f"{name} does not return, in the world of seed {world.seed} at {world.timeline.now:.3f} s")

    before = signal.signal(signal.SIGVTALRM, interrupt)
    signal.setitimer(signal.ITIMER_VIRTUAL, _MOST_PROCESSOR, _MOST_PROCESSOR)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        signal.signal(signal.SIGVTALRM, before)


def _run_until_settled(world: World, faults: Faults, schedule: Schedule) -> bool:
    timeline = world.timeline
    timeline.run_until(max(0.0, schedule.setup.seconds - LOOK_AROUND))
    connects, since = count_connects(world), timeline.now
    timeline.run_until(schedule.setup.seconds)
    while True:
        if (made := count_connects(world)) != connects:
            connects, since = made, timeline.now
        if not faults.open and timeline.now >= since + LOOK_AROUND and is_settled(world):
            return True
        end = max(world.account.last, schedule.setup.seconds) + bound_of(world)
        if timeline.count >= MOST or (timeline.now >= end and not faults.open):
            return False
        timeline.run_until(timeline.now + _LOOK)


def _collect(world: World) -> None:
    """Collect garbage now and then: no finalizer runs within a run."""
    global _runs
    _runs += 1
    _ended.append(world)
    if _runs == 1:
        gc.collect()
        gc.freeze()
    elif _runs % _RUNS == 0:
        _ended.clear()
        gc.collect()
