"""
Real processes on this machine for the suites, which leave nothing behind.
"""

from __future__ import annotations

import signal
import tempfile
import time
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, Final

import attrs
import msgspec

from chaos.deployment import Deployment
from chaos.evidence import Evidence, gather
from chaos.faults import Fault, Killed, Restarted
from chaos.plan import Plan
from chaos.workload import Load

#: Seconds that something which was killed is away.
_AWAY: Final = 1.0

_NAMES: Final = {"redis": "redis", "producer": "producer-1", "consumer": "consumer-1"}


@attrs.define(eq=False)
class Local:
    """
    A Valkey or Redis server, two producers and a consumer.

    @ivar plan: what is started.
    """

    plan: Plan = attrs.field(factory=lambda: Plan(producers=2, proxied=False, tokens=False))
    url: str = ""
    token: str = ""
    authority: str = ""
    deployment: Deployment = attrs.field(init=False)
    _held: ExitStack = attrs.field(factory=ExitStack, init=False)

    def start(self) -> None:
        """Start everything, and wait until it works."""
        directory = self._held.enter_context(tempfile.TemporaryDirectory(prefix="eventsvc-robot-"))
        self.deployment = Deployment(self.plan, Path(directory))
        self._held.callback(self.deployment.end)
        self.deployment.start()
        self.url = f"http://127.0.0.1:{self.deployment.ports['producer-1']}"

    def end(self) -> None:
        """End everything, and leave no file."""
        self._held.close()

    def redis(self) -> AbstractContextManager[Any]:
        """A client of another make."""
        return self.deployment.redis()

    def consumer_log(self) -> str:
        """What the consumer has written."""
        return self.deployment.processes["consumer-1"].out.read_text()

    # What may happen.

    def stop_one(self, part: str) -> None:
        """End a process in its own way, and start it again."""
        self._break(Restarted((_NAMES[part],)))

    def kill_one(self, part: str) -> None:
        """Kill a process, and start it again a moment later."""
        self._break(Killed(_NAMES[part]))

    def _break(self, fault: Fault) -> None:
        with fault.breaking(self.deployment):
            self.deployment.wait(_AWAY)

    def fail_over(self, fault: Fault) -> None:
        """Have another primary, and wait until all nodes and Sentinels agree."""
        self._break(fault)

    def roll(self) -> None:
        """Restart all producers and consumers, one after the other."""
        self._break(Restarted((*self.deployment.producers, *self.deployment.consumers), apart=_AWAY))

    def scale(self, replicas: int) -> None:
        """Have so many consumers; clients here know the producers by their ports."""
        deployment = self.deployment
        while len(deployment.consumers) < replicas:
            deployment.plan = attrs.evolve(deployment.plan, handlers=[*deployment.plan.handlers, "log"])
            name = deployment.consumers[-1]
            deployment.add_consumer(name, "log")
            deployment.processes[name].start()
            deployment.await_ready(name)
        for name in deployment.consumers[replicas:]:
            deployment.processes[name].end(signal.SIGTERM)
        deployment.wait(_AWAY)

    def settle(self) -> None:
        """All are there when what happened is over."""
        self.deployment.check()

    # The load, and what came of it.

    def start_load(self, load: Load) -> None:
        """Begin to post events; clients turn to the other producer when one is away."""
        self.deployment.start_load(msgspec.structs.replace(load, clients=4, failover=True))

    def now(self) -> float:
        """The time of the attempts."""
        return time.monotonic()

    def stop_load(self, fault: tuple[float, float]) -> Evidence:
        """End it, wait until all is handled, gather what was seen, and stop the services."""
        workload = self.deployment.processes["workload"]
        workload.end(signal.SIGTERM)
        drained = self.deployment.drain()  # if not, the judge says so
        evidence = gather(self.deployment, workload.out, fault, drained)
        self.deployment.stop_services()
        return evidence
