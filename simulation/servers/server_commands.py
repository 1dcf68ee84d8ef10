"""
The commands that are about the server and the session, not about its data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs

from simulation.redis.values import OK, Command, ErrorReply, Status, Version
from simulation.servers.blocking import Wanted, wait
from simulation.servers.facts import RELEASES, info, role
from simulation.servers.node import ServerSession
from simulation.servers.words import (
    NO_LOGIN,
    NO_SPACE,
    NOT_A_NUMBER,
    NOT_LOGGED_IN,
    SYNTAX,
    WRONG_LOGIN,
    loading,
    no_right,
    unknown_command,
    unknown_subcommand,
    wrong_number,
)

if TYPE_CHECKING:
    from simulation.servers.server import Server

#: Commands of the data set that C{COMMAND INFO} knows.
_DATA_COMMANDS: Final = frozenset(b"eval evalsha get xadd xautoclaim xlen xrange xreadgroup".split())


def answer_own(server: Server, session: ServerSession, name: bytes, command: Command) -> Any:
    """Return the reply to a command that may be about the server; L{NOT_OURS} if it is about the data."""
    own = COMMANDS.get(name)
    if own is None:
        return _refuse(server, session, False, False) or NOT_OURS
    if own.since is not None and own.since is not server.version:
        return unknown_command(server.version, command)
    if not own.least <= len(command) - 1 <= own.most:
        return wrong_number(name.lower())
    if error := _refuse(server, session, own.before_login, own.while_loading):
        return error
    if not own.before_login and (error := no_right(server.version, server.conditions(session.user).user, command)):
        return error
    return own.answer(server, session, command)


def _refuse(server: Server, session: ServerSession, before_login: bool, while_loading: bool) -> ErrorReply | None:
    if server.needs_login and not session.user and not before_login:
        return NOT_LOGGED_IN
    if server.is_loading and not while_loading:
        return loading(server.version)
    return None


#: What L{answer_own} returns for a command that it does not have.
NOT_OURS: Final = object()


def _auth(server: Server, session: ServerSession, command: Command) -> Any:
    if len(command) > 3:
        return SYNTAX
    name, password = (b"default", command[1]) if len(command) == 2 else command[1:]
    if len(command) == 2 and not server.needs_login:
        return NO_LOGIN
    if not server.log_in(name, password):
        return WRONG_LOGIN
    session.user = name
    return OK


def _hello(server: Server, session: ServerSession, command: Command) -> Any:
    """Answer C{HELLO 2}; there is no other version, and no login by it."""
    if command[1:] not in ([], [b"2"]):
        return ErrorReply(b"NOPROTO unsupported protocol version")
    if not session.user and server.needs_login:
        return ErrorReply(b"NOAUTH HELLO must be called with the client already authenticated")
    product, release = RELEASES[server.version]
    return [
        *(b"server", product, b"version", release, b"proto", 2, b"id", server.number_of(session)),
        *(b"mode", b"standalone", b"role", b"master" if server.link is None else b"replica", b"modules", []),
    ]


def _ping(server: Server, session: ServerSession, command: Command) -> Any:
    if server.disk.full is not None and server.link is None:
        return NO_SPACE
    return Status(b"PONG") if len(command) == 1 else command[1]


def _echo(server: Server, session: ServerSession, command: Command) -> Any:
    return command[1]


def _select(server: Server, session: ServerSession, command: Command) -> Any:
    if not command[1].isdigit():
        return NOT_A_NUMBER
    if command[1] != b"0":  # the model has one data set
        return ErrorReply(b"ERR DB index is out of range")
    return OK


def _quit(server: Server, session: ServerSession, command: Command) -> Any:
    session.closing = True
    return OK


def _client(server: Server, session: ServerSession, command: Command) -> Any:
    match command[1].upper():
        case b"SETNAME" | b"SETINFO":
            return OK
        case b"ID":
            return server.number_of(session)
    return unknown_subcommand(server.version, command)


def _role(server: Server, session: ServerSession, command: Command) -> Any:
    return role(server)


def _info(server: Server, session: ServerSession, command: Command) -> Any:
    return info(server, [word.lower() for word in command[1:]])


def _config(server: Server, session: ServerSession, command: Command) -> Any:
    question, *words = command[1:]
    is_old = server.version is Version.REDIS_6_2
    match question.upper():
        case b"GET" if len(words) == 1 or (words and not is_old):
            return server.settings.get(words, server.version)
        case b"SET" if len(words) == 2 or (words and len(words) % 2 == 0 and not is_old):
            reply = server.settings.set(words, server.version)
            server.settings_changed()
            return reply
        case b"GET" | b"SET" if not is_old:
            return wrong_number(b"config|%b" % question.lower())
    return unknown_subcommand(server.version, command)


def _command(server: Server, session: ServerSession, command: Command) -> Any:
    """Answer C{COMMAND INFO}: of all that Redis says, the name."""
    if command[1].upper() != b"INFO":
        return unknown_subcommand(server.version, command)
    names = [name.lower() for name in command[2:]]
    return [[name] if name in _DATA_COMMANDS or name.upper() in COMMANDS else None for name in names]


def _wait(server: Server, session: ServerSession, command: Command) -> Any:
    try:
        local, replicas, milliseconds = [0, *map(int, command[1:])][-3:]
    except ValueError:
        return NOT_A_NUMBER
    if milliseconds < 0:
        return ErrorReply(b"ERR timeout is negative")
    if local > 1:
        return ErrorReply(b"ERR value is out of range, value must between 0 and 1")
    return wait(server, session, Wanted(local, replicas, milliseconds, on_disk=len(command) == 4))


def _replicaof(server: Server, session: ServerSession, command: Command) -> Any:
    if [word.upper() for word in command[1:]] == [b"NO", b"ONE"]:
        server.promote()
        return OK
    return ErrorReply(b"ERR the simulation tells its servers whom to follow")


@attrs.frozen
class Own:
    """
    A command.

    @ivar least: how many arguments it needs.
    @ivar most: how many it may have.
    @ivar before_login: whether everybody may run it, and at once.
    @ivar while_loading: whether a server answers it that still loads its data.
    @ivar since: the only version that has it; C{None} if all do.
    """

    answer: Callable[[Server, ServerSession, Command], Any]
    least: int = 0
    most: int = 1_000
    before_login: bool = False
    while_loading: bool = True
    since: Version | None = None


COMMANDS: Final[Mapping[bytes, Own]] = {
    b"AUTH": Own(_auth, 1, before_login=True),
    b"CLIENT": Own(_client, 1),
    b"COMMAND": Own(_command, 1),
    b"CONFIG": Own(_config, 1),
    b"ECHO": Own(_echo, 1, 1),
    b"HELLO": Own(_hello, before_login=True),
    b"INFO": Own(_info),
    b"PING": Own(_ping, 0, 1, while_loading=False),
    b"QUIT": Own(_quit, before_login=True),
    b"REPLICAOF": Own(_replicaof, 2, 2),
    b"ROLE": Own(_role, 0, 0),
    b"SELECT": Own(_select, 1, 1),
    b"WAIT": Own(_wait, 2, 2, while_loading=False),
    b"WAITAOF": Own(_wait, 3, 3, while_loading=False, since=Version.VALKEY_9_1),
}
