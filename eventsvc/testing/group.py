"""
A consumer of a group on the stream in memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import deepcopy
from itertools import takewhile
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from eventsvc.consumer.page import PAGE_BYTES, size_of
from eventsvc.consumer.recent import digest_of
from eventsvc.event import MARKER_FIELD, Entry
from eventsvc.interfaces import Claimed, IEventGroup, Measures, Refused, Unknown
from eventsvc.memory import Memory
from eventsvc.testing.link import Link
from eventsvc.testing.log import Group, MemoryStream, Pending

T = TypeVar("T")

#: Entries that one call to trim may remove.
TRIM_STEP = 1_000


@implementer(IEventGroup)
@attrs.define(eq=False)
class MemoryEventGroup:
    """Reads a L{MemoryStream} as one consumer of a group."""

    stream: MemoryStream
    link: Link
    name: str = "group"
    consumer: str = "consumer"
    #: the connection of the last L{open}
    _opened: int = attrs.field(default=0, init=False)

    @property
    def _group(self) -> Group:
        group = self.stream.groups.get(self.name)
        if group is None:
            raise Refused("NOGROUP")
        return group

    def _seen(self) -> float:
        """Record that this consumer is active, and return the time."""
        now = self.stream.clock.seconds()
        self._group.consumers[self.consumer] = now
        return now

    def _lay_aside(self, id: str, reason: str, error: str, deliveries: int) -> None:
        self.stream.dead.append({"id": id, "reason": reason, "error": error, "deliveries": str(deliveries)})

    def _carry(
        self, name: str, apply: Callable[[], T], ready: Callable[[], Deferred[None]] | None = None
    ) -> Deferred[T]:
        def guarded() -> T:
            try:
                return apply()
            except Refused as refused:
                return refused  # type: ignore[return-value]

        if self._opened != self.link.connects:
            return fail(Unknown("there is a new connection"))
        return self.link.carry(name, guarded, ready)

    def open(self) -> Deferred[bool]:
        def apply() -> bool:
            missing = self.name not in self.stream.groups
            if missing:
                self.stream.groups[self.name] = Group()
            return missing

        def begin(_: None) -> Deferred[bool]:
            self._opened = self.link.connects
            return self._carry("open", apply)

        return self.link.when_ready().addCallback(begin)

    def read(self, count: int, block: float) -> Deferred[Sequence[Entry]]:
        def unread() -> list[int]:
            last = self._group.last
            newest_first = [*takewhile(lambda place: place > last, reversed(self.stream.entries))]
            return newest_first[::-1][:count]

        def apply() -> Sequence[Entry]:
            now, places = self._seen(), unread()
            for place in places:
                self._group.pending[place] = Pending(self.consumer, now)
                self._group.last = place
            return [Entry(f"{place}-0", self.stream.entries[place]) for place in places]

        def ready() -> Deferred[None]:
            if self.name not in self.stream.groups or unread() or block <= 0:
                return succeed(None)
            return self.stream.when_added().addTimeout(block, self.stream.clock, lambda *_: None)

        return self._carry("read", apply, ready)

    def read_pending(self, after: str, count: int, size: int = PAGE_BYTES) -> Deferred[Sequence[Entry]]:
        def apply() -> Sequence[Entry]:
            page: list[Entry] = []
            for place in self._own(after)[:count]:
                if sum(map(size_of, page)) >= size:
                    break
                page.append(self._again(place))
                if place in self.stream.entries:
                    self._group.pending[place].since = self.stream.clock.seconds()
            return page

        return self._carry("read_pending", apply)

    def list_pending(self, after: str, count: int) -> Deferred[Sequence[str]]:
        return self._carry("list_pending", lambda: [f"{place}-0" for place in self._own(after)[:count]])

    def _own(self, after: str) -> Sequence[int]:
        """Return the positions of this consumer's pending entries after an id."""
        pending = sorted(self._group.pending.items())
        return [place for place, row in pending if row.consumer == self.consumer and place > place_of(after)]

    def _again(self, place: int) -> Entry:
        deliveries = self._group.pending[place].deliveries
        return Entry(f"{place}-0", self.stream.entries.get(place), deliveries + 1, again=True)

    def claim(self, idle: float, cursor: str, count: int, size: int = PAGE_BYTES) -> Deferred[Claimed]:
        def apply() -> Claimed:
            now = self._seen()
            pending = self._group.pending
            claimed: list[Entry] = []
            gone: list[str] = []
            places = deque(place for place in sorted(pending) if place >= place_of(cursor))
            looks = 10 * count
            while places and looks and len(claimed) + len(gone) < count and sum(map(size_of, claimed)) < size:
                place, looks = places.popleft(), looks - 1
                if place not in self.stream.entries:
                    gone.append(f"{place}-0")
                    del pending[place]
                    self._lay_aside(f"{place}-0", "trimmed", "the entry was trimmed while it was pending", 0)
                elif now - pending[place].since >= idle:
                    pending[place].consumer, pending[place].since = self.consumer, now
                    claimed.append(self._again(place))
            return Claimed(f"{places[0]}-0" if places else "0-0", claimed, gone)

        return self._carry("claim", apply)

    def count_delivery(self, ids: Sequence[str], deliveries: int) -> Deferred[None]:
        def apply() -> None:
            others = self._update_pending(ids, self.stream.clock.seconds())
            for id in set(ids).difference(others):
                self._group.pending[place_of(id)].deliveries = deliveries

        return self._carry("count_delivery", apply)

    def renew(self, digests: Mapping[str, str]) -> Deferred[Sequence[str]]:
        def apply() -> Sequence[str]:
            entries = [Entry(id, self.stream.entries.get(place_of(id))) for id, digest in digests.items() if digest]
            changed = [entry.id for entry in entries if digest_of(entry) != digests[entry.id]]
            ids = [id for id in digests if id not in changed]
            return [*changed, *self._update_pending(ids, self.stream.clock.seconds())]

        return self._carry("renew", apply)

    def release(self, ids: Sequence[str]) -> Deferred[None]:
        return self._carry("release", lambda: self._update_pending(ids, float("-inf"))).addCallback(lambda _: None)

    def _update_pending(self, ids: Sequence[str], since: float) -> Sequence[str]:
        others = []
        for id in ids:
            pending = self._group.pending.get(place_of(id))
            if pending is not None and pending.consumer == self.consumer:
                pending.since = since
            else:
                others.append(id)
        return others

    def acknowledge(self, ids: Sequence[str]) -> Deferred[None]:
        def apply() -> None:
            for id in ids:
                self._group.pending.pop(place_of(id), None)

        return self._carry("acknowledge", apply)

    def set_aside(self, id: str, reason: str, error: str, deliveries: int) -> Deferred[bool]:
        def apply() -> bool:
            pending = self._group.pending.get(place_of(id))
            if pending is None or pending.consumer != self.consumer:
                return False
            del self._group.pending[place_of(id)]
            self._lay_aside(id, reason, error, deliveries)
            return True

        return self._carry("set_aside", apply)

    def interrupt(self) -> None:
        if self.link.connected:
            self.link.cut()

    def remove_stale(self, idle: float) -> Deferred[Sequence[str]]:
        def apply() -> Sequence[str]:
            group = self._group
            busy = {self.consumer, *(pending.consumer for pending in group.pending.values())}
            end = self.stream.clock.seconds() - idle
            stale = [name for name, seen in group.consumers.items() if seen <= end and name not in busy]
            for name in stale:
                del group.consumers[name]
            return stale

        return self._carry("remove_stale", apply)

    def trim(self, max_len: int) -> Deferred[int]:
        def apply() -> int:
            bound = min([min([group.last, *group.pending]) for group in self.stream.groups.values()], default=0)
            excess = min(len(self.stream.entries) - max_len, TRIM_STEP)
            gone = [place for place in self.stream.entries if place < bound][: max(0, excess)]
            for place in gone:
                del self.stream.entries[place]
            return len(gone)

        return self._carry("trim", apply)

    def memory(self) -> Deferred[Memory]:
        return self._carry("memory", lambda: self.stream.memory)

    def hold_name(self, token: str, lifetime: float) -> Deferred[float]:
        def apply() -> float:
            now, names = self.stream.clock.seconds(), self.stream.names
            owner, end = names.get((self.name, self.consumer), (token, 0.0))
            if owner != token and now < end:
                return end - now
            names[self.name, self.consumer] = token, now + lifetime
            return 0.0

        return self._carry("hold_name", apply)

    def leave(self, token: str) -> Deferred[bool]:
        def apply() -> bool:
            owner, end = self.stream.names.get((self.name, self.consumer), (token, 0.0))
            is_held = owner != token and self.stream.clock.seconds() < end
            if is_held or self._own(""):
                return False
            self._group.consumers.pop(self.consumer, None)
            self.stream.names.pop((self.name, self.consumer), None)
            return True

        return self._carry("leave", apply)

    def measure(self) -> Deferred[Measures]:
        def apply() -> Measures:
            places = self.stream.entries
            behind = [place for place in places if place > self._group.last]
            unread = [place for place in behind if MARKER_FIELD not in places[place]]
            return Measures(
                length=len(places),
                dead=len(self.stream.dead),
                unread=len(unread) if not unread or self._group.last < 0 else None,
                pending=len(self._group.pending),
                unread_age=self._age(unread),
                pending_age=self._age(self._group.pending),
            )

        return self._carry("measure", apply)

    def _age(self, places: Collection[int]) -> float:
        """Return the seconds since the oldest of these entries was added."""
        return max(0.001, self.stream.clock.seconds() - self.stream.times[min(places)]) if places else 0.0


def place_of(id: str) -> int:
    """Return the position in the stream of an id."""
    return int(id.partition("-")[0] or 0)


@attrs.frozen
class Past:
    """
    The state of a stream at one time, for L{return_to} it.

    @ivar state: what L{MemoryStream} holds, but for the watchers.
    """

    state: dict[str, Any]

    @classmethod
    def of(cls, stream: MemoryStream) -> Past:
        """Keep the present state."""
        return cls(deepcopy({name: getattr(stream, name) for name in _STATE}))

    def return_to(self, stream: MemoryStream) -> None:
        """Set a stream back, as a failover to a replica that lags does: ids are given out again."""
        for name, value in deepcopy(self.state).items():
            setattr(stream, name, value)


_STATE = ("entries", "times", "groups", "producer_ids", "keys", "dead", "_applied", "names", "_next")
