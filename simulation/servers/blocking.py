"""
Commands that are answered later: reads of a stream, and waits for replicas and the disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
from twisted.internet.interfaces import IDelayedCall

from simulation.redis.values import PLAIN, Command, ErrorReply, Version
from simulation.servers.node import LATER, Blocked, ServerSession
from simulation.servers.words import GROUP_GONE, STREAM_GONE, no_wait_on_replica

if TYPE_CHECKING:
    from simulation.servers.server import Server


class BlockedRead(Blocked):
    """
    A read that found nothing.

    @ivar command: without C{BLOCK}.
    @ivar keys: the streams.
    """

    def __init__(self, server: Server, session: ServerSession, command: Command, keys: Command, seconds: float) -> None:
        self.server = server
        self.session = session
        self.command = command
        self.keys = keys
        self._late = Deadline(server, seconds, lambda: session.unblock(None)) if seconds else None
        server.reading.append(self)

    def end(self) -> None:
        self.server.reading.remove(self)
        if self._late is not None:
            self._late.stop()


class Deadline:
    """A timer of a process: it does not fire while the process is paused."""

    def __init__(self, server: Server, seconds: float, over: Any) -> None:
        self.server = server
        self.over = over
        self._call: IDelayedCall | None = server.clock.callLater(seconds, self._fire)

    def _fire(self) -> None:
        self._call = None
        if self.server.paused:
            self.server.late.append(self._fire)
        else:
            self.over()

    def stop(self) -> None:
        """Do not fire any more."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        self.over = _nothing


def _nothing() -> None:
    pass


#: After these a read that waits looks again.
_WAKING: Final = frozenset(b"XADD SET DEL UNLINK FLUSHALL FLUSHDB".split())


def wakes(effect: Command) -> bool:
    """Return whether reads that wait may find something, or that their stream is gone, after a write."""
    name = effect[0].upper()
    return name in _WAKING or (name == b"XGROUP" and effect[1].upper() == b"DESTROY")


def read_options(command: Command) -> tuple[float, Command, Command] | None:
    """
    Return how long a read may block in seconds, the read without that, and its keys.

    C{None} if it may not block.
    """
    words = [word.upper() for word in command[:10]]
    if b"BLOCK" not in words or b"STREAMS" not in words:
        return None
    at, streams = words.index(b"BLOCK"), words.index(b"STREAMS") + 1
    keys = command[streams : streams + (len(command) - streams) // 2]
    return int(command[at + 1]) / 1000, [*command[:at], *command[at + 2 :]], keys


def explain(server: Server, read: BlockedRead, error: ErrorReply) -> ErrorReply | None:
    """
    Return what a read that waits is told of its stream or group that is gone; C{None} if it waits on.

    The old servers look at the stream only when something is added to it, or a group is destroyed.
    """
    if server.version is Version.VALKEY_9_1:
        return error
    keyspace, now = server.keyspace(), server.wall()
    if any(keyspace.execute((b"TYPE", key), now, PLAIN) != b"stream" for key in read.keys):
        return None if server.version.is_old else STREAM_GONE
    return GROUP_GONE


@attrs.frozen
class Wanted:
    """
    What a wait asks for.

    @ivar on_disk: whether it is C{WAITAOF}.
    """

    local: int
    replicas: int
    milliseconds: int
    on_disk: bool


class BlockedWait(Blocked):
    """A wait for replicas, and perhaps for the disk."""

    def __init__(self, server: Server, session: ServerSession, wanted: Wanted) -> None:
        self.server = server
        self.session = session
        self.wanted = wanted
        self.offset = session.written
        seconds = wanted.milliseconds / 1000
        self._late = Deadline(server, seconds, lambda: session.unblock(self.reply())) if seconds else None
        self._next: Deadline | None = None
        server.waiting.append(self)
        self.plan()

    def counts(self) -> tuple[int, int]:
        """Return how many have the write: this disk, and replicas."""
        return self.server.count_synced(self.offset), self.server.count_confirmed(self.offset, self.wanted.on_disk)

    def reply(self) -> Any:
        """Return the reply as it would be now."""
        local, replicas = self.counts()
        return [local, replicas] if self.wanted.on_disk else replicas

    def is_met(self) -> bool:
        """Return whether enough have the write."""
        local, replicas = self.counts()
        return replicas >= self.wanted.replicas and (not self.wanted.local or local >= self.wanted.local)

    def look(self) -> None:
        """Answer if enough have it now, else look again when something changes."""
        if self.session.blocked is self:
            if self.is_met():
                self.session.unblock(self.reply())
            else:
                self.plan()

    def plan(self) -> None:
        """Look again when the next one should have it."""
        if self._next is not None:
            self._next.stop()
        now = self.server.clock.seconds()
        moments = [moment for moment in self.server.moments(self.offset, self.wanted.on_disk) if moment > now]
        # A timer may fire a rounding error too early.
        self._next = Deadline(self.server, min(moments) - now + 1e-6, self.look) if moments else None

    def end(self) -> None:
        self.server.waiting.remove(self)
        for each in (self._late, self._next):
            if each is not None:
                each.stop()


def wait(server: Server, session: ServerSession, wanted: Wanted) -> Any:
    """Answer C{WAIT} or C{WAITAOF}: at once, or later."""
    if server.link is not None:
        return no_wait_on_replica(server.version, wanted.on_disk)
    if wanted.local and not server.keeps_file:
        return ErrorReply(b"ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.")
    blocked = BlockedWait(server, session, wanted)
    if blocked.is_met():
        blocked.end()
        return blocked.reply()
    session.blocked = blocked
    return LATER
