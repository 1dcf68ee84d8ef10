"""
The words of errors that are about the server and the session.
"""

from __future__ import annotations

from typing import Final

from simulation.redis.values import Command, ErrorReply, User, Version

NOT_LOGGED_IN: Final = ErrorReply(b"NOAUTH Authentication required.")
WRONG_LOGIN: Final = ErrorReply(b"WRONGPASS invalid username-password pair or user is disabled.")
NO_LOGIN: Final = ErrorReply(
    b"ERR AUTH <password> called without any password configured for the default user. "
    b"Are you sure your configuration is correct?"
)
NO_SPACE: Final = ErrorReply(b"MISCONF Errors writing to the AOF file: No space left on device")
#: What reads that wait are told before Valkey 9.
STREAM_GONE: Final = ErrorReply(b"UNBLOCKED the stream key no longer exists")
GROUP_GONE: Final = ErrorReply(b"NOGROUP the consumer group this client was blocked on no longer exists")
SYNTAX: Final = ErrorReply(b"ERR syntax error")
NOT_A_NUMBER: Final = ErrorReply(b"ERR value is not an integer or out of range")
#: What a session that waits is told when its server becomes a replica.
DEMOTED: Final = ErrorReply(
    b"UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)"
)


def wrong_number(name: bytes) -> ErrorReply:
    """Return what is said of a command with too few or too many words."""
    return ErrorReply(b"ERR wrong number of arguments for '%b' command" % name)


def loading(version: Version) -> ErrorReply:
    """Return what a server says while it loads its data."""
    product = b"Valkey" if version is Version.VALKEY_9_1 else b"Redis"
    return ErrorReply(b"LOADING %b is loading the dataset in memory" % product)


def no_wait_on_replica(version: Version, on_disk: bool) -> ErrorReply:
    """Return what a replica says to C{WAIT} and C{WAITAOF}."""
    name, condition = (b"WAITAOF", b"") if on_disk else (b"WAIT", b"if a replica is configured to be writable ")
    if not on_disk:
        condition = (b"" if version is Version.VALKEY_9_1 else b"since Redis 4.0 ") + condition
        condition += b"(which is not the default) "
    words = b"ERR %b cannot be used with replica instances. Please also note that %bwrites to replicas are just local "
    return ErrorReply(words % (name, condition) + b"and are not propagated.")


def unknown_command(version: Version, command: Command) -> ErrorReply:
    """Return what is said of a command that does not exist."""
    name, *words = [word[:128] for word in command]
    if version.is_old:
        form, listed = b"`%b`", b"".join(b"`%b`, " % word for word in words)
    else:
        form, listed = b"'%b'", b"".join(b"'%b' " % word for word in words)
    return ErrorReply(b"ERR unknown command %b, with args beginning with: %b" % (form % name, listed))


def unknown_subcommand(version: Version, command: Command) -> ErrorReply:
    """Return what is said of a subcommand that does not exist, or before 7.0 has too few or too many words."""
    words = b"Unknown subcommand or wrong number of arguments for" if version.is_old else b"unknown subcommand"
    return ErrorReply(b"ERR %b '%b'. Try %b HELP." % (words, command[1], command[0].upper()))


def only_messages(version: Version, command: Command) -> ErrorReply:
    """Return what is said to a session that has subscribed to something, and asks for anything else."""
    patterns = b"(P)SUBSCRIBE / (P)UNSUBSCRIBE" if version.is_old else b"(P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE"
    words = b"ERR Can't execute '%b': only %b / PING / QUIT / RESET are allowed in this context"
    return ErrorReply(words % (command[0].lower(), patterns))


def no_right(version: Version, user: User, command: Command) -> ErrorReply | None:
    """Return why a user may not run a command; C{None} if it may."""
    name = full_name = command[0].lower()
    if name in (b"config", b"command", b"client") and len(command) > 1:
        full_name = b"%b|%b" % (name, command[1].lower())
    if user.may_run(name, full_name):
        return None
    if version.is_old:
        return ErrorReply(b"NOPERM this user has no permissions to run the '%b' command or its subcommand" % name)
    who = b"User %b" % user.name if version is Version.VALKEY_9_1 else b"this user"
    return ErrorReply(b"NOPERM %b has no permissions to run the '%b' command" % (who, full_name))
