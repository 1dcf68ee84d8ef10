"""
Faults of the environment of the services: the memory of Redis, its failover,
the clock, readers of logs, foreign clients and producers.
"""

from __future__ import annotations

import secrets
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from http import HTTPStatus
from typing import Any, Final

import attrs
import requests

from chaos import FOREIGN, STREAM
from chaos.deployment import Deployment
from chaos.faults import Down, Frozen, Toxified, holding_up
from chaos.receiver import TAKE
from chaos.suites import NotInTime, wait_until
from chaos.toxics import Toxic
from eventsvc.event import EVENT_FIELD, Notification, encode_notification, format_timestamp
from eventsvc.outcome import Outcome
from eventsvc.testing.history import Op

_LATE: Final = Toxic("latency", {"latency": 1500})


@attrs.frozen
class Promoted:
    """
    A replica that lags replaces the primary at the same address.

    @ivar behind: seconds without replication before that.
    """

    behind: float = 1.0

    @contextmanager
    def breaking(self, deployment: Deployment) -> Iterator[None]:
        with deployment.redis(deployment.ports["standby"]) as standby, holding_up(deployment, "redis"):
            deployment.toxics.switch("standby-redis", False)
            deployment.wait(self.behind)
            with deployment.rolling_back():
                deployment.processes["redis"].end(signal.SIGKILL)
                standby.replicaof("NO", "ONE")
                deployment.ports["redis"] = deployment.ports["standby"]
                for link in (*deployment.links_of("producer-"), *deployment.links_of("consumer-")):
                    deployment.toxics.point(link, deployment.ports["redis"])
                deployment.note("redis is killed, and the replica takes its place")
                yield
            deployment.toxics.switch("standby-redis", True)


@attrs.frozen
class LeadingToReplica:
    """
    The address of Redis leads to a replica for some time.

    @ivar links: the beginning of the names of the links.
    """

    links: str

    @contextmanager
    def breaking(self, deployment: Deployment) -> Iterator[None]:
        with holding_up(deployment, self.links):
            self._lead(deployment, "standby")
            yield
            self._lead(deployment, "redis")

    def _lead(self, deployment: Deployment, server: str) -> None:
        for link in deployment.links_of(self.links):
            deployment.toxics.point(link, deployment.ports[server])


@attrs.frozen
class RolledBack:
    """
    Redis returns to the state before the last batch of an idle producer.

    From then on, replies to the producer are late.  If it changes anything in
    Redis, its connection is cut before the reply.
    """

    producer: str

    @contextmanager
    def breaking(self, deployment: Deployment) -> Iterator[None]:
        link = f"{self.producer}-"
        with deployment.redis() as client, deployment.rolling_back():
            kept = {key: client.dump(key) for key in client.scan_iter()}
            self._post(deployment, "confirmed, and lost")
            with ExitStack() as late:
                with Frozen(self.producer).breaking(deployment):
                    with client.pipeline() as moment:
                        for key, value in kept.items():
                            moment.restore(key, 0, value, replace=True)
                        moment.execute()
                    deployment.note("redis is back in the state before the last batch")
                    late.enter_context(Toxified(link, _LATE).breaking(deployment))
                numbers = _numbers(client)
                with suppress(NotInTime):
                    wait_until(lambda: _numbers(client) != numbers, "the producer changes something", 3.0)
                with Down(link).breaking(deployment):
                    late.close()
                    yield

    def _post(self, deployment: Deployment, description: str) -> None:
        begin = time.monotonic()
        url = f"http://127.0.0.1:{deployment.ports[self.producer]}/event"
        body = {"description": description}
        answer = requests.post(url, json=body, headers=deployment.authorization(), timeout=5)
        answer.raise_for_status()
        id = int(answer.headers["Event-Id"])
        deployment.posted.append(Op("fault", 0, description, begin, time.monotonic(), Outcome.OK, id))


def _numbers(client: Any) -> Sequence[bytes]:
    """Return what Redis has kept of the batches of producers."""
    return [client.get(key) for key in sorted(client.scan_iter("*:lane:*"))]


@attrs.frozen
class Full:
    """
    Redis has little memory left.

    @ivar free: free bytes when the fault begins.
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
    """The wall clock of the services jumps, and stays wrong until the end of the run."""

    seconds: float

    @contextmanager
    def breaking(self, deployment: Deployment) -> Iterator[None]:
        deployment.clock.step(self.seconds)
        deployment.note(f"the clock of the services is {self.seconds:g} s off")
        yield


@attrs.frozen
class Unread:
    """Nobody reads the output of a service."""

    process: str

    @contextmanager
    def breaking(self, deployment: Deployment) -> Iterator[None]:
        with holding_up(deployment, self.process), deployment.processes[self.process].unread():
            deployment.note(f"nobody reads what {self.process} writes")
            yield
        deployment.note(f"what {self.process} writes is read again")


@attrs.frozen
class NothingParses:
    """A foreign producer writes entries that are not events."""

    @contextmanager
    def breaking(self, deployment: Deployment) -> Iterator[None]:
        with deployment.redis() as client:
            for fields in (
                {"EventStream": "{not json"},
                {"EventStream": '{"id": "7", "description": "id is text", "timestamp": ""}'},
                {"EventStream": b"\xff\xfe"},
                {"SomethingElse": "x"},
            ):
                client.xadd(STREAM, fields)
        deployment.note("a foreign producer wrote 4 entries that are no events")
        yield


@attrs.frozen
class Keyed:
    """
    A foreign producer writes events with keys.

    @ivar events: number of events.
    @ivar keys: number of different keys.
    """

    events: int
    keys: int

    @contextmanager
    def breaking(self, deployment: Deployment) -> Iterator[None]:
        with deployment.redis() as client, client.pipeline() as moment:
            for number in range(self.events):
                key = f"key {number % self.keys}"
                event = Notification(
                    secrets.randbits(63), f"{FOREIGN} {number}", format_timestamp(time.time_ns()), key=key
                )
                moment.xadd(STREAM, {EVENT_FIELD: encode_notification(event)})
            moment.execute()
        deployment.note(f"a foreign producer wrote {self.events} events with {self.keys} keys")
        yield


@attrs.frozen
class Answering:
    """
    The receiver of webhooks does not take them.

    @ivar way: what it does instead; see C{chaos/receiver.py}.
    """

    way: str

    @contextmanager
    def breaking(self, deployment: Deployment) -> Iterator[None]:
        self._tell(deployment, self.way)
        try:
            yield
        finally:
            self._tell(deployment, TAKE)

    def _tell(self, deployment: Deployment, way: str) -> None:
        requests.put(f"http://127.0.0.1:{deployment.ports['receiver']}/", data=way, timeout=5).raise_for_status()
        deployment.note(f"the receiver is told: {way}")


@attrs.frozen
class Flooded:
    """
    Clients connect to a producer and send nothing.

    @ivar connections: number of these clients.
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
