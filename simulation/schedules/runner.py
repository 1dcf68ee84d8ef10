"""
Runs many schedules, on several cores.
"""

from __future__ import annotations

import gc
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from datetime import date
from typing import Final, TypeVar

from simulation.schedules.records import Record
from simulation.schedules.summary import Search

T = TypeVar("T")
R = TypeVar("R")

#: Schedules that a process runs between two answers.
_AT_ONCE: Final = 50
#: Imported once for all processes, which then are forks.
_PREPARED: Final = "simulation.schedules.prepared"
#: Seeds of a day; no two days share one.
_OF_A_DAY: Final = 1_000_000


def first_seed(day: date) -> int:
    """Return the first of the seeds of a day."""
    return day.toordinal() * _OF_A_DAY


def run_many(trial: Callable[[int], Record], seeds: Sequence[int], processes: int = 2) -> Iterator[Record]:
    """
    Run the schedules of seeds, and yield the records as they come.

    @param trial: runs the schedule of a seed: a function of a module, so that other processes find it.
    """
    parts = [seeds[begin : begin + _AT_ONCE] for begin in range(0, len(seeds), _AT_ONCE)]
    for records in spread(_Parts(trial), parts, processes):
        yield from records


def search(judge: Callable[[int], Record], bug: str, findings: Sequence[str], first: int, most: int) -> Search:
    """
    Run schedules on services with a planted bug until the judge names what it breaks.

    @param findings: texts of which the judge must say one.
    @param first: the first seed.
    @param most: how many schedules may be run.
    """
    seconds = 0.0
    for count in range(1, most + 1):
        record = judge(first + count - 1)
        seconds += record.processor
        for sentence in record.broken:
            if any(finding in sentence for finding in findings):
                return Search(bug, count, first + count - 1, sentence, seconds)
    return Search(bug, most, None, "", seconds)


def spread(work: Callable[[T], R], items: Iterable[T], processes: int) -> Iterator[R]:
    """
    Do work in several processes, and yield the results as they come.

    No more is begun than there are processes for.  When the iteration is given up, what runs is finished
    and the rest is not begun.
    """
    if processes == 1:
        yield from map(work, items)
        return
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([_PREPARED])
    # A new process for each piece of work: what its runs leave ends with it, and is not collected.
    with ProcessPoolExecutor(processes, context, initializer=gc.disable, max_tasks_per_child=1) as pool:
        running: set[Future[R]] = set()
        for item in items:
            running.add(pool.submit(work, item))
            if len(running) > processes:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for each in done:
                    yield each.result()
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for each in done:
                yield each.result()


class _Parts:
    """Runs the schedules of some seeds."""

    def __init__(self, trial: Callable[[int], Record]) -> None:
        self.trial = trial

    def __call__(self, seeds: Sequence[int]) -> list[Record]:
        return [self.trial(seed) for seed in seeds]
