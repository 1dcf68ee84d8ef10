"""
Tests for schedules: how they are made, shrunk, run in numbers, told and reported.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import attrs
import pytest
from msgspec.structs import replace

from simulation.planted import BUGS, NOT_SHOWN
from simulation.schedules.choices import Choice, Schedule, Setup, read_schedule, write_schedule
from simulation.schedules.coverage import NOTHING, Coverage
from simulation.schedules.generator import is_possible, make_schedule, name_targets
from simulation.schedules.kinds import KINDS, STEPS, role_of
from simulation.schedules.records import Meeting, Record, fails_alike
from simulation.schedules.report import make_page, write_report
from simulation.schedules.runner import first_seed, run_many, search
from simulation.schedules.shrinker import shrink
from simulation.schedules.story import Line, describe_choice, describe_setup, tell
from simulation.schedules.summary import SLOWEST, Search, Summary
from simulation.schedules.theme import Theme
from simulation.schedules.themes import THEMES

# Generator


def test_a_seed_makes_the_same_schedule_whatever_the_hash_seed() -> None:
    code = (
        "from simulation.schedules.generator import make_schedule;"
        "from simulation.schedules.choices import write_schedule;"
        "print(*[write_schedule(make_schedule(seed)) for seed in range(50)])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, check=True, capture_output=True, timeout=60
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_a_schedule_goes_to_a_file_and_back(tmp_path: Path) -> None:
    for seed in range(200):
        path = tmp_path / "schedule.json"
        path.write_text(write_schedule(make_schedule(seed)))
        assert read_schedule(path) == make_schedule(seed)


def test_every_kind_and_every_step_is_chosen() -> None:
    choices = [choice for seed in range(3_000) for choice in make_schedule(seed).choices]
    assert {choice.kind for choice in choices} == set(KINDS)
    assert {choice.on for choice in choices} == {"", *(step for steps in STEPS.values() for step in steps)}


def test_choices_are_possible_in_their_world_and_leave_time_for_evidence() -> None:
    for seed in range(1_000):
        schedule = make_schedule(seed)
        assert list(schedule.choices) == sorted(schedule.choices, key=lambda each: each.at)
        for choice in schedule.choices:
            kind = KINDS[choice.kind]
            assert is_possible(kind, schedule.setup)
            assert choice.target in {name for role in kind.roles for name in name_targets(role, schedule.setup)}
            assert 2.0 <= choice.at <= schedule.setup.seconds - 4.99
            assert not choice.on or choice.on in STEPS[role_of(choice.target)]


@pytest.mark.parametrize("name", THEMES)
def test_a_theme_gives_the_faults_of_its_parts_in_their_order_in_a_world_of_its_length(name: str) -> None:
    theme = THEMES[name]
    schedules = [make_schedule(seed, {name: replace_counts(theme)}) for seed in range(1_000)]
    for part in theme.parts:
        assert {choice.kind for schedule in schedules for choice in schedule.choices} >= set(part.kinds)
    for schedule in schedules:
        kinds = [choice.kind for choice in schedule.choices if choice.at > 2.0]
        assert len(kinds) <= len(theme.parts)
        left = iter(theme.parts)
        assert all(any(kind in part.kinds for part in left) for kind in kinds)
        assert theme.seconds[0] <= schedule.setup.seconds <= theme.seconds[1]


def test_outages_last_for_minutes_and_clocks_jump_by_hours() -> None:
    theme = THEMES["outages"]
    schedules = [make_schedule(seed, {"outages": replace_counts(theme)}) for seed in range(200)]
    longest = [schedule.choices[0].seconds for schedule in schedules]
    jumps = [abs(choice.amount) for schedule in schedules for choice in schedule.choices if choice.kind == "step"]
    assert 30.0 <= min(longest) < 60.0
    assert 300.0 < max(longest) <= 600.0
    assert max(jumps) > 3_600.0


def replace_counts(theme: Theme) -> Theme:
    """Return a theme without further faults."""
    return attrs.evolve(theme, counts={0: 1})


def test_a_level_of_durability_has_what_it_needs() -> None:
    setups = [make_schedule(seed).setup for seed in range(1_000)]
    assert {setup.durability for setup in setups} == {"memory", "disk", "replicas"}
    for setup in setups:
        assert setup.durability != "disk" or (setup.fsync, setup.version) == ("always", "9.1")
        assert setup.durability != "replicas" or setup.replicas


@pytest.mark.parametrize(
    ("target", "role"),
    [
        ("producer-1", "producer"),
        ("consumer-2:primary", "consumer"),
        ("primary", "redis"),
        ("redis-3", "redis"),
        ("", ""),
    ],
)
def test_the_role_of_a_target(target: str, role: str) -> None:
    assert role_of(target) == role


def test_days_share_no_seeds() -> None:
    assert first_seed(date(2026, 11, 28)) - first_seed(date(2026, 11, 27)) >= 200_000


# Shrinker

CUT = Choice(kind="cut", target="producer-1:primary", at=3.217, on="reply:append", nth=3)
KILL = Choice(kind="kill", target="producer-1", at=5.5, seconds=4.0)
NOISE = [Choice(kind="delay", target="client-1:producer-1", at=2.0 + number, seconds=1.0) for number in range(7)]
BUSY = Setup(producers=2, consumers=2, replicas=2, settings={"A": "1", "B": "2"})


def has(*kinds: str) -> Callable[[Schedule], bool]:
    return lambda schedule: {choice.kind for choice in schedule.choices} >= set(kinds)


@pytest.mark.parametrize(
    ("fails", "kinds"),
    [
        (has("cut", "kill"), ["cut", "kill"]),
        (has("kill"), ["kill"]),
        (has(), []),
        (lambda schedule: sum(each.kind == "delay" for each in schedule.choices) >= 3, ["delay"] * 3),
    ],
)
def test_only_the_choices_that_are_needed_are_left(fails: Callable[[Schedule], bool], kinds: list[str]) -> None:
    schedule = Schedule(seed=1, setup=BUSY, choices=(*NOISE[:3], CUT, *NOISE[3:], KILL))
    least = shrink(schedule, fails)
    assert [choice.kind for choice in least.choices] == kinds
    assert least.setup == Setup(producers=1, consumers=1, clients=1, keyed=0.0, batched=0.0, mixed=0.0, settings={})


def test_what_the_failure_needs_is_kept() -> None:
    def fails(schedule: Schedule) -> bool:
        return schedule.setup.replicas > 0 and any(each.on and each.nth == 3 for each in schedule.choices)

    least = shrink(Schedule(seed=1, setup=BUSY, choices=(CUT, KILL)), fails)
    assert (least.setup.replicas, least.setup.consumers, least.choices) == (2, 1, (replace(CUT, at=3.0),))


@pytest.mark.parametrize("every", [1, 2, 3])
def test_shrinking_ends_with_its_runs(every: int) -> None:
    runs = 0

    def fails(schedule: Schedule) -> bool:
        nonlocal runs
        runs += 1
        return runs % every == 0

    shrink(Schedule(seed=1, setup=BUSY, choices=tuple(NOISE)), fails, most=5)
    assert runs == 5


# Records, coverage, summary


def record(seed: int = 1, *broken: str, missing: tuple[str, ...] = (), recovery: float | None = 1.0) -> Record:
    return Record(
        schedule=Schedule(seed=seed, setup=Setup(), choices=(KILL,)),
        broken=broken,
        missing=missing,
        meetings=(Meeting("kill", "producer", "append in flight"), Meeting("cut", "producer", "")),
        ledger={"stored": 7},
        recovery=recovery,
        simulated=60.0,
        processor=0.03,
    )


@pytest.mark.parametrize(
    ("first", "second", "alike"),
    [
        (record(1, "stored more than once: 'a'"), record(1, "x", "stored more than once: 'b' and 3 more"), True),
        (record(1, "stored more than once: 'a'"), record(1, "answered 200, but not stored: 'a'"), False),
        (record(1, "stored more than once: 'a'"), record(1), False),
        (record(1, missing=("not drained",)), record(1, missing=("no 200",)), True),
        (record(1), record(1), False),
    ],
)
def test_what_fails_alike(first: Record, second: Record, alike: bool) -> None:
    assert fails_alike(first, second) is alike


def test_coverage_counts_what_was_met_and_names_what_never_was() -> None:
    coverage = Coverage()
    for seed in range(3):
        coverage.add(record(seed))
    assert coverage.count("kill", "producer", "append in flight") == 3
    assert coverage.columns == [("producer", "append in flight"), ("producer", NOTHING)]
    assert coverage.chosen == {"kill": 3}
    assert "kill" not in coverage.find_gaps()
    assert "cut" in coverage.find_gaps()  # it met nothing


def test_a_summary_holds_only_if_every_run_does() -> None:
    summary = Summary(1)
    held = [summary.held]  # without runs there is no evidence
    for each in (record(1), record(2, missing=("not drained",)), record(3, "stored more than once: 'a'")):
        summary.add(each)
        held.append(summary.held)
    assert held == [False, True, False, False]
    assert summary.speed == pytest.approx(2_000)
    assert [each.state for each in summary.failed] == ["no evidence", "broke"]


def test_the_slowest_recoveries_are_kept() -> None:
    summary = Summary(0)
    for seed in range(100):
        summary.add(record(seed, recovery=float(seed * 37 % 100)))
    assert [each.seconds for each in summary.slowest] == [99.0 - number for number in range(SLOWEST)]


# Runner


def hold(seed: int) -> Record:
    return record(seed)


def break_at(seed: int, bad: int) -> Record:
    return record(seed, "handled twice: 'a'") if seed == bad else record(seed)


@pytest.mark.parametrize("processes", [1, 2])
def test_all_seeds_are_run_once(processes: int) -> None:
    seeds = [each.schedule.seed for each in run_many(hold, range(10, 110), processes)]
    assert sorted(seeds) == list(range(10, 110))


@pytest.mark.parametrize(("bad", "schedules", "seed"), [(5, 1, 5), (9, 5, 9), (99, 10, None)])
def test_a_search_ends_with_the_first_schedule_that_finds_the_bug(bad: int, schedules: int, seed: int | None) -> None:
    done = search(partial(break_at, bad=bad), "bug", ["handled twice"], 5, 10)
    assert (done.schedules, done.seed, done.found) == (schedules, seed, seed is not None)


def test_another_finding_does_not_find_a_bug() -> None:
    assert not search(partial(break_at, bad=5), "bug", ["stored more than once"], 5, 10).found


# Story and report

JOURNAL = [
    Line(1.0, "producer-1", "append of batch 1 to redis-1: 'event 1'"),
    *(Line(2.0 + number / 100, "consumer-1", f"reads {number}") for number in range(200)),
    Line(5.5, "", "producer-1 is killed"),
    Line(5.6, "redis-1", "batch 2 is applied: 'event 12'"),
    Line(9.0, "client-1", "200 for 'event 1'"),
]


def test_a_story_says_what_broke_who_did_what_and_what_each_side_believed() -> None:
    broken = record(7, "answered 200, but not stored: 'event 1'")
    story = tell(broken, JOURNAL, {"client-1": ["'event 1' is stored"]}, "python -m simulation replay 7.json")
    for part in (
        "Seed 7: broke",
        "answered 200, but not stored",
        "Again: python -m simulation replay 7.json",
        "5.500 s: producer-1 is killed, and restarted, for 4.00 s",
        "*** fault   producer-1 is killed",
        "append of batch 1",
        "200 for 'event 1'",
        "... 200 more ...",
        "client-1    'event 1' is stored",
    ):
        assert part in story
    assert len(story.splitlines()) < 70


def test_a_story_is_a_page_however_much_happened() -> None:
    journal = [Line(5.5, "producer-1", f"'event 1' again {number}") for number in range(10_000)]
    broken = record(7, "stored more than once: 'event 1'")
    assert len(tell(broken, journal, {}, "again").splitlines()) < 70


@pytest.mark.parametrize("seed", range(100))
def test_every_schedule_can_be_told(seed: int) -> None:
    schedule = make_schedule(seed)
    assert schedule.setup.version in describe_setup(schedule.setup)
    for choice in schedule.choices:
        assert "{" not in describe_choice(choice)


def test_the_report_is_one_page_of_all_results(tmp_path: Path) -> None:
    summary = Summary(1, "2026-11-27")
    summary.add(record(1))
    summary.add(record(2, "stored more than once: '<script>'"), ["2.json", "2.txt"])
    write_report(tmp_path, summary)
    searches = [Search("renew-nothing", 17, 40, "handled again without a cause: 'a'"), Search("resume-late", 2_000)]
    page = write_report(tmp_path, searches=searches).read_text()
    HTMLParser().feed(page)
    for part in (
        'class="broke">broke',
        "&lt;script&gt;",
        'href="2.txt"',
        "append in flight",
        "Slowest recoveries",
        BUGS["renew-nothing"].what,
        "missed",
        "wall-clock-timers",
    ):
        assert part in page
    assert "<script" not in page
    assert "http" not in page


def test_a_report_without_results_is_a_page_too() -> None:
    page = make_page(None, [])
    assert "</html>" in page
    assert set(re.findall(r"var\((--\w+)\)", page)) <= set(re.findall(r"(--\w+):", page))


def test_every_kind_step_and_bug_is_on_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "simulation.md").read_text()
    steps = [step for each in STEPS.values() for step in each]
    themes = [name for name in THEMES if THEMES[name].parts]
    assert [name for name in (*KINDS, *steps, *themes, *BUGS, *NOT_SHOWN) if f"`{name}`" not in page] == []
    assert [bug.what for bug in BUGS.values() if bug.what not in page] == []
