"""
An installed release under load, and faults of its pods, injected through
kubectl with only the permissions of robot/role.yaml.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from typing import Any, Final

import attrs

from chaos import STREAM
from chaos.evidence import Evidence, read_redis, tell
from chaos.suites import NotInTime
from chaos.workload import Load
from cluster.commands import Failed, Namespace, wait_for
from cluster.images import ROBOT, ROOT, TAG
from cluster.load import LoadPod
from cluster.logs import Logs
from cluster.servers import Servers
from eventsvc.testing.history import Cause

CHART: Final = ROOT / "charts" / "eventsvc"
#: Options of C{kubectl delete pod} that kill it.
AT_ONCE: Final = ("--force", "--grace-period=0")
#: The parts of a release, besides the simulator.
PARTS: Final = ("producer", "consumer", "redis")
#: More than the entries that Redis adds to a stream in a millisecond.
_MANY: Final = 1_000_000
#: Seconds that the clocks of two nodes may differ.
_SKEW: Final = 0.5


@attrs.define(eq=False)
class Release:
    """
    A release of the chart.

    @ivar prefix: its C{fullnameOverride} with a hyphen, or empty.
    @ivar image: image of the load.
    @ivar servers: the Redis that it uses.
    """

    namespace: Namespace
    prefix: str = ""
    image: str = f"{ROBOT}:{TAG}"
    servers: Servers = attrs.field(init=False)
    load: LoadPod = attrs.field(init=False)
    _logs: Logs | None = attrs.field(default=None, init=False)
    _held: ExitStack = attrs.field(factory=ExitStack, init=False)
    #: the last entry before the load began, and the time when it began
    _since: tuple[str, float] = attrs.field(default=("-", 0.0), init=False)
    #: time of day minus the clock of the attempts, in seconds
    _offset: float = attrs.field(default=0.0, init=False)
    #: the entries of a Redis that is no longer used
    _former: Mapping[bytes, dict[bytes, bytes]] = attrs.field(factory=dict, init=False)

    @servers.default
    def _own(self) -> Servers:
        return Servers(self.namespace, self.prefix)

    @load.default
    def _make_load(self) -> LoadPod:
        return LoadPod(self.namespace, self.image)

    @property
    def url(self) -> str:
        """Return the URL of the producers inside the cluster."""
        return f"http://{self.prefix}event-producer-svc:8080"

    @property
    def _services(self) -> list[str]:
        return [f"deployment/{self.prefix}event-{role}" for role in ("producer", "consumer")]

    def selector(self, part: str) -> str:
        """Return the label selector of the pods of a part."""
        if part == "redis":
            return self.servers.selector
        return f"app={self.prefix}event-{part}"

    def pods(self, part: str) -> list[str]:
        """Return the names of the pods of a part that are not ending."""
        return self.namespace.pods(self.selector(part))

    def uid(self, pod: str) -> str:
        """Return what tells a pod from the next one of its name; empty if there is none."""
        return self.namespace.kubectl("get", "pod", pod, "--ignore-not-found", "--output=jsonpath={.metadata.uid}")

    def ready(self, part: str) -> int:
        """Return how many pods of a part are ready."""
        states = [state for pod in self._pods(part) for state in pod["status"].get("conditions", [])]
        return sum((state["type"], state["status"]) == ("Ready", "True") for state in states)

    def _pods(self, part: str) -> list[Any]:
        items: list[Any] = self.namespace.get("pods", "--selector", self.selector(part))["items"]
        return items

    def redis(self) -> AbstractContextManager[Any]:
        """Return a client of another library (redis-py), at the primary."""
        return self.servers.client()

    def settle(self) -> None:
        """Wait until all expected pods are ready, no other pods are left, and all replicas follow the primary."""
        for what in (*self._services, self.servers.name):
            self.namespace.kubectl("rollout", "status", what, "--timeout=120s")
        wait_for(lambda: not any(map(self._ending, PARTS)), "no pod is ending", 120)
        wait_for(self.servers.are_replicated, "all replicas follow the primary", 120)

    def _ending(self, part: str) -> bool:
        return any("deletionTimestamp" in pod["metadata"] for pod in self._pods(part))

    def start(self) -> None:
        """Wait until the release is complete."""
        self.settle()

    def post(self, description: str) -> str:
        """
        Post an event from a producer's own pod, and return its id.

        @raise Failed: it was not answered 200.
        """
        body = json.dumps({"description": description})
        answer = f"urlopen('{self.url}/event', {body.encode()!r}, 5)"
        program = f"from urllib.request import urlopen; print({answer}.headers['Event-Id'])"
        return self.namespace.kubectl(
            "exec", f"deployment/{self.prefix}event-producer", "--", "python", "-c", program
        ).strip()

    # Faults

    def stop_one(self, part: str) -> None:
        """Delete a pod gracefully, and wait until it is gone."""
        self._delete(part)

    def kill_one(self, part: str) -> None:
        """Delete a pod at once."""
        self._delete(part, *AT_ONCE)

    def _delete(self, part: str, *how: str) -> None:
        self.namespace.kubectl("delete", "pod", self.pods(part)[0], *how)

    def roll(self) -> None:
        """Replace all producers and consumers, one after the other."""
        self.namespace.kubectl("rollout", "restart", *self._services)

    def scale(self, replicas: int) -> None:
        """Scale producers and consumers to C{replicas} each; L{end} restores their numbers."""
        for what in self._services:
            before = self.namespace.get(what)["spec"]["replicas"]
            self._held.callback(self.namespace.kubectl, "scale", what, f"--replicas={before}")
        self.namespace.kubectl("scale", *self._services, f"--replicas={replicas}")
        self.settle()

    def upgrade(self, name: str, tag: str) -> None:
        """Upgrade the release to another image with helm."""
        self.namespace.helm("upgrade", name, str(CHART), "--reuse-values", "--set", f"image.tag={tag}", "--wait")

    # The load, and its evidence

    def start_load(self, load: Load) -> None:
        """Begin to post events."""
        with self.redis() as client:
            newest = client.xinfo_stream(STREAM)["last-generated-id"].decode()
        directory = self._held.enter_context(tempfile.TemporaryDirectory(prefix="eventsvc-logs-"))
        services = f"app in ({self.prefix}event-producer,{self.prefix}event-consumer)"
        self._logs = Logs(self.namespace, services, Path(directory))
        self._held.callback(self._logs.stop)
        self._logs.start()
        self._held.callback(self.load.remove)
        self.load.start(load, self.url)
        day, attempts = self.load.clock()
        self._offset = day - attempts
        self._since = f"({newest}", min(op.invoked for op in self.load.ops())

    def move(self, servers: Servers) -> None:
        """
        Take from now on another Redis for the one in use.

        Its stream must be drained.  The entries of both are evidence; both may have
        given out the same ids, so those of the former Redis get larger numbers.
        """
        since, began = self._since
        with self.redis() as client:
            entries = client.xrange(STREAM, since)
        places = [(id.split(b"-"), fields) for id, fields in entries]
        self._former = {b"%b-%d" % (time, int(number) + _MANY): fields for (time, number), fields in places}
        self._since = "-", began
        self.servers = servers

    def now(self) -> float:
        """Return the time on the clock of the attempts, if the clocks of this machine and of the nodes agree."""
        return time.time() - self._offset

    def stop_load(self, fault: tuple[float, float]) -> Evidence:
        """End the load, wait until all events are handled, and return the evidence."""
        assert self._logs is not None
        offset = self._offset
        since, began = self._since
        self.load.stop()
        drained = True
        try:
            wait_for(self.servers.is_drained, "all events are handled", 60)
        except (Failed, NotInTime):
            drained = False  # the checker reports it
        with self.redis() as client:
            kept, now = read_redis(client, since, self._former), time.time() - offset
        logs, ops = self._logs, self.load.ops()

        def look() -> Evidence:
            lines = [line for line in logs.lines(offset) if line.at >= began - _SKEW]
            # Pods come and go during the fault; before and after it nothing may be handled again.
            history = attrs.evolve(tell(kept, ops, lines, fault, drained, now), causes=[Cause("anew", *fault)])
            return Evidence(history=history, lines=lines, fault=fault)

        with suppress(Failed, NotInTime):  # the checker reports the events that were not handled
            wait_for(lambda: _all_handled(look()), "the logs have all events", 15)
        return look()

    def end(self) -> None:
        """Remove the load, and leave the release as it is."""
        self._held.close()


def _all_handled(evidence: Evidence) -> bool:
    return {event.id for event in evidence.history.stream} <= set(evidence.history.handled_ids)
