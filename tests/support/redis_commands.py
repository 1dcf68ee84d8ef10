"""
Random commands for Redis, many of which make sense in the state they meet.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

import attrs

from eventsvc.redis import dead, group, history, log, measuring
from eventsvc.redis.session import Script
from simulation.redis.data import Data
from simulation.redis.numbers import write_id
from simulation.redis.stream import Stream

Words = list[bytes]

STREAM, DEAD, LANE, OWNER, OTHER = b"{s}", b"{s}:dead", b"{s}:lane:a", b"{s}:owner:g:c", b"other"
HASHES: Final = [b"{s}:keys:%d" % place for place in range(6)]
KEYS: Final = [STREAM, STREAM, STREAM, DEAD, LANE, OWNER, HASHES[0], HASHES[1], OTHER, b"none"]
GROUPS: Final = [b"g"] * 8 + [b"h", b"h", b"none"]
CONSUMERS: Final = [b"c", b"c", b"d", b"e"]
ODD_IDS: Final = [b"0", b"0-0", b"1", b"1-1", b"5-5", b"7-0", b"$", b">", b"x", b"-", b"+", b"1-", b"-1", b"01-1", b""]
ODD_IDS += [b"(1-1", b"(-", b"18446744073709551615-18446744073709551615", b"18446744073709551616-0", b"9-*"]
ODD_NUMBERS: Final = [b"0", b"-1", b"x", b"", b"01", b" 1", b"1.5", b"9223372036854775807", b"9223372036854775808"]
FIELDS: Final = [[b"EventStream", b"one"], [b"EventStream", b"x" * 700], [b"a", b"1", b"b", b"-5000"], [b"", b""]]
FIELDS += [
    [b"CreateStream", b"stream created"],
    [b"a", b"70000"],
    [b"EventStream", b"y" * 4200],
    [b"a", b"\x00\xff\r\n"],
]
#: Adds entries: some with numbers of many sizes, some with texts.
BURST: Final = b"""
for index = 1, tonumber(ARGV[1]) do
  local text = string.rep('x', index * index % tonumber(ARGV[2]))
  if index % 3 == 0 then text = tostring((-1) ^ index * index ^ (index % 5)) end
  local name = index % tonumber(ARGV[3]) == 0 and 'b' or 'a'
  redis.call('XADD', KEYS[1], '*', name, text)
