"""
Faults of what surrounds the services: the memory of Redis, its failover, the
clock, readers of logs, and strangers.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from typing import Final

import attrs
import requests

from chaos.deployment import Deployment
from chaos.faults import Frozen, Toxified, holding_up
from chaos.toxics import Toxic

#: Two replies to PING pass, of 7 bytes each, but none that tells of a batch.
_CUT_AFTER_PINGS: Final = Toxic("limit_data", {"bytes": 20})


@attrs.frozen
class Promoted:
    """
    A replica that lags behind takes the primary's place, behind the same
    address; what it had not got yet is lost.

    @ivar behind: seconds for which nothing is replicated before.
    """

    behind: float = 1.0

    @contextmanager
    def breaking(self, deployment: Deployment) -> Iterator[None]:
        with deployment.redis(deployment.ports["standby"]) as standby, holding_up(deployment, "redis"):
            deployment.toxics.switch("standby-redis", False)
            deployment.wait(self.behind)
            with deployment.causing("anew"):
                deployment.processes["redis"].end(signal.SIGKILL)
                deployment.lose_data()
                standby.replicaof("NO", "ONE")
                deployment.ports["redis"] = deployment.ports["standby"]
                for link in (*deployment.links_of("producer-"), *deployment.links_of("consumer-")):
                    deployment.toxics.point(link, deployment.ports["redis"])
                deployment.note("redis is killed, and the replica takes its place")
                yield
            deployment.toxics.switch("standby-redis", True)


@attrs.frozen
class RolledBack:
    """
    Redis goes back to before the last batch of a producer that is idle, and
    the next reply to it is lost, but for those that only say it is there.
    """

    producer: str

    @contextmanager
    def breaking(self, deployment: Deployment) -> Iterator[None]:
        with deployment.redis() as client, deployment.causing("anew"):
            kept = {key: client.dump(key) for key in client.scan_iter()}
            body = {"description": "confirmed, and lost"}
            requests.post(f"http://127.0.0.1:{deployment.ports[self.producer]}/event", json=body, timeout=5)
            with ExitStack() as cutting:
                with Frozen(self.producer).breaking(deployment):
                    with client.pipeline() as moment:
                        for key, value in kept.items():
                            moment.restore(key, 0, value, replace=True)
                        moment.execute()
                    deployment.lose_data()
                    deployment.note("redis is back in the state before the last batch")
                    cutting.enter_context(Toxified(f"{self.producer}-", _CUT_AFTER_PINGS).breaking(deployment))
                yield


@attrs.frozen
class Full:
    """
    Redis has little memory left.

    @ivar free: so many bytes, when it begins.
    """

    free: int

    @contextmanager
    def breaking(self, deployment: Deployment) -> Iterator[None]:
        with deployment.redis() as client:
            most = client.info("memory")["used_memory"] + self.free
            client.config_set("maxmemory", most)
            deployment.note(f"redis may use {most} bytes of memory")
            try:
                yield
            finally:
                client.config_set("maxmemory", 0)
                deployment.note("redis may use any memory")


@attrs.frozen
class ClockStepped:
    """The wall clock of the services is wrong from now on: nobody mends it."""

    seconds: float

    @contextmanager
    def breaking(self, deployment: Deployment) -> Iterator[None]:
        deployment.clock.step(self.seconds)
        deployment.note(f"the clock of the services is {self.seconds:g} s off")
        yield


@attrs.frozen
class Unread:
    """A service whose output nobody reads."""

    process: str

    @contextmanager
    def breaking(self, deployment: Deployment) -> Iterator[None]:
        with holding_up(deployment, self.process), deployment.processes[self.process].unread():
            deployment.note(f"nobody reads what {self.process} writes")
            yield
        deployment.note(f"what {self.process} writes is read again")


@attrs.frozen
class Flooded:
    """
    Clients that connect to a producer and say nothing.

    Those that it closes connect again.
    """

    producer: str
    connections: int

    @contextmanager
    def breaking(self, deployment: Deployment) -> Iterator[None]:
        address = ("127.0.0.1", deployment.ports[self.producer])
        with ExitStack() as held:
            for _ in range(self.connections):
                held.enter_context(socket.create_connection(address, timeout=5))
            deployment.note(f"{self.connections} clients hold connections to {self.producer}")
            yield
            answer = self._probe(address[1])
            if answer != HTTPStatus.OK:
                deployment.complaints.append(f"{self.producer} answered a probe in the flood with {answer}")

    def _probe(self, port: int) -> object:
        try:
            return requests.get(f"http://127.0.0.1:{port}/health/live", timeout=5).status_code
        except requests.RequestException as error:
            return error
