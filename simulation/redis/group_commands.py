"""
Commands on the groups of a stream.
"""

from __future__ import annotations

from typing import Final, NoReturn

from simulation.redis.data import Data
from simulation.redis.group import Consumer, Group
from simulation.redis.numbers import read_bound, read_id, read_integer
from simulation.redis.stream import Stream
from simulation.redis.values import OK, Command, CommandError, Reply

_NO_KEY: Final = (
    b"ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM "
    b"option to create an empty stream automatically."
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
    """
    Return a consumer that asks now.

    If it is missing it is made.  Replicas are not told of that before it gets an entry.
    """
    consumer = group.consumers.get(name)
    if consumer is None:
        consumer = group.consumers[name] = Consumer(data.now)
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


def _read_position(stream: Stream | None, word: bytes, is_new: bool) -> int:
    """Return where a new group begins, or where an old one goes on."""
    if word == b"$":
        return 0 if stream is None else stream.last_id
    return read_id(word) if is_new else read_bound(word)


def _read_options(data: Data, words: Command) -> tuple[bool, int | None]:
    """Return whether a missing stream is made, and how many entries count as read."""
    makes, read = False, None
    options = iter(words[5:])
    for word in options:
        option = word.lower()
        if option == b"mkstream" and words[1].lower() == b"create":
            makes = True
        elif option == b"entriesread" and not data.version.is_old and (value := next(options, None)) is not None:
            number = read_integer(value)
            if number < -1:
                raise CommandError(b"ERR value for ENTRIESREAD must be positive or -1")
            read = None if number < 0 else number
        else:
            refuse_words(data, words)
    return makes, read


def refuse_words(data: Data, words: Command) -> NoReturn:
    """Refuse a subcommand of XGROUP that is not known, or has the wrong words; Redis 6.2 looks at the key before."""
    is_making = words[1].lower() == b"create" and len(words) == 6
    if data.version.is_old and len(words) > 3 and not is_making:
        is_of_group = words[1].lower() in (b"setid", b"createconsumer", b"delconsumer")
        (_existing_group if is_of_group else _existing)(data, words)
    begin = b"U" if data.version.is_old else b"u"
    text = b"ERR %snknown subcommand or wrong number of arguments for '%s'. Try XGROUP HELP."
    raise CommandError(text % (begin, words[1]))


def xgroup_create(data: Data, words: Command) -> Reply:
    """C{XGROUP CREATE}."""
    makes, read = _read_options(data, words)
    stream = data.look_up(words[2], Stream)
    if stream is None and not makes:
        raise CommandError(_NO_KEY)
    position = _read_position(stream, words[4], is_new=True)
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
    group.last_id = _read_position(stream, words[4], is_new=False)
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
    data.changes += 1
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
