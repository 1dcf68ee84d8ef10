"""
The Redis pod of the chart without Kubernetes: its scripts, its ConfigMap and its Secret in directories.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from chaos.process import stable_port
from chaos.suites import wait_until
from tests.support.helm import find_command, render, settings, the
from tests.support.processes import NAMELESS


@attrs.define(eq=False)
class RedisPod:
    """
    One pod of Redis, on a port of this machine.

    @ivar directory: contains C{config}, C{secret}, C{data}, and what the pod prints in C{log}.
    """

    directory: Path
    port: int

    def put(self, place: str, files: Mapping[str, str]) -> None:
        """Replace the files of a mounted directory, C{config} or C{secret}, all at once: as Kubernetes does."""
        new = Path(tempfile.mkdtemp(prefix=place, dir=self.directory))
        for name, text in files.items():
            (new / name).write_text(text)
        (self.directory / "next").symlink_to(new)
        (self.directory / "next").rename(self.directory / place)

    def client(self, username: str, password: str) -> Any:
        # An error of authentication is a lost connection to redis-py, after which it would wait.
        retry = Retry(NoBackoff(), 0)
        return redis.Redis(port=self.port, username=username, password=password, protocol=2, retry=retry, **NAMELESS)

    def admits(self, username: str, password: str) -> bool:
        """Return whether Redis accepts the password of a user."""
        try:
            with self.client(username, password) as client:
                return bool(client.ping())
        except (redis.AuthenticationError, redis.ResponseError):
            return False

    def log(self) -> str:
        return (self.directory / "log").read_text()


def config_of(values: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Return the ConfigMap of Redis."""
    return settings(render(values), "redis")


def secret_of(values: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Return the Secret that the chart makes."""
    data = the(render(values), "Secret", "redis")["data"]
    return {name: b64decode(text).decode() for name, text in data.items()}


@contextmanager
def running_redis_pod(
    binary: str, directory: Path, secret: Mapping[str, str], values: Mapping[str, Any] | None = None, key: str = ""
) -> Iterator[RedisPod]:
    """
    Run a pod until the end of the block.

    @param binary: the program that is its redis-server.
    @param key: the key of the password of the user eventsvc.
    """
    pod = RedisPod(directory, stable_port())
    for name in ("data", "bin"):
        (directory / name).mkdir(parents=True)
    pod.put("config", config_of(values))
    pod.put("secret", secret)
    (directory / "bin" / "redis-server").symlink_to(binary)
    (directory / "bin" / "redis-cli").symlink_to(find_command("redis-cli"))
    environment = {
        "PATH": f"{directory / 'bin'}:{os.environ['PATH']}",
        **{name.upper(): str(directory / name) for name in ("config", "secret", "data")},
        "ME": "here",
        "NODES": "here",
        "SET": "redis-master",
        "USER_KEY": key,
        "REDIS_PORT": str(pod.port),
        "LOOK_EVERY": "0.1",
    }
    # Redis goes to the directory /data of its image.
    config = (directory / "config" / "redis.conf").read_text()
    (directory / "config" / "redis.conf").write_text(config.replace("dir /data", f"dir {directory / 'data'}"))
    with (directory / "log").open("wb") as log:
        command = ["bash", str(directory / "config" / "start")]
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until(lambda: "Ready to accept connections" in pod.log(), "Redis is up")
        yield pod
    finally:
        # What runs beside Redis in the container ends with it.
        os.killpg(process.pid, 9)
        process.wait()
