"""
What a model of Redis is given, and what it answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any, Final

import attrs

#: The words of one command.
Command = Sequence[bytes]


class Status(bytes):
    """A simple string, such as C{OK}; a bulk string is plain bytes."""


class ErrorReply(bytes):
    """An error: its code, a space and its text."""


#: C{bytes}, C{int}, C{None}, a list of replies, L{Status} or L{ErrorReply}.
Reply = Any

OK: Final = Status(b"OK")


class Version(Enum):
    """A make of server whose words and rules the model knows."""

    REDIS_6_2 = "6.2"
    REDIS_7_0 = "7.0"
    VALKEY_9_1 = "9.1"

    __hash__ = object.__hash__  # that of an enumeration runs Python, and scripts look up their version each time

    @property
    def is_old(self) -> bool:
        """Whether it is older than Redis 7.0."""
        return self is Version.REDIS_6_2

    @property
    def creates_consumers(self) -> bool:
        """Whether a consumer exists as soon as it asks, even if it gets nothing."""
        return self is Version.VALKEY_9_1


class CommandError(Exception):
    """Ends a command with an error reply; never leaves this package."""

    def __init__(self, text: bytes) -> None:
        super().__init__(text)
        self.text = text


@attrs.frozen
class User:
    """
    What a user may do.

    @ivar commands: names in lower case, such as C{xadd} or C{xinfo|groups}; C{None}: all but L{denied}.
    @ivar keys: the beginnings of keys that the user may use; C{None}: all.
    """

    name: bytes = b"default"
    commands: frozenset[bytes] | None = None
    denied: frozenset[bytes] = frozenset()
    keys: tuple[bytes, ...] | None = None

    def may_run(self, name: bytes, full_name: bytes) -> bool:
        """Return whether the user may run a command, given with and without its subcommand."""
        if name in self.denied or full_name in self.denied:
            return False
        return self.commands is None or name in self.commands or full_name in self.commands

    def may_use(self, key: bytes) -> bool:
        """Return whether the user may use a key."""
        return self.keys is None or key.startswith(self.keys)


@attrs.frozen
class Conditions:
    """
    What the server around a data set says about a command.

    @ivar user: who sends it.
    @ivar maxmemory: bytes; 0: no limit.  The policy is C{noeviction}.
    @ivar is_replica: whether the server is a read-only replica.
    @ivar has_replicas: whether there are as many replicas as C{min-replicas-to-write} asks for.
    @ivar can_save: whether the append-only file has room on its disk.
    """

    user: User = User()
    maxmemory: int = 0
    is_replica: bool = False
    has_replicas: bool = True
    can_save: bool = True
    #: Derived: nothing refuses a command.
    is_plain: bool = attrs.field(init=False)

    @is_plain.default
    def _is_plain(self) -> bool:
        user = self.user
        has_all = user.commands is None and not user.denied and user.keys is None
        return has_all and not self.maxmemory and not self.is_replica and self.has_replicas and self.can_save


PLAIN: Final = Conditions()
