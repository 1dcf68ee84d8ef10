"""
The state of one Redis data set: keys, values and when they expire.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

import attrs

from simulation.redis.stream import Stream
from simulation.redis.values import PLAIN, CommandError, Conditions, Version

Value = bytes | dict[bytes, bytes] | Stream
V = TypeVar("V", bytes, dict[bytes, bytes], Stream)

WRONG_TYPE: Final = b"WRONGTYPE Operation against a key holding the wrong kind of value"
#: Bytes that an empty server uses, and those of each key, field or pending entry beside its text.
_EMPTY_SERVER: Final = 1_000_000
_OVERHEAD: Final = 90


@attrs.define(eq=False)
class Data:
    """
    Keys and values at one moment.

    # Note [Expired keys]

    Only a primary removes what has expired.  A replica that did so by its own clock would not arrive
    at the state of its primary::

        primary:  SET a PX 10 (at 0)     PEXPIRE a 99 (at 9) ->
        replica:                                                  GET a (at 12): expired    PEXPIRE a

    So a removal is an effect of its own, C{DEL}; a replica only hides what has expired, and effects
    are applied as if nothing had.

    @ivar now: milliseconds of the wall clock, of the present command.
    @ivar changes: how many changes were made.
    @ivar effects: the commands that the present command amounts to, for replicas and the append-only file.
    @ivar is_applying: whether the effects of a primary are being applied.
    @ivar scripts: those that the server knows, by digest.
    """

    version: Version = Version.REDIS_7_0
    values: dict[bytes, Value] = attrs.field(factory=dict)
    expiry: dict[bytes, int] = attrs.field(factory=dict)
    scripts: dict[bytes, bytes] = attrs.field(factory=dict)
    now: int = 0
    conditions: Conditions = PLAIN
    changes: int = 0
    effects: list[tuple[bytes, ...]] = attrs.field(factory=list)
    is_applying: bool = False
    is_in_script: bool = False

    def look_up(self, key: bytes, kind: type[V]) -> V | None:
        """
        Return a value; C{None} if there is none.

        @raise CommandError: it is of another kind.
        """
        if key in self.expiry and self._is_expired(key):
            return None
        value = self.values.get(key)
        if value is None or isinstance(value, kind):
            return value
        raise CommandError(WRONG_TYPE)

    def has(self, key: bytes) -> bool:
        """Return whether there is a value."""
        return key in self.values and not (key in self.expiry and self._is_expired(key))

    def _is_expired(self, key: bytes) -> bool:
        if self.expiry[key] >= self.now or self.is_applying:
            return False
        if self.conditions.is_replica:  # whose scripts see expired keys before Redis 7.0
            return not (self.is_in_script and self.version.is_old)
        self.drop(key)
        self.effects.append((b"DEL", key))
        self.changes += 1
        return True

    def drop(self, key: bytes) -> bool:
        """Remove a key; return whether it was there."""
        self.expiry.pop(key, None)
        return self.values.pop(key, None) is not None

    def expire(self, now: int) -> Sequence[tuple[bytes, ...]]:
        """Remove all keys that have expired, and return the effects, as a primary does now and then by itself."""
        self.now, self.effects, self.conditions = now, [], PLAIN
        for key in sorted(self.expiry):
            self._is_expired(key)
        return self.effects

    @property
    def used_memory(self) -> int:
        """About how many bytes of memory the data set takes."""
        used = _EMPTY_SERVER
        for key, value in self.values.items():
            used += len(key) + _OVERHEAD + (len(value) if type(value) is bytes else _size_of(value))
        return used


def _size_of(value: Value) -> int:
    match value:
        case bytes():
            return len(value)
        case dict():
            return sum(map(len, value)) + sum(map(len, value.values())) + len(value) * _OVERHEAD
    return value.size + sum([len(group.ids) for group in value.groups.values()]) * _OVERHEAD


def copy_value(value: Value) -> Value:
    """Return the same value, independent of the given one."""
    return value if isinstance(value, bytes) else value.copy()
