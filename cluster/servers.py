"""
The Redis of a release: one pod, or a primary and its replicas.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import attrs
import redis

from chaos import GROUP, STREAM
from chaos.figures import is_drained
from cluster.commands import Failed, Namespace

#: Seconds that an answer may take.
_MOMENT: Final = 10.0


@attrs.frozen
class Servers:
    """
    The pods of Redis.

    @ivar prefix: the C{fullnameOverride} of their release with a hyphen, or empty.
    """

    namespace: Namespace
    prefix: str = ""

    @property
    def name(self) -> str:
        """Return the name of the StatefulSet, as kubectl takes it."""
        return f"statefulset/{self.prefix}redis-master"

    @property
    def selector(self) -> str:
        """Return the label selector of the pods."""
        return f"app.kubernetes.io/name={self.prefix}redis,app.kubernetes.io/component=master"

    def pods(self) -> list[str]:
        """Return the names of the pods that are not ending."""
        return self.namespace.pods(self.selector)

    @contextmanager
    def client(self) -> Iterator[Any]:
        """Return a client of another library (redis-py), at the primary."""
        with self._at(self.primary()) as client:
            yield client

    @contextmanager
    def _at(self, pod: str) -> Iterator[Any]:
        data = self.namespace.get("secret", f"{self.prefix}redis")["data"]
        password = b64decode(data["redis-password"]).decode()
        with self.namespace.forwarded(f"pod/{pod}", 6379) as port:
            client = redis.Redis(port=port, password=password, socket_timeout=_MOMENT, protocol=2)
            with client:
                yield client

    def primary(self) -> str:
        """
        Return the pod of the primary.

        @raise Failed: no pod, or more than one, takes itself for the primary.
        """
        pods = self.pods()
        if len(pods) == 1:
            return pods[0]
        found = [pod for pod in pods if self._role(pod)[:1] == [b"master"]]
        if len(found) != 1:
            raise Failed(f"expected one primary among {pods}, found {found}")
        return found[0]

    def _role(self, pod: str) -> list[Any]:
        """Return what a pod answers to ROLE; empty if it does not answer."""
        try:
            with self._at(pod) as client:
                return list(client.execute_command("ROLE"))
        except (Failed, redis.RedisError):
            return []

    def are_replicated(self) -> bool:
        """Return whether all other pods follow the primary."""
        others = len(self.pods()) - 1
        if not others:
            return True
        with self.client() as client:
            known = client.info("replication")
        online = [known[f"slave{number}"]["state"] == "online" for number in range(known["connected_slaves"])]
        return bool(sum(online) == others)

    def is_drained(self) -> bool:
        """Return whether the group has read and acknowledged all events."""
        with self.client() as client:
            return is_drained(client)

    def unread(self) -> int:
        """Return the number of entries that the group has not read."""
        with self.client() as client:
            groups = {group["name"]: group["last-delivered-id"] for group in client.xinfo_groups(STREAM)}
            return len(client.xrange(STREAM, f"({groups[GROUP.encode()].decode()}"))
