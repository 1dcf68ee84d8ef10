"""
Commands on hashes.
"""

from __future__ import annotations

from simulation.redis.data import Data
from simulation.redis.numbers import read_pairs
from simulation.redis.values import OK, Command, CommandError, Reply

Hash = dict[bytes, bytes]


def hset(data: Data, words: Command) -> Reply:
    """C{HSET}."""
    if len(words) % 2:
        raise CommandError(b"ERR wrong number of arguments for 'hset' command")
    found = data.look_up(words[1], dict)
    if found is None:
        found = data.values[words[1]] = {}
    before = len(found)
    found.update(read_pairs(words[2:]))
    data.changes += 1
    return len(found) - before


def hmset(data: Data, words: Command) -> Reply:
    """C{HMSET}."""
    if len(words) % 2:
        raise CommandError(b"ERR wrong number of arguments for 'hmset' command")
    hset(data, words)
    return OK


def hget(data: Data, words: Command) -> Reply:
    """C{HGET}."""
    return (data.look_up(words[1], dict) or {}).get(words[2])


def hmget(data: Data, words: Command) -> Reply:
    """C{HMGET}."""
    found: Hash = data.look_up(words[1], dict) or {}
    return [found.get(name) for name in words[2:]]


def hlen(data: Data, words: Command) -> Reply:
    """C{HLEN}."""
    return len(data.look_up(words[1], dict) or ())


def hexists(data: Data, words: Command) -> Reply:
    """C{HEXISTS}."""
    return int(words[2] in (data.look_up(words[1], dict) or ()))


def hgetall(data: Data, words: Command) -> Reply:
    """C{HGETALL}."""
    found: Hash = data.look_up(words[1], dict) or {}
    return [part for pair in found.items() for part in pair]


def hdel(data: Data, words: Command) -> Reply:
    """C{HDEL}."""
    found: Hash | None = data.look_up(words[1], dict)
    if found is None:
        return 0
    count = sum(found.pop(name, None) is not None for name in words[2:])
    if not found:
        data.drop(words[1])
    data.changes += count
    return count
