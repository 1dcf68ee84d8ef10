"""
The link to a log in memory, and its faults.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol, TypeVar

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime

from eventsvc.interfaces import Refused, Unknown

T = TypeVar("T")


class Fate(enum.Enum):
    """What happens to one operation."""

    FINE = "it is applied and answered"
    REFUSED = "it is refused and not applied"
    CUT_BEFORE = "the connection is lost before it arrives"
    CUT_AFTER = "it is applied, and the connection is lost before its reply arrives"
    LATE = "the connection is lost, and it is applied later"
    SILENT = "no reply arrives until the connection is cut"
    FORBIDDEN = "the user lacks the permission for one of its commands"
    ROLLED_BACK = "the log returns to an earlier state, then it is applied and answered"
    ROLLED_BACK_CUT = (
        "the log returns to an earlier state, it is applied, and the connection is lost before its reply arrives"
    )


class Backend(Protocol):
    """The far end of a link, as far as faults affect it."""

    #: whether the user of the link may run every command
    has_rights: bool

    def roll_back(self) -> None:
        """Return to an earlier state, such as that of a replica that lags."""


@attrs.define
class _NoBackend:
    has_rights: bool = True

    def roll_back(self) -> None:
        pass


@attrs.define(eq=False)
class Link:
    """
    The link to a log.  Tests decide which faults it has.

    @ivar fates: the fates of the next operations; after them all are fine.
    @ivar latency: seconds from an operation to its reply.
    @ivar repair: seconds from the loss of a connection to the next one.
    @ivar lateness: seconds after which a late operation is applied.
    @ivar backend: the far end, for fates that affect it.
    @ivar operations: names of all operations that were attempted.
    @ivar connects: how often the connection was restored.
    """

    clock: IReactorTime
    fates: Iterator[Fate] = attrs.field(factory=lambda: iter(()))
    latency: float = 0.001
    repair: float = 0.05
    lateness: float = 0.2
    connected: bool = True
    backend: Backend = attrs.field(factory=_NoBackend)
    operations: list[str] = attrs.field(factory=list)
    connects: int = 0
    _waiting: list[Deferred[None]] = attrs.field(factory=list, init=False)
    _in_flight: list[Deferred[Any]] = attrs.field(factory=list, init=False)

    def expect(self, *fates: Fate) -> None:
        """Set the fates of the next operations."""
        self.fates = iter(fates)

    @property
    def silent(self) -> bool:
        """Return whether an operation waits for its reply."""
        return bool(self._in_flight)

    def when_ready(self) -> Deferred[None]:
        if self.connected:
            return succeed(None)
        waiter: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(waiter)
        return waiter

    def abandon(self) -> None:
        """Lose the connection because the process is killed: it never learns what became of its operations."""
        self.connected = False
        self._in_flight = []

    def disconnect(self) -> None:
        """Lose the connection and all operations in flight."""
        self.connected = False
        in_flight, self._in_flight = self._in_flight, []
        for reply in in_flight:
            reply.errback(Unknown("connection lost"))

    def connect(self) -> None:
        """Restore the connection."""
        self.connected = True
        self.connects += 1
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)

    def cut(self) -> None:
        """Lose the connection, and restore it after C{repair} seconds."""
        self.disconnect()
        self.clock.callLater(self.repair, self.connect)

    def carry(
        self, name: str, apply: Callable[[], T], ready: Callable[[], Deferred[None]] | None = None
    ) -> Deferred[T]:
        """
        Send an operation to the backend and return its reply.

        @param ready: returns a Deferred that fires when the operation may be
            applied; by default it is applied at once.
        """
        if not self.connected:
            return fail(Refused("not connected"))
        self.operations.append(name)
        reply: Deferred[T] = Deferred(lambda reply: self._in_flight.remove(reply))
        self._in_flight.append(reply)
        answer, later = partial(self._answer, reply), self.clock.callLater
        fate = next(self.fates, Fate.FINE)
        if fate in (Fate.ROLLED_BACK, Fate.ROLLED_BACK_CUT):
            self.backend.roll_back()
        match fate:
            case Fate.FINE if ready is not None:
                ready().addCallback(lambda _: reply in self._in_flight and later(self.latency, answer, apply()))
            case Fate.FINE | Fate.ROLLED_BACK:
                later(self.latency, answer, apply())
            case Fate.REFUSED:
                later(self.latency, answer, Refused("told to refuse"))
            case Fate.CUT_BEFORE:
                later(self.latency, self.cut)
            case Fate.CUT_AFTER | Fate.ROLLED_BACK_CUT:
                apply()
                later(self.latency, self.cut)
            case Fate.LATE:
                later(self.latency, self.cut)
                later(self.latency + self.lateness, apply)
            case Fate.SILENT:
                pass
            case Fate.FORBIDDEN:
                later(self.latency, answer, self._forbid(apply))
        return reply

    def _answer(self, reply: Deferred[T], result: T | Exception) -> None:
        """Fire a reply, unless it was lost or cancelled meanwhile."""
        if reply in self._in_flight:
            self._in_flight.remove(reply)
            reply.errback(result) if isinstance(result, Exception) else reply.callback(result)

    def _forbid(self, apply: Callable[[], T]) -> T | Exception:
        self.backend.has_rights = False
        try:
            return apply()
        except Refused as refused:
            return refused
        finally:
            self.backend.has_rights = True
