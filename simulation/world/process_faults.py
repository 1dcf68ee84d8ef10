"""
Faults of processes: services, servers, clients, handlers and clocks.
"""

from __future__ import annotations

from collections.abc import Callable

from simulation.schedules.choices import Choice
from simulation.world.clients import PATIENCE
from simulation.world.handlers import Behaviour
from simulation.world.world import World


def kill(world: World, choice: Choice, target: str) -> Callable[[], object] | None:
    if world.servers.is_server(target):
        began = world.timeline.now
        world.servers.kill(target, power=choice.kind == "power")

        def restart() -> None:
            world.servers.restart(target)
            world.account.disturbed(began, world.timeline.now)

        return restart
    kill_service(world, target)
    return lambda: world.start_service(target)


def load(world: World, choice: Choice, target: str) -> Callable[[], object]:
    began = world.timeline.now
    world.servers.kill(target)

    def restart() -> None:
        world.servers.restart(target, choice.amount)
        world.account.disturbed(began, world.timeline.now + choice.amount)
        world.later(choice.amount, lambda: None, f"{target} loads")

    return restart


def kill_service(world: World, name: str) -> None:
    """Kill a producer or a consumer, if it runs."""
    process, now = world.processes[name], world.timeline.now
    if process.alive:
        process.kill()
        world.tell(name, "is killed")
        if name.startswith("consumer"):
            world.account.cause("ended", now, now, name)


def leave(world: World, choice: Choice, target: str) -> None:
    if sum(process.alive for name, process in world.processes.items() if name.startswith("consumer")) > 1:
        world.gone.add(target)
        kill_service(world, target)


def stop(world: World, choice: Choice, target: str) -> Callable[[], object]:
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


def pause(world: World, choice: Choice, target: str) -> Callable[[], object]:
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


def step(world: World, choice: Choice, target: str) -> None:
    clock = world.wall(target)
    clock.change(step=choice.amount, rate=clock.rate)
    if world.servers.is_server(target):
        world.account.disturbed(world.timeline.now, world.timeline.now)


def drift(world: World, choice: Choice, target: str) -> Callable[[], object]:
    clock = world.wall(target)
    clock.change(rate=choice.amount)
    return lambda: clock.change()


def behave(world: World, choice: Choice, target: str) -> Callable[[], object]:
    behaviour = world.behaviour(target)
    if choice.kind == "slow":
        behaviour.seconds = choice.amount
    else:
        behaviour.way = choice.kind

    def end() -> None:
        calm: Behaviour = Behaviour()
        behaviour.way, behaviour.seconds = calm.way, calm.seconds
        world.release(target)

    return end


def impatient(world: World, choice: Choice, target: str) -> Callable[[], object]:
    """Let a client wait for less time; of two such faults at once, the later one counts until the first has ended."""
    client = world.clients[target]
    client.patience = choice.amount

    def end() -> None:
        client.patience = PATIENCE

    return end


def stumble(world: World, choice: Choice, target: str) -> None:
    """Let the handler of a consumer fail once."""
    world.behaviour(target).way = choice.kind
