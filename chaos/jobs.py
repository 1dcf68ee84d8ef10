"""
Runs scenarios in parallel, each in a worker process, because a run is watched by
a signal and has its own ports.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread

import attrs

from chaos.scenario import Run, run
from chaos.scenarios import BY_NAME


@attrs.frozen
class Job:
    """A run to carry out; C{planted} is the planted bug of the services, if any."""

    scenario: str
    seed: int
    planted: str | None = None

    def carry_out(self, report: Path) -> Run:
        name = "-".join([self.scenario, str(self.seed), *([self.planted] if self.planted else [])])
        return run(BY_NAME[self.scenario], self.seed, report / name, self.planted)


def carry_out(jobs: Sequence[Job], report: Path, side_by_side: int) -> Iterator[Run]:
    """Start jobs in order, and yield their runs as they end."""
    workers = ProcessPoolExecutor(side_by_side, get_context("spawn"), _end_with_parent)
    try:
        for done in as_completed([workers.submit(job.carry_out, report) for job in jobs]):
            yield done.result()
    finally:
        workers.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """Make this worker end with the suite, even if the suite is killed."""

    def watch() -> None:
        parent = parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    Thread(target=watch, daemon=True).start()
