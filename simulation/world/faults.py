"""
The faults of a schedule, done to a world.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from simulation.schedules.choices import Choice
from simulation.schedules.kinds import PRIMARY, role_of
from simulation.schedules.records import Meeting
from simulation.world.handlers import Behaviour
from simulation.world.process import Process
from simulation.world.world import World

#: Bytes that arrive at once while a link delivers a few at a time.
_FEW: Final = 7

#: Seconds until Sentinels find a primary down, and for which it is unreachable.
_DETECTION: Final = 1.5
_UNREACHABLE: Final = 4.0

#: Begins a fault, and returns what ends it; C{None} if it is over at once.
Begin = Callable[[World, Choice, str], Callable[[], object] | None]


class Faults:
    """
    Begins and ends the faults of a schedule.

    @ivar meetings: the faults that began.
    @ivar open: the number of faults that have not ended.
    @ivar ahead: the faults that have not begun.
    """

    def __init__(self, world: World, choices: tuple[Choice, ...]) -> None:
        self.world = world
        self.meetings: list[Meeting] = []
        self.open = 0
        self.ahead: dict[int, Choice] = dict(enumerate(choices))
        world.later = self.later
        for place, choice in self.ahead.items():
            if choice.on:
                world.timeline.add(choice.at, None, self._watch, place, choice)
            else:
                world.timeline.add(choice.at, None, self._begin, place, choice)

    def _watch(self, place: int, choice: Choice) -> None:
        """Begin a fault at a step."""
        role, seen = role_of(choice.target), 0
        begins_at = self._name(choice.target).partition(":")[0]

        def look(process: Process, step: str) -> None:
            nonlocal seen
            if step == choice.on and (process.name == begins_at or (role == "redis" and choice.target == PRIMARY)):
                seen += 1
                if seen == choice.nth:
                    self.world.triggers.remove(look)
                    self._begin(place, choice)

        self.world.triggers.append(look)

    def _name(self, target: str) -> str:
        return target.replace(PRIMARY, self.world.servers.primary.host)

    def _begin(self, place: int, choice: Choice) -> None:
        del self.ahead[place]
        world, target = self.world, self._name(choice.target)
        words = f"{choice.kind} {target} {choice.what}".rstrip()
        self.meetings.append(Meeting(choice.kind, role_of(choice.target) or "redis", describe(world, target)))
        world.tell("", words)
        world.account.last = max(world.account.last, world.timeline.now)
        end = BEGIN[choice.kind](world, choice, target)
        if end is not None:
            self.later(choice.seconds, end, words)

    def later(self, seconds: float, end: Callable[[], object], words: str) -> None:
        """End a fault after a time."""
        self.open += 1
        self.world.timeline.add(self.world.timeline.now + seconds, None, self._end, end, words)

    def _end(self, end: Callable[[], object], words: str) -> None:
        self.open -= 1
        self.world.tell("", f"end of: {words}")
        self.world.account.last = self.world.timeline.now
        end()


def describe(world: World, target: str) -> str:
    """Return what a target does at the moment; empty: nothing."""
    name = target.partition(":")[0] or world.servers.primary.host
    if world.servers.is_server(name):
        server = world.servers.by_name[name]
        if not server.up:
            return "down"
        return "primary" if server.link is None else "replica"
    process = world.processes.get(name)
    if process is None or not process.alive:
        return "down"
    commands = world.wire.open_commands(process)
    return commands[0] if commands else "idle"


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


def _cut(world: World, choice: Choice, target: str) -> None:
    _cut_all(world, target)


def _trap(world: World, choice: Choice, target: str) -> None:
    one, other = _link(target)
    world.network.way(other, one).trap = choice.kind


def _delay(world: World, choice: Choice, target: str) -> Callable[[], object]:
    now, ways = world.timeline.now, list(_ways(world, target))

    def change(by: float) -> None:
        for way in ways:
            way.extra = max(0.0, way.extra + by)

    def end() -> None:
        change(-choice.amount)
        world.account.disturbed(now, world.timeline.now)

    change(choice.amount)
    return end


def _trickle(world: World, choice: Choice, target: str) -> Callable[[], object]:
    ways = list(_ways(world, target))

    def change(piece: int) -> None:
        for way in ways:
            way.piece = piece

    change(_FEW)
    return lambda: change(0)


def _silence(world: World, choice: Choice, target: str) -> Callable[[], object]:
    one, other = _link(target)
    return _silence_pairs(world, [(one, other), (other, one)])


def _silence_pairs(world: World, pairs: list[tuple[str, str]]) -> Callable[[], object]:
    now = world.timeline.now
    for pair in pairs:
        world.network.silence(*pair, True)

    def end() -> None:
        for pair in pairs:
            world.network.silence(*pair, False)
        world.account.disturbed(now, world.timeline.now)

    return end


def _refuse(world: World, choice: Choice, target: str) -> Callable[[], object]:
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


def _kill(world: World, choice: Choice, target: str) -> Callable[[], object] | None:
    if world.servers.is_server(target):
        began = world.timeline.now
        world.servers.kill(target, power=choice.kind == "power")

        def restart() -> None:
            world.servers.restart(target)
            world.account.disturbed(began, world.timeline.now)

        return restart
    kill_service(world, target)
    return lambda: world.start_service(target)


def kill_service(world: World, name: str) -> None:
    """Kill a producer or a consumer, if it runs."""
    process, now = world.processes[name], world.timeline.now
    if process.alive:
        process.kill()
        world.tell(name, "is killed")
        if name.startswith("consumer"):
            world.account.cause("ended", now, now, name)


def _leave(world: World, choice: Choice, target: str) -> None:
    if sum(process.alive for name, process in world.processes.items() if name.startswith("consumer")) > 1:
        world.gone.add(target)
        kill_service(world, target)


def _stop(world: World, choice: Choice, target: str) -> Callable[[], object]:
    process, began = world.processes[target], world.timeline.now
    world.expect_end(process)
    if process.alive:
        process.signal(15)

    def again() -> None:
        if process.alive:
            world.timeline.add(world.timeline.now + 0.5, None, again)
            return
        world.start_service(target)
        if target.startswith("consumer"):
            world.account.cause("ended", began, world.timeline.now, target)

    return again


def _pause(world: World, choice: Choice, target: str) -> Callable[[], object]:
    now = world.timeline.now
    if world.servers.is_server(target):
        server = world.servers.by_name[target]
        server.pause()

        def resume() -> None:
            if server.paused:
                world.servers.deployment.resume(server)
            world.account.disturbed(now, world.timeline.now)

        return resume
    process = world.processes[target]
    world.suspend(process)

    def go_on() -> None:
        if process.alive:
            world.timeline.go_on(process)
        world.account.disturbed(now, world.timeline.now)

    return go_on


def _lag(world: World, choice: Choice, target: str) -> Callable[[], object] | None:
    link = world.servers.by_name[target].link
    if link is None:
        return None
    before = link.delay
    link.slow_down(world.timeline.now, before + choice.seconds)
    return lambda: link.slow_down(world.timeline.now, before)


def _promote(world: World, choice: Choice, target: str) -> None:
    """The primary is unreachable for a while; meanwhile the Sentinels promote a replica."""
    primary = world.servers.primary
    others = [name for name in world.processes if name != primary.host]
    heal = _isolate_server(world, primary.host, others)
    world.timeline.add(world.timeline.now + _DETECTION, None, world.servers.fail_over)
    world.later(_UNREACHABLE, heal, f"{primary.host} is unreachable")


def _switch(world: World, choice: Choice, target: str) -> None:
    world.servers.fail_over()


def _isolate(world: World, choice: Choice, target: str) -> Callable[[], object]:
    """Services still reach the server, so that there are two primaries for a while."""
    return _isolate_server(world, target, [*world.servers.by_name, *world.servers.sentinels], fails_over=True)


def _isolate_server(world: World, name: str, others: list[str], fails_over: bool = False) -> Callable[[], object]:
    server = world.servers.by_name[name]
    heal = _silence_pairs(world, [pair for other in others if other != name for pair in ((name, other), (other, name))])
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


def _deaf(world: World, choice: Choice, target: str) -> Callable[[], object]:
    deployment, sentinel = world.servers.deployment, world.servers.sentinels[target]
    deployment.isolate(sentinel)
    return lambda: deployment.rejoin(sentinel)


def _fill(world: World, choice: Choice, target: str) -> Callable[[], object]:
    world.servers.fill(target, True)
    return lambda: world.servers.fill(target, False)


def _revoke(world: World, choice: Choice, target: str) -> Callable[[], object]:
    now = world.timeline.now
    world.servers.restrict(target, frozenset({choice.what.encode()}))

    def end() -> None:
        world.servers.restrict(target, frozenset())
        world.account.disturbed(now, world.timeline.now)

    return end


def _flush(world: World, choice: Choice, target: str) -> None:
    world.servers.ask(world.servers.by_name[target], b"SCRIPT", b"FLUSH")


def _step(world: World, choice: Choice, target: str) -> None:
    clock = world.wall(target)
    clock.change(step=choice.amount, rate=clock.rate)
    if world.servers.is_server(target):
        world.account.disturbed(world.timeline.now, world.timeline.now)


def _drift(world: World, choice: Choice, target: str) -> Callable[[], object]:
    clock = world.wall(target)
    clock.change(rate=choice.amount)
    return lambda: clock.change()


def _behave(world: World, choice: Choice, target: str) -> Callable[[], object]:
    now, behaviour = world.timeline.now, world.behaviour(target)
    if choice.kind == "slow":
        behaviour.seconds = choice.amount
    else:
        behaviour.way = choice.kind

    def end() -> None:
        calm: Behaviour = Behaviour()
        behaviour.way, behaviour.seconds = calm.way, calm.seconds
        world.release(target)
        world.account.disturbed(now, world.timeline.now)

    return end


def _impatient(world: World, choice: Choice, target: str) -> Callable[[], object]:
    client = world.clients[target]
    before, client.patience = client.patience, choice.amount

    def end() -> None:
        client.patience = before

    return end


BEGIN: Final[Mapping[str, Begin]] = {
    "cut": _cut,
    "half": _trap,
    "swallow": _trap,
    "delay": _delay,
    "trickle": _trickle,
    "silence": _silence,
    "refuse": _refuse,
    "kill": _kill,
    "power": _kill,
    "leave": _leave,
    "stop": _stop,
    "pause": _pause,
    "lag": _lag,
    "promote": _promote,
    "switch": _switch,
    "isolate": _isolate,
    "deaf": _deaf,
    "fill": _fill,
    "revoke": _revoke,
    "flush-scripts": _flush,
    "step": _step,
    "drift": _drift,
    "slow": _behave,
    "fail": _behave,
    "again": _behave,
    "hang": _behave,
    "impatient": _impatient,
}
