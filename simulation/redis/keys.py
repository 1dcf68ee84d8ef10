"""
Commands on keys of any kind, strings, and the clock.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from simulation.redis.data import Data
from simulation.redis.numbers import SYNTAX, read_integer
from simulation.redis.stream import Stream
from simulation.redis.values import OK, Command, CommandError, Reply, Status

_UNITS: Final = {b"ex": 1000, b"px": 1, b"exat": 1000, b"pxat": 1}


def get(data: Data, words: Command) -> Reply:
    """C{GET}."""
    return data.look_up(words[1], bytes)


def set_(data: Data, words: Command) -> Reply:
    """C{SET}, with C{NX}, C{XX}, C{GET}, C{KEEPTTL} and the four ways to say when it expires."""
    key = words[1]
    flags, until = _read_set(data, words) if len(words) > 3 else (frozenset(), None)
    before = data.look_up(key, bytes) if b"get" in flags else None
    is_there = data.has(key)
    if (b"nx" in flags and is_there) or (b"xx" in flags and not is_there):
        return before
    data.values[key] = words[2]
    if until is not None:
        data.expiry[key] = until
    elif b"keepttl" not in flags:
        data.expiry.pop(key, None)
    data.changes += 1
    return before if b"get" in flags else OK


def _read_set(data: Data, words: Command) -> tuple[Collection[bytes], int | None]:
    """Return the flags among the options of SET, and when the key expires, in milliseconds of the wall clock."""
    flags: set[bytes] = set()
    unit, given = b"", None
    options = iter(words[3:])
    for word in options:
        option = word.lower()
        if option in (b"nx", b"xx", b"get"):
            flags.add(option)
        elif option == b"keepttl" and not unit:
            unit = option
            flags.add(option)
        elif option in _UNITS and not unit and (given := next(options, None)) is not None:
            unit = option
        else:
            raise CommandError(SYNTAX)
    if {b"nx", b"xx"} <= flags or ({b"nx", b"get"} <= flags and data.version.is_old):
        raise CommandError(SYNTAX)
    return flags, None if given is None else _read_expiry(data, given, unit)


def _read_expiry(data: Data, text: bytes, unit: bytes) -> int:
    """Return when a key expires, in milliseconds of the wall clock."""
    value = read_integer(text)
    begin = 0 if unit.endswith(b"at") else data.now
    until = value * _UNITS[unit] + begin
    if value <= 0 or until >= 1 << 63:
        raise CommandError(b"ERR invalid expire time in " + (b"set" if data.version.is_old else b"'set' command"))
    return until


def delete(data: Data, words: Command) -> Reply:
    """C{DEL} and C{UNLINK}."""
    count = sum(data.has(key) and data.drop(key) for key in words[1:])
    data.changes += count
    return count


def exists(data: Data, words: Command) -> Reply:
    """C{EXISTS}."""
    return sum(data.has(key) for key in words[1:])


def expire(data: Data, words: Command) -> Reply:
    """C{EXPIRE}."""
    return _expire(data, words, 1000)


def pexpire(data: Data, words: Command) -> Reply:
    """C{PEXPIRE}."""
    return _expire(data, words, 1)


def _expire(data: Data, words: Command, unit: int) -> Reply:
    if len(words) > 3:
        raise CommandError(b"ERR Unsupported option " + words[3])
    key, value = words[1], read_integer(words[2])
    until = value * unit + data.now
    if not -(1 << 63) <= until < 1 << 63 or not -(1 << 63) <= value * unit < 1 << 63:
        name = words[0].lower()
        raise CommandError(b"ERR invalid expire time in " + (name if data.version.is_old else b"'%s' command" % name))
    if not data.has(key):
        return 0
    if until <= data.now:
        data.drop(key)
    else:
        data.expiry[key] = until
    data.changes += 1
    return 1


def persist(data: Data, words: Command) -> Reply:
    """C{PERSIST}."""
    found = data.has(words[1]) and data.expiry.pop(words[1], None) is not None
    data.changes += found
    return int(found)


def pttl(data: Data, words: Command) -> Reply:
    """C{PTTL}."""
    if not data.has(words[1]):
        return -2
    until = data.expiry.get(words[1])
    return -1 if until is None else max(0, until - data.now)


def ttl(data: Data, words: Command) -> Reply:
    """C{TTL}."""
    left: int = pttl(data, words)
    return left if left < 0 else (left + 500) // 1000


def type_(data: Data, words: Command) -> Reply:
    """C{TYPE}."""
    if not data.has(words[1]):
        return Status(b"none")
    match data.values[words[1]]:
        case bytes():
            return Status(b"string")
        case Stream():
            return Status(b"stream")
    return Status(b"hash")


def dbsize(data: Data, words: Command) -> Reply:
    """C{DBSIZE}."""
    return len(data.values)


def keys(data: Data, words: Command) -> Reply:
    """C{KEYS}, with a pattern that is a beginning and C{*}."""
    begin, star, rest = words[1].partition(b"*")
    if rest or set(begin) & set(b"?[\\"):
        raise CommandError(b"ERR the model knows no such pattern")
    return sorted(
        key for key in list(data.values) if (key.startswith(begin) if star else key == begin) and data.has(key)
    )


def flush(data: Data, words: Command) -> Reply:
    """C{FLUSHALL} and C{FLUSHDB}."""
    data.changes += 1
    data.values.clear()
    data.expiry.clear()
    return OK


def time(data: Data, words: Command) -> Reply:
    """C{TIME}."""
    return [b"%d" % (data.now // 1000), b"%d" % (data.now % 1000 * 1000)]
