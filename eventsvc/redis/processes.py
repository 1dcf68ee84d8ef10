"""
Keeps the heartbeats of all processes that work on a stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from eventsvc.heartbeat import Heartbeat, SeenHeartbeat, decode_heartbeat, encode_heartbeat
from eventsvc.redis.connection import Connection
from eventsvc.redis.errors import code_of
from eventsvc.redis.scripts import companion, load_script
from eventsvc.redis.session import Argument
from eventsvc.stream_state import StreamState

_BEAT: Final = load_script("beat.lua")
_READ: Final = load_script("read_hash.lua")

#: Errors that will be over, of which those tell who cannot do without Redis.
_PASSING: Final = frozenset({"MISCONF", "NOREPLICAS", "OOM", "READONLY"})
#: Seconds for which the last heartbeat of a process is kept.
LIFETIME: Final = 300.0
#: The most processes of a stream whose heartbeats are kept.
MOST: Final = 1_000
#: What a user needs on the key of the heartbeats, to write and to read them.
RIGHTS: Final = "+hset +hdel +hgetall +pexpire"


@attrs.define(eq=False)
class Processes:
    """
    The processes of a stream, by their heartbeats.

    Every operation fails with L{eventsvc.interfaces.Refused} or L{eventsvc.interfaces.Unknown} and nothing else.

    @ivar problem: why the last heartbeat was not kept, or why they cannot be read; empty if all is well.
    """

    connection: Connection
    stream: str
    problem: str = attrs.field(default="", init=False)
    _log = Logger()

    @property
    def key(self) -> str:
        """The key of the heartbeats."""
        return companion(self.stream, "processes").decode()

    def beat(self, heartbeat: Heartbeat) -> Deferred[None]:
        """
        Leave a heartbeat, in place of the last one of the same process.

        A user of Redis that may not do this goes on without; that is logged once.
        """
        return self._write(heartbeat.id, encode_heartbeat(heartbeat))

    def leave(self, id: str) -> Deferred[None]:
        """Remove the heartbeat of a process that ends in order."""
        return self._write(id, b"")

    def _write(self, id: str, record: bytes) -> Deferred[None]:
        arguments: list[Argument] = [self.key, id, record, round(LIFETIME * 1000), MOST]
        return self.connection.run(_BEAT, [self.stream], arguments).addCallback(self._written)

    def _written(self, reply: bytes | None) -> None:
        problem = "" if reply is None else self._explain(reply.decode())
        passes = reply is not None and code_of(reply.decode()) in _PASSING
        if problem not in ("", self.problem) and not passes:
            self._log.warn("no dashboard shows this process: {problem}", problem=problem)
        self.problem = problem

    def read(self) -> Deferred[Sequence[SeenHeartbeat]]:
        """Read the last heartbeat of each process, sorted by role and name; see L{problem} if there are none."""
        return self.connection.run(_READ, [self.stream], [self.key]).addCallback(self._read)

    def _read(self, reply: Sequence[Any]) -> Sequence[SeenHeartbeat]:
        now, records = reply
        if isinstance(records, bytes):
            self.problem = self._explain(records.decode())
            return []
        self.problem = ""
        found = []
        for record in records[1::2]:
            at, _, text = record.partition(b" ")
            heartbeat = decode_heartbeat(text)
            age = (now - int(at)) / 1000 if at.isdigit() and len(at) < 16 else LIFETIME + 1
            if heartbeat is not None and abs(age) <= LIFETIME:
                found.append(SeenHeartbeat(heartbeat, max(0.0, age)))
        return sorted(found, key=lambda seen: (seen.heartbeat.role, seen.heartbeat.name, seen.heartbeat.id))

    def add_problem(self, state: StreamState) -> StreamState:
        """Return a state of the stream that says too why its processes could not be read."""
        return attrs.evolve(state, problems=[*state.problems, *filter(None, [self.problem])])

    def _explain(self, reply: str) -> str:
        """Return in words why there are no heartbeats, without the text of Redis."""
        match "too many" if reply == "too many" else code_of(reply):
            case "too many":
                return f"stream {self.stream} has heartbeats of {MOST} processes already"
            case "NOPERM":
                return f"the user of Redis may not use the key {self.key}; it needs the rights {RIGHTS} there"
            case "OOM":
                return "Redis is out of memory"
            case code:
                return f"Redis refuses heartbeats ({code})"
