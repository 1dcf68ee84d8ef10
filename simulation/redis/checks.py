"""
What a server refuses before it runs a command: rights, memory, replicas, disk.
"""

from __future__ import annotations

from typing import Final

from simulation.redis.data import Data
from simulation.redis.table import Spec
from simulation.redis.values import Command, CommandError, Version

OOM: Final = b"OOM command not allowed when used memory > 'maxmemory'."
READ_ONLY: Final = b"READONLY You can't write against a read only replica."
NO_REPLICAS: Final = b"NOREPLICAS Not enough good replicas to write."
#: The words of a save that failed.
CANNOT_SAVE: Final = (
    b"MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands that "
    b"may modify the data set are disabled, because this instance is configured to report errors during writes if "
    b"RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for details about the "
    b"RDB error."
)


def refused_right(data: Data, spec: Spec, words: Command) -> bytes:
    """Return C{command} or C{key}: which right the user lacks; empty if none."""
    user = data.conditions.user
    if not user.may_run(spec.parent, spec.name):
        return b"command"
    if user.keys is not None and not all(map(user.may_use, spec.keys(words))):
        return b"key"
    return b""


def check(data: Data, spec: Spec, words: Command) -> None:
    """
    Check that a client may run a command now.

    @raise CommandError: it may not.
    """
    conditions = data.conditions
    if lacking := refused_right(data, spec, words):
        raise CommandError(no_permission(data.version, spec, lacking, conditions.user.name))
    if spec.grows and conditions.maxmemory and data.used_memory > conditions.maxmemory:
        raise CommandError(OOM)
    if problem := refused_write(data) if spec.is_write else b"":
        raise CommandError(problem)


def refused_write(data: Data) -> bytes:
    """Return why the server accepts no writes at all; empty if it does."""
    conditions = data.conditions
    if not conditions.can_save:
        return CANNOT_SAVE
    if not conditions.has_replicas:
        return NO_REPLICAS
    return READ_ONLY if conditions.is_replica else b""


def no_permission(version: Version, spec: Spec, lacking: bytes, user: bytes) -> bytes:
    """Return the error of a client without a right."""
    if lacking == b"key":
        keys = b"one of the keys used as arguments" if version.is_old else b"a key"
        return b"NOPERM this user has no permissions to access " + keys
    if version.is_old:
        return b"NOPERM this user has no permissions to run the '%s' command or its subcommand" % spec.parent
    return b"NOPERM User %s has no permissions to run the '%s' command" % (user, spec.name)
