"""
The faults of a schedule, done to a world.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from simulation.schedules.choices import Choice
from simulation.schedules.kinds import PRIMARY, role_of
from simulation.schedules.records import Meeting
from simulation.world import link_faults, process_faults, server_faults
from simulation.world.process import Process
from simulation.world.world import World

#: Begins a fault, and returns what ends it; C{None} if it is over at once.
Begin = Callable[[World, Choice, str], Callable[[], object] | None]


#: Seconds before and after a fault is due for which clients post more often.
_BEFORE: Final = 1.0
_LONG: Final = 3.0


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
            if world.setup.haste != 1.0:
                world.timeline.add(max(0.0, choice.at - _BEFORE), None, self._hurry, choice.at + _LONG)
            if choice.on:
                world.timeline.add(choice.at, None, self._watch, place, choice)
            else:
                world.timeline.add(choice.at, None, self._begin, place, choice)

    def _hurry(self, until: float) -> None:
        for client in self.world.clients.values():
            client.hurry(until)

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
        world.account.faults.append((world.timeline.now, world.timeline.now))
        end = BEGIN[choice.kind](world, choice, target)
        if end is not None:
            self.later(choice.seconds, end, words)

    def later(self, seconds: float, end: Callable[[], object], words: str) -> None:
        """End a fault after a time."""
        self.open += 1
        now = self.world.timeline.now
        self.world.account.faults.append((now, now + seconds))
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


BEGIN: Final[Mapping[str, Begin]] = {
    "cut": link_faults.cut,
    "half": link_faults.trap,
    "swallow": link_faults.trap,
    "delay": link_faults.delay,
    "trickle": link_faults.trickle,
    "silence": link_faults.silence,
    "refuse": link_faults.refuse,
    "kill": process_faults.kill,
    "power": process_faults.kill,
    "load": process_faults.load,
    "both": server_faults.both,
    "leave": process_faults.leave,
    "stop": process_faults.stop,
    "pause": process_faults.pause,
    "lag": server_faults.lag,
    "promote": server_faults.promote,
    "switch": server_faults.switch,
    "isolate": server_faults.isolate,
    "deaf": server_faults.deaf,
    "kill-sentinel": server_faults.kill_sentinel,
    "need-replicas": server_faults.need_replicas,
    "full-disk": server_faults.full_disk,
    "fill": server_faults.fill,
    "revoke": server_faults.revoke,
    "flush-scripts": server_faults.flush,
    "step": process_faults.step,
    "drift": process_faults.drift,
    "slow": process_faults.behave,
    "fail": process_faults.behave,
    "stumble": process_faults.stumble,
    "again": process_faults.behave,
    "hang": process_faults.behave,
    "impatient": process_faults.impatient,
}
