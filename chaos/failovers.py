"""
Faults that make another node of Redis the primary, while its data are behind.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import attrs

from chaos.deployment import Deployment
from chaos.faults import Down, holding_up
from chaos.replicas import REPLICATOR, SENTINEL, SENTINELS

#: Seconds without replication before a failover.
BEHIND = 0.6


@contextmanager
def _failing_over(deployment: Deployment, behind: float) -> Iterator[str]:
    """
    Yield the primary after some seconds in which no replica has got anything.

    At the end every other node that runs is a replica of the new primary.  What was
    acknowledged in those seconds may be handled again.
    """
    replicas = deployment.replicas
    with deployment.rolling_back(), holding_up(deployment, "redis"):
        primary = replicas.settle()
        replicas.cut_off(primary, REPLICATOR)
        deployment.wait(behind)
        yield primary
        replicas.settle()
        deployment.note("all nodes and Sentinels agree")


@contextmanager
def killing(deployment: Deployment, server: str, services: Sequence[str]) -> Iterator[None]:
    """Kill a server and services at the same moment, and start the services again at the end."""
    with ExitStack() as ended:
        for name in services:
            ended.enter_context(deployment.causing("ended", name))
        for name in (server, *services):
            deployment.processes[name].send(signal.SIGKILL)
        for name in (server, *services):
            deployment.processes[name].wait()
        deployment.note(f"killed: {', '.join([server, *services])}")
    yield
    for name in services:
        deployment.processes[name].start()
        deployment.await_ready(name)
        deployment.note(f"{name} is up")


@attrs.frozen
class PrimaryKilled:
    """
    The primary is killed, and a replica that lags replaces it.

    @ivar behind: seconds without replication before that.
    @ivar returns: the old primary returns with its data as a primary, and the Sentinels make it a replica.
    @ivar together: services that are killed at the same moment.
    """

    behind: float = BEHIND
    returns: bool = False
    together: Sequence[str] = ()

    @contextmanager
    def breaking(self, deployment: Deployment) -> Iterator[None]:
        replicas = deployment.replicas
        with _failing_over(deployment, self.behind) as old, killing(deployment, old, self.together):
            replicas.await_promotion(old, is_measured=not self.together)
            if self.returns:
                replicas.start_node(old)
            yield
            if not self.returns:
                new = replicas.settle()  # another may have been promoted since
                replicas.start_node(old)
                replicas.follow(old, new)


@attrs.frozen
class PrimaryPaused:
    """
    The primary is paused (SIGSTOP), a replica that lags replaces it, and then the old one continues as a primary.

    @ivar seconds: duration of the pause after the promotion.
    @ivar outdated: the first Sentinel is paused with it, and names the old primary afterwards.
    """

    seconds: float = 1.0
    outdated: bool = False

    @contextmanager
    def breaking(self, deployment: Deployment) -> Iterator[None]:
        replicas = deployment.replicas
        with _failing_over(deployment, BEHIND) as old, ExitStack() as paused:
            for name in [old, *(SENTINELS[:1] if self.outdated else [])]:
                deployment.processes[name].send(signal.SIGSTOP)
                paused.callback(deployment.processes[name].send, signal.SIGCONT)
                deployment.note(f"{name} is paused")
            new = replicas.await_promotion(old)
            deployment.wait(self.seconds)
            paused.close()
            deployment.note(f"{old} continues, and takes itself for the primary")
            yield
            replicas.rejoin(old)
            replicas.follow(old, new)


@attrs.frozen
class PrimaryCutOff:
    """
    The Sentinels and the replicas cannot reach the primary, and replace it, while clients write to both.

    @ivar beside: the beginnings of the names of services that cannot reach the Sentinels either.
    """

    beside: Sequence[str] = ()

    @contextmanager
    def breaking(self, deployment: Deployment) -> Iterator[None]:
        replicas = deployment.replicas
        with _failing_over(deployment, BEHIND) as old:
            with ExitStack() as cut:
                for name in self.beside:
                    cut.enter_context(Down(f"{name}-{SENTINEL}").breaking(deployment))
                replicas.cut_off(old, REPLICATOR, SENTINEL)
                new = replicas.await_promotion(old)
                yield
                replicas.rejoin(old)
            replicas.follow(old, new)


@attrs.frozen
class SteppedDown:
    """
    The Sentinels are told to replace the primary (SENTINEL FAILOVER) by a replica that lags.

    The old one goes on as a primary for some seconds.
    """

    @contextmanager
    def breaking(self, deployment: Deployment) -> Iterator[None]:
        replicas = deployment.replicas
        with _failing_over(deployment, BEHIND) as old:
            replicas.step_down()
            new = replicas.await_promotion(old)
            yield
            replicas.rejoin(old)
            replicas.follow(old, new)


@attrs.frozen
class Minority:
    """
    Two of three Sentinels are killed, then the primary: no other can replace it until they return.

    @ivar seconds: that the two are away after that.
    """

    seconds: float = 2.0

    @contextmanager
    def breaking(self, deployment: Deployment) -> Iterator[None]:
        replicas, away = deployment.replicas, SENTINELS[1:]
        with _failing_over(deployment, BEHIND) as old:
            for name in (*away, old):
                deployment.processes[name].end(signal.SIGKILL)
            deployment.note(f"{' and '.join(away)} and then {old} are killed")
            deployment.wait(self.seconds)
            for name in away:
                deployment.processes[name].start()
            deployment.note(f"{' and '.join(away)} are back")
            new = replicas.await_promotion(old)
            yield
            replicas.start_node(old)
            replicas.follow(old, new)
