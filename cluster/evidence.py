"""
What Redis and the consumers say of a run.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import attrs

from cluster.commands import Failed, Namespace, lines, wait_until
from eventsvc.event import EVENT_FIELD, Notification, decode_notification

STREAM: Final = "NotificationStream"
REDIS: Final = "redis-master-0"
CONSUMERS: Final = "app=event-consumer"


@attrs.frozen
class Stream:
    """The stream, as redis-cli in the pod of Redis shows it."""

    namespace: Namespace

    def redis(self, *command: str) -> list[str]:
        """The lines of an answer."""
        return lines(self.namespace.exec(REDIS, "redis-cli", *command))

    def notifications(self) -> Iterator[Notification]:
        """All events in it, in its order."""
        shown = self.redis("XRANGE", STREAM, "-", "+")
        for stream_id, field, value in zip(shown[::3], shown[1::3], shown[2::3]):
            if field == EVENT_FIELD.decode():
                yield decode_notification(value.encode(), stream_id)

    def is_drained(self) -> bool:
        """Whether each entry was given to a consumer and acknowledged."""
        shown = self.redis("XINFO", "GROUPS", STREAM)
        group = dict(zip(shown[::2], shown[1::2]))
        last = self.redis("XREVRANGE", STREAM, "+", "-", "COUNT", "1")[0]
        return group["pending"] == "0" and group["last-delivered-id"] == last

    def dead(self) -> int:
        """How many were set aside."""
        return int(self.redis("XLEN", f"{{{STREAM}}}:dead")[0])


@attrs.define(eq=False)
class Logs:
    """
    The logs of all consumers there were, kept while their pods come and go.

    @ivar directory: where they are kept, a file for each pod.
    """

    namespace: Namespace
    directory: Path
    _followers: dict[str, subprocess.Popen[bytes]] = attrs.field(factory=dict, init=False)
    _ended: threading.Event = attrs.field(factory=threading.Event, init=False)
    _thread: threading.Thread | None = attrs.field(default=None, init=False)

    def __enter__(self) -> Logs:
        """Follow all there are, and from now on each new one."""
        wait_until("the logs of consumers are followed", self._look, 30)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._ended.wait(0.5):
            with suppress(Failed):  # the next look may find them
                self._look()

    def _look(self) -> bool:
        command = ["kubectl", "--namespace", self.namespace.name, "logs", "--follow"]
        for pod in self.namespace.get("pods", "--selector", CONSUMERS)["items"]:
            name = pod["metadata"]["name"]
            if name not in self._followers and pod["status"]["phase"] == "Running":
                with (self.directory / f"{name}.log").open("wb") as log:
                    self._followers[name] = subprocess.Popen([*command, name], stdout=log, stderr=subprocess.DEVNULL)
        return bool(self._followers)

    def __exit__(self, *_: object) -> None:
        """Follow no more."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        for follower in self._followers.values():
            follower.terminate()
            follower.wait()

    def handled(self) -> Iterator[int]:
        """The ids of the events that were handled; of one pod, in their order."""
        for path in sorted(self.directory.glob("*.log")):
            for line in path.read_text().split("\n")[:-1]:  # the last is empty, or still being written
                if '"message":"event"' in line:
                    yield json.loads(line)["id"]
