"""
Commands on the entries of a stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from simulation.redis.data import Data
from simulation.redis.numbers import HALF, LAST_ID, SYNTAX, read_id, read_integer, read_range, write_id
from simulation.redis.stream import Stream
from simulation.redis.trimming import Trimming, read_trimming
from simulation.redis.values import Command, CommandError, Reply

_EXHAUSTED: Final = b"ERR The stream has exhausted the last possible ID, unable to add more items"
#: XADD without options.
_PLAIN: Final = Trimming()


def rows(stream: Stream, ids: Sequence[int]) -> Reply:
    """Return entries as replies show them."""
    return [[write_id(id), list(fields)] for id, fields in stream.rows(ids)]


def xadd(data: Data, words: Command) -> Reply:
    """C{XADD}."""
    trimming = _PLAIN if words[2] == b"*" else read_trimming(words, is_trimming=False)
    at = trimming.end
    wish = words[at] if at < len(words) else b"*"
    wanted, is_open = (-1, False) if wish == b"*" else _read_wish(data, wish)
    fields = tuple(words[at + 1 :])
    if trimming is not _PLAIN:
        trimming.check(is_trimming=False)
    if len(fields) < 2 or len(fields) % 2:
        name = b"XADD" if data.version.is_old else b"'xadd' command"
        raise CommandError(b"ERR wrong number of arguments for " + name)
    if wanted == 0 and not is_open:
        raise CommandError(b"ERR The ID specified in XADD must be greater than 0-0")
    stream = data.look_up(words[1], Stream)
    if stream is None:
        if not trimming.makes:
            return None
        stream = data.values[words[1]] = Stream()
    last = stream.last_id
    if last == LAST_ID:
        raise CommandError(_EXHAUSTED)
    id = stream.next_id(data.now) if wanted < 0 else _next_within(last, wanted) if is_open else wanted
    if id <= last:
        raise CommandError(b"ERR The ID specified in XADD is equal or smaller than the target stream top item")
    stream.add(id, fields)
    data.changes += 1
    if trimming is not _PLAIN:
        trimming.apply(stream)
    return write_id(id)


def _read_wish(data: Data, wish: bytes) -> tuple[int, bool]:
    """Return the id of a new entry, and whether it has milliseconds alone: C{5-*}, from Redis 7.0 on."""
    is_open = wish.endswith(b"-*") and not data.version.is_old
    return read_id(wish[:-2] if is_open else wish), is_open


def _next_within(last: int, wanted: int) -> int:
    """Return the next id with the milliseconds of an id; 0 if there is none left."""
    if last >> 64 != wanted >> 64:
        return wanted or 1
    return last + 1 if last & HALF != HALF else 0


def xtrim(data: Data, words: Command) -> Reply:
    """C{XTRIM}."""
    trimming = read_trimming(words, is_trimming=True)
    trimming.check(is_trimming=True)
    stream = data.look_up(words[1], Stream)
    if stream is None:
        return 0
    removed = trimming.apply(stream)
    data.changes += removed
    return removed


def xlen(data: Data, words: Command) -> Reply:
    """C{XLEN}."""
    stream = data.look_up(words[1], Stream)
    return 0 if stream is None else len(stream.ids)


def xrange(data: Data, words: Command) -> Reply:
    """C{XRANGE}."""
    return _range(data, words, words[2], words[3], 1)


def xrevrange(data: Data, words: Command) -> Reply:
    """C{XREVRANGE}."""
    return _range(data, words, words[3], words[2], -1)


def _range(data: Data, words: Command, first: bytes, last: bytes, step: int) -> Reply:
    start, end = read_range(first, last)
    count = -1
    for at in range(4, len(words), 2):
        if words[at].lower() != b"count" or at + 1 == len(words):
            raise CommandError(SYNTAX)
        count = max(0, read_integer(words[at + 1]))
    stream = data.look_up(words[1], Stream)
    if stream is None:
        return []
    if count == 0:
        return None
    return rows(stream, stream.within(start, end, step, count))


def xdel(data: Data, words: Command) -> Reply:
    """C{XDEL}."""
    stream = data.look_up(words[1], Stream)
    if stream is None:
        return 0
    ids = [read_id(word) for word in words[2:]]
    count = 0
    for id in ids:
        if stream.delete(id):
            count += 1
            stream.max_deleted = max(stream.max_deleted, id)
    data.changes += count
    return count
