"""
Tests for what an error reply of Redis proves, in the texts of each server.
"""

from __future__ import annotations

import pytest

from eventsvc.interfaces import Refused, Unknown
from eventsvc.redis.errors import code_of, sort_reply

OLD = "ERR Error running script (call to f_c6369790d7dead6cfe5411ed20368435a9219276): @user_script:1: "

REPLIES = [
    # a plain command
    ("OOM command not allowed when used memory > 'maxmemory'.", "OOM"),
    # raised by a script: Valkey 9, Redis 7.0, Redis 6.2
    ("OOM command not allowed when used memory > 'maxmemory'. script: on @user_script:1.", "OOM"),
    ("OOM command not allowed. script: c6369790d7dead6cfe5411ed20368435a9219276, on @user_script:1.", "OOM"),
    (f"{OLD}@user_script: 1: -OOM command not allowed when used memory > 'maxmemory'.", "OOM"),
    (f"{OLD}@user_script: 1: -READONLY You can't write against a read only replica.", "READONLY"),
    (f"{OLD}@user_script: 1: -NOREPLICAS Not enough good replicas to write.", "NOREPLICAS"),
    (f"{OLD}@user_script: 1: -MISCONF Redis is configured to save RDB snapshots", "MISCONF"),
    (f"{OLD}WRONGTYPE Operation against a key holding the wrong kind of value", "WRONGTYPE"),
    (f"{OLD}NOGROUP No such key 'stream' or consumer group 'group'", "NOGROUP"),
    ("ERR Error running script (call to f_1): @user_script:55: -READONLY You can't write", "READONLY"),
    # returned by a script that got it from redis.pcall: Redis 6.2
    ("@user_script: 1: -OOM command not allowed when used memory > 'maxmemory'.", "OOM"),
    # a right that is missing
    ("NOPERM this user has no permissions to access one of the keys used as arguments", "NOPERM"),
    ("ERR ACL failure in script: User u has no permissions to run the 'set' command", "NOPERM"),
    ("ERR ACL failure in script: User u has no ... 'set' command script: on @user_script:1.", "NOPERM"),
    ("ERR The user executing the script can't run this command or subcommand script: 1f, on @user_script:1.", "NOPERM"),
    (f"{OLD}@user_script: 1: The user executing the script can't run this command or subcommand", "NOPERM"),
    ("@user_script: 1: The user executing the script can't run this command or subcommand", "NOPERM"),
]


@pytest.mark.parametrize(("reply", "code"), REPLIES)
def test_an_error_in_a_script_has_the_code_of_its_command(reply: str, code: str) -> None:
    """Otherwise a producer on Redis 6.2 would stay on a demoted primary forever."""
    error = sort_reply(reply)
    assert isinstance(error, Refused)
    assert (error.code, error.reply) == (code, reply)


@pytest.mark.parametrize(
    "reply",
    [
        f"{OLD}@user_script: 1: Wrong number of args calling Redis command From Lua script",
        f"{OLD}attempt to compare nil with number",
        "ERR Error running script",
        "ERR user_script:1: OOM in the middle of words",
        "ERR value holds @user_script: 1: -OOM somewhere behind",
        "@user_script: 1: -OO@user_script: 1: -M is put together",
        "OOMPH",
        "",
    ],
)
def test_any_other_error_proves_nothing(reply: str) -> None:
    """Text from elsewhere in the reply does not make it a refusal."""
    assert isinstance(sort_reply(reply), Unknown)


@pytest.mark.parametrize(("reply", "code"), REPLIES)
def test_nothing_that_redis_says_is_told_to_clients(reply: str, code: str) -> None:
    """No digest, user, script or code: only our own texts."""
    told = str(sort_reply(reply))
    assert told.startswith("Redis ")
    assert not {code, "script", "user", "permissions"} & set(told.split())
    assert str(sort_reply(f"ERR {reply}")) in ("Redis answered with an error", told)


def test_a_code_is_the_first_word() -> None:
    assert [code_of(reply) for reply in ("OOM", "OOM ", "ERR no", "")] == ["OOM", "OOM", "ERR", ""]
