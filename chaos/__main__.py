"""
C{python -m chaos list | run [NAME...] | self-test}.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from chaos.jobs import Job, carry_out
from chaos.planted import BUGS
from chaos.process import raise_file_limit
from chaos.programs import NotFound
from chaos.report import summary, write
from chaos.scenario import Run
from chaos.scenarios import BY_NAME, SCENARIOS
from chaos.toxics import TOXIPROXY
from eventsvc.embedded import NoServer, find_server

#: Exit statuses: all promises held; some did not; nothing could be run.
HELD: Final = 0
FAILED: Final = 1
SKIPPED: Final = 2


def main(arguments: Sequence[str]) -> int:
    """Run the command, and return its exit status."""
    options = _make_parser().parse_args(arguments)
    if options.command == "list":
        for scenario in SCENARIOS:
            print(f"{scenario.name:22} {scenario.what}")
        return HELD
    try:
        find_server()
        TOXIPROXY.find()
    except (NoServer, NotFound) as remedy:
        print(f"skipped, nothing was judged: {remedy}", file=sys.stderr)
        return SKIPPED
    raise_file_limit()
    shutil.rmtree(options.report, ignore_errors=True)
    seed = random.SystemRandom().randrange(1, 10_000) if options.seed is None else options.seed
    if options.command == "self-test":
        jobs = plan_self_test(options.bug or [*BUGS], seed, options.seeds)
    else:
        jobs = plan_runs(options.name or [*BY_NAME], seed, options.repeat)
    return _run_all(jobs, options.report, options.side_by_side)


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m chaos", description="Inject faults into eventsvc and check its promises."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="list the scenarios")
    running = commands.add_parser("run", help="run scenarios; default: all")
    running.add_argument("name", nargs="*", choices=[[], *BY_NAME], metavar="NAME")
    running.add_argument("--repeat", type=int, default=1, metavar="N", help="run each scenario N times, with N seeds")
    testing = commands.add_parser("self-test", help="run scenarios on services with planted bugs, which must be found")
    testing.add_argument("bug", nargs="*", choices=[[], *BUGS], metavar="BUG")
    testing.add_argument("--seeds", type=int, default=1, metavar="N", help="plant each bug N times, with N seeds")
    for command in (running, testing):
        command.add_argument(
            "--seed", type=int, metavar="N", help="seed of the load and of random faults; default: a new one"
        )
        command.add_argument(
            "--report",
            type=Path,
            default=Path("build/chaos"),
            metavar="DIR",
            help="directory of the report; default %(default)s",
        )
        command.add_argument(
            "--side-by-side", type=int, default=2, metavar="N", help="number of parallel runs; default %(default)s"
        )
    return parser


def plan_runs(names: Sequence[str], seed: int, repeat: int) -> Sequence[Job]:
    """Return the runs of scenarios with C{repeat} seeds from C{seed} on, the longest of each seed first."""
    ordered = sorted(names, key=lambda name: -BY_NAME[name].seconds)
    return [Job(name, seed + turn) for turn in range(repeat) for name in ordered]


def plan_self_test(bugs: Sequence[str], seed: int, repeat: int) -> Sequence[Job]:
    """Return the runs that must find planted bugs, with C{repeat} seeds from C{seed} on."""
    return [Job(BUGS[name].scenario, each, name) for each in range(seed, seed + repeat) for name in bugs]


def _run_all(jobs: Sequence[Job], report: Path, side_by_side: int) -> int:
    runs: list[Run] = []
    try:
        for done in carry_out(jobs, report, side_by_side):
            print(_tell(done), flush=True)
            runs.append(done)
    finally:
        runs.sort(key=lambda run: (list(BY_NAME).index(run.scenario.name), run.seed))
        write(runs, report)
    print(f"{summary(runs)}; see {report / 'index.html'}")
    return HELD if all(run.passed for run in runs) else FAILED


def _tell(run: Run) -> str:
    """Return the result of a run as text, in one or more lines."""
    if run.not_run:
        return f"{run.title}: not run: {run.not_run}"
    if run.planted:
        found = next(iter(run.verdict.broken), run.verdict.state)
        return f"{run.title}: {'caught' if run.passed else 'MISSED'} ({run.seconds:.0f} s)\n  {found}"
    line = f"{run.title}: {run.state} ({run.seconds:.0f} s)"
    return line if run.passed else f"{line}\n{run.verdict.describe()}\nagain: {run.command}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
