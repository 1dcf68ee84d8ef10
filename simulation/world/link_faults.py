"""
Faults of links: what arrives late, in part, or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from simulation.schedules.choices import Choice
from simulation.world.world import World

#: Bytes that arrive at once while a link delivers a few at a time.
_FEW: Final = 7


def _link(target: str) -> tuple[str, str]:
    one, _, other = target.partition(":")
    return one, other


def _ways(world: World, target: str) -> Iterator[Any]:
    one, other = _link(target)
    yield world.network.way(one, other)
    yield world.network.way(other, one)


def _cut_all(world: World, target: str) -> None:
    for end in world.network.between(*_link(target)):
        end.cut()


def cut(world: World, choice: Choice, target: str) -> None:
    _cut_all(world, target)


def trap(world: World, choice: Choice, target: str) -> None:
    one, other = _link(target)
    world.network.way(other, one).trap = choice.kind


def delay(world: World, choice: Choice, target: str) -> Callable[[], object]:
    now, ways = world.timeline.now, list(_ways(world, target))

    def change(by: float) -> None:
        for way in ways:
            way.extra = max(0.0, way.extra + by)

    def end() -> None:
        change(-choice.amount)
        world.account.disturbed(now, world.timeline.now)

    change(choice.amount)
    return end


def trickle(world: World, choice: Choice, target: str) -> Callable[[], object]:
    ways = list(_ways(world, target))

    def change(piece: int) -> None:
        for way in ways:
            way.piece = piece

    change(_FEW)
    return lambda: change(0)


def silence(world: World, choice: Choice, target: str) -> Callable[[], object]:
    one, other = _link(target)
    return silence_pairs(world, [(one, other), (other, one)])


def silence_pairs(world: World, pairs: list[tuple[str, str]]) -> Callable[[], object]:
    """Let nothing arrive between hosts, and return what ends that."""
    now = world.timeline.now
    for pair in pairs:
        world.network.silence(*pair, True)

    def end() -> None:
        for pair in pairs:
            world.network.silence(*pair, False)
        world.account.disturbed(now, world.timeline.now)

    return end


def refuse(world: World, choice: Choice, target: str) -> Callable[[], object]:
    now, ways = world.timeline.now, list(_ways(world, target))

    def change(by: int) -> None:
        for way in ways:
            way.refuses += by

    def end() -> None:
        change(-1)
        world.account.disturbed(now, world.timeline.now)

    change(1)
    _cut_all(world, target)
    return end
