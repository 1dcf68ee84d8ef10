"""
What the pages of a dashboard ask of a stream.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Final, Protocol

from twisted.internet.defer import Deferred

from eventsvc.dashboard.overview import Overview
from eventsvc.dashboard.point import Point
from eventsvc.dashboard.story import MaybeDelivery, StoredEntry
from eventsvc.dead_letter import DeadLetter
from eventsvc.stream_state import GroupState, StreamState

#: A page of entries ends with those that bring it to this many bytes.
PAGE_BYTES: Final = 1_000_000

# Every operation that is asked of Redis fails with Refused or Unknown and nothing else.


class Watched(Protocol):
    """A stream that is watched all the time."""

    @property
    def overview(self) -> Overview:
        """What is known of it now."""

    @property
    def hour(self) -> Sequence[Point]:
        """The figures of the last hour, the oldest first."""


class Events(Protocol):
    """The entries of a stream; as L{eventsvc.redis.events.StreamEvents}."""

    def read_newest(self, before: str, count: int) -> Deferred[Sequence[StoredEntry]]: ...
    def read_after(self, after: str, count: int) -> Deferred[Sequence[StoredEntry]]: ...
    def find(self, id: str) -> Deferred[StoredEntry | None]: ...
    def find_delivery(self, group: GroupState, id: str) -> Deferred[MaybeDelivery]: ...
    def find_letter(self, id: str) -> Deferred[DeadLetter | None]: ...


class Letters(Protocol):
    """Its dead letters; as L{eventsvc.redis.dead.DeadLetters}."""

    def count(self) -> Deferred[int]: ...
    def find_newest(self) -> Deferred[str]: ...
    def read(self, after: str = "", count: int = 100) -> Deferred[Sequence[DeadLetter]]: ...
    def list_ids(self, after: str, last: str) -> Deferred[Sequence[str]]: ...
    def find(self, id: str) -> Deferred[DeadLetter | None]: ...
    def replay(self, id: str) -> Deferred[str]: ...
    def purge(self, ids: Sequence[str]) -> Deferred[int]: ...


class Source(Protocol):
    """A stream, as the pages see it."""

    @property
    def watched(self) -> Watched: ...
    @property
    def events(self) -> Events: ...
    @property
    def letters(self) -> Letters: ...

    def survey(self) -> Awaitable[StreamState]:
        """Look at the stream now."""
