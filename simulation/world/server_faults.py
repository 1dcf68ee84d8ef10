"""
Faults of servers and Sentinels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from simulation.schedules.choices import Choice
from simulation.world.link_faults import silence_pairs
from simulation.world.process_faults import kill_service
from simulation.world.world import World

#: Seconds until Sentinels find a primary down, and for which it is unreachable.
_DETECTION: Final = 1.5
_UNREACHABLE: Final = 4.0


def lag(world: World, choice: Choice, target: str) -> Callable[[], object] | None:
    link = world.servers.by_name[target].link
    if link is None:
        return None
    before = link.delay
    link.slow_down(world.timeline.now, before + choice.seconds)
    return lambda: link.slow_down(world.timeline.now, before)


def promote(world: World, choice: Choice, target: str) -> None:
    """The primary is unreachable for a while; meanwhile the Sentinels promote a replica."""
    primary = world.servers.primary
    others = [name for name in world.processes if name != primary.host]
    heal = _isolate_server(world, primary.host, others)
    world.timeline.add(world.timeline.now + _DETECTION, None, world.servers.fail_over)
    world.later(_UNREACHABLE, heal, f"{primary.host} is unreachable")


def both(world: World, choice: Choice, target: str) -> Callable[[], object]:
    """The producer and the machine of the primary end at the same moment."""
    now, primary = world.timeline.now, world.servers.primary.host
    kill_service(world, target)
    world.servers.kill(primary, power=True)
    world.timeline.add(now + _DETECTION, None, world.servers.fail_over)

    def restart() -> None:
        world.start_service(target)
        world.servers.restart(primary)
        world.account.disturbed(now, world.timeline.now)

    return restart


def switch(world: World, choice: Choice, target: str) -> None:
    world.servers.fail_over()


def isolate(world: World, choice: Choice, target: str) -> Callable[[], object]:
    """Services still reach the server, so that there are two primaries for a while."""
    return _isolate_server(world, target, [*world.servers.by_name, *world.servers.sentinels], fails_over=True)


def _isolate_server(world: World, name: str, others: list[str], fails_over: bool = False) -> Callable[[], object]:
    server = world.servers.by_name[name]
    heal = silence_pairs(world, [pair for other in others if other != name for pair in ((name, other), (other, name))])
    links = [*server.replicas, *([server.link] if server.link else [])]
    for link in links:
        link.cut(world.timeline.now)
    if fails_over and server is world.servers.primary:
        world.timeline.add(world.timeline.now + _DETECTION, None, world.servers.fail_over)

    def end() -> None:
        heal()
        for link in links:
            link.heal(world.timeline.now)
        world.servers.deployment.correct_later(server)

    return end


def deaf(world: World, choice: Choice, target: str) -> Callable[[], object]:
    deployment, sentinel = world.servers.deployment, world.servers.sentinels[target]
    deployment.isolate(sentinel)
    return lambda: deployment.rejoin(sentinel)


def kill_sentinel(world: World, choice: Choice, target: str) -> Callable[[], object]:
    world.servers.kill_sentinel(target)
    return lambda: world.servers.restart_sentinel(target)


def need_replicas(world: World, choice: Choice, target: str) -> Callable[[], object]:
    return _unfit(world, partial(world.servers.need_replicas, target))


def full_disk(world: World, choice: Choice, target: str) -> Callable[[], object]:
    """Under C{appendfsync always} the server ends at its next write, and is restarted when there is room."""
    return _unfit(world, partial(world.servers.fill_disk, target))


def _unfit(world: World, change: Callable[[bool], object]) -> Callable[[], object]:
    """Let a server refuse what consumers confirm, and return what ends that."""
    now = world.timeline.now
    change(True)

    def end() -> None:
        change(False)
        world.account.disturbed(now, world.timeline.now)

    return end


def fill(world: World, choice: Choice, target: str) -> Callable[[], object]:
    world.servers.fill(target, True)
    return lambda: world.servers.fill(target, False)


def revoke(world: World, choice: Choice, target: str) -> Callable[[], object]:
    now = world.timeline.now
    world.servers.restrict(target, frozenset({choice.what.encode()}))

    def end() -> None:
        world.servers.restrict(target, frozenset())
        world.account.disturbed(now, world.timeline.now)

    return end


def flush(world: World, choice: Choice, target: str) -> None:
    world.servers.ask(world.servers.by_name[target], b"SCRIPT", b"FLUSH")
