"""
The pods of the chart's Redis as processes: their scripts with real servers and
Sentinels, each pod on a loopback address of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from signal import SIGKILL
from typing import Any

import attrs
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from chaos.process import stable_port
from tests.support.certificates import Authority
from tests.support.helm import render, the
from tests.support.processes import NAMELESS

NODES = ("127.0.0.31", "127.0.0.32", "127.0.0.33")
SET = "redis-master"
PASSWORD = 'a "quoted" \\ one'


@attrs.define
class Pod:
    """
    The scripts of a pod, as processes.

    @ivar directory: with its volume, and its logs.
    """

    host: str
    directory: Path
    environment: Mapping[str, str]
    processes: dict[str, subprocess.Popen[bytes]] = attrs.field(factory=dict)

    def start(self, *scripts: str) -> None:
        for script in scripts or ("sentinel", "start"):
            with (self.directory / f"{script}.log").open("wb") as log:
                command = ["bash", f"{self.environment['CONFIG']}/{script}"]
                environment = {**self.environment, "ME": self.host, "HERE": self.host, "BIND": self.host}
                environment |= {"DATA": str(self.directory), "LOG": "/dev/stdout"}
                self.processes[script] = subprocess.Popen(
                    command, env=environment, stdout=log, stderr=log, start_new_session=True
                )

    def kill(self, *scripts: str) -> None:
        for script in scripts or tuple(self.processes):
            process = self.processes.pop(script)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, SIGKILL)  # what runs beside Redis ends with it, as in a container
            process.wait()

    def run(self, script: str) -> str:
        """Run a script to its end, and return its output."""
        self.start(script)
        self.processes[script].wait(60)
        self.kill(script)
        return (self.directory / f"{script}.log").read_text()

    def says(self, words: str) -> bool:
        return words in (self.directory / "start.log").read_text()

    def redis(self, port: str = "REDIS_PORT") -> Any:
        """Return a client of its Redis, or of its Sentinel."""
        tls: dict[str, Any] = {"ssl": True, "ssl_cert_reqs": "none"} if "TLS" in self.environment else {}
        at: dict[str, Any] = {"host": self.host, "port": int(self.environment[port]), "password": PASSWORD}
        return redis.Redis(**at, **(tls or NAMELESS), socket_timeout=10, protocol=2, retry=Retry(NoBackoff(), 0))

    def down_after(self, milliseconds: int) -> None:
        """Set how long a server is silent until the Sentinel of this pod takes it for dead."""
        with self.redis("SENTINEL_PORT") as sentinel:
            sentinel.execute_command("SENTINEL SET", SET, "down-after-milliseconds", milliseconds)

    def role(self) -> str:
        with suppress(redis.RedisError), self.redis() as client:
            return str(client.execute_command("ROLE")[0].decode())
        return ""

    def lose_volume(self) -> None:
        for path in self.directory.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@attrs.define
class Pods:
    pods: Sequence[Pod]

    def primary(self) -> Pod | None:
        """Return the only primary, or nothing while there is none, or more than one."""
        found = [pod for pod in self.pods if pod.role() == "master"]
        return found[0] if len(found) == 1 else None

    def is_complete(self) -> bool:
        """Return whether a primary accepts events, which both replicas have, and which Sentinels may promote."""
        primary = self.primary()
        if primary is None:
            return False
        with suppress(redis.RedisError), primary.redis() as client:
            client.set("told", "once")
            return bool(client.wait(2, 100) == 2) and self._promotable() == 2
        return False

    def _promotable(self) -> int:
        """Return how many replicas every Sentinel would promote: any of them may be asked to."""
        counts = []
        for pod in self.pods:
            with suppress(redis.RedisError), pod.redis("SENTINEL_PORT") as sentinel:
                replies = sentinel.execute_command("SENTINEL REPLICAS", SET)
                good = [each for each in replies if dict(zip(each[::2], each[1::2]))[b"slave-priority"] == b"100"]
                counts.append(len(good))
        return min(counts, default=0)


def _certificates(directory: Path) -> Path:
    authority = Authority()
    identity = authority.issue("redis-master")
    directory.mkdir()
    (directory / "ca.crt").write_bytes(authority.pem())
    (directory / "tls.crt").write_bytes(identity.certificate_pem())
    (directory / "tls.key").write_bytes(identity.key_pem())
    return directory


@contextmanager
def three_pods(directory: Path, server: str, tls: bool = False) -> Iterator[Pods]:
    """
    Yield three pods that have not started.

    @param directory: for their volumes and logs.
    @param server: the program of Redis.
    """
    config, programs, secret = directory / "config", directory / "bin", directory / "secret"
    for each in (config, programs, secret):
        each.mkdir()
    (secret / "redis-password").write_text(PASSWORD)
    for name, text in the(render({"redis.replicas": 3}), "ConfigMap", "redis")["data"].items():
        (config / name).write_text(text.replace("dir /data\n", ""))
    (programs / "redis-server").write_text(f'#!/bin/bash\ncd "$DATA" && exec "{server}" "$@"\n')
    (programs / "redis-server").chmod(0o755)
    beside = Path(server).with_name("redis-cli")
    if beside.exists():  # another on the PATH may know no TLS
        (programs / "redis-cli").symlink_to(beside)
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "NODES": " ".join(NODES),
        "SET": SET,
        "CONFIG": str(config),
        "SECRET": str(secret),
        "USER_KEY": "",
        "REDIS_PORT": str(stable_port()),
        "SENTINEL_PORT": str(stable_port()),
    }
    if tls:
        environment |= {"TLS": "on", "CERTIFICATES": str(_certificates(directory / "certificates"))}
    all_pods = []
    for host in NODES:
        (directory / host).mkdir()
        all_pods.append(Pod(host, directory / host, environment))
    with ExitStack() as stack:
        for pod in all_pods:
            stack.callback(pod.kill)
        yield Pods(all_pods)
