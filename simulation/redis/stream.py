"""
A stream: entries in the order of their ids, in nodes as Redis keeps them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from simulation.redis.group import Group
from simulation.redis.listpack import size_of_entry, size_of_master
from simulation.redis.numbers import HALF

#: C{stream-node-max-bytes} and C{stream-node-max-entries}: the defaults.
_NODE_BYTES: Final = 4096
_NODE_ENTRIES: Final = 100


@attrs.define(eq=False)
class Node:
    """
    Some entries that are kept, and trimmed, as one.

    @ivar first: the id of its first entry, as C{last}; both may have been deleted.
    """

    first: int
    last: int
    names: Sequence[bytes]
    size: int
    live: int = 0
    deleted: int = 0


@attrs.define(eq=False)
class Stream:
    """
    A stream and its groups.

    @ivar ids: those of all entries, in order.
    @ivar entries: names and values of each, in turn.
    @ivar last_id: the greatest id that was ever added, or set.
    @ivar added: how many entries were ever added.
    """

    ids: list[int] = attrs.field(factory=list)
    entries: dict[int, tuple[bytes, ...]] = attrs.field(factory=dict)
    nodes: list[Node] = attrs.field(factory=list)
    groups: dict[bytes, Group] = attrs.field(factory=dict)
    last_id: int = 0
    max_deleted: int = 0
    added: int = 0
    size: int = 0

    def copy(self) -> Stream:
        """Return the same stream, independent of this one."""
        return Stream(
            self.ids.copy(),
            self.entries.copy(),
            [attrs.evolve(node) for node in self.nodes],
            {name: group.copy() for name, group in self.groups.items()},
            self.last_id,
            self.max_deleted,
            self.added,
            self.size,
        )

    @property
    def first_id(self) -> int:
        """The id of the first entry; 0 if there is none."""
        return self.ids[0] if self.ids else 0

    def next_id(self, now: int) -> int:
        """Return the id that C{*} stands for; 0 if there is none left."""
        last = self.last_id
        if now > last >> 64:
            return now << 64
        return (last + 1) & ((1 << 128) - 1)

    def add(self, id: int, fields: tuple[bytes, ...]) -> None:
        """Add an entry with an id greater than all others."""
        nodes = self.nodes
        node = nodes[-1] if nodes else None
        names = fields[::2]
        if (
            node is None
            or node.size + sum(map(len, fields)) >= _NODE_BYTES
            or node.live + node.deleted >= _NODE_ENTRIES
        ):
            node = Node(id, id, names, size_of_master(names))
            nodes.append(node)
            self.size += node.size
        first = node.first
        size = size_of_entry(fields, names == node.names, (id >> 64) - (first >> 64), (id & HALF) - (first & HALF))
        node.size += size
        self.size += size
        node.live += 1
        node.last = id
        self.ids.append(id)
        self.entries[id] = fields
        self.last_id = id
        self.added += 1

    def within(self, first: int, last: int, step: int = 1, count: int = -1) -> Sequence[int]:
        """
        Return the ids of the entries from one id to another, both included.

        @param step: 1: the oldest first; -1: the newest first.
        @param count: the most to return; -1: all.
        """
        ids = self.ids
        begin, end = bisect_left(ids, first), bisect_right(ids, last)
        if count < 0 or end - begin <= count:
            return ids[begin:end][::step]
        return ids[begin : begin + count] if step > 0 else ids[end - count : end][::-1]

    def after(self, id: int, count: int) -> Sequence[int]:
        """Return the first ids greater than one; all of them if the count is 0."""
        ids = self.ids
        begin = bisect_right(ids, id)
        return ids[begin : begin + count] if count else ids[begin:]

    def delete(self, id: int) -> bool:
        """Remove one entry; return whether it was there."""
        if id not in self.entries:
            return False
        del self.entries[id]
        del self.ids[bisect_left(self.ids, id)]
        place = bisect_right(self.nodes, id, key=lambda node: node.first) - 1
        node = self.nodes[place]
        node.live -= 1
        node.deleted += 1
        if not node.live:
            self._drop(place)
        return True

    def _drop(self, place: int) -> None:
        self.size -= self.nodes[place].size
        del self.nodes[place]

    def trim(self, length: int | None, least: int, is_approximate: bool, limit: int) -> int:
        """
        Remove entries from the front, and return how many.

        @param length: how many to keep; C{None}: those with ids from C{least} on.
        @param is_approximate: remove whole nodes alone.
        @param limit: the most to remove; 0: any number.
        """
        removed = 0
        while self.nodes and (length is None or len(self.ids) > length):
            node = self.nodes[0]
            if limit and removed + node.live > limit:
                break
            if len(self.ids) - node.live >= length if length is not None else node.last < least:
                self._forget(node.live)
                removed += node.live
                self._drop(0)
                continue
            if is_approximate:
                break
            some = bisect_left(self.ids, least) if length is None else len(self.ids) - length
            self._forget(some)
            node.live -= some
            node.deleted += some
            removed += some
            break
        return removed

    def _forget(self, count: int) -> None:
        for id in self.ids[:count]:
            del self.entries[id]
        del self.ids[:count]

    def has_tombstones(self, after: int, is_careful: bool) -> bool:
        """
        Return whether an entry after an id may have been deleted.

        @param is_careful: also if it was before the first entry.
        """
        if not self.ids or self.max_deleted < after:
            return False
        return self.max_deleted >= (1 if is_careful else self.first_id)

    def is_counted(self, group: Group, id: int, is_careful: bool) -> bool:
        """
        Return whether the count of what a group has read holds from an id on.

        @param is_careful: not if the group has not come to the first entry yet.
        """
        if group.read is None or (is_careful and group.last_id < self.first_id):
            return False
        return not self.has_tombstones(group.last_id if is_careful else id, is_careful)

    def estimate_read(self, id: int, is_careful: bool) -> int | None:
        """
        Return how many entries were ever added up to an id; C{None} if that is not known.

        @param is_careful: it is not known either if a later entry was deleted.
        """
        if not self.added:
            return 0
        if (not self.ids and id <= self.last_id) or id == self.last_id:
            return self.added
        if id > self.last_id or (is_careful and 0 < id < self.max_deleted):
            return None
        if self.max_deleted == 0 or self.max_deleted < self.first_id:
            if id < self.first_id:
                return self.added - len(self.ids)
            if id == self.first_id:
                return self.added - len(self.ids) + 1
        return None

    def rows(self, ids: Sequence[int]) -> Iterator[tuple[int, tuple[bytes, ...]]]:
        """Yield entries by their ids."""
        entries = self.entries
        for id in ids:
            yield id, entries[id]
