"""
All commands on data, and what a server checks before it runs one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import attrs

from simulation.redis import claims, group_commands, hashes, keys, reading, stream_commands, stream_info
from simulation.redis.data import Data
from simulation.redis.values import Command, CommandError, Reply, Version

Run = Callable[[Data, Command], Reply]
#: Returns the keys among the words of a command.
KeysOf = Callable[[Command], Sequence[bytes]]


@attrs.frozen
class Spec:
    """
    A command.

    @ivar name: in lower case, with its subcommand: C{xinfo|groups}.
    @ivar arity: how many words it has; if negative, at least so many.
    @ivar least: the fewest words, as C{most}.
    @ivar grows: whether it may need memory, so that it is refused if there is none.
    """

    name: bytes
    run: Run
    arity: int
    keys: KeysOf
    is_write: bool = False
    grows: bool = False
    least: int = attrs.field(init=False)
    most: int = attrs.field(init=False)

    @least.default
    def _count_least(self) -> int:
        return abs(self.arity)

    @most.default
    def _count_most(self) -> int:
        return self.arity if self.arity > 0 else sys.maxsize

    @property
    def parent(self) -> bytes:
        """The name without the subcommand."""
        return self.name.partition(b"|")[0]


def _first(words: Command) -> Sequence[bytes]:
    return words[1:2]


def _second(words: Command) -> Sequence[bytes]:
    return words[2:3]


def _all(words: Command) -> Sequence[bytes]:
    return words[1:]


def _none(words: Command) -> Sequence[bytes]:
    return ()


def _streams(words: Command) -> Sequence[bytes]:
    for at, word in enumerate(words):
        if word.lower() == b"streams":
            rest = words[at + 1 :]
            return rest[: len(rest) // 2]
    return ()


def find_keys(spec: Spec, words: Command, version: Version) -> Sequence[bytes]:
    """Return the keys among words; Redis 6.2 finds none of XREAD and XREADGROUP if their options are wrong."""
    keys = spec.keys(words)
    if not version.is_old or spec.keys is not _streams:
        return keys
    at, lengths = 1, {b"block": 2, b"count": 2, b"group": 3, b"noack": 1}
    while at < len(words) and (length := lengths.get(words[at].lower())):
        at += length
    is_sound = at < len(words) and words[at].lower() == b"streams" and (len(words) - at - 1) % 2 == 0
    return keys if is_sound else ()


def _read(name: bytes, run: Run, arity: int, keys_of: KeysOf = _first) -> Spec:
    return Spec(name, run, arity, keys_of)


def _write(name: bytes, run: Run, arity: int, keys_of: KeysOf = _first) -> Spec:
    return Spec(name, run, arity, keys_of, is_write=True)


def _grow(name: bytes, run: Run, arity: int, keys_of: KeysOf = _first) -> Spec:
    return Spec(name, run, arity, keys_of, is_write=True, grows=True)


SPECS: Final = (
    _read(b"get", keys.get, 2),
    _grow(b"set", keys.set_, -3),
    _write(b"del", keys.delete, -2, _all),
    _write(b"unlink", keys.delete, -2, _all),
    _read(b"exists", keys.exists, -2, _all),
    _write(b"expire", keys.expire, 3),
    _write(b"pexpire", keys.pexpire, 3),
    _write(b"persist", keys.persist, 2),
    _read(b"ttl", keys.ttl, 2),
    _read(b"pttl", keys.pttl, 2),
    _read(b"type", keys.type_, 2),
    _read(b"dbsize", keys.dbsize, 1, _none),
    _read(b"keys", keys.keys, 2, _none),
    _write(b"flushall", keys.flush, -1, _none),
    _write(b"flushdb", keys.flush, -1, _none),
    _read(b"time", keys.time, 1, _none),
    _grow(b"hset", hashes.hset, -4),
    _grow(b"hmset", hashes.hmset, -4),
    _read(b"hget", hashes.hget, 3),
    _read(b"hmget", hashes.hmget, -3),
    _read(b"hlen", hashes.hlen, 2),
    _read(b"hexists", hashes.hexists, 3),
    _read(b"hgetall", hashes.hgetall, 2),
    _write(b"hdel", hashes.hdel, -3),
    _grow(b"xadd", stream_commands.xadd, -5),
    _write(b"xtrim", stream_commands.xtrim, -4),
    _read(b"xlen", stream_commands.xlen, 2),
    _read(b"xrange", stream_commands.xrange, -4),
    _read(b"xrevrange", stream_commands.xrevrange, -4),
    _write(b"xdel", stream_commands.xdel, -3),
    _read(b"xread", reading.xread, -4, _streams),
    _write(b"xreadgroup", reading.xreadgroup, -7, _streams),
    _write(b"xack", group_commands.xack, -4),
    _read(b"xpending", claims.xpending, -3),
    _write(b"xclaim", claims.xclaim, -6),
    _write(b"xautoclaim", claims.xautoclaim, -6),
    _grow(b"xgroup|create", group_commands.xgroup_create, -5, _second),
    _write(b"xgroup|setid", group_commands.xgroup_setid, -5, _second),
    _write(b"xgroup|destroy", group_commands.xgroup_destroy, 4, _second),
    _grow(b"xgroup|createconsumer", group_commands.xgroup_createconsumer, 5, _second),
    _write(b"xgroup|delconsumer", group_commands.xgroup_delconsumer, 5, _second),
    _read(b"xinfo|stream", stream_info.xinfo_stream, -3, _second),
    _read(b"xinfo|groups", stream_info.xinfo_groups, 3, _second),
    _read(b"xinfo|consumers", stream_info.xinfo_consumers, 4, _second),
)


def index(specs: Sequence[Spec]) -> Mapping[bytes, Spec]:
    """Return commands by name, in lower and in upper case."""
    return {name: spec for spec in specs for name in (spec.name, spec.name.upper())}


COMMANDS: Final = index(SPECS)

#: What Redis 6.2 does with subcommands that it does not know, or with another number of words.
_UNKNOWN: Final = {
    b"xgroup": _grow(b"xgroup", group_commands.refuse_words, -2, _second),
    b"xinfo": _read(b"xinfo", stream_info.xinfo_unknown, -2, _second),
}


def find(commands: Mapping[bytes, Spec], words: Command, version: Version) -> Spec:
    """
    Return a command by its words.

    @raise CommandError: there is none, or it has another number of words.
    """
    spec = commands.get(words[0])
    if spec is None:
        spec = commands.get(words[0].lower()) or _find_inner(commands, words, version.is_old)
    if spec.least <= len(words) <= spec.most:
        return spec
    if not version.is_old and spec.name.endswith(b"expire") and len(words) > spec.least:
        return spec  # which refuses its options
    if version.is_old and b"|" in spec.name:
        return _refuse_inner(words, is_old=True)
    raise CommandError(b"ERR wrong number of arguments for '%s' command" % spec.name)


def _find_inner(commands: Mapping[bytes, Spec], words: Command, is_old: bool) -> Spec:
    name = words[0].lower()
    if len(words) > 1 and (spec := commands.get(name + b"|" + words[1].lower())):
        return spec
    if not any(each.startswith(name + b"|") for each in commands):
        raise CommandError(_unknown(words, is_old))
    if len(words) < 2:
        raise CommandError(b"ERR wrong number of arguments for '%s' command" % name)
    return _refuse_inner(words, is_old)


def _refuse_inner(words: Command, is_old: bool) -> Spec:
    """Return what answers that there is no such subcommand, if that is not known without the data."""
    if is_old and (spec := _UNKNOWN.get(words[0].lower())):
        return spec
    text = b"Unknown subcommand or wrong number of arguments for" if is_old else b"unknown subcommand"
    raise CommandError(b"ERR %s '%s'. Try %s HELP." % (text, words[1], words[0].upper()))


def _unknown(words: Command, is_old: bool) -> bytes:
    if is_old:
        rest = b" ".join(b"`%s`," % word for word in words[1:])
        return b"ERR unknown command `%s`, with args beginning with: %s" % (words[0], rest)
    rest = b" ".join(b"'%s'" % word for word in words[1:])
    return b"ERR unknown command '%s', with args beginning with: %s" % (words[0], rest)


def run(data: Data, spec: Spec, words: Command) -> Reply:
    """Run a command, and keep it as an effect if it changed anything."""
    before = data.changes
    reply = spec.run(data, words)
    if data.changes != before and spec.is_write:
        data.effects.append(tuple(words))
    return reply
