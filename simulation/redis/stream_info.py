"""
What C{XINFO} tells about a stream.
"""

from __future__ import annotations

from simulation.redis.data import Data
from simulation.redis.group import Group
from simulation.redis.numbers import write_id
from simulation.redis.stream import Stream
from simulation.redis.stream_commands import rows
from simulation.redis.values import Command, CommandError, Reply, Version


def _existing(data: Data, words: Command) -> Stream:
    stream = data.look_up(words[2], Stream)
    if stream is None:
        raise CommandError(b"ERR no such key")
    return stream


def xinfo_unknown(data: Data, words: Command) -> Reply:
    """Refuse XINFO with a subcommand or a number of words that Redis 6.2 does not know; it looks at the key before."""
    if len(words) > 2:
        _existing(data, words)
    raise CommandError(b"ERR Unknown subcommand or wrong number of arguments for '%s'. Try XINFO HELP." % words[1])


def xinfo_stream(data: Data, words: Command) -> Reply:
    """C{XINFO STREAM}, the short form; the number of radix tree nodes is made up."""
    stream = _existing(data, words)
    if len(words) > 3 and words[3].lower() == b"full":
        raise CommandError(b"ERR the model knows no XINFO STREAM FULL")
    if len(words) > 3:
        begin = b"U" if data.version.is_old else b"u"
        text = b"ERR %snknown subcommand or wrong number of arguments for 'STREAM'. Try XINFO HELP."
        raise CommandError(text % begin)
    about: list[Reply] = [b"length", len(stream.ids), b"radix-tree-keys", len(stream.nodes)]
    about += [b"radix-tree-nodes", len(stream.nodes) + 1, b"last-generated-id", write_id(stream.last_id)]
    if not data.version.is_old:
        about += [b"max-deleted-entry-id", write_id(stream.max_deleted), b"entries-added", stream.added]
        about += [b"recorded-first-entry-id", write_id(stream.first_id)]
    about += [b"groups", len(stream.groups)]
    for name, ids in ((b"first-entry", stream.ids[:1]), (b"last-entry", stream.ids[-1:])):
        about += [name, next(iter(rows(stream, ids)), None)]
    return about


def xinfo_groups(data: Data, words: Command) -> Reply:
    """C{XINFO GROUPS}."""
    stream = _existing(data, words)
    found = []
    for name, group in sorted(stream.groups.items()):
        about: list[Reply] = [b"name", name, b"consumers", len(group.consumers), b"pending", len(group.ids)]
        about += [b"last-delivered-id", write_id(group.last_id)]
        if not data.version.is_old:
            about += [b"entries-read", group.read, b"lag", _lag(data, stream, group)]
        found.append(about)
    return found


def _lag(data: Data, stream: Stream, group: Group) -> int | None:
    """Return how many entries a group has not read; C{None} if that is not known."""
    if not stream.added:
        return 0
    is_careful = data.version is Version.VALKEY_9_1
    if group.read is not None and not stream.has_tombstones(group.last_id, is_careful):
        return stream.added - group.read
    read = stream.estimate_read(group.last_id, is_careful)
    return None if read is None else stream.added - read


def xinfo_consumers(data: Data, words: Command) -> Reply:
    """C{XINFO CONSUMERS}."""
    stream = _existing(data, words)
    group = stream.groups.get(words[3])
    if group is None:
        raise CommandError(b"NOGROUP No such consumer group '%s' for key name '%s'" % (words[3], words[2]))
    found = []
    for name, each in sorted(group.consumers.items()):
        about: list[Reply] = [b"name", name, b"pending", each.pending, b"idle", max(0, data.now - each.seen)]
        if data.version is Version.VALKEY_9_1:
            about += [b"inactive", each.active if each.active < 0 else max(0, data.now - each.active)]
        found.append(about)
    return found
