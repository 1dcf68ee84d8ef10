"""
Commands on pending entries: look at them, and take them over.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

from simulation.redis.data import Data
from simulation.redis.group import Group, Pending
from simulation.redis.group_commands import find_consumer, find_group
from simulation.redis.numbers import SYNTAX, read_id, read_integer, read_range, write_id
from simulation.redis.stream import Stream
from simulation.redis.values import Command, CommandError, Reply

#: XAUTOCLAIM looks at this many times as many entries as it may claim.
_ATTEMPTS: Final = 10
#: The greatest count of Redis 7.0.
_MOST: Final = ((1 << 63) - 1) // 16
_BAD_COUNT: Final = b"ERR COUNT must be > 0"


def xpending(data: Data, words: Command) -> Reply:
    """C{XPENDING}, both forms."""
    if len(words) == 3:
        _, group = find_group(data, words[1], words[2])
        return _summary(group)
    if not 6 <= len(words) <= 9:
        raise CommandError(SYNTAX)
    at, least = 3, 0
    if words[3].lower() == b"idle":
        least = read_integer(words[4])
        if len(words) < 8:
            raise CommandError(SYNTAX)
        at = 5
    count = max(0, read_integer(words[at + 2]))
    start, end = read_range(words[at], words[at + 1])
    consumer = words[at + 3] if len(words) > at + 3 else None
    _, group = find_group(data, words[1], words[2])
    found: list[Reply] = []
    for place in range(bisect_left(group.ids, start), len(group.ids)):
        id = group.ids[place]
        if len(found) >= count or id > end:
            break
        each = group.pending[id]
        idle = data.now - each.delivered
        if (consumer is None or each.consumer == consumer) and (not least or idle >= least):
            found.append([write_id(id), each.consumer, max(0, idle), each.deliveries])
    return found


def _summary(group: Group) -> Reply:
    if not group.ids:
        return [0, None, None, None]
    rows = [[name, b"%d" % each.pending] for name, each in sorted(group.consumers.items()) if each.pending]
    return [len(group.ids), write_id(group.ids[0]), write_id(group.ids[-1]), rows]


def xclaim(data: Data, words: Command) -> Reply:
    """C{XCLAIM}."""
    stream, group = find_group(data, words[1], words[2])
    least = max(0, read_integer(words[4], b"ERR Invalid min-idle-time argument for XCLAIM"))
    ids: list[int] = []
    for word in words[5:]:
        try:
            ids.append(read_id(word))
        except CommandError:
            break
    options = _read_claim(data, words, 5 + len(ids))
    is_short, forces, deliveries = b"justid" in options, b"force" in options, options.get(b"retrycount", -1)
    delivered = options[b"time"]
    if options.get(b"lastid", 0) > group.last_id:
        group.last_id = options[b"lastid"]
        data.changes += 1
    if data.version.creates_consumers:
        find_consumer(data, group, words[3])
    found: list[Reply] = []
    for id in ids:
        if id not in stream.entries and not data.version.is_old:
            data.changes += group.forget(id)
            continue
        old = group.pending.get(id)
        if old is None and not (forces and id in stream.entries):
            continue
        if old is not None and least and data.now - old.delivered < least:
            continue
        count = deliveries if deliveries >= 0 else (old.deliveries if old else 1) + (not is_short)
        _take(data, group, id, words[3], delivered, count)
        found.append(_show(stream, id, is_short))
    return found


def _take(data: Data, group: Group, id: int, consumer: bytes, delivered: int, deliveries: int) -> None:
    find_consumer(data, group, consumer)
    group.deliver(id, consumer, delivered, deliveries)
    group.consumers[consumer].active = data.now
    data.changes += 1


def _show(stream: Stream, id: int, is_short: bool) -> Reply:
    if is_short:
        return write_id(id)
    return [write_id(id), list(stream.entries[id])] if id in stream.entries else None


def _read_claim(data: Data, words: Command, at: int) -> dict[bytes, int]:
    """Return the options of XCLAIM, with the time of the delivery in milliseconds."""
    options: dict[bytes, int] = {}
    given = iter(words[at:])
    for word in given:
        option = word.lower()
        if option in (b"force", b"justid"):
            options[option] = 1
            continue
        if option not in (b"idle", b"time", b"retrycount", b"lastid") or (value := next(given, None)) is None:
            raise CommandError(b"ERR Unrecognized XCLAIM option '%s'" % word)
        if option == b"lastid":
            options[option] = read_id(value)
        else:
            name = b"RETRYCOUNT" if option == b"retrycount" else option.upper()
            number = read_integer(value, b"ERR Invalid %s option argument for XCLAIM" % name)
            options[b"time" if option == b"idle" else option] = data.now - number if option == b"idle" else number
    delivered = options.get(b"time", data.now)
    options[b"time"] = delivered if 0 <= delivered <= data.now else data.now
    return options


def xautoclaim(data: Data, words: Command) -> Reply:
    """C{XAUTOCLAIM}."""
    least = max(0, read_integer(words[4], b"ERR Invalid min-idle-time argument for XAUTOCLAIM"))
    start, _ = read_range(words[5], b"+")
    count, is_short, at = 100, False, 6
    while at < len(words):
        option = words[at].lower()
        if option == b"count" and at + 1 < len(words):
            count = read_integer(words[at + 1], _BAD_COUNT)
            if count < 1 or (count > _MOST and not data.version.is_old):
                raise CommandError(_BAD_COUNT)
            at += 2
        elif option == b"justid":
            is_short = True
            at += 1
        else:
            raise CommandError(SYNTAX)
    stream, group = find_group(data, words[1], words[2])
    if data.version.creates_consumers:
        find_consumer(data, group, words[3])
    found: list[Reply] = []
    gone: list[bytes] = []
    waiting = group.ids[bisect_left(group.ids, start) :]
    place = 0
    while place < len(waiting) and place < count * _ATTEMPTS and len(found) + len(gone) < count:
        id = waiting[place]
        place += 1
        old: Pending = group.pending[id]
        if id not in stream.entries and not data.version.is_old:
            group.forget(id)
            data.changes += 1
            gone.append(write_id(id))
        elif not least or data.now - old.delivered >= least:
            _take(data, group, id, words[3], data.now, old.deliveries + (not is_short))
            found.append(_show(stream, id, is_short))
    cursor = write_id(waiting[place] if place < len(waiting) else 0)
    return [cursor, found] if data.version.is_old else [cursor, found, gone]