end
"""


@attrs.define
class Maker:
    """
    Makes commands.

    @ivar data: the state that the next command meets.
    """

    random: Random
    data: Data

    def begin(self) -> Sequence[Words]:
        """Return commands that make a stream with groups and entries, mostly."""
        if self.random.random() < 0.1:
            return []
        some: list[Words] = [[b"XGROUP", b"CREATE", STREAM, b"g", b"0", b"MKSTREAM"]]
        some += [[b"XGROUP", b"CREATE", STREAM, b"h", b"$", b"MKSTREAM"]] * self.random.choice([0, 1])
        some += [[b"XADD", STREAM, b"*", *self.random.choice(FIELDS)] for _ in range(self.random.randrange(6))]
        self.random.shuffle(some)
        count = b"%d" % self.random.randrange(1, 4)
        read = [b"XREADGROUP", b"GROUP", b"g", self.one_of(CONSUMERS), b"COUNT", count, b"STREAMS", STREAM, b">"]
        return [*some, read] if self.random.random() < 0.7 else some

    def command(self) -> Words:
        """Return a command: usually a sound one."""
        words: Words = self.random.choices(MAKERS, WEIGHTS)[0](self)
        if self.random.random() < 0.03:
            self._spoil(words)
        return words

    def _spoil(self, words: Words) -> None:
        place = self.random.randrange(len(words))
        match self.random.randrange(3):
            case 0:
                del words[max(1, place) :]
            case 1:
                words.insert(max(1, place), self.one_of(ODD_NUMBERS + ODD_IDS))
            case _ if place:
                words[place] = self.one_of(ODD_NUMBERS + ODD_IDS + [b"FOO"])

    def one_of(self, values: Sequence[bytes]) -> bytes:
        """Return one of some values."""
        return self.random.choice(values)

    def some(self, share: float, *words: bytes) -> Words:
        """Return words, or none."""
        return list(words) if self.random.random() < share else []

    def key(self) -> bytes:
        """Return a key, mostly that of a stream."""
        return STREAM if self.random.random() < 0.85 else self.one_of(KEYS)

    def id(self, key: bytes = STREAM) -> bytes:
        """Return an id, mostly of an entry that is there or is pending."""
        value = self.data.values.get(key)
        if self.random.random() < 0.1 or not isinstance(value, Stream):
            return self.one_of(ODD_IDS)
        known = value.ids + [id for each in value.groups.values() for id in each.ids]
        if not known:
            return self.one_of(ODD_IDS)
        id = self.random.choice(known)
        return write_id(id + self.random.choice([0, 0, 0, 0, 1]))

    def ids(self) -> Words:
        """Return some ids."""
        return [self.id() for _ in range(self.random.choice([1, 1, 2, 3]))]

    def number(self, *values: int) -> bytes:
        """Return one of some numbers, or sometimes an odd text."""
        return self.one_of(ODD_NUMBERS) if self.random.random() < 0.02 else b"%d" % self.random.choice(values)

    def trimming(self) -> Words:
        """Return how to trim."""
        words = [self.one_of([b"MAXLEN", b"maxlen", b"MINID"]), *self.some(0.7, self.one_of([b"~", b"=", b"~"]))]
        words.append(self.id() if words[0] == b"MINID" else self.number(0, 1, 3, 5, 20))
        return words + self.some(0.3, b"LIMIT", self.number(0, 1, 5, 100))

    def xadd(self) -> Words:
        """Return an XADD."""
        words = [
            b"XADD",
            self.key(),
            *self.some(0.1, b"NOMKSTREAM"),
            *(self.trimming() if self.random.random() < 0.1 else []),
        ]
        return [*words, b"*" if self.random.random() < 0.8 else self.id(), *self.random.choice(FIELDS)]

    def xadd_many(self) -> Words:
        """Return an XADD of many fields, so that nodes fill."""
        return [b"XADD", STREAM, b"*", *[b"%d" % part for part in range(2 * self.random.randrange(1, 150))]]

    def xadd_very_many(self) -> Words:
        """Return a script that adds entries of many sizes, so that there are several nodes."""
        sizes = [self.random.choice([1, 5, 50, 100, 1000]), self.random.randrange(1, 40)]
        return [b"EVAL", BURST, b"1", STREAM, b"%d" % self.random.randrange(1, 250), *[b"%d" % size for size in sizes]]

    def reading(self) -> Words:
        """Return a command that reads a stream."""
        first, last = self.random.choice(
            [(b"-", b"+"), (self.id(), b"+"), (b"(" + self.id(), b"+"), (self.id(), self.id())]
        )
        words = [b"XRANGE", self.key(), first, last]
        if self.random.random() < 0.3:
            words = [b"XREVRANGE", self.key(), last, first]
        return words + self.some(0.5, b"COUNT", self.number(0, 1, 2, 100, -1))

    def xreadgroup(self) -> Words:
        """Return an XREADGROUP."""
        words = [b"XREADGROUP", b"GROUP", self.one_of(GROUPS), self.one_of(CONSUMERS)]
        words += self.some(0.7, b"COUNT", self.number(1, 2, 5, 0)) + self.some(0.1, b"NOACK")
        after = b">" if self.random.random() < 0.85 else self.random.choice([b"0", self.id(), b"$"])
        if self.random.random() < 0.05:
            return [*words, b"STREAMS", STREAM, DEAD, after, b">"]
        return [*words, b"STREAMS", self.key(), after]

    def xgroup(self) -> Words:
        """Return an XGROUP."""
        key, name = self.key(), self.one_of(GROUPS)
        position = self.random.choice([b"0", b"0", b"$", self.id()])
        read = self.some(0.1, b"ENTRIESREAD", self.number(0, 1, 5))
        create = [b"XGROUP", b"CREATE", key, name, position, *self.some(0.7, b"MKSTREAM"), *read]
        others = [
            [b"XGROUP", b"SETID", key, name, position, *read],
            [b"XGROUP", b"DESTROY", key, name],
            [b"XGROUP", b"CREATECONSUMER", key, name, self.one_of(CONSUMERS)],
            [b"XGROUP", b"DELCONSUMER", key, name, self.one_of(CONSUMERS)],
            [b"XGROUP", self.one_of([b"FOO", b"HELPME"]), key, name],
        ]
        return create if self.random.random() < 0.6 else self.random.choice(others)

    def xpending(self) -> Words:
        """Return an XPENDING."""
        words = [b"XPENDING", self.key(), self.one_of(GROUPS)]
        if self.random.random() < 0.3:
            return words
        words += self.some(0.2, b"IDLE", self.number(0, 1, 50, 100000))
        words += self.random.choice([[b"-", b"+"], [self.id(), b"+"], [b"(" + self.id(), b"+"], [self.id(), self.id()]])
        return [*words, self.number(1, 2, 10, 0), *self.some(0.5, self.one_of(CONSUMERS))]

    def xclaim(self) -> Words:
        """Return an XCLAIM."""
        words = [
            b"XCLAIM",
            self.key(),
            self.one_of(GROUPS),
            self.one_of(CONSUMERS),
            self.number(0, 0, 0, 5, 100000),
            *self.ids(),
        ]
        words += self.some(0.3, b"IDLE", self.number(0, 5, 100, 100000)) + self.some(
            0.3, b"RETRYCOUNT", self.number(0, 1, 9)
        )
        words += self.some(0.05, b"TIME", self.number(0, 5)) + self.some(0.1, b"FORCE")
        return words + self.some(0.5, b"JUSTID") + self.some(0.05, b"LASTID", self.id())

    def xautoclaim(self) -> Words:
        """Return an XAUTOCLAIM."""
        words = [b"XAUTOCLAIM", self.key(), self.one_of(GROUPS), self.one_of(CONSUMERS), self.number(0, 0, 5, 1000)]
        words.append(self.random.choice([b"0-0", b"-", self.id(), b"(" + self.id()]))
        return words + self.some(0.6, b"COUNT", self.number(1, 2, 5)) + self.some(0.6, b"JUSTID")

    def removing(self) -> Words:
        """Return a command that removes entries, or acknowledges them."""
        if self.random.random() < 0.5:
            return [b"XACK", self.key(), self.one_of(GROUPS), *self.ids()]
        return (
            [b"XDEL", self.key(), *self.ids()]
            if self.random.random() < 0.6
            else [b"XTRIM", self.key(), *self.trimming()]
        )

    def info(self) -> Words:
        """Return a command that tells about keys."""
        key = self.key()
        return self.random.choice(
            [
                [b"XINFO", b"GROUPS", key],
                [b"XINFO", b"STREAM", key],
                [b"XINFO", b"CONSUMERS", key, self.one_of(GROUPS)],
                [b"XLEN", key],
                [b"TYPE", key],
                [b"EXISTS", key, self.key()],
                [b"PTTL", self.one_of(KEYS)],
                [b"TTL", self.one_of(KEYS)],
                [b"XREAD", b"COUNT", b"2", b"STREAMS", key, self.random.choice([b"0", b"$", self.id()])],
            ]
        )

    def string(self) -> Words:
        """Return a command on a string, or on when a key expires."""
        key = self.one_of([LANE, OWNER, OTHER, self.one_of(KEYS)])
        until = self.random.choice(
            [[], [b"PX", self.number(1, 2, 5, 1000)], [b"EX", self.number(1, 100)], [b"KEEPTTL"]]
        )
        text = self.one_of([b"1 APPENDED 1 ", b"2 FULL 5 ", b"token", b"", b"7"])
        return self.random.choice(
            [
                [b"SET", key, text, *until, *self.some(0.2, self.one_of([b"NX", b"XX"])), *self.some(0.1, b"GET")],
                [b"GET", key],
                [self.one_of([b"DEL", b"UNLINK"]), key],
                [b"PEXPIRE", key, self.number(1, 2, 5, 1000, -1)],
                [b"EXPIRE", key, self.number(1, 100, 0)],
                [b"PERSIST", key],
            ]
        )

    def hash(self) -> Words:
        """Return a command on a hash."""
        key = self.one_of([HASHES[0], HASHES[1], self.one_of(KEYS)])
        name = self.one_of([b"a", b"b", b"c"])
        return self.random.choice(
            [
                [b"HSET", key, name, b"1", *self.some(0.5, b"d", b"2")],
                [b"HMSET", key, name, b"3"],
                [b"HGET", key, name],
                [b"HMGET", key, name, b"d"],
                [b"HLEN", key],
                [b"HGETALL", key],
                [b"HEXISTS", key, name],
                [b"HDEL", key, name, *self.some(0.3, b"d")],
            ]
        )

    def append(self) -> Words:
        """Return a call of append.lua."""
        kept = self.data.values.get(LANE)
        mark = kept.partition(b" ")[0] if isinstance(kept, bytes) else b""
        last = int(mark) if mark.isdigit() else 0
        sequence = max(1, last + self.random.choice([1, 1, 1, 1, 0, 2]))
        head = [b"%d" % sequence, b"%d" % (sequence - 1), b"604800", self.number(1000, 1000, 3), b"EventStream"]
        head += [self.number(600, 20, 100000), self.number(1000, 1000, 3), b"0", b"%d" % (sequence * 2)]
        digests: set[bytes] = set()
        parts: Words = []
        for _ in range(self.random.choice([0, 1, 1, 2, 3])):
            count = self.random.choice([1, 1, 2, 3])
            entries = [self.one_of([b"one", b"two", b"z" * 900]) for _ in range(count)]
            keys = self.random.choice([0, 1, count])
            own = [b"digest-%09d" % self.random.randrange(8) for _ in range(keys)]
            digests.update(own)
            records = b"".join(digest + struct.pack(">Q", self.random.randrange(9)) for digest in own)
            parts += [b"%d" % count, b"%d" % keys, *([records] if keys else []), *entries]
        head[7] = b"%d" % len(digests)
        return script(log._APPEND, [STREAM, LANE, *(HASHES if digests else [])], head + parts)

    def of_consumer(self) -> Words:
        """Return a call of a script of a consumer."""
        name, consumer, two = self.one_of(GROUPS), self.one_of(CONSUMERS), [STREAM, DEAD]
        after = self.random.choice([b"-", b"(" + self.id()])
        size = self.number(1, 100, 100000)
        updates = [part for id in self.ids() for part in (id, self.one_of([b"", b"-", b"ab"]))]
        option = self.random.choice([[b"IDLE", b"0"], [b"IDLE", b"31536000000"], [b"RETRYCOUNT", b"3"]])
        return self.random.choice(
            [
                script(group._CREATE_GROUP, [STREAM], [name]),
                script(group._PENDING, two, [name, consumer, after, self.number(1, 3, 10), size]),
                script(group._CLAIM, two, [name, consumer, self.number(0, 0, 5), b"0-0", self.number(1, 3), size]),
                script(group._UPDATE_PENDING, two, [name, consumer, *option, *updates]),
                script(group._SET_ASIDE, two, [name, consumer, self.id(), b"rejected", b"no", self.number(1, 5)]),
                script(group._REMOVE_STALE, two, [name, consumer, self.number(0, 1, 1000)]),
                script(measuring._MEASURE, two, [name, b"CreateStream"]),
            ]
        )

    def other_scripts(self) -> Words:
        """Return a call of another script."""
        token = self.one_of([b"token", b"another"])
        bounds = self.random.choice([[b"-", b"+"], [b"(" + self.id(DEAD), b"+"], [b"-", self.id(DEAD)]])
        field = self.random.choice(FIELDS)
        return self.random.choice(
            [
                script(log._OPEN, [STREAM], [b"CreateStream", b"stream created"]),
                script(log._RENEW, [LANE, *HASHES], [self.number(1, 2, 3), b"604800"]),
                script(log._HOLDS, [STREAM], [self.id(), field[0], field[1]]),
                script(group._HOLD_NAME, [STREAM, OWNER], [token, self.number(1, 3, 1000)]),
                script(group._LEAVE, [STREAM, OWNER], [self.one_of(GROUPS), self.one_of(CONSUMERS), token]),
                script(history.TRIM, [STREAM], [self.number(0, 1, 5, 50), self.number(1, 10, 1000)]),
                script(
                    dead._PAGE,
                    [DEAD],
                    [*bounds, self.number(1, 3, 10), self.number(1, 100, 10000), *self.some(0.3, b"ids")],
                ),
                script(dead._REPLAY, [STREAM, DEAD], [self.id(DEAD)]),
            ]
        )


def script(given: Script, keys: Sequence[bytes], arguments: Sequence[bytes]) -> Words:
    """Return a call of a script."""
    return [b"EVAL", given.text.encode(), b"%d" % len(keys), *keys, *arguments]


_WEIGHTED: Final[dict[Callable[[Maker], Words], int]] = {
    Maker.xadd: 10,
    Maker.xadd_many: 2,
    Maker.xadd_very_many: 4,
    Maker.reading: 4,
    Maker.xreadgroup: 12,
    Maker.xgroup: 6,
    Maker.xpending: 5,
    Maker.xclaim: 6,
    Maker.xautoclaim: 5,
    Maker.removing: 8,
    Maker.info: 6,
    Maker.string: 5,
    Maker.hash: 4,
    Maker.append: 12,
    Maker.of_consumer: 12,
    Maker.other_scripts: 8,
}
MAKERS: Final = list(_WEIGHTED)
WEIGHTS: Final = list(_WEIGHTED.values())
