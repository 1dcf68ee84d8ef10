"""
The faults, each a value whose C{breaking} is a context manager: the fault lasts
as long as the C{with} block.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Final, Protocol

import attrs

from chaos import GROUP, STREAM
from chaos.deployment import HANDLED, Deployment
from chaos.process import stable_port
from chaos.suites import wait_until
from chaos.toxics import Toxic


class Fault(Protocol):
    """A fault that can begin and end."""

    def breaking(self, deployment: Deployment) -> AbstractContextManager[None]:
        """Begin the fault, and end it on exit, even after an error."""


@contextmanager
def holding_up(deployment: Deployment, beginning: str) -> Iterator[None]:
    """
    Record that consumers cannot work: those whose name, or whose link's name,
    begins with C{beginning}, or all of them if it names Redis or the proxy.

    If it names the receiver of webhooks, record that its answers may be lost.
    """
    with ExitStack() as noting:
        for name in deployment.consumers:
            if f"{name}-redis".startswith(beginning) or beginning in ("redis", "toxiproxy"):
                noting.enter_context(deployment.causing("takeover", name))
        if beginning == "receiver":
            noting.enter_context(deployment.causing("ended", "receiver"))
        yield


@attrs.frozen
class Toxified:
    """
    A toxic on links.

    @ivar links: the beginning of their names.
    """

    links: str
    toxic: Toxic

    @contextmanager
    def breaking(self, deployment: Deployment) -> Iterator[None]:
        with holding_up(deployment, self.links), ExitStack() as mending:
            for link in deployment.links_of(self.links):
                deployment.toxics.add(link, self.toxic)
                mending.callback(deployment.toxics.remove, link, self.toxic)
            yield


@attrs.frozen
class Down:
    """Links that refuse all connections."""

    links: str

    @contextmanager
    def breaking(self, deployment: Deployment) -> Iterator[None]:
        with holding_up(deployment, self.links), ExitStack() as mending:
            for link in deployment.links_of(self.links):
                deployment.toxics.switch(link, False)
                mending.callback(deployment.toxics.switch, link, True)
            yield


@attrs.frozen
class LeadingNowhere:
    """Links to Redis that accept connections and close them."""

    links: str

    @contextmanager
    def breaking(self, deployment: Deployment) -> Iterator[None]:
        with holding_up(deployment, self.links), ExitStack() as mending:
            for link in deployment.links_of(self.links):
                deployment.toxics.point(link, stable_port())
                mending.callback(deployment.toxics.point, link, deployment.ports["redis"])
            yield


@attrs.frozen
class Frozen:
    """
    A process is stopped (SIGSTOP) and keeps its connections.

    @ivar at_work: freeze a consumer only while it has unacknowledged entries.
    """

    process: str
    at_work: bool = False

    @contextmanager
    def breaking(self, deployment: Deployment) -> Iterator[None]:
        process = deployment.processes[self.process]
        with holding_up(deployment, self.process):
            wait_until(lambda: self._freeze(deployment), f"{self.process} is frozen with entries in flight")
            deployment.note(f"{self.process} is frozen")
            try:
                yield
            finally:
                process.send(signal.SIGCONT)
                deployment.note(f"{self.process} goes on")

    def _freeze(self, deployment: Deployment) -> bool:
        """Freeze the process, and return whether it is at work if it must be; if not, let it continue."""
        process = deployment.processes[self.process]
        process.send(signal.SIGSTOP)
        if not self.at_work:
            return True
        deployment.wait(0.05)  # an acknowledgement may be on its way
        with deployment.redis() as client:
            if client.xpending_range(STREAM, GROUP, "-", "+", 1, self.process):
                return True
        process.send(signal.SIGCONT)
        return False


@attrs.frozen
class Killed:
    """
    A process is killed, and restarted at the end.

    @ivar wiped: Redis restarts without its data.
    @ivar at_work: kill a consumer only in the middle of a batch.
    """

    process: str
    wiped: bool = False
    at_work: bool = False

    @contextmanager
    def breaking(self, deployment: Deployment) -> Iterator[None]:
        with ExitStack() as mending:
            if self.at_work:
                self._await_work(deployment)
            if self.process == "redis":
                mending.enter_context(holding_up(deployment, "redis"))
            if self.wiped:
                mending.enter_context(deployment.causing("anew"))
            _end(deployment, self.process, signal.SIGKILL)
            deployment.note(f"{self.process} is killed")
            if self.wiped:
                deployment.wipe_redis()
            mending.callback(_start, deployment, self.process)
            yield

    def _await_work(self, deployment: Deployment) -> None:
        with Frozen(self.process).breaking(deployment):
            deployment.wait(0.6)
            process = deployment.processes[self.process]
            handled = process.count(HANDLED)
        wait_until(lambda: process.says(HANDLED, handled + 3), f"{self.process} has begun with a batch")


@attrs.frozen
class Restarted:
    """
    Services are stopped and restarted, one after another.

    @ivar number: the signal that stops them.
    @ivar ready: wait until each has connected to Redis.
    @ivar apart: seconds between two services.
    """

    processes: Sequence[str]
    number: int = signal.SIGTERM
    ready: bool = True
    apart: float = 0.0

    @contextmanager
    def breaking(self, deployment: Deployment) -> Iterator[None]:
        for number, name in enumerate(self.processes):
            deployment.wait(self.apart if number else 0.0)
            deployment.note(f"{name} gets {signal.Signals(self.number).name}")
            status = _end(deployment, name, self.number)
            deployment.note(f"{name} ended with {status}")
            if self.ready:
                _start(deployment, name)
            else:
                deployment.processes[name].start()
        yield


def _end(deployment: Deployment, name: str, number: int) -> int:
    """End a process; events that a consumer has not acknowledged may be handled again."""
    with deployment.causing("ended", name):
        return deployment.processes[name].end(number)


def _start(deployment: Deployment, name: str) -> None:
    if name == "redis":
        deployment.start_redis()
        return
    deployment.processes[name].start()
    deployment.await_ready(name)
    deployment.note(f"{name} is up")


@attrs.frozen
class Told:
    """
    Commands are sent to Redis, and optionally others that undo them.

    @ivar back: the commands at the end of the fault.
    @ivar wipes: the commands delete all data.
    @ivar anew: the commands destroy the group.
    """

    commands: Sequence[str]
    back: Sequence[str] = ()
    wipes: bool = False
    anew: bool = False

    @contextmanager
    def breaking(self, deployment: Deployment) -> Iterator[None]:
        with ExitStack() as noting, deployment.redis() as client:
            noting.enter_context(holding_up(deployment, "redis"))
            if self.wipes or self.anew:
                noting.enter_context(deployment.causing("anew"))
            self._tell(deployment, client, self.commands)
            if self.wipes:
                deployment.lose_data()
            try:
                yield
            finally:
                self._tell(deployment, client, self.back)

    def _tell(self, deployment: Deployment, client: Any, commands: Sequence[str]) -> None:
        for command in commands:
            answer = client.execute_command(*command.split())
            deployment.note(f"redis is told {command}: {answer}")


@attrs.frozen
class After:
    """A fault begins some seconds after those beside it."""

    seconds: float
    fault: Fault

    @contextmanager
    def breaking(self, deployment: Deployment) -> Iterator[None]:
        deployment.wait(self.seconds)
        with self.fault.breaking(deployment):
            yield


@attrs.frozen
class Briefly:
    """A fault ends after some seconds, while those beside it last."""

    seconds: float
    fault: Fault

    @contextmanager
    def breaking(self, deployment: Deployment) -> Iterator[None]:
        with self.fault.breaking(deployment):
            deployment.wait(self.seconds)
        yield


@attrs.frozen
class All:
    """Several faults at the same time, begun in the given order."""

    faults: Sequence[Fault]

    @contextmanager
    def breaking(self, deployment: Deployment) -> Iterator[None]:
        with ExitStack() as mending:
            for fault in self.faults:
                mending.enter_context(fault.breaking(deployment))
            yield


def everywhere(toxic: Toxic) -> All:
    """Return a fault with a toxic on every link to Redis."""
    return All([Toxified("producer-", toxic), Toxified("consumer-", toxic)])


#: Faults that several scenarios use.
REDIS_DOWN: Final = All([Down("producer-"), Down("consumer-")])
KILL_CLIENTS: Final = Told(["CLIENT KILL TYPE normal SKIPME yes"])
DESTROY_GROUP: Final = Told([f"XGROUP DESTROY {STREAM} {GROUP}"], anew=True)
#: Closes a connection at the next bytes.
CUT_AT_ONCE: Final = Toxic("limit_data", {"bytes": 0})
