"""
Runs the command C{eventsvc}: in this process, and in a terminal.
"""

from __future__ import annotations

import os
import pty
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fcntl import ioctl
from termios import TIOCSWINSZ
from typing import Final

import attrs
from twisted.internet import reactor

from chaos.suites import PATIENCE, wait_until
from eventsvc.cli.main import parse, run
from tests.support.processes import Server

EVENTSVC: Final = [sys.executable, "-c", "from eventsvc.cli.main import main; main()"]


async def do(server: Server, *line: str) -> int:
    """Run a command on a server, and return its exit code."""
    return await run(reactor, parse([*line, "--redis-port", f"{server.port}"], anybody=False))


@attrs.define
class Terminal:
    """A process on a terminal of its own."""

    process: subprocess.Popen[bytes]
    end: int
    said: bytearray = attrs.field(factory=bytearray)

    def read(self) -> str:
        """Return everything it has written."""
        while True:
            try:
                data = os.read(self.end, 65_536)
            except (BlockingIOError, OSError):  # EIO: it has ended
                return self.said.decode("utf-8", "replace")
            if not data:
                return self.said.decode("utf-8", "replace")
            self.said += data

    def wait_for(self, words: str) -> str:
        """Wait until it has written this, and return everything it has written."""
        wait_until(lambda: words in self.read(), words)
        return self.read()

    def resize(self, columns: int, rows: int = 24) -> None:
        ioctl(self.end, TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


@contextmanager
def on_terminal(
    command: Sequence[str], columns: int = 80, environment: Mapping[str, str] | None = None
) -> Iterator[Terminal]:
    """Run a command on a terminal; what is left of it ends with the test."""
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
    process = subprocess.Popen(
        ["env", "--default-signal=INT", *command],  # the tests may run in the background, where shells ignore it
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**kept, "TERM": "xterm-256color", **(environment or {})},
        start_new_session=True,
    )
    os.close(theirs)
    os.set_blocking(ours, False)
    try:
        yield Terminal(process, ours)
    finally:
        process.kill()
        process.wait(PATIENCE)
        os.close(ours)
