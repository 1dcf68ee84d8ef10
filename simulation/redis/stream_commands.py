"""
Commands on the entries of a stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

from simulation.redis.data import Data
from simulation.redis.numbers import HALF, LAST_ID, SYNTAX, read_id, read_integer, read_range, write_id
from simulation.redis.stream import Stream
from simulation.redis.values import Command, CommandError, Reply

_EXHAUSTED: Final = b"ERR The stream has exhausted the last possible ID, unable to add more items"
#: The most that one trimming with C{~} removes without C{LIMIT}.
_LIMIT: Final = 10_000


@attrs.frozen
class Trimming:
    """How a command trims; as the arguments of L{Stream.trim}."""

    length: int | None
    least: int
    is_approximate: bool
    limit: int


def rows(stream: Stream, ids: Sequence[int]) -> Reply:
    """Return entries as replies show them."""
    return [[write_id(id), list(fields)] for id, fields in stream.rows(ids)]


def _read_trimming(words: Command, at: int, only_trims: bool) -> tuple[Trimming | None, bool, int]:
    """
    Read options from a place on.

    Returns how to trim, whether a missing stream is made, and the place after the options.
    """
    found: tuple[bytes, int] | None = None
    is_approximate, limit, makes = False, None, True
    while at < len(words):
        option, is_last = words[at].lower(), at + 1 == len(words)
        if words[at] == b"*" and not only_trims:
            break
        if option in (b"maxlen", b"minid") and not is_last:
            if found:
                raise CommandError(b"ERR syntax error, MAXLEN and MINID options at the same time are not compatible")
            is_approximate = False
            if at + 2 < len(words) and words[at + 1] in (b"~", b"="):
                is_approximate = words[at + 1] == b"~"
                at += 1
            if option == b"maxlen":
                value = read_integer(words[at + 1])
                if value < 0:
                    raise CommandError(b"ERR The MAXLEN argument must be >= 0.")
            else:
                value = read_id(words[at + 1])
            found = option, value
            at += 2
        elif option == b"limit" and not is_last:
            limit = read_integer(words[at + 1])
            if limit < 0:
                raise CommandError(b"ERR The LIMIT argument must be >= 0.")
            at += 2
        elif option == b"nomkstream" and not only_trims:
            makes = False
            at += 1
        elif only_trims:
            raise CommandError(SYNTAX)
        else:
            break
    if limit is not None and found is None:
        raise CommandError(b"ERR syntax error, LIMIT cannot be used without specifying a trimming strategy")
    if only_trims and found is None:
        raise CommandError(b"ERR syntax error, XTRIM must be called with a trimming strategy")
    if limit is not None and not is_approximate:
        raise CommandError(b"ERR syntax error, LIMIT cannot be used without the special ~ option")
    if found is None:
        return None, makes, at
    if limit is None:
        limit = _LIMIT if is_approximate else 0
    is_length = found[0] == b"maxlen"
    return Trimming(found[1] if is_length else None, found[1], is_approximate, limit), makes, at


def xadd(data: Data, words: Command) -> Reply:
    """C{XADD}."""
    trimming, makes, at = (None, True, 2) if words[2] == b"*" else _read_trimming(words, 2, only_trims=False)
    wish = words[at] if at < len(words) else b""
    wanted, sequence_only = -1, False
    if wish != b"*":
        sequence_only = wish.endswith(b"-*") and not data.version.is_old
        wanted = read_id(wish[:-2] if sequence_only else wish)
    fields = tuple(words[at + 1 :])
    if len(fields) < 2 or len(fields) % 2:
        raise CommandError(b"ERR wrong number of arguments for 'xadd' command")
    if wanted == 0 and not sequence_only:
        raise CommandError(b"ERR The ID specified in XADD must be greater than 0-0")
    stream = data.look_up(words[1], Stream)
    if stream is None:
        if not makes:
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
    if trimming is not None:
        stream.trim(trimming.length, trimming.least, trimming.is_approximate, trimming.limit)
    return write_id(id)


def xtrim(data: Data, words: Command) -> Reply:
    """C{XTRIM}."""
    stream = data.look_up(words[1], Stream)
    if stream is None:
        return 0
    trimming, _, _ = _read_trimming(words, 2, only_trims=True)
    assert trimming is not None
    removed = stream.trim(trimming.length, trimming.least, trimming.is_approximate, trimming.limit)
    data.changes += removed
    return removed


def xlen(data: Data, words: Command) -> Reply:
    """C{XLEN}."""
    if data.version.is_old and isinstance(data.values.get(words[1]), bytes | dict):
        return 0
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
