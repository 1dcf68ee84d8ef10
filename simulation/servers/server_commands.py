"""
The commands that are about the server and the session, not about its data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from simulation.redis.values import OK, Command, ErrorReply, Status, Version
from simulation.servers.blocking import Wanted, wait
from simulation.servers.facts import info, role
from simulation.servers.node import ServerSession

if TYPE_CHECKING:
    from simulation.servers.server import Server

Answer = Callable[["Server", ServerSession, Command], Any]

#: What a server answers while it loads its data, and to those who have not logged in.
_WHILE_LOADING: Final = frozenset(b"AUTH HELLO INFO ROLE CONFIG SELECT QUIT COMMAND CLIENT SUBSCRIBE".split())
_BEFORE_LOGIN: Final = frozenset(b"AUTH HELLO QUIT".split())
#: Commands of the data set that C{COMMAND INFO} knows.
_DATA_COMMANDS: Final = frozenset(b"eval evalsha get xadd xautoclaim xlen xrange xreadgroup".split())
_NO_AUTH: Final = ErrorReply(b"NOAUTH Authentication required.")
_WRONG: Final = ErrorReply(b"WRONGPASS invalid username-password pair or user is disabled.")
_SYNTAX: Final = ErrorReply(b"ERR syntax error")


def refusal(server: Server, session: ServerSession, name: bytes, command: Command) -> ErrorReply | None:
    """Return why the server runs a command not at all; C{None} if it does."""
    if not session.user and name not in _BEFORE_LOGIN and server.needs_login:
        return _NO_AUTH
    if server.is_loading and name not in _WHILE_LOADING:
        product = b"Valkey" if server.version is Version.VALKEY_9_1 else b"Redis"
        return ErrorReply(b"LOADING %b is loading the dataset in memory" % product)
    return None


def _auth(server: Server, session: ServerSession, command: Command) -> Any:
    if len(command) not in (2, 3):
        return _SYNTAX if len(command) > 3 else _wrong_number(b"auth")
    name, password = (b"default", command[1]) if len(command) == 2 else command[1:]
    if len(command) == 2 and not server.needs_login:
        return ErrorReply(
            b"ERR AUTH <password> called without any password configured for the default user. "
            b"Are you sure your configuration is correct?"
        )
    if not server.log_in(name, password):
        return _WRONG
    session.user = name
    return OK


def _ping(server: Server, session: ServerSession, command: Command) -> Any:
    return Status(b"PONG") if len(command) == 1 else command[1]


def _echo(server: Server, session: ServerSession, command: Command) -> Any:
    return command[1]


def _select(server: Server, session: ServerSession, command: Command) -> Any:
    if command[1] != b"0":  # the model has one data set
        return ErrorReply(b"ERR DB index is out of range")
    return OK


def _quit(server: Server, session: ServerSession, command: Command) -> Any:
    session.closing = True
    return OK


def _client(server: Server, session: ServerSession, command: Command) -> Any:
    match [word.upper() for word in command[1:2]]:
        case [b"SETNAME" | b"SETINFO"]:
            return OK
        case [b"ID"]:
            return server.number_of(session)
        case [b"GETNAME"]:
            return None
    return _unknown_subcommand(server, command)


def _role(server: Server, session: ServerSession, command: Command) -> Any:
    return role(server)


def _info(server: Server, session: ServerSession, command: Command) -> Any:
    return info(server, [word.lower() for word in command[1:]])


def _config(server: Server, session: ServerSession, command: Command) -> Any:
    match [command[1].upper(), *command[2:]]:
        case [b"GET", *patterns] if patterns:
            return server.settings.get(patterns)
        case [b"SET", *pairs] if pairs and len(pairs) % 2 == 0:
            reply = server.settings.set(pairs)
            server.settings_changed()
            return reply
        case [b"REWRITE" | b"RESETSTAT"]:
            return OK
    return _unknown_subcommand(server, command)


def _command(server: Server, session: ServerSession, command: Command) -> Any:
    """Answer C{COMMAND INFO}: of all that Redis says, the name."""
    if len(command) > 1 and command[1].upper() == b"INFO":
        return [
            [name.lower()] if name.lower() in _DATA_COMMANDS or name.upper() in COMMANDS else None
            for name in command[2:]
        ]
    return _unknown_subcommand(server, command)


def _wait(server: Server, session: ServerSession, command: Command) -> Any:
    return _waiting(server, session, command, 2)


def _waitaof(server: Server, session: ServerSession, command: Command) -> Any:
    if server.version is not Version.VALKEY_9_1:
        return unknown(server, command)
    return _waiting(server, session, command, 3)


def _waiting(server: Server, session: ServerSession, command: Command, count: int) -> Any:
    if len(command) != count + 1:
        return _wrong_number(command[0].lower())
    try:
        numbers = [int(word) for word in command[1:]]
    except ValueError:
        return ErrorReply(b"ERR value is not an integer or out of range")
    local, replicas, milliseconds = [0, *numbers][-3:]
    return wait(server, session, Wanted(local, replicas, milliseconds, on_disk=count == 3))


def _replicaof(server: Server, session: ServerSession, command: Command) -> Any:
    if [word.upper() for word in command[1:]] == [b"NO", b"ONE"]:
        server.promote()
        return OK
    return ErrorReply(b"ERR the simulation tells its servers whom to follow")


def unknown(server: Server, command: Command) -> ErrorReply:
    """Return what a server says to a command that it does not have."""
    arguments = b" ".join(b"'%b'" % word[:128] for word in command[1:])
    if server.version is Version.REDIS_6_2:
        listed = b"".join(b"`%b`, " % word[:128] for word in command[1:])
        return ErrorReply(b"ERR unknown command `%b`, with args beginning with: %b" % (command[0], listed))
    return ErrorReply(
        b"ERR unknown command '%b', with args beginning with: %b" % (command[0], arguments + b" " if arguments else b"")
    )


def _unknown_subcommand(server: Server, command: Command) -> ErrorReply:
    name = command[0].upper()
    if server.version is Version.REDIS_6_2:
        return ErrorReply(
            b"ERR Unknown subcommand or wrong number of arguments for '%b'. Try %b HELP." % (command[1], name)
        )
    return ErrorReply(b"ERR unknown subcommand '%b'. Try %b HELP." % (command[1], name))


def _wrong_number(name: bytes) -> ErrorReply:
    return ErrorReply(b"ERR wrong number of arguments for '%b' command" % name)


COMMANDS: Final[Mapping[bytes, Answer]] = {
    b"AUTH": _auth,
    b"CLIENT": _client,
    b"COMMAND": _command,
    b"CONFIG": _config,
    b"ECHO": _echo,
    b"INFO": _info,
    b"PING": _ping,
    b"QUIT": _quit,
    b"REPLICAOF": _replicaof,
    b"ROLE": _role,
    b"SELECT": _select,
    b"WAIT": _wait,
    b"WAITAOF": _waitaof,
}
