"""
Tests of eventsvc in simulated worlds: schedules of the day, and those that found something once.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from simulation.schedules.runner import first_seed

ROOT = Path(__file__).parents[2]
#: What is run of each day, in parts that go on side by side.
SCHEDULES = 2_000
PARTS = 4
#: Much more than any of these takes on a machine that does nothing else.
pytestmark = pytest.mark.timeout(600)

#: Schedules that found something once.
KEPT = sorted((ROOT / "tests" / "schedules").glob("*.json"))


def simulate(*arguments: str, timeout: float = 500) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, whose clocks and chance it may replace."""
    return subprocess.run(
        [sys.executable, "-m", "simulation", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=timeout
    )


@pytest.mark.parametrize("part", range(PARTS))
def test_no_schedule_of_the_day_breaks_a_promise(
    part: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    count = SCHEDULES // PARTS
    first = first_seed(datetime.now(UTC)) + part * count
    record_property("seeds", f"simulation: seeds {first} to {first + count - 1}")
    done = simulate("run", f"--schedules={count}", f"--seed={first}", "--processes=1", f"--report={tmp_path}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all held" in done.stdout


def test_schedules_that_found_something_once_hold() -> None:
    done = simulate("replay", *map(str, KEPT)) if KEPT else None
    assert done is None or done.returncode == 0, done.stdout + done.stderr


def test_the_same_seed_gives_the_same_bytes_in_another_process_with_another_hash_seed() -> None:
    code = (
        "from simulation.schedules.trial import try_seed\n"
        "for seed in range(15): print(try_seed(seed).digest)\n"
        "print(try_seed(0).digest)"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={"PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
            timeout=500,
        ).stdout.split()
        for hash_seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    assert outputs[0][0] == outputs[0][-1]  # whatever was run before
    assert len({*outputs[0]}) == 15


@pytest.mark.parametrize("bug", ["resend-with-new-number", "read-without-pending", "acknowledge-before-the-end"])
def test_a_planted_bug_is_found(bug: str, tmp_path: Path) -> None:
    done = simulate("self-test", bug, "--seed=1", "--processes=1", f"--report={tmp_path}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{bug}: found by schedule" in done.stdout


def test_a_schedule_that_fails_is_shrunk_and_told(tmp_path: Path) -> None:
    """A bug is planted for this, because no schedule fails: the first that shows it is run after the one before it."""
    code = (
        "import sys\n"
        "from simulation.__main__ import main\n"
        "from simulation.planted import planted\n"
        "from simulation.schedules.trial import try_seed\n"
        "with planted('resend-with-new-number'):\n"
        "    seed = next(seed for seed in range(1, 61) if 'stored more than once' in ' '.join(try_seed(seed).broken))\n"
        "    sys.exit(main([*sys.argv[1:], f'--seed={seed - 1}']))"
    )
    options = ("run", "--schedules=2", "--processes=1", f"--report={tmp_path}")
    done = subprocess.run([sys.executable, "-c", code, *options], cwd=ROOT, capture_output=True, text=True, timeout=500)
    assert done.returncode == 1, done.stdout + done.stderr
    stories = [path.read_text() for path in tmp_path.glob("*.txt")]
    assert stories
    assert any("stored more than once" in story for story in stories)
    for shrunk in tmp_path.glob("*-shrunk.json"):
        assert f"python -m simulation replay {shrunk}" in done.stdout
        assert simulate("replay", str(shrunk)).returncode == 0  # without the bug it holds
