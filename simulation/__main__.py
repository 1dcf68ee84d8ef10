"""
C{python -m simulation run | replay FILE | self-test}.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from simulation.planted import BUGS
from simulation.schedules.choices import read_schedule, write_schedule
from simulation.schedules.generator import make_schedule
from simulation.schedules.records import Record, fails_alike
from simulation.schedules.report import write_report
from simulation.schedules.runner import first_seed, run_many, spread
from simulation.schedules.shrinker import shrink
from simulation.schedules.story import replay_command
from simulation.schedules.summary import Search, Summary
from simulation.schedules.trial import search_bug, tell_schedule, try_schedule, try_seed

#: Exit statuses: all promises held; some did not.
HELD: Final = 0
FAILED: Final = 1

#: How many failing schedules are shrunk and told, and how many runs that may take for each.
_TOLD: Final = 3
_RUNS_TO_SHRINK: Final = 300


def main(arguments: Sequence[str]) -> int:
    """Run the command, and return its exit status."""
    options = _make_parser().parse_args(arguments)
    gc.disable()  # runs collect what they leave
    now = datetime.now(UTC)
    match options.command:
        case "replay":
            return max(map(_tell, options.file))
        case "self-test":
            seed = first_seed(now) if options.seed is None else options.seed
            return _self_test(options.bug or [*BUGS], seed, options)
    if options.schedules is None and options.seed is not None:
        return _run_one(options.seed, options.report)
    seed = first_seed(now) if options.seed is None else options.seed
    return _run_many(seed, f"{now:%Y-%m-%d %H:%M UTC}", options)


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m simulation",
        description="Run eventsvc in simulated worlds full of faults, and check its promises.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="run the schedule of a seed, or many")
    running.add_argument(
        "--schedules", type=int, metavar="N", help="run N schedules; default: that of --seed, or 2,000"
    )
    replaying = commands.add_parser("replay", help="run schedules again, and tell what happens")
    replaying.add_argument("file", nargs="+", type=Path, metavar="FILE")
    testing = commands.add_parser("self-test", help="plant bugs, which must be found")
    testing.add_argument("bug", nargs="*", choices=[[], *BUGS], metavar="BUG")
    testing.add_argument("--most", type=int, default=2_000, metavar="N", help="schedules per bug; default %(default)s")
    for command in (running, testing):
        command.add_argument("--seed", type=int, metavar="N", help="first seed; default: the first of the day")
        command.add_argument(
            "--report", type=Path, default=Path("build/simulation"), metavar="DIR", help="default %(default)s"
        )
        command.add_argument("--processes", type=int, default=2, metavar="N", help="default %(default)s")
    return parser


def _run_one(seed: int, report: Path) -> int:
    report.mkdir(parents=True, exist_ok=True)
    path = report / f"{seed}.json"
    path.write_text(write_schedule(make_schedule(seed)))
    return _tell(path)


def _tell(path: Path) -> int:
    record, story = tell_schedule(read_schedule(path), replay_command(f"{path}"))
    print(story)
    return HELD if record.state == "held" else FAILED


def _run_many(first: int, day: str, options: argparse.Namespace) -> int:
    count = options.schedules or 2_000
    print(f"{count:,} schedules, seeds {first} to {first + count - 1}", flush=True)
    summary, began = Summary(first, day), time.monotonic()
    for record in run_many(try_seed, range(first, first + count), options.processes):
        summary.elapsed = time.monotonic() - began
        files: Sequence[str] = ()
        if record.state != "held" and len(summary.failed) < _TOLD:
            files = tell_failure(record, options.report)
        summary.add(record, files)
        if summary.runs % 5_000 == 0:
            print(summary.describe(), flush=True)
    page = write_report(options.report, summary)
    print(f"{summary.describe()}; see {page}")
    return HELD if summary.held else FAILED


def tell_failure(record: Record, report: Path) -> Sequence[str]:
    """Shrink a schedule that failed, print its story, and write both; return the names of the files."""
    report.mkdir(parents=True, exist_ok=True)
    seed = record.schedule.seed
    whole, small = report / f"{seed}.json", report / f"{seed}-shrunk.json"
    whole.write_text(write_schedule(record.schedule))
    print(f"seed {seed}: {record.state}; shrinking it", flush=True)
    least = shrink(record.schedule, lambda each: fails_alike(try_schedule(each), record), _RUNS_TO_SHRINK)
    small.write_text(write_schedule(least))
    _, story = tell_schedule(least, replay_command(f"{small}"))
    (report / f"{seed}.txt").write_text(story)
    print(story, flush=True)
    return f"{seed}.json", small.name, f"{seed}.txt"


def _self_test(bugs: Sequence[str], first: int, options: argparse.Namespace) -> int:
    print(f"{len(bugs)} bugs, at most {options.most:,} schedules for each, from seed {first}", flush=True)
    searches: list[Search] = []
    for done in spread(partial(search_bug, first=first, most=options.most), bugs, options.processes):
        print(done.describe(), flush=True)
        searches.append(done)
    searches.sort(key=lambda each: list(BUGS).index(each.bug))
    page = write_report(options.report, searches=searches)
    found = sum(each.found for each in searches)
    print(f"{found} of {len(searches)} bugs were found; see {page}")
    return HELD if found == len(searches) else FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
