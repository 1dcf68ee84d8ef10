"""
Reading a stream, as a consumer of a group and without one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import attrs

from simulation.redis.data import Data
from simulation.redis.group import Group
from simulation.redis.group_commands import find_consumer
from simulation.redis.numbers import LAST_ID, SYNTAX, read_id, read_integer, write_id
from simulation.redis.stream import Stream
from simulation.redis.stream_commands import rows
from simulation.redis.values import Command, CommandError, Reply, Version

_ONLY_READS: Final = (
    b"ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option."
)
_NO_LAST: Final = (
    b"ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by "
    b"specifying a proper ID, or use the > ID to get new messages. The $ ID would just return an empty result set."
)


@attrs.frozen
class Reading:
    """
    What XREAD and XREADGROUP ask for.

    @ivar block: the most milliseconds to wait, 0: without end; C{None}: not at all.
    @ivar streams: keys, and after which id to read.
    """

    streams: Sequence[tuple[bytes, bytes]]
    count: int = 0
    block: int | None = None
    group: bytes | None = None
    consumer: bytes = b""
    is_acknowledged: bool = False


def read_reading(data: Data, words: Command) -> Reading:
    """Return what XREAD or XREADGROUP asks for."""
    return _read(data.version, tuple(words))


@lru_cache
def _read(version: Version, words: Command) -> Reading:
    name = words[0].lower()
    is_group = name == b"xreadgroup"
    streams: Sequence[tuple[bytes, bytes]] = ()
    count, block, group, consumer, is_acknowledged = 0, None, None, b"", False
    at = 1
    while at < len(words):
        option, left = words[at].lower(), len(words) - at - 1
        if option == b"block" and left:
            block = _read_timeout(words[at + 1])
            at += 2
        elif option == b"count" and left:
            count = max(0, read_integer(words[at + 1]))
            at += 2
        elif option == b"streams" and left:
            keys = words[at + 1 :]
            if len(keys) % 2:
                raise CommandError(_unbalanced(version, name))
            half = len(keys) // 2
            streams = list(zip(keys[:half], keys[half:]))
            break
        elif option == b"group" and left >= 2:
            if not is_group:
                raise CommandError(b"ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.")
            group, consumer = words[at + 1], words[at + 2]
            at += 3
        elif option == b"noack":
            if not is_group:
                raise CommandError(b"ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.")
            is_acknowledged = True
            at += 1
        else:
            raise CommandError(SYNTAX)
    if not streams:
        raise CommandError(SYNTAX)
    if is_group and group is None:
        raise CommandError(b"ERR Missing GROUP option for XREADGROUP")
    return Reading(streams, count, block, group, consumer, is_acknowledged)


def _unbalanced(version: Version, name: bytes) -> bytes:
    if version is Version.VALKEY_9_1:
        id = b">" if name == b"xreadgroup" else b"$"
        return b"ERR Unbalanced '%s' list of streams: for each stream key an ID or '%s' must be specified." % (name, id)
    return b"ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified."


def _read_timeout(word: bytes) -> int:
    value = read_integer(word, b"ERR timeout is not an integer or out of range")
    if value < 0:
        raise CommandError(b"ERR timeout is negative")
    return value


def xread(data: Data, words: Command) -> Reply:
    """C{XREAD}, without waiting: C{None} if there is nothing."""
    reading = read_reading(data, words)
    asked = []
    for key, after in reading.streams:
        stream = data.look_up(key, Stream)
        if after == b">":
            raise CommandError(_ONLY_READS)
        asked.append((key, stream, _read_begin(data, stream, after)))
    reply = []
    for key, stream, id in asked:
        if stream is not None and (ids := stream.after(id, reading.count)):
            reply.append([key, rows(stream, ids)])
    return reply or None


def _read_begin(data: Data, stream: Stream | None, after: bytes) -> int:
    """Return after which id to read: C{$} is the last one ever, C{+} of Valkey the one before the last entry."""
    if after == b"+" and data.version is Version.VALKEY_9_1:
        return stream.ids[-1] - 1 if stream is not None and stream.ids else LAST_ID
    if after == b"$":
        return LAST_ID if stream is None else stream.last_id
    return read_id(after)


def xreadgroup(data: Data, words: Command) -> Reply:
    """C{XREADGROUP}, without waiting: C{None} if there is nothing."""
    reading = read_reading(data, words)
    assert reading.group is not None
    asked = []
    for key, after in reading.streams:
        stream = data.look_up(key, Stream)
        group = None if stream is None else stream.groups.get(reading.group)
        if stream is None or group is None:
            text = b"NOGROUP No such key '%s' or consumer group '%s' in XREADGROUP with GROUP option"
            raise CommandError(text % (key, reading.group))
        if after == b"$" or (after == b"+" and data.version is Version.VALKEY_9_1):
            raise CommandError(_NO_LAST.replace(b"$", after))
        asked.append((key, stream, group, LAST_ID if after == b">" else read_id(after)))
    reply = []
    for key, stream, group, begin in asked:
        if data.version.creates_consumers:
            data.changes += reading.is_acknowledged and reading.consumer not in group.consumers
            find_consumer(data, group, reading.consumer)
        if begin != LAST_ID:
            find_consumer(data, group, reading.consumer)
            reply.append([key, _read_history(data, stream, group, reading, begin)])
        elif stream.ids and stream.ids[-1] > group.last_id:
            find_consumer(data, group, reading.consumer)
            reply.append([key, _read_new(data, stream, group, reading)])
    return reply or None


def _read_new(data: Data, stream: Stream, group: Group, reading: Reading) -> Reply:
    ids = stream.after(group.last_id, reading.count)
    is_careful = data.version is Version.VALKEY_9_1
    for id in ids:
        if group.read is not None and stream.is_counted(group, id, is_careful):
            group.read += 1
        elif stream.added:
            group.read = stream.estimate_read(id, is_careful)
        group.last_id = id
        if not reading.is_acknowledged:
            group.deliver(id, reading.consumer, data.now, 1)
    if not reading.is_acknowledged:
        group.consumers[reading.consumer].active = data.now
    data.changes += len(ids)
    return rows(stream, ids)


def _read_history(data: Data, stream: Stream, group: Group, reading: Reading, begin: int) -> Reply:
    """Deliver pending entries again; replicas are not told of that."""
    found: list[Reply] = []
    for id in [id for id in group.ids if id > begin and group.pending[id].consumer == reading.consumer]:
        if reading.count and len(found) == reading.count:
            break
        if id in stream.entries:
            deliveries = group.pending[id].deliveries + 1
            group.deliver(id, reading.consumer, data.now, deliveries)
            found.append([write_id(id), list(stream.entries[id])])
        else:
            found.append([write_id(id), None])
    return found
