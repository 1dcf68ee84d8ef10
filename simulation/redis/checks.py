"""
What a server refuses before it runs a command: rights, memory, replicas, disk.
"""

from __future__ import annotations

from typing import Final

from simulation.redis.data import Data
from simulation.redis.table import Spec, find_keys
from simulation.redis.values import Command, CommandError, Version

OOM: Final = b"OOM command not allowed when used memory > 'maxmemory'."
READ_ONLY: Final = b"READONLY You can't write against a read only replica."
NO_REPLICAS: Final = b"NOREPLICAS Not enough good replicas to write."
CANNOT_SAVE: Final = b"MISCONF Errors writing to the AOF file: No space left on device"


def refused_right(data: Data, spec: Spec, words: Command) -> bytes:
    """Return C{command} or C{key}: which right the user lacks; empty if none."""
    user = data.conditions.user
    if not user.may_run(spec.parent, spec.name):
        return b"command"
    if user.keys is not None and not all(map(user.may_use, find_keys(spec, words, data.version))):
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
    if is_out_of_memory(data, spec):
        raise CommandError(OOM)
    if problem := refused_write(data) if spec.is_write else b"":
        raise CommandError(problem)


def is_out_of_memory(data: Data, spec: Spec) -> bool:
    """Return whether a command needs memory that is not there; Redis 6.2 judges all of XGROUP as one."""
    limit = data.conditions.maxmemory
    grows = spec.grows or (data.version.is_old and spec.parent == b"xgroup")
    return grows and limit > 0 and data.used_memory > limit


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
    if version is Version.VALKEY_9_1:
        return b"NOPERM " + _no_permission(spec, lacking, user)
    if lacking == b"key":
        return b"NOPERM this user has no permissions to access one of the keys used as arguments"
    name, more = (spec.parent, b" or its subcommand") if version.is_old else (spec.name, b"")
    return b"NOPERM this user has no permissions to run the '%s' command%s" % (name, more)


def no_permission_in_script(version: Version, spec: Spec, lacking: bytes, user: bytes) -> bytes:
    """Return the error of a command in a script of a user without a right."""
    if version is Version.VALKEY_9_1:
        return b"ERR ACL failure in script: " + _no_permission(spec, lacking, user)
    code = b"" if version.is_old else b"ERR "
    if lacking == b"key":
        words = b"can't access at least one of the keys mentioned in the command arguments"
    else:
        words = b"can't run this command or subcommand"
    return code + b"The user executing the script " + words


def _no_permission(spec: Spec, lacking: bytes, user: bytes) -> bytes:
    if lacking == b"key":
        return b"No permissions to access a key"
    return b"User %s has no permissions to run the '%s' command" % (user, spec.name)
