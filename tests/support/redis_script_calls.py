"""
Random calls of the scripts of eventsvc.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from eventsvc.redis import dead, group, history, log, measuring
from eventsvc.redis.session import Script
from tests.support.redis_chances import CONSUMERS, DEAD, FIELDS, GROUPS, HASHES, LANE, OWNER, STREAM, Chances, Words

#: Adds entries: some with numbers of many sizes, some with texts.
BURST: Final = b"""
for index = 1, tonumber(ARGV[1]) do
  local text = string.rep('x', index * index % tonumber(ARGV[2]))
  if index % 3 == 0 then text = tostring((-1) ^ index * index ^ (index % 5)) end
  local name = index % tonumber(ARGV[3]) == 0 and 'b' or 'a'
  redis.call('XADD', KEYS[1], '*', name, text)
end
"""


class ScriptCalls(Chances):
    """Makes calls of scripts."""

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

    def xadd_very_many(self) -> Words:
        """Return a script that adds entries of many sizes, so that there are several nodes."""
        sizes = [self.random.choice([1, 5, 50, 100, 1000]), self.random.randrange(1, 40)]
        return [b"EVAL", BURST, b"1", STREAM, b"%d" % self.random.randrange(1, 250), *[b"%d" % size for size in sizes]]


def script(given: Script, keys: Sequence[bytes], arguments: Sequence[bytes]) -> Words:
    """Return a call of a script."""
    return [b"EVAL", given.text.encode(), b"%d" % len(keys), *keys, *arguments]
