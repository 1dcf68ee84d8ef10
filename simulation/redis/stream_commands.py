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
    wanted, sequence_only = -1, False
    if wish != b"*":
        sequence_only = wish.endswith(b"-*") and not data.version.is_old
        wanted = read_id(wish[:-2] if sequence_only else wish)
    trimming.check(is_trimming=False)
    fields = tuple(words[at + 1 :])
    if len(fields) < 2 or len(fields) % 2:
        raise CommandError(
            b"ERR wrong number of arguments for " + (b"XADD" if data.version.is_old else b"'xadd' command")
        )
    if wanted == 0 and not sequence_only:
        raise CommandError(b"ERR The ID specified in XADD must be greater than 0-0")
    stream = data.look_up(words[1], Stream)
    if stream is None:
        if not trimming.makes:
            return None
        stream = data.values[words[1]] = Stream()
    if stream.last_id == LAST_ID:
        raise CommandError(_EXHAUSTED)
    id = stream.next_id(data.now) if wanted < 0 else wanted
    if sequence_only and stream.last_id >> 64 == id >> 64:
        id = stream.last_id + 1 if stream.last_id & HALF != HALF else 0
    elif sequence_only and id == 0:
        id = 1
    if id <= stream.last_id:
        raise CommandError(b"ERR The ID specified in XADD is equal or smaller than the target stream top item")
    stream.add(id, fields)
    data.changes += 1
    if trimming is not _PLAIN:
        trimming.apply(stream)
    return write_id(id)


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
