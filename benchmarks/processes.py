"""
The measured processes, and their CPU time and memory as the kernel reports them.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import redis

from chaos.suites import wait_until
from eventsvc.embedded import free_port, server_command

_TICK = os.sysconf("SC_CLK_TCK")


def is_listening(port: int) -> bool:
    """Return whether a TCP port on loopback accepts connections."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@attrs.define
class Running:
    """A process that is measured."""

    process: subprocess.Popen[bytes]

    def cpu(self) -> float:
        """Return the CPU time it has used, user and system, in seconds."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK

    def memory(self) -> float:
        """Return the resident memory in megabytes."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start(command: Sequence[str], environment: Mapping[str, str] | None = None, output: Path | None = None) -> Running:
    """Start a process; its output goes to a file or is discarded."""
    with (output or Path(os.devnull)).open("wb") as sink:
        process = subprocess.Popen(
            command, env={**os.environ, **(environment or {})}, stdout=sink, stderr=subprocess.DEVNULL
        )
    return Running(process)


@attrs.define
class RedisServer:
    """
    A Redis server that keeps nothing on disk.

    @ivar options: further options of the server.
    """

    options: Sequence[str] = ()
    port: int = attrs.field(factory=free_port)
    running: Running | None = None

    def start(self) -> None:
        """Start the server, and wait until it accepts connections."""
        self.running = start(server_command(self.port, self.options))
        wait_until(lambda: is_listening(self.port), every=0.001)

    def end(self) -> None:
        if self.running is not None:
            self.running.process.kill()
            self.running.process.wait()
            self.running = None

    def client(self) -> Any:
        return redis.Redis(port=self.port)
