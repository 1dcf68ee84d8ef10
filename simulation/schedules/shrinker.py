"""
Shrinks a schedule that fails: fewer faults, a smaller world, shorter and simpler faults.

Source: Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input" (2002).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from msgspec.structs import replace

from simulation.schedules.choices import Choice, Schedule, Setup
from simulation.schedules.generator import has_target

#: Simpler values of a world, each tried alone.
_SIMPLER: Final = {
    "producers": 1,
    "consumers": 1,
    "clients": 1,
    "concurrency": 1,
    "handler": "coroutine",
    "batched": 0.0,
    "mixed": 0.0,
    "keyed": 0.0,
    "moves": None,
    "replicas": 0,
    "lag": 0.0,
    "durability": "memory",
    "fsync": "always",
    "version": "9.1",
}


def shrink(schedule: Schedule, fails: Callable[[Schedule], bool], most: int = 400) -> Schedule:
    """
    Return the smallest schedule found that fails.

    @param fails: runs a schedule, and returns whether it fails in the same way.
    @param most: how many runs may be spent.
    """
    left = most

    def still_fails(candidate: Schedule) -> bool:
        nonlocal left
        left -= 1
        return (
            left >= 0
            and all(has_target(candidate.setup, each.target) for each in candidate.choices)
            and fails(candidate)
        )

    smallest = _with_fewer(schedule, still_fails)
    progress = True
    while progress and left > 0:
        progress = False
        for candidate in _simpler(smallest):
            if candidate != smallest and still_fails(candidate):
                smallest, progress = candidate, True
                break
    return _with_fewer(smallest, still_fails)


def _with_fewer(schedule: Schedule, fails: Callable[[Schedule], bool]) -> Schedule:
    """Return the schedule with as few of its choices as fail: none of them can be left out."""
    kept: Sequence[Choice] = schedule.choices
    parts = 2
    while kept:
        size = max(1, len(kept) // parts)
        for begin in range(0, len(kept), size):
            fewer = (*kept[:begin], *kept[begin + size :])
            if fails(replace(schedule, choices=fewer)):
                kept, parts = fewer, max(2, parts - 1)
                break
        else:
            if size == 1:
                break
            parts = min(len(kept), parts * 2)
    return replace(schedule, choices=tuple(kept))


def _simpler(schedule: Schedule) -> Iterator[Schedule]:
    """Yield schedules that differ in one thing, and are simpler."""
    for setup in _simpler_setups(schedule.setup):
        yield replace(schedule, setup=setup)
    for place, choice in enumerate(schedule.choices):
        for simpler in _simpler_choices(choice):
            choices = (*schedule.choices[:place], simpler, *schedule.choices[place + 1 :])
            yield replace(schedule, choices=choices)


def _simpler_setups(setup: Setup) -> Iterator[Setup]:
    for name, value in _SIMPLER.items():
        if getattr(setup, name) != value:
            yield replace(setup, **{name: value})
    for name in setup.settings:
        yield replace(setup, settings={key: value for key, value in setup.settings.items() if key != name})


def _simpler_choices(choice: Choice) -> Iterator[Choice]:
    if choice.on:
        yield replace(choice, on="", nth=1)
    if choice.nth > 1:
        yield replace(choice, nth=1)
    for seconds in (0.5, 1.0, 2.0, round(choice.seconds / 2, 1)):
        if 0 < seconds < choice.seconds:
            yield replace(choice, seconds=seconds)
    for digits in (0, 1):
        rounded = round(choice.at, digits)
        if rounded != choice.at and len(f"{rounded}") < len(f"{choice.at}"):
            yield replace(choice, at=rounded)
