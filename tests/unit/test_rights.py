"""
Runs every script that writes as a user who lacks one permission: it is refused
before its first write, on each server.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from itertools import count
from typing import Any, Final

import attrs
import pytest
import pytest_twisted
import redis
from twisted.internet.defer import ensureDeferred, gatherResults
from twisted.internet.threads import deferToThread

from eventsvc.outcome import Outcome
from eventsvc.redis.scripts import load_script
from eventsvc.submission import IdempotencyKey
from tests.support.processes import Server
from tests.support.producer_harness import ProducerHarness, pause, running_producer

STREAM: Final = "S"
PRODUCER_ID: Final = "{S}:lane:x"
DEAD: Final = "{S}:dead"
HASHES: Final = [f"{{S}}:keys:{place}" for place in range(6)]

KNOWN, NEW = b"k" * 16, b"n" * 16


def fill(client: Any) -> str:
    """Add a group, three pending entries (one removed) and a dead letter; return the id of a pending entry."""
    client.xgroup_create(STREAM, "group", "0", mkstream=True)
    ids = [client.xadd(STREAM, {"EventStream": f"{number}"}) for number in range(4)]
    client.xreadgroup("group", "gone", {STREAM: ">"}, count=3)
    client.xgroup_createconsumer(STREAM, "group", "idle")
    client.xdel(STREAM, ids[1])
    client.xadd(DEAD, {"reason": "failed", "field:EventStream": "1"}, id="1-0")
    client.xgroup_create(DEAD, "readers", "$")
    client.set(PRODUCER_ID, "7 APPENDED 70 ", ex=1_050)  # far from a step of what is compared
    client.hset(HASHES[0], KNOWN, b"f" * 16 + b"\0" * 8)
    client.pexpire(HASHES[0], 10_050_000)
    return str(ids[0].decode())


def append(number: int, *submissions: Sequence[Any], keys: int = 0) -> list[Any]:
    """Return the arguments of append.lua for a batch with so many different keys."""
    parts = [part for submission in submissions for part in submission]
    return [number, number - 1, 1000, 1000, "EventStream", 1000, 10, keys, 10 * number, *parts]


@attrs.frozen
class Case:
    """A script and its arguments; C{pending} stands for the id of a pending entry."""

    names: Sequence[str]
    keys: Sequence[str]
    arguments: Sequence[Any]
    filled: bool = True

    def run(self, client: Any, pending: str) -> Any:
        arguments = [pending if each == "pending" else each for each in self.arguments]
        return client.eval(load_script(*self.names).text, len(self.keys), *self.keys, *arguments)


BOTH = (2, 0, "a", "b"), (1, 1, NEW + b"r" * 24, "c")
REPEAT = (1, 1, KNOWN + b"r" * 24, "d")
APPEND = ("rights.lua", "append.lua")

CASES: Final = {
    "append without a key": Case(APPEND, [STREAM, PRODUCER_ID], append(8, BOTH[0])),
    "append with keys": Case(
        APPEND, [STREAM, PRODUCER_ID, *HASHES], append(8, *BOTH, (1, 1, KNOWN + b"r" * 24, "d"), keys=2)
    ),
    "append for the first time": Case(APPEND, [STREAM, PRODUCER_ID, *HASHES], append(1, *BOTH, keys=1), filled=False),
    "append again": Case(APPEND, [STREAM, PRODUCER_ID], append(7)),
    "renew": Case(("renew.lua",), [PRODUCER_ID, *HASHES], [7, 1000]),
    "look for an entry": Case(("holds.lua",), [STREAM], ["1-0", "EventStream", "a"]),
    "set aside": Case(
        ("rights.lua", "set_aside.lua"), [STREAM, DEAD], ["group", "gone", "pending", "failed", "error", 5]
    ),
    "claim": Case(("rights.lua", "claim.lua"), [STREAM, DEAD], ["group", "other", 0, "0-0", 10, 1_000_000]),
    "touch": Case(("update_pending.lua",), [STREAM, DEAD], ["group", "gone", "RETRYCOUNT", 5, "pending", ""]),
    "take up": Case(("pending.lua",), [STREAM, DEAD], ["group", "gone", "-", 10, 1_000_000]),
    "remove stale consumers": Case(("remove_stale.lua",), [STREAM, DEAD], ["group", "other", 0]),
    "create a group": Case(("create_group.lua",), [STREAM], ["other"]),
    "hold a name": Case(("hold_name.lua",), [STREAM, "{S}:owner"], ["token", 10_000]),
    "leave": Case(("leave.lua",), [STREAM, "{S}:owner"], ["group", "other", "token"]),
    "trim": Case(("trim.lua",), ["{S}:dead"], [0, 100]),
    "replay": Case(("rights.lua", "replay.lua"), [STREAM, DEAD], ["1-0"]),
    "open": Case(("open.lua",), [STREAM], ["CreateStream", "stream created"], filled=False),
}


def commands(script: str) -> Sequence[str]:
    """Return the commands that a script may run."""
    return sorted(set(re.findall(r"\b(?:p?call|refusal)\('(\w+)'", script)))


def dataset(client: Any) -> dict[bytes, Any]:
    """Return all keys with their values and approximate expiry."""
    return {name: (client.dump(name), client.ttl(name) // 100) for name in client.scan_iter()}


def lacks(case: Case, version: str) -> Iterator[Sequence[str]]:
    """Yield ACL rules that each lack one permission: for a command or a key, with read access in some."""
    for command in commands(load_script(*case.names).text):
        yield ["+@all", f"-{command.lower()}", "~*"]
    for key in case.keys:
        others = [f"~{other}" for other in case.keys if other != key]
        yield ["+@all", *others]
        if not version.startswith("6."):
            yield ["+@all", f"%R~{key}", *others]


@pytest.mark.parametrize("name", CASES)
def test_a_script_without_a_right_writes_nothing(each_server: Server, name: str) -> None:
    """Each permission is removed in turn: the script is refused, or did not need it."""
    case = CASES[name]
    with each_server.client() as client:
        refused = 0
        case.run(client, fill(client) if case.filled else "")
        for lack in lacks(case, client.info("server")["redis_version"]):
            client.flushall()
            pending = fill(client) if case.filled else ""
            client.acl_deluser("limited")
            client.execute_command("ACL", "SETUSER", "limited", "on", ">secret", *lack)
            before = dataset(client)
            with redis.Redis(port=each_server.port, username="limited", password="secret", protocol=2) as limited:
                try:
                    case.run(limited, pending)
                except redis.ResponseError:
                    refused += 1
                    assert dataset(client) == before, f"with {lack} something was written"
        assert refused > 1 or name == "look for an entry"


REFUSALS: Final = {
    "out of memory": ("maxmemory", 1, 0),
    "too few replicas": ("min-replicas-to-write", 1, 0),
}


@pytest.mark.parametrize("why", REFUSALS)
def test_a_server_that_refuses_writes_takes_all_of_a_script_or_nothing(each_server: Server, why: str) -> None:
    """It is refused at its first write or not at all."""
    setting, refusing, usual = REFUSALS[why]
    with each_server.client() as client:
        refused = []
        for name, case in CASES.items():
            client.flushall()
            pending = fill(client) if case.filled else ""
            before = dataset(client)
            client.config_set(setting, refusing)
            try:
                case.run(client, pending)
            except redis.ResponseError:
                refused.append(name)
            client.config_set(setting, usual)
            assert name not in refused or dataset(client) == before, name
        assert {"append without a key", "append with keys", "append for the first time"} <= set(refused)


@pytest_twisted.ensureDeferred
async def test_rights_that_come_and_go_under_load_store_everything_once(each_server: Server) -> None:
    """One permission after another is missing for a while; each event answered 200 is stored once."""
    names = commands(load_script("rights.lua", "append.lua").text)
    with each_server.client() as client:
        async with running_producer(each_server, wait=0.2) as producer:
            done = False
            loading = producer.load(10, lambda: done, rest=0.001)
            keyed = [ensureDeferred(insist(producer, f"keyed {each}", lambda: done)) for each in range(5)]
            for name in names:
                for change in ("-", "+"):
                    await producer.answered(20)
                    await deferToThread(client.execute_command, "ACL", "SETUSER", "default", change + name.lower())
            await producer.answered(100)
            done = True
            await gatherResults([loading, *keyed])
            verdict = producer.judge(least_ok=100)
            assert verdict.held, verdict.describe()
            assert any(op.outcome is not Outcome.OK for op in producer.ops)


async def insist(producer: ProducerHarness, name: str, enough: Callable[[], bool]) -> None:
    """Post events, each with a key, and retry each until it is stored."""
    for number in count():
        if enough():
            break
        description = f"{name}-{number}"
        key = IdempotencyKey(sha256(description.encode()).digest()[:16], b"f" * 16)
        while (await producer.post(description, name, key)).outcome is not Outcome.OK:
            await pause(0.001)
        await pause(0.001)
