"""
Runs schedules in the simulated world.
"""

from __future__ import annotations

from collections.abc import Sequence

from eventsvc.event import Notification
from eventsvc.testing.history import Op
from simulation.planted import planted
from simulation.schedules.choices import Schedule
from simulation.schedules.generator import make_schedule
from simulation.schedules.records import Record
from simulation.schedules.runner import search
from simulation.schedules.story import subjects_of, tell
from simulation.schedules.summary import Search
from simulation.world.run import run


def try_schedule(schedule: Schedule) -> Record:
    """Run a schedule."""
    return run(schedule).record


def try_seed(seed: int) -> Record:
    """Run the schedule of a seed."""
    return try_schedule(make_schedule(seed))


def tell_schedule(schedule: Schedule, command: str) -> tuple[Record, str]:
    """
    Run a schedule, and return its record and its story.

    @param command: the command that runs it again.
    """
    done = run(schedule)
    names = {*subjects_of(done.record)}
    others = {name.partition(".")[0] for name in names}  # a batch is called by its first event
    known: Sequence[Op | Notification] = [*done.history.ops, *done.history.stream]
    others |= {f"{each.id}" for each in known if each.description in names}
    return done.record, tell(done.record, done.journal, done.beliefs, command, others)


def search_bug(name: str, first: int, most: int) -> Search:
    """Plant a bug, and run schedules from a seed on until it is found."""
    with planted(name) as bug:
        return search(try_seed, name, bug.findings, first, most)
