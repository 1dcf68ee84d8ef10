"""
Real processes for tests: a Valkey or Redis server, and services under twistd.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import attrs
import redis

from eventsvc.embedded import free_port, server_command

T = TypeVar("T")

#: Seconds after which a wait for another process has failed.
PATIENCE = 30.0

#: The command C{twistd} of this interpreter.
TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]


def wait_until(what: Callable[[], T], patience: float = PATIENCE) -> T:
    """
    Ask again and again, until the answer is true.

    @raise TimeoutError: it did not become true.
    """
    deadline = time.monotonic() + patience
    while True:
        answer = what()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(f"not in {patience} s: {what}")
        time.sleep(0.01)


@attrs.define
class Server:
    """
    A server on a port of its own, that can be stopped, killed and frozen.

    @ivar options: the server's own options, each time it starts.
    """

    port: int = attrs.field(factory=free_port)
    options: Sequence[str] = ()
    password: str | None = None
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it takes commands."""
        self.process = subprocess.Popen(
            server_command(self.port, self.options), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(self.is_up)

    def is_up(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the server ended with {self.process.returncode}"
        try:
            with self.client() as client:
                return bool(client.ping())
        except (redis.ConnectionError, redis.TimeoutError):
            return False

    def send(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def end(self, number: int = signal.SIGKILL) -> None:
        """End it, and wait until it is gone."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
            self.process.wait(PATIENCE)
            self.process = None

    def client(self) -> Any:
        """A client of another make."""
        return redis.Redis(port=self.port, password=self.password, socket_timeout=10, protocol=2)


@contextmanager
def running_server(*options: str) -> Iterator[Server]:
    """A server for one test."""
    server = Server(options=options)
    server.start()
    try:
        yield server
    finally:
        server.end()


@attrs.define
class Service:
    """A service under C{twistd}, its output in files."""

    process: subprocess.Popen[bytes]
    stdout: Path
    stderr: Path

    def out(self) -> str:
        return self.stdout.read_text()

    def err(self) -> str:
        return self.stderr.read_text()

    def says(self, words: str) -> bool:
        """Whether it wrote this, on either output; an error if it has ended without."""
        ended = self.process.poll() is not None
        said = words in self.out() or words in self.err()
        assert said or not ended, f"ended with {self.process.returncode}: {self.out()[-2000:]}{self.err()[-2000:]}"
        return said

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE)


@attrs.define
class Services:
    """Starts services in a directory, and ends those that are left."""

    directory: Path
    started: list[Service] = attrs.field(factory=list)

    def start(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Service:
        """Start C{twistd -n ARGUMENTS}."""
        name = f"{len(self.started)}"
        stdout, stderr = self.directory / f"{name}.out", self.directory / f"{name}.err"
        with stdout.open("wb") as out, stderr.open("wb") as err:
            process = subprocess.Popen(
                [*TWISTD, "-n", *arguments],
                cwd=self.directory,
                env={**os.environ, **(environment or {})},
                stdout=out,
                stderr=err,
            )
        service = Service(process, stdout, stderr)
        self.started.append(service)
        return service

    def end(self) -> None:
        for service in self.started:
            service.stop(signal.SIGKILL)
