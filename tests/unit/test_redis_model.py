"""
Tests for the model of Redis in the simulation.

What it answers is compared with real servers, command by command; here is also what no server shows:
replicas, copies, and that runs do not disturb each other.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.resources import files
from random import Random

import pytest

from eventsvc.redis.log import _APPEND
from simulation.redis import lua
from simulation.redis.data import Value
from simulation.redis.keyspace import Keyspace
from simulation.redis.scripting import interpreter
from simulation.redis.stream import Stream
from simulation.redis.table import COMMANDS
from simulation.redis.values import PLAIN, Conditions, ErrorReply, Status, User, Version
from tests.support.redis_commands import Maker
from tests.support.redis_modes import make_modes

#: Milliseconds at which tests begin.
NOW = 1_700_000_000_000

all_versions = pytest.mark.parametrize("version", Version)


def run(model: Keyspace, text: str, now: int = NOW, conditions: Conditions = PLAIN) -> object:
    """Run a command that is written as one text."""
    return model.execute(text.encode().split(), now, conditions)


def random_run(version: Version, seed: int, length: int = 60) -> tuple[Keyspace, Keyspace, list[object]]:
    """Run random commands; return a primary, a replica that was given the effects, and the replies."""
    random = Random(seed)
    primary, now = Keyspace(version), NOW
    replica = primary.copy()
    modes = make_modes(random)[:3]
    conditions = PLAIN
    replies: list[object] = []
    for command in Maker(random, primary).begin():
        primary.execute(command, now)
        replica.apply(primary.effects, now)
    for _ in range(length):
        now += random.choice([0, 0, 1, 2, 50])
        if random.random() < 0.1:
            conditions = random.choice(modes).conditions
        changes = primary.changes
        command = Maker(random, primary).command()
        if command[0] == b"XREADGROUP" and command[-1] != b">":
            continue  # an older id: replicas are not told that the entries were delivered again
        replies.append(primary.execute(command, now, conditions))
        effects = list(primary.effects)
        assert bool(effects) == (primary.changes != changes)
        replica.apply(effects, now)
        if random.random() < 0.05:
            replica = replica.copy()
    return primary, replica, replies


def show(values: dict[bytes, Value]) -> dict[bytes, object]:
    """Return all that replicas are told: not when consumers were seen, nor of those that have nothing."""
    return {key: show_stream(value) if isinstance(value, Stream) else value for key, value in sorted(values.items())}


def show_stream(stream: Stream) -> object:
    """Return what a stream holds."""
    groups = {
        name: (
            group.last_id,
            group.read,
            group.ids,
            group.pending,
            {each: c.pending for each, c in group.consumers.items() if c.pending},
        )
        for name, group in sorted(stream.groups.items())
    }
    nodes = [(node.first, node.last, node.size, node.live, node.deleted) for node in stream.nodes]
    return stream.entries, stream.ids, nodes, stream.last_id, stream.max_deleted, stream.added, stream.size, groups


@all_versions
@pytest.mark.parametrize("seed", range(40))
def test_a_replica_arrives_at_the_state_of_its_primary(version: Version, seed: int) -> None:
    """The effects of all commands are all there is to know, whatever was refused half way."""
    primary, replica, _ = random_run(version, seed)
    assert show(replica.values) == show(primary.values)
    assert replica.expiry == primary.expiry


@all_versions
@pytest.mark.parametrize("seed", range(20))
def test_counts_agree_with_what_they_count(version: Version, seed: int) -> None:
    """Sizes, lengths and pending entries are kept beside what they are about."""
    primary, _, _ = random_run(version, seed, 150)
    for stream in (value for value in primary.values.values() if isinstance(value, Stream)):
        assert stream.ids == sorted(stream.entries)
        assert stream.size == sum(node.size for node in stream.nodes)
        assert sum(node.live for node in stream.nodes) == len(stream.ids)
        for group in stream.groups.values():
            assert group.ids == sorted(group.pending)
            owners = [pending.consumer for pending in group.pending.values()]
            assert {name: owners.count(name) for name in group.consumers} == {
                name: consumer.pending for name, consumer in group.consumers.items()
            }


def test_a_copy_is_independent() -> None:
    """What happens to one of two does not happen to the other."""
    model, _, _ = random_run(Version.REDIS_7_0, 3)
    run(model, "XADD {s} * a b")
    run(model, "XGROUP CREATE {s} x 0")
    before = show(model.values)
    other = model.copy()
    for _ in range(3):
        run(other, "XREADGROUP GROUP x c STREAMS {s} >")
        run(other, "XADD {s} * a b")
        run(other, "XTRIM {s} MAXLEN 1")
        run(other, "XACK {s} x 1-1")
        run(other, "HSET h a b")
    assert show(model.values) == before
    assert show(other.values) != before


@pytest.mark.processes
def test_a_run_is_the_same_in_every_process() -> None:
    """Neither the hash seed nor an earlier run has a say."""
    code = (
        "from tests.unit.test_redis_model import *\n"
        "import hashlib\n"
        "text = repr([random_run(version, seed)[2] for version in Version for seed in range(2)])\n"
        "print(hashlib.sha1(text.encode()).hexdigest())"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1
    random_run(Version.REDIS_7_0, 9)
    assert random_run(Version.REDIS_7_0, 9)[2] == random_run(Version.REDIS_7_0, 9)[2]


#: Scripts of dashboards and commands, whose commands the model need not know.
NOT_SIMULATED = {"survey.lua"}


@all_versions
def test_all_scripts_compile_and_all_their_commands_are_known(version: Version) -> None:
    """A script that is added, or that uses another command, is a gap of the model at once."""
    for path in files("eventsvc.redis").iterdir():
        if path.name.endswith(".lua"):
            text = path.read_text(encoding="utf-8")
            interpreter(version).compile(text.encode())
            if path.name in NOT_SIMULATED:
                continue
            for name in re.findall(r"(?:call|pcall|ask|refusal)\(\s*'([A-Z]+)'", text):
                known = {each.partition(b"|")[0] for each in COMMANDS}
                assert name.encode() in known, f"{path.name} uses {name}"


@all_versions
@pytest.mark.parametrize(
    "text",
    [
        "x = 1",
        "redis.x = 1",
        "string.x = 1",
        "table.concat = nil",
        "setmetatable(_G, {})",
        "rawset(redis, 1, 2)",
    ],
)
def test_a_script_leaves_nothing_behind(version: Version, text: str) -> None:
    """All data sets of a process share one interpreter, so nothing may get from one to another."""
    model = Keyspace(version)
    assert isinstance(model.execute([b"EVAL", text.encode(), b"1", b"key"], NOW), ErrorReply)
    other = Keyspace(version)
    assert other.execute([b"EVAL", b"return {#KEYS, #ARGV, type(redis.x), type(string.x)}", b"0"], NOW) == [
        0, 0, b"nil", b"nil",
    ]  # fmt: skip


def test_a_script_is_known_to_the_server_that_was_told_alone() -> None:
    """Another server, or this one after a restart, says NOSCRIPT."""
    model, other = Keyspace(), Keyspace()
    digest = model.execute([b"SCRIPT", b"LOAD", _APPEND.text.encode()], NOW)
    assert digest == _APPEND.sha.encode()
    assert run(model, f"SCRIPT EXISTS {_APPEND.sha}") == [1]
    for unknowing in (other, model.copy()):
        assert run(unknowing, f"EVALSHA {_APPEND.sha} 0") == b"NOSCRIPT No matching script. Please use EVAL."


def test_a_replica_hides_what_has_expired_and_keeps_it() -> None:
    """Its clock may be ahead: only its primary removes a key."""
    model = Keyspace()
    run(model, "SET a 1 PX 10")
    as_replica = Conditions(is_replica=True)
    assert run(model, "GET a", NOW + 11, as_replica) is None
    assert model.effects == []
    model.apply([(b"PEXPIRE", b"a", b"100")], NOW + 9)
    assert run(model, "GET a", NOW + 12, as_replica) == b"1"


def test_a_primary_removes_what_has_expired_and_tells_its_replicas() -> None:
    """A read is enough, or its own look at all keys; either is an effect."""
    for look in (lambda model: run(model, "GET a", NOW + 11), lambda model: model.expire(NOW + 11)):
        model = Keyspace()
        run(model, "SET a 1 PX 10")
        changes = model.changes
        look(model)
        assert model.effects == [(b"DEL", b"a")]
        assert model.changes > changes
        assert not model.values


def test_memory_is_used_and_given_back() -> None:
    """The estimate grows with entries, keys and pending entries, and falls with them."""
    model = Keyspace()
    run(model, "XGROUP CREATE s g 0 MKSTREAM")
    sizes = [model.used_memory]
    for command in ("XADD s * a " + "x" * 5000, "XREADGROUP GROUP g c STREAMS s >", "SET k 1", "HSET h a b"):
        run(model, command)
        sizes.append(model.used_memory)
    assert sizes == sorted(set(sizes))
    assert sizes[1] - sizes[0] >= 5000
    for command in ("XTRIM s MAXLEN 0", "DEL k h", "XGROUP DESTROY s g"):
        run(model, command)
    assert model.used_memory == sizes[0]


def test_a_full_disk_refuses_writes() -> None:
    """No real server is asked, because that takes a disk that is full."""
    model = Keyspace()
    conditions = Conditions(can_save=False)
    said = b"MISCONF Errors writing to the AOF file: No space left on device"
    assert run(model, "SET a 1", NOW, conditions) == said
    assert run(model, "GET a", NOW, conditions) is None
    script = [b"EVAL", b"return redis.pcall('SET', 'a', '1')", b"0"]
    assert model.execute(script, NOW, conditions) == said


def test_an_unknown_command_is_loud() -> None:
    """What the model leaves out, and Redis has, must not look like success."""
    model = Keyspace()
    for command in ("LPUSH a 1", "XINFO STREAM s FULL", "KEYS [ab]*"):
        run(model, "XADD s * a b")
        assert isinstance(run(model, command), ErrorReply)


def test_rights_may_be_given_one_by_one() -> None:
    """A right is for a command, or for one of its subcommands alone."""
    user = User(b"u", commands=frozenset([b"xadd", b"xinfo|groups"]), keys=(b"s",))
    conditions = Conditions(user=user)
    model = Keyspace()
    assert not isinstance(run(model, "XADD s 1-1 a b", NOW, conditions), ErrorReply)
    assert run(model, "XINFO GROUPS s", NOW, conditions) == []
    for refused in ("XINFO STREAM s", "XADD t 1-1 a b", "GET s"):
        assert str(run(model, refused, NOW, conditions)).startswith(("b'NOPERM ", 'b"NOPERM '))


def test_replies_have_the_kinds_of_the_protocol() -> None:
    """A session writes a status, a bulk string and an error in different forms."""
    model = Keyspace()
    replies: Sequence[object] = [run(model, text) for text in ("SET a 1", "GET a", "FOO", "TYPE a", "XADD a 1-1 b c")]
    assert [type(reply) for reply in replies] == [Status, bytes, ErrorReply, Status, ErrorReply]
    scripts = {"return {ok='x'}": Status, "return 'x'": bytes, "return {err='E x'}": ErrorReply, "return 1.9": int}
    for text, kind in scripts.items():
        assert type(model.execute([b"EVAL", text.encode(), b"0"], NOW)) is kind


def test_a_large_reply_of_a_script_is_whole() -> None:
    """A table passes from Lua in parts."""
    model = Keyspace()
    text = b"local t = {} for i = 1, 2500 do t[i] = tostring(i) end return t"
    assert model.execute([b"EVAL", text, b"0"], NOW) == [b"%d" % number for number in range(1, 2501)]
    assert lua.read_table(lua.table_from(list(range(2000)))) == list(range(2000))
