"""
Runs many schedules, on several cores.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED as FIRST
from concurrent.futures import Future, ProcessPoolExecutor, wait
from datetime import date
from functools import partial
from typing import Final

from simulation.schedules.records import Record

#: Schedules that a process runs between two reports.
_AT_ONCE: Final = 25
#: Seeds of one day; a day has no seed of another.
_OF_A_DAY: Final = 10_000_000

#: Runs the schedule of a seed.  It must be a function of a module, so that processes find it.
Trial = Callable[[int], Record]


def first_seed(day: date) -> int:
    """Return the first of the seeds of a day."""
    return day.toordinal() * _OF_A_DAY


def run_many(
    trial: Trial, seeds: Sequence[int], processes: int = 2, prepare: Callable[[], None] | None = None
) -> Iterator[Record]:
    """
    Run the schedules of seeds, and yield the records as they come.

    Stop to iterate, and what has not begun is not run.  All processes end with the iteration.

    @param prepare: called once in each process before its first run.
    """
    if processes == 1 and prepare is None:
        yield from map(trial, seeds)
        return
    parts = iter([seeds[begin : begin + _AT_ONCE] for begin in range(0, len(seeds), _AT_ONCE)])
    # Not a fork: each process begins with fresh modules, which a planted bug may change.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=prepare) as pool:
        run = partial(_run_part, trial)
        running: set[Future[list[Record]]] = set()
        try:
            for part in parts:
                running.add(pool.submit(run, part))
                if len(running) > processes:
                    done, running = wait(running, return_when=FIRST)
                    for each in done:
                        yield from each.result()
            while running:
                done, running = wait(running, return_when=FIRST)
                for each in done:
                    yield from each.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _run_part(trial: Trial, seeds: Sequence[int]) -> list[Record]:
    return [trial(seed) for seed in seeds]
