"""
A process that listens and answers commands, and its sessions.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Final

import hiredis
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

from simulation.redis.values import Command, ErrorReply
from simulation.servers.resp import encode

#: What a command answers that is answered later.
LATER: Final = object()


class ServerSession(Protocol):
    """
    The server's side of one connection.

    Commands are answered in their order, so those behind one that blocks wait.

    @ivar user: who has logged in; empty if nobody has.
    @ivar written: what C{WAIT} waits for: the offset of its last write; before Redis 7.2 that of any
        session until its last command.
    @ivar blocked: what it waits for; C{None} if the next command may run.
    @ivar channels: what it has subscribed to.
    """

    def __init__(self, node: Node) -> None:
        self.node = node
        self.user = b""
        self.written = 0
        self.blocked: Blocked | None = None
        self.channels: list[bytes] = []
        self.database = 0
        self.closing = False
        self._reader = hiredis.Reader()
        self._answers: list[bytes] = []
        self._running = False
        self._lost = False
        self.transport: Any = None

    def connectionMade(self) -> None:
        self.node.sessions.append(self)

    def dataReceived(self, data: bytes) -> None:
        """Take bytes, cut anywhere; a paused process takes them when it goes on."""
        self._reader.feed(data)
        if not self.node.paused:
            self.run()

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Forget the session; a paused process still runs what it has received before."""
        self._lost = True
        if not self.node.paused:
            self.forget()

    def run(self) -> None:
        """Answer the commands that have arrived, and send all answers at once."""
        if self._running:
            return
        self._running = True
        try:
            while self.blocked is None and not self.closing and self._run_next():
                pass
        finally:
            self._running = False
        self._flush()
        if self._lost:
            self.forget()

    def _run_next(self) -> bool:
        try:
            command = self._reader.gets()
        except hiredis.ProtocolError:
            command = None
        if command is False:
            return False
        if type(command) is not list:
            self.close(ErrorReply(b"ERR Protocol error: expected '*'"))
        elif command:
            reply = self.node.answer(self, command)
            if reply is not LATER:
                self._answers.append(encode(reply))
        return True

    def reply(self, *replies: Any) -> None:
        """Send what no command is answered with at once."""
        self._answers.extend(map(encode, replies))
        if not self._running:
            self._flush()

    def unblock(self, reply: Any) -> None:
        """Answer the command that blocks, and run those behind it."""
        blocked, self.blocked = self.blocked, None
        assert blocked is not None
        blocked.end()
        self.reply(reply)
        self.run()

    def close(self, last: Any = None) -> None:
        """Close the connection after the answers so far, and one more."""
        self.closing = True
        if last is not None:
            self._answers.append(encode(last))
        if not self._running:
            self._flush()

    def _flush(self) -> None:
        if self._answers and not self._lost:
            data, self._answers = b"".join(self._answers), []
            self.transport.write(data)
        if self.closing and not self._lost:
            self.transport.loseConnection()

    def forget(self) -> None:
        """Stop waiting: there is nobody to answer."""
        self.closing = self._lost = True
        if self.blocked is not None:
            self.blocked.end()
            self.blocked = None
        if self in self.node.sessions:
            self.node.sessions.remove(self)


class Blocked:
    """
    What a session waits for.

    @ivar session: which one.
    """

    session: ServerSession

    def end(self) -> None:
        """Stop waiting."""


class Node(Factory):
    """
    A process with one port.

    @ivar up: whether it runs; otherwise connections are refused.
    @ivar paused: whether it is stopped (SIGSTOP): its kernel accepts connections and bytes.
    @ivar sessions: in the order of their connections.
    """

    noisy = False

    def __init__(self, host: str, port: int, clock: IReactorTime) -> None:
        self.host = host
        self.port = port
        self.clock = clock
        self.up = True
        self.paused = False
        self.sessions: list[ServerSession] = []

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.host}:{self.port}>"

    def buildProtocol(self, address: IAddress | None) -> ServerSession | None:
        """Accept a connection; C{None} if the process does not run."""
        return ServerSession(self) if self.up else None

    @property
    def runs(self) -> bool:
        """Whether it is up and not paused."""
        return self.up and not self.paused

    @abstractmethod
    def answer(self, session: ServerSession, command: Command) -> Any:
        """Run a command, and return its reply or L{LATER}."""

    def pause(self) -> None:
        """Stop the process, as SIGSTOP does."""
        self.paused = True

    def resume(self) -> None:
        """Let it go on: it runs all commands that it was sent meanwhile."""
        self.paused = False
        for session in list(self.sessions):
            session.run()

    def kill(self) -> None:
        """End the process, as SIGKILL does."""
        self.up = self.paused = False
        for session in list(self.sessions):
            session.forget()
            session.transport.abortConnection()
