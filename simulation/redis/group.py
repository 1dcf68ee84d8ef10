"""
A consumer group: what was delivered, to whom, and is not yet acknowledged.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import NamedTuple

import attrs


class Pending(NamedTuple):
    """An entry that was delivered; times are milliseconds."""

    consumer: bytes
    delivered: int
    deliveries: int


@attrs.define(eq=False)
class Consumer:
    """
    A consumer of a group.

    @ivar seen: when it last asked, as C{active}: when it last got or claimed an entry; -1 for never.
    """

    seen: int
    active: int = -1
    pending: int = 0


@attrs.define(eq=False)
class Group:
    """
    A consumer group.

    @ivar read: how many entries of all that were ever added it has passed; C{None} if that is not known.
    @ivar ids: those of pending entries, in order.
    """

    last_id: int
    read: int | None = None
    ids: list[int] = attrs.field(factory=list)
    pending: dict[int, Pending] = attrs.field(factory=dict)
    consumers: dict[bytes, Consumer] = attrs.field(factory=dict)

    def copy(self) -> Group:
        """Return the same group, independent of this one."""
        return Group(
            self.last_id,
            self.read,
            self.ids.copy(),
            self.pending.copy(),
            {name: Consumer(each.seen, each.active, each.pending) for name, each in self.consumers.items()},
        )

    def deliver(self, id: int, consumer: bytes, now: int, deliveries: int) -> None:
        """Make an entry pending with a consumer, which exists."""
        old = self.pending.get(id)
        if old is None:
            if not self.ids or id > self.ids[-1]:
                self.ids.append(id)
            else:
                insort(self.ids, id)
        else:
            self.consumers[old.consumer].pending -= 1
        self.pending[id] = Pending(consumer, now, deliveries)
        self.consumers[consumer].pending += 1

    def forget(self, id: int) -> bool:
        """Acknowledge an entry; return whether it was pending."""
        old = self.pending.pop(id, None)
        if old is None:
            return False
        self.consumers[old.consumer].pending -= 1
        del self.ids[bisect_left(self.ids, id)]
        return True

    def remove(self, name: bytes) -> int:
        """Remove a consumer, and return how many pending entries are forgotten with it."""
        if name not in self.consumers:
            return 0
        lost = [id for id in self.ids if self.pending[id].consumer == name]
        for id in lost:
            self.forget(id)
        del self.consumers[name]
        return len(lost)
