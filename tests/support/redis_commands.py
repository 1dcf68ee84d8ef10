"""
Random commands for Redis, many of which make sense in the state they meet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from tests.support.redis_chances import (
    CONSUMERS,
    DEAD,
    FIELDS,
    GROUPS,
    HASHES,
    KEYS,
    LANE,
    ODD_IDS,
    ODD_NUMBERS,
    OTHER,
    OWNER,
    STREAM,
    Words,
)
from tests.support.redis_script_calls import ScriptCalls


class Maker(ScriptCalls):
    """Makes commands."""

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

    def trimming(self) -> Words:
        """Return how to trim."""
        words = [self.one_of([b"MAXLEN", b"maxlen", b"MINID"]), *self.some(0.7, self.one_of([b"~", b"=", b"~"]))]
        words.append(self.id() if words[0] == b"MINID" else self.number(0, 1, 3, 5, 20, 100))
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
        if self.random.random() < 0.4:
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


_WEIGHTED: Final[dict[Callable[[Maker], Words], int]] = {
    Maker.xadd: 10,
    Maker.xadd_many: 2,
    Maker.xadd_very_many: 6,
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
