"""
Waits until what a session has written has reached more than the memory of the primary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from eventsvc.histogram import Histogram
from eventsvc.interfaces import Unknown
from eventsvc.redis.errors import ErrorReply, UnclearReply, code_of
from eventsvc.redis.session import Argument, Session
from eventsvc.settings.durability import DurabilitySettings
from eventsvc.submission import AppendReply, BatchOutcome

#: Seconds that one wait may take in Redis.  It is less than the time after which
#: a silent session counts as dead.
LONGEST_WAIT: Final = 1.5

_SECONDS: Final = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
_STORED: Final = (BatchOutcome.APPENDED, BatchOutcome.DUPLICATE)


@attrs.define(eq=False)
class Durability(ABC):
    """
    Holds the reply to a batch back until Redis has confirmed where the batch has arrived.

    # Note [A wait that proves nothing]

    C{WAIT} and C{WAITAOF} look at the last write of the same session.  After a
    session that wrote nothing they are satisfied at once::

        session 1: append.lua -> (written)          lost
        replica:                  stopped, gets nothing
        session 2:                                       append.lua -> DUPLICATE   WAIT 1 -> 1

    So C{append.lua} writes in every case that may be answered 200, the duplicate
    too: it sets the expiry of the producer id.  The wait goes to the session that
    ran the script.  It is sent after the reply of the script: if both were sent
    together and the server did not know the script, the wait would pass before
    the script ran::

        us:     EVALSHA, WAIT ->                          EVAL ->
        Redis:                   NOSCRIPT, 1 replica has all      appended

    # Note [One wait at a time]

    Streams share a session, and a wait holds up what is sent behind it.  Several
    in a row could hold it up until the session counts as dead.  So there is one
    at a time, and all who ask meanwhile share the next.

    @ivar clock: for L{seconds}.
    @ivar longest: seconds that one wait may take.
    @ivar seconds: how long each confirmed batch was held back.
    """

    clock: IReactorTime
    longest: float = attrs.field(default=LONGEST_WAIT, kw_only=True)
    seconds: Histogram = attrs.field(factory=partial(Histogram, _SECONDS), init=False)
    #: for each session with a wait in Redis, those who ask for the next one
    _asking: dict[Session, list[Deferred[None]]] = attrs.field(factory=dict, init=False)
    _missed: bool = attrs.field(default=False, init=False)
    _log = Logger()

    @property
    @abstractmethod
    def wait(self) -> Sequence[Argument]:
        """The command that waits."""

    @property
    @abstractmethod
    def miss(self) -> str:
        """What has not happened if the wait ends too early, for operators."""

    @abstractmethod
    def is_met(self, reply: Any) -> bool:
        """Return whether a reply to L{wait} confirms the batch."""

    @abstractmethod
    async def find_problem(self, session: Session, role: Any) -> str:
        """
        Return why a server cannot confirm batches; empty if it can.

        @param role: the reply to C{ROLE}; C{None} if the user may not run it.
        """

    def confirm(self, reply: AppendReply, session: Session) -> AppendReply | Deferred[AppendReply]:
        """
        Fire with the reply once its events have arrived, those stored earlier included.

        Fails with L{Unknown}: the events are stored, and may yet be lost.

        @param session: the one that ran C{append.lua}.
        """
        if reply.outcome not in _STORED and not reply.earlier:
            return reply  # no event of it is answered 200
        begun = self.clock.seconds()

        def observe(_: None) -> AppendReply:
            self.seconds.observe(self.clock.seconds() - begun)
            return reply

        confirmed: Deferred[None] = Deferred()
        if session in self._asking:
            self._asking[session].append(confirmed)
        else:
            self._send(session, [confirmed])
        return confirmed.addCallback(observe)

    def _send(self, session: Session, asked: Sequence[Deferred[None]]) -> None:
        """Send a wait for all who have asked; see the Note [One wait at a time]."""
        self._asking[session] = []

        def settle(reply: Any) -> None:
            if more := self._asking.pop(session):
                self._send(session, more)
            problem = self._judge(session, reply)
            for each in asked:
                if problem:
                    each.errback(Unknown(problem))
                else:
                    each.callback(None)

        session.call(*self.wait).addBoth(settle)

    def _judge(self, session: Session, reply: Any) -> str:
        """
        Return why a reply does not confirm a batch, for clients; empty if it does.

        After an error the session is given up: the next handshake finds out what
        is missing, and says it.
        """
        if isinstance(reply, Failure):
            if isinstance(reply.value, ErrorReply | UnclearReply):
                session.abort(reply.value.reply, "Redis cannot confirm events")
            return "Redis cannot confirm events"
        missed = not self.is_met(reply)
        if missed and not self._missed:
            self._log.warn("batches are stored but not confirmed: {miss}", miss=self.miss)
        self._missed = missed
        return "Redis did not confirm the event in time" if missed else ""


@attrs.define(eq=False)
class OnDisk(Durability):
    """
    Waits for the disk of the primary.

    # Note [What WAITAOF confirms]

    With C{appendfsync everysec} some servers confirm what is not on the disk
    yet: Redis 7.4 before 8.0, Valkey 9.  They take a file whose next sync is not
    due for one that needs none::

        us:     append.lua ->          WAITAOF 1 0 ->
        Redis:                written,                1     ... (a second later) fdatasync

    So C{appendfsync always} is asked for, under which the reply to the script
    itself comes after the sync.  C{CONFIG GET} is the only command that tells.

    Source: C{WAITAOF}, Redis 7.2; Redis pull request 13793.
    """

    miss = "Redis has not written its append-only file to the disk in time"

    @property
    def wait(self) -> Sequence[Argument]:
        return ("WAITAOF", 1, 0, round(self.longest * 1000))

    def is_met(self, reply: Any) -> bool:
        match reply:
            case [int(local), *_]:
                return local >= 1
        return False

    async def find_problem(self, session: Session, role: Any) -> str:
        _, error = await _ask(session, "WAITAOF", 1, 0, 1)
        if "appendonly" in error:
            return "REDIS_DURABILITY=disk needs an append-only file: set appendonly of Redis to yes"
        if error.startswith("ERR unknown command"):
            return "REDIS_DURABILITY=disk needs Redis 7.2 or newer: this one has no WAITAOF"
        if error:
            return _explain("disk", "WAITAOF", error)
        reply, error = await _ask(session, "CONFIG", "GET", "appendfsync")
        if error:
            return _explain("disk", "CONFIG GET", error)
        if reply != [b"appendfsync", b"always"]:
            return "REDIS_DURABILITY=disk needs appendfsync always: set it in Redis"
        return ""


@attrs.define(eq=False)
class OnReplicas(Durability):
    """
    Waits for the memory of replicas.

    Source: C{WAIT}.

    @ivar least: how many.
    """

    least: int

    @property
    def wait(self) -> Sequence[Argument]:
        return ("WAIT", self.least, round(self.longest * 1000))

    @property
    def miss(self) -> str:
        return f"fewer than {self.least} replicas of Redis have confirmed them in time"

    def is_met(self, reply: Any) -> bool:
        return isinstance(reply, int) and reply >= self.least

    async def find_problem(self, session: Session, role: Any) -> str:
        match role:
            case [b"master", offset, list(replicas)]:
                following = sum(_follows(replica, offset) for replica in replicas)
                if following < self.least:
                    return (
                        f"REDIS_DURABILITY=replicas needs {self.least} replicas (REDIS_MIN_REPLICAS): "
                        f"{following} follow Redis"
                    )
            case _:
                return "REDIS_DURABILITY=replicas needs the right to run ROLE"
        _, error = await _ask(session, "WAIT", 0, 1)
        return _explain("replicas", "WAIT", error)


def make_durability(settings: DurabilitySettings, clock: IReactorTime) -> Durability | None:
    """Return what confirms batches; C{None} if the memory of the primary is enough."""
    match settings.durability:
        case "DISK":
            return OnDisk(clock)
        case "REPLICAS":
            return OnReplicas(clock, settings.min_replicas)
    return None


def _follows(replica: Any, offset: Any) -> bool:
    """
    Return whether a replica in the reply to C{ROLE} confirms what is written.

    One that still loads its data is listed with the offset 0, and confirms nothing for as long.

    @param offset: that of the primary; 0 if nothing was written to it yet.
    """
    match replica:
        case [_, _, confirmed]:
            return bool(confirmed != b"0" or offset == 0)
    return False


async def _ask(session: Session, *arguments: Argument) -> tuple[Any, str]:
    """Send a command and return its reply, and the error that Redis answers with; empty if it is none."""
    try:
        return await session.call(*arguments), ""
    except (ErrorReply, UnclearReply) as error:
        return None, error.reply


def _explain(level: str, command: str, error: str) -> str:
    if code_of(error) == "NOPERM":
        return f"REDIS_DURABILITY={level} needs the right to run {command}"
    return error and f"REDIS_DURABILITY={level}: {error}"
