"""
A group's consumer on the stream in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import attrs
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from eventsvc.delivery import Entry
from eventsvc.interfaces import Claimed, IEventGroup, Measures, Refused
from eventsvc.testing.link import Link
from eventsvc.testing.log import Group, MemoryStream, Pending

T = TypeVar("T")


@implementer(IEventGroup)
@attrs.frozen(eq=False)
class MemoryEventGroup:
    """Reads a L{MemoryStream} as one consumer of a group."""

    stream: MemoryStream
    link: Link
    name: str = "group"
    consumer: str = "consumer"

    @property
    def _group(self) -> Group:
        group = self.stream.groups.get(self.name)
        if group is None:
            raise Refused("NOGROUP")
        return group

    def _carry(
        self, name: str, apply: Callable[[], T], ready: Callable[[], Deferred[None]] | None = None
    ) -> Deferred[T]:
        def guarded() -> T:
            try:
                return apply()
            except Refused as refused:
                return refused  # type: ignore[return-value]

        return self.link.carry(name, guarded, ready)

    def open(self) -> Deferred[bool]:
        def apply() -> bool:
            missing = self.name not in self.stream.groups
            if missing:
                self.stream.groups[self.name] = Group()
            return missing

        return self.link.when_ready().addCallback(lambda _: self._carry("open", apply))

    def read(self, count: int, block: float) -> Deferred[Sequence[Entry]]:
        def unread() -> list[int]:
            return [place for place in self.stream.entries if place > self._group.last][:count]

        def apply() -> Sequence[Entry]:
            places = unread()
            for place in places:
                self._group.pending[place] = Pending(self.consumer, self.stream.clock.seconds())
                self._group.last = place
            return [Entry(f"{place}-0", self.stream.entries[place]) for place in places]

        def ready() -> Deferred[None]:
            if self.name not in self.stream.groups or unread() or block <= 0:
                return succeed(None)
            return self.stream.when_added().addTimeout(block, self.stream.clock, lambda *_: None)

        return self._carry("read", apply, ready)

    def read_pending(self, after: str, count: int) -> Deferred[Sequence[Entry]]:
        def apply() -> Sequence[Entry]:
            mine = [
                place
                for place, pending in sorted(self._group.pending.items())
                if pending.consumer == self.consumer and place > _place(after)
            ]
            return [self._again(place) for place in mine[:count]]

        return self._carry("read_pending", apply)

    def _again(self, place: int) -> Entry:
        deliveries = self._group.pending[place].deliveries
        return Entry(f"{place}-0", self.stream.entries.get(place), deliveries + 1, again=True)

    def claim(self, idle: float, cursor: str, count: int) -> Deferred[Claimed]:
        def apply() -> Claimed:
            now = self.stream.clock.seconds()
            stale = [place for place, pending in self._group.pending.items() if now - pending.since >= idle]
            stale = sorted(place for place in stale if place >= _place(cursor))
            for place in stale[:count]:
                pending = self._group.pending[place]
                pending.consumer, pending.since = self.consumer, now
            following = f"{stale[count]}-0" if len(stale) > count else "0-0"
            there = [place for place in stale[:count] if place in self.stream.entries]
            gone = [place for place in stale[:count] if place not in self.stream.entries]
            for place in gone:
                del self._group.pending[place]
                self.stream.dead.append({"id": f"{place}-0", "reason": "trimmed"})
            return Claimed(following, [self._again(place) for place in there], [f"{place}-0" for place in gone])

        return self._carry("claim", apply)

    def count_delivery(self, id: str, deliveries: int) -> Deferred[None]:
        def apply() -> None:
            if _place(id) in self._group.pending:
                self._group.pending[_place(id)] = Pending(self.consumer, self.stream.clock.seconds(), deliveries)

        return self._carry("count_delivery", apply)

    def renew(self, ids: Sequence[str]) -> Deferred[Sequence[str]]:
        return self._carry("renew", lambda: self._touch(ids, self.stream.clock.seconds()))

    def release(self, ids: Sequence[str]) -> Deferred[None]:
        return self._carry("release", lambda: self._touch(ids, float("-inf"))).addCallback(lambda _: None)

    def _touch(self, ids: Sequence[str], since: float) -> Sequence[str]:
        others = []
        for id in ids:
            pending = self._group.pending.get(_place(id))
            if pending is not None and pending.consumer == self.consumer:
                pending.since = since
            else:
                others.append(id)
        return others

    def acknowledge(self, ids: Sequence[str]) -> Deferred[None]:
        def apply() -> None:
            for id in ids:
                self._group.pending.pop(_place(id), None)

        return self._carry("acknowledge", apply)

    def set_aside(self, id: str, reason: str, error: str, deliveries: int) -> Deferred[bool]:
        def apply() -> bool:
            if self._group.pending.pop(_place(id), None) is None:
                return False
            self.stream.dead.append({"id": id, "reason": reason, "error": error, "deliveries": str(deliveries)})
            return True

        return self._carry("set_aside", apply)

    def interrupt(self) -> None:
        if self.link.connected:
            self.link.cut()

    def remove_stale(self, idle: float) -> Deferred[Sequence[str]]:
        return self._carry("remove_stale", lambda: ())

    def trim(self, max_len: int) -> Deferred[int]:
        def apply() -> int:
            bounds = [min([group.last, *group.pending]) for group in self.stream.groups.values()]
            excess = len(self.stream.entries) - max_len
            gone = [place for place in self.stream.entries if bounds and place < min(bounds)][: max(0, excess)]
            for place in gone:
                del self.stream.entries[place]
            return len(gone)

        return self._carry("trim", apply)

    def measure(self) -> Deferred[Measures]:
        def apply() -> Measures:
            return Measures(
                length=len(self.stream.entries),
                dead=len(self.stream.dead),
                pending=len(self._group.pending),
                unread_age=0.0,
                pending_age=0.0,
            )

        return self._carry("measure", apply)


def _place(id: str) -> int:
    return int(id.partition("-")[0] or 0)
