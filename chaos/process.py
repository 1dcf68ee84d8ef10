"""
Starts, signals, restarts and watches the processes of a run.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from typing import IO, Final

import attrs

from chaos.suites import PATIENCE, NotInTime

_ports: Final = count()
#: The number of port ranges, and the number of ports in each: all are below those of Kubernetes, from 30,000 on.
_RANGES: Final = 80
_RANGE: Final = 120


class EndedByItself(Exception):
    """A process ended unexpectedly."""


def raise_file_limit() -> None:
    """Raise the limit of open files to its maximum, because each waiting request has its own proxied connection."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextmanager
def watchdog(seconds: float) -> Iterator[None]:
    """
    Interrupt the code inside after some seconds; works only in the main thread.

    @raise NotInTime: the code took longer.
    """

    def give_up(*_: object) -> None:
        raise NotInTime(f"aborted after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@cache
def claim_range(owner: int) -> int:
    """
    Return the first port of a range for the process C{owner} alone.

    That port stays bound, and so the range claimed, as long as the process lives.

    @param owner: the process id, where the search begins.
    """
    for number in range(owner, owner + _RANGES):
        first = 20_000 + number % _RANGES * _RANGE
        claim = socket.socket()
        try:
            claim.bind(("127.0.0.1", first))
        except OSError:
            claim.close()
        else:
            claim.detach()
            return first
    raise AssertionError("all ranges of ports are claimed")


def stable_port() -> int:
    """
    Return a free TCP port on loopback that stays free while its owner is down.

    The kernel assigns only ports from 32768 on to programs that ask for any
    port.  Each process of the suite uses its own range below that, in turn.
    """
    for number in _ports:
        port = claim_range(os.getpid()) + number % _RANGE
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("there is no end to numbers")


@attrs.define(eq=False)
class Process:
    """
    A process that can be started repeatedly; all its output is in two files.

    @ivar piped: whether its output goes through a pipe, which can be left unread.
    @ivar peak: peak of its resident memory in bytes, measured before each end.
    @ivar statuses: exit status of each run.
    """

    name: str
    command: Sequence[str]
    directory: Path
    environment: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    piped: bool = False
    peak: int = 0
    statuses: list[int] = attrs.field(factory=list)
    _process: subprocess.Popen[bytes] | None = None
    #: processes that copy the output of each run from its pipe to the file
    _readers: list[subprocess.Popen[bytes]] = attrs.field(factory=list)

    @property
    def out(self) -> Path:
        return self.directory / f"{self.name}.out"

    @property
    def err(self) -> Path:
        return self.directory / f"{self.name}.err"

    @property
    def running(self) -> bool:
        return self._process is not None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the process; it ends with this one."""
        lifeline = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
        with ExitStack() as files:
            out: IO[bytes] = files.enter_context(self.out.open("ab"))
            if self.piped:
                reader = subprocess.Popen([*lifeline, "cat"], stdin=subprocess.PIPE, stdout=out)
                assert reader.stdin is not None
                self._readers.append(reader)
                out = files.enter_context(reader.stdin)
            self._process = subprocess.Popen(
                [*lifeline, *self.command],
                cwd=self.directory,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=files.enter_context(self.err.open("ab")),
            )

    @contextmanager
    def unread(self) -> Iterator[None]:
        """Leave its output unread inside the C{with} block; on exit, reading continues."""
        readers = list(self._readers)
        for reader in readers:
            reader.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for reader in readers:
                reader.send_signal(signal.SIGCONT)

    def check(self) -> None:
        """
        Check that the process runs, if it was started.

        @raise EndedByItself: it does not.
        """
        if self._process is not None and self._process.poll() is not None:
            words = self.err.read_text(errors="replace")[-500:]
            raise EndedByItself(f"{self.name} ended by itself with {self._process.returncode}: {words}")

    def send(self, number: int) -> None:
        """Send a signal."""
        self.check()
        assert self._process is not None
        self._process.send_signal(number)

    def end(self, number: int = signal.SIGTERM, patience: float = PATIENCE) -> int:
        """
        Send a signal that ends the process, wait, and return the exit status.

        @raise NotInTime: it did not end in time; it is killed then.
        """
        self.send(number)
        return self.wait(patience)

    def wait(self, patience: float = PATIENCE) -> int:
        """Wait until the process ends, and return the exit status."""
        assert self._process is not None
        self.measure()
        try:
            status = self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self.kill()
            raise NotInTime(f"{self.name} did not end within {patience:g} s") from None
        self._process = None
        self.statuses.append(status)
        return status

    def kill(self) -> None:
        """Kill the process, whatever its state."""
        if self._process is not None:
            self.measure()
            self._process.kill()
            self._process.wait()
            self._process = None
        for reader in self._readers:  # each ends with what it reads
            reader.send_signal(signal.SIGCONT)
            reader.wait()

    def measure(self) -> None:
        """Update C{peak}, where the system reports it."""
        assert self._process is not None
        try:
            status = Path(f"/proc/{self._process.pid}/status").read_text()
        except OSError:
            return
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        if found:
            self.peak = max(self.peak, int(found[1]) * 1024)

    def says(self, words: str, times: int = 1) -> bool:
        """
        Return whether the process has written C{words} at least C{times} times.

        @raise EndedByItself: it has not, and has ended.
        """
        if self.count(words) >= times:
            return True
        self.check()
        return False

    def count(self, words: str) -> int:
        """Return how often the process has written C{words} so far."""
        return self.out.read_text(errors="replace").count(words) if self.out.exists() else 0
