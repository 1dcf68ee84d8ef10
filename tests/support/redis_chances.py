"""
What random commands for Redis are made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

import attrs

from simulation.redis.data import Data
from simulation.redis.numbers import write_id
from simulation.redis.stream import Stream

Words = list[bytes]

STREAM, DEAD, LANE, OWNER, OTHER = b"{s}", b"{s}:dead", b"{s}:lane:a", b"{s}:owner:g:c", b"other"
HASHES: Final = [b"{s}:keys:%d" % place for place in range(6)]
KEYS: Final = [STREAM, STREAM, STREAM, DEAD, LANE, OWNER, HASHES[0], HASHES[1], OTHER, b"none"]
GROUPS: Final = [b"g"] * 8 + [b"h", b"h", b"none"]
CONSUMERS: Final = [b"c", b"c", b"d", b"e"]
ODD_IDS = [b"0", b"0-0", b"1", b"1-1", b"5-5", b"7-0", b"$", b">", b"x", b"-", b"+", b"1-", b"-1", b"01-1", b""]
ODD_IDS += [b"(1-1", b"(-", b"18446744073709551615-18446744073709551615", b"18446744073709551616-0", b"9-*"]
ODD_NUMBERS: Final = [b"0", b"-1", b"x", b"", b"01", b" 1", b"1.5", b"9223372036854775807", b"9223372036854775808"]
FIELDS = [[b"EventStream", b"one"], [b"EventStream", b"x" * 700], [b"a", b"1", b"b", b"-5000"], [b"", b""]]
FIELDS += [
    [b"CreateStream", b"stream created"],
    [b"a", b"70000"],
    [b"EventStream", b"y" * 4200],
    [b"a", b"\x00\xff\r\n"],
]


@attrs.define
class Chances:
    """
    Chooses words of commands.

    @ivar data: the state that the next command meets.
    """

    random: Random
    data: Data

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
