"""
Real processes for tests: a Valkey or Redis server, and services under twistd.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import attrs
import redis

from chaos.process import stable_port
from chaos.suites import PATIENCE, TWISTD, wait_until
from eventsvc.embedded import server_command

#: Else each client of redis-py 8 or newer parses the metadata of that package: most of its processor time.
NAMELESS: Mapping[str, Any] = {"driver_info": None} if hasattr(redis, "DriverInfo") else {}


@attrs.define
class Server:
    """
    A server on a free port, which tests can stop, kill and freeze.

    @ivar options: command-line options for each start.
    @ivar binary: the program; without, the one that L{eventsvc.embedded.find_server} finds.
    @ivar more: further options of its clients.
    """

    port: int = attrs.field(factory=stable_port)
    options: Sequence[str] = ()
    binary: str | None = None
    password: str | None = None
    process: subprocess.Popen[bytes] | None = None
    more: Mapping[str, Any] = {}

    def start(self) -> None:
        """Start it, and wait until it accepts commands."""
        self.process = subprocess.Popen(
            server_command(self.port, self.options, self.binary), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
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
        """Stop it, and wait until it is gone."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
            self.process.wait(PATIENCE)
            self.process = None

    def client(self) -> Any:
        """Return an independent client."""
        # With TLS the first reply also fetches the tickets of the session, which redis-py takes for data out of turn.
        common = {**({} if "ssl" in self.more else NAMELESS), **self.more}
        return redis.Redis(port=self.port, password=self.password, socket_timeout=10, protocol=2, **common)


@contextmanager
def running_server(*options: str, binary: str | None = None) -> Iterator[Server]:
    """Run a server for one test."""
    server = Server(options=options, binary=binary)
    try:
        server.start()
        yield server
    finally:
        server.end()


@attrs.frozen
class Answer:
    """An HTTP response."""

    status: int
    headers: Mapping[str, str]
    body: str


def post(port: int, body: str, path: str = "/event", headers: Mapping[str, str] = {}, timeout: float = 30.0) -> Answer:
    """
    Post with the HTTP client of the standard library, on a new connection.

    @raise OSError, HTTPException: there is no complete answer.
    """
    connection = HTTPConnection("127.0.0.1", port, timeout=timeout)
    with closing(connection):
        connection.request("POST", path, body.encode(), dict(headers))
        response = connection.getresponse()
        return Answer(response.status, dict(response.headers), response.read().decode())


@attrs.define
class Service:
    """A service under C{twistd}, with its output in files."""

    process: subprocess.Popen[bytes]
    stdout: Path
    stderr: Path

    def out(self) -> str:
        return self.stdout.read_text()

    def err(self) -> str:
        return self.stderr.read_text()

    def lines(self) -> list[dict[str, Any]]:
        """Return the log so far; fail if a line is not a JSON object."""
        lines = [json.loads(line) for line in self.out().splitlines(keepends=True) if line.endswith("\n")]
        assert all(isinstance(line, dict) for line in lines)
        return lines

    def port(self) -> int:
        """Wait until it listens, and return its port: the first one if it has several."""
        return self.ports(1)[0]

    def ports(self, number: int) -> list[int]:
        """Wait until it listens on this many ports, and return them."""
        pattern = re.compile(r"Site(?: \(TLS\))? starting on (\d+)")
        wait_until(lambda: self.says("tarting") and len(pattern.findall(self.out())) >= number)
        return [int(port) for port in pattern.findall(self.out())]

    def says(self, words: str) -> bool:
        """Return whether it wrote this on either output; fail if it ended without."""
        ended = self.process.poll() is not None
        said = words in self.out() or words in self.err()
        assert said or not ended, f"ended with {self.process.returncode}: {self.out()[-2000:]}{self.err()[-2000:]}"
        return said

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and return the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE)


@attrs.define
class Services:
    """Starts services in a directory, and stops those that still run at the end."""

    directory: Path
    started: list[Service] = attrs.field(factory=list)

    def start(
        self,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        output: int | None = None,
        descriptors: int | None = None,
    ) -> Service:
        """
        Start C{twistd -n ARGUMENTS} as the leader of a process group.

        @param output: a file descriptor to use as standard output.
        @param descriptors: limit on open files; by default that of this process.
        """
        limit = (descriptors, descriptors) if descriptors else resource.getrlimit(resource.RLIMIT_NOFILE)
        name = f"{len(self.started)}"
        stdout, stderr = self.directory / f"{name}.out", self.directory / f"{name}.err"
        with stdout.open("wb") as out, stderr.open("wb") as err:
            process = subprocess.Popen(
                [*TWISTD, "-n", *arguments],
                cwd=self.directory,
                env={**os.environ, **(environment or {})},
                process_group=0,
                stdout=out if output is None else output,
                preexec_fn=partial(resource.setrlimit, resource.RLIMIT_NOFILE, limit),
                stderr=err,
            )
        service = Service(process, stdout, stderr)
        self.started.append(service)
        return service

    def end(self) -> None:
        for service in self.started:
            service.stop(signal.SIGKILL)


def get(port: int, path: str) -> tuple[int, str]:
    """Return the status and body of an answer; 0 and nothing if the connection fails."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10.0)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    except ConnectionError:
        return 0, ""
    finally:
        connection.close()
