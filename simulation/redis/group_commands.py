"""
Commands on the groups of a stream, and reading as a consumer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

from simulation.redis.data import Data
from simulation.redis.group import Consumer, Group
from simulation.redis.numbers import LAST_ID, SYNTAX, read_id, read_integer, write_id
from simulation.redis.stream import Stream
from simulation.redis.stream_commands import rows
from simulation.redis.values import OK, Command, CommandError, Reply

_NO_KEY: Final = (
    b"ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM "
    b"option to create an empty stream automatically."
)
_ONLY_READS: Final = (
    b"ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option."
)
_NO_LAST: Final = (
    b"ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by "
    b"specifying a proper ID, or use the > ID to get new messages. The $ ID would just return an empty result set."
)


def find_group(data: Data, key: bytes, name: bytes) -> tuple[Stream, Group]:
    """
    Return a stream and its group.

    @raise CommandError: one of them is missing.
    """
    stream = data.look_up(key, Stream)
    group = None if stream is None else stream.groups.get(name)
    if stream is None or group is None:
        raise CommandError(b"NOGROUP No such key '%s' or consumer group '%s'" % (key, name))
    return stream, group


def find_consumer(data: Data, group: Group, name: bytes) -> Consumer:
    """Return a consumer that asks now; it is made if it is missing."""
    consumer = group.consumers.get(name)
    if consumer is None:
        consumer = group.consumers[name] = Consumer(data.now)
        data.changes += 1
    consumer.seen = data.now
    return consumer


def _existing(data: Data, words: Command) -> Stream:
    stream = data.look_up(words[2], Stream)
    if stream is None:
        raise CommandError(_NO_KEY)
    return stream


def _existing_group(data: Data, words: Command) -> tuple[Stream, Group]:
    stream = _existing(data, words)
    group = stream.groups.get(words[3])
    if group is None:
        raise CommandError(b"NOGROUP No such consumer group '%s' for key name '%s'" % (words[3], words[2]))
    return stream, group


def _read_position(stream: Stream | None, word: bytes) -> int:
    """Return where a group begins, or goes on."""
    if word == b"$":
        return 0 if stream is None else stream.last_id
    return read_id(word)


def _read_options(data: Data, words: Command) -> tuple[bool, int | None]:
    """Return whether a missing stream is made, and how many entries count as read."""
    makes, read = False, None
    options = iter(words[5:])
    for word in options:
        match word.lower():
            case b"mkstream" if words[1].lower() == b"create":
                makes = True
            case b"entriesread" if not data.version.is_old:
                value = next(options, None)
                if value is None:
                    raise CommandError(_unknown(data, words))
                number = read_integer(value)
                if number < -1:
                    raise CommandError(b"ERR value for ENTRIESREAD must be positive or -1")
                read = None if number < 0 else number
            case _:
                raise CommandError(_unknown(data, words))
    return makes, read


def _unknown(data: Data, words: Command) -> bytes:
    """Return the error of a subcommand of XGROUP with words that it does not know."""
    return b"ERR Unknown subcommand or wrong number of arguments for '%s'. Try XGROUP HELP." % words[1]


def xgroup_create(data: Data, words: Command) -> Reply:
    """C{XGROUP CREATE}."""
    makes, read = _read_options(data, words)
    stream = data.look_up(words[2], Stream)
    if stream is None and not makes:
        raise CommandError(_NO_KEY)
    position = _read_position(stream, words[4])
    if stream is None:
        stream = data.values[words[2]] = Stream()
        data.changes += 1
    if words[3] in stream.groups:
        raise CommandError(b"BUSYGROUP Consumer Group name already exists")
    stream.groups[words[3]] = Group(position, read)
    data.changes += 1
    return OK


def xgroup_setid(data: Data, words: Command) -> Reply:
    """C{XGROUP SETID}."""
    _, read = _read_options(data, words)
    stream, group = _existing_group(data, words)
    group.last_id = _read_position(stream, words[4])
    group.read = read
    data.changes += 1
    return OK


def xgroup_destroy(data: Data, words: Command) -> Reply:
    """C{XGROUP DESTROY}."""
    found = _existing(data, words).groups.pop(words[3], None) is not None
    data.changes += found
    return int(found)


def xgroup_createconsumer(data: Data, words: Command) -> Reply:
    """C{XGROUP CREATECONSUMER}."""
    _, group = _existing_group(data, words)
    if words[4] in group.consumers:
        return 0
    find_consumer(data, group, words[4])
    return 1


def xgroup_delconsumer(data: Data, words: Command) -> Reply:
    """C{XGROUP DELCONSUMER}."""
    _, group = _existing_group(data, words)
    data.changes += words[4] in group.consumers
    return group.remove(words[4])


def xack(data: Data, words: Command) -> Reply:
    """C{XACK}."""
    stream = data.look_up(words[1], Stream)
    group = None if stream is None else stream.groups.get(words[2])
    if group is None:
        return 0
    ids = [read_id(word) for word in words[3:]]
    count = sum(group.forget(id) for id in ids)
    data.changes += count
    return count


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
    group: bytes = b""
    consumer: bytes = b""
    is_acknowledged: bool = False


def read_reading(words: Command) -> Reading:
    """Return what XREAD or XREADGROUP asks for."""
    name = words[0].lower()
    is_group = name == b"xreadgroup"
    found = Reading(())
    at = 1
    while at < len(words):
        option, left = words[at].lower(), len(words) - at - 1
        if option == b"block" and left:
            found = attrs.evolve(found, block=_read_timeout(words[at + 1]))
            at += 2
        elif option == b"count" and left:
            found = attrs.evolve(found, count=max(0, read_integer(words[at + 1])))
            at += 2
        elif option == b"streams" and left:
            keys = words[at + 1 :]
            if len(keys) % 2:
                raise CommandError(_unbalanced(name))
            half = len(keys) // 2
            found = attrs.evolve(found, streams=list(zip(keys[:half], keys[half:])))
            break
        elif option == b"group" and left >= 2:
            if not is_group:
                raise CommandError(b"ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.")
            found = attrs.evolve(found, group=words[at + 1], consumer=words[at + 2])
            at += 3
        elif option == b"noack":
            if not is_group:
                raise CommandError(b"ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.")
            found = attrs.evolve(found, is_acknowledged=True)
            at += 1
        else:
            raise CommandError(SYNTAX)
    if not found.streams:
        raise CommandError(SYNTAX)
    if is_group and not found.group:
        raise CommandError(b"ERR Missing GROUP option for XREADGROUP")
    return found


def _unbalanced(name: bytes) -> bytes:
    return b"ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified."


def _read_timeout(word: bytes) -> int:
    value = read_integer(word, b"ERR timeout is not an integer or out of range")
    if value < 0:
        raise CommandError(b"ERR timeout is negative")
    return value


def xread(data: Data, words: Command) -> Reply:
    """C{XREAD}, without waiting: C{None} if there is nothing."""
    reading = read_reading(words)
    asked = []
    for key, after in reading.streams:
        stream = data.look_up(key, Stream)
        if after == b">":
            raise CommandError(_ONLY_READS)
        last = LAST_ID if stream is None else stream.last_id
        asked.append((key, stream, last if after == b"$" else read_id(after)))
    reply = []
    for key, stream, id in asked:
        if stream is not None and (ids := stream.after(id, reading.count)):
            reply.append([key, rows(stream, ids)])
    return reply or None


def xreadgroup(data: Data, words: Command) -> Reply:
    """C{XREADGROUP}, without waiting: C{None} if there is nothing."""
    reading = read_reading(words)
    asked = []
    for key, after in reading.streams:
        stream = data.look_up(key, Stream)
        group = None if stream is None else stream.groups.get(reading.group)
        if stream is None or group is None:
            text = b"NOGROUP No such key '%s' or consumer group '%s' in XREADGROUP with GROUP option"
            raise CommandError(text % (key, reading.group))
        if after == b"$":
            raise CommandError(_NO_LAST)
        asked.append((key, stream, group, None if after == b">" else read_id(after)))
    reply = []
    for key, stream, group, begin in asked:
        if data.version.creates_consumers:
            find_consumer(data, group, reading.consumer)
        if begin is not None:
            find_consumer(data, group, reading.consumer)
            reply.append([key, _read_history(data, stream, group, reading, begin)])
        elif stream.ids and stream.ids[-1] > group.last_id:
            find_consumer(data, group, reading.consumer)
            reply.append([key, _read_new(data, stream, group, reading)])
    return reply or None


def _read_new(data: Data, stream: Stream, group: Group, reading: Reading) -> Reply:
    ids = stream.after(group.last_id, reading.count)
    for id in ids:
        if group.read is not None and not stream.has_tombstones(id):
            group.read += 1
        elif stream.added:
            group.read = stream.estimate_read(id)
        group.last_id = id
        if not reading.is_acknowledged:
            group.deliver(id, reading.consumer, data.now, 1)
    group.consumers[reading.consumer].active = data.now
    data.changes += len(ids)
    return rows(stream, ids)


def _read_history(data: Data, stream: Stream, group: Group, reading: Reading, begin: int) -> Reply:
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
