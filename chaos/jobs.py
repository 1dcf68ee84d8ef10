"""
Runs side by side, each in a worker: a process, since a run is watched over by
a signal and has ports of its own.
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
    """A run to be done; C{planted} is a bug that the services have on purpose."""

    scenario: str
    seed: int
    planted: str | None = None

    def carry_out(self, report: Path) -> Run:
        name = "-".join([self.scenario, str(self.seed), *([self.planted] if self.planted else [])])
        return run(BY_NAME[self.scenario], self.seed, report / name, self.planted)


def carry_out(jobs: Sequence[Job], report: Path, side_by_side: int) -> Iterator[Run]:
    """Begin with jobs in their order; their runs, as they end."""
    workers = ProcessPoolExecutor(side_by_side, get_context("spawn"), _end_with_parent)
    try:
        for done in as_completed([workers.submit(job.carry_out, report) for job in jobs]):
            yield done.result()
    finally:
        workers.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """End when the suite does, even if it is killed."""

    def watch() -> None:
        parent = parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    Thread(target=watch, daemon=True).start()
