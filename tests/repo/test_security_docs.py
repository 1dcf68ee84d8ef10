"""
Tests the users of Redis on docs/security.md: each role has all the rights it needs, and no others.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import redis

from chaos.suites import PATIENCE, wait_until
from tests.support.helm import ROOT
from tests.support.processes import Server, Services, get, post
from tests.support.replicas import running_replica

#: The rules of each user of Redis, by its name; the one of Sentinels is in L{tests.support.sentinels}.
USERS: dict[str, str] = dict(re.findall(r"^ACL SETUSER (\S+) (.+)$", (ROOT / "docs" / "security.md").read_text(), re.M))
del USERS["eventsvc-sentinel"]
PRODUCER, CONSUMER, OPERATOR, DASHBOARD = USERS
#: The scripts that each user runs.
SCRIPTS = {
    PRODUCER: ("open", "append", "renew", "measure", "holds", "beat"),
    CONSUMER: (
        *("claim", "create_group", "hold_name", "leave", "measure", "pending"),
        *("remove_stale", "set_aside", "trim", "update_pending", "beat"),
    ),
    OPERATOR: ("replay", "dead_page"),
    DASHBOARD: ("survey", "measure", "read_hash", "beat", "keep_point", "dead_page", "events", "search", "may"),
}
EVENTSVC = Path(sys.executable).parent / "eventsvc"
DEAD = "{NotificationStream}:dead"


def rules(name: str, version: str) -> Sequence[str]:
    """Return the rules of a user as arguments; Redis 6.2 has none in parentheses."""
    text = USERS[name]
    return re.sub(r"[()]", "", text).split() if version.startswith("6.2") else re.findall(r"\([^)]*\)|\S+", text)


def password(name: str) -> str:
    return USERS[name].partition(">")[2].split()[0]


@pytest.fixture
def client(each_server: Server) -> Any:
    """Return an operator of a server that has the users of the page."""
    with each_server.client() as client:
        for name in USERS:
            client.execute_command("ACL", "SETUSER", name, *rules(name, client.info("server")["redis_version"]))
        yield client


def account(server: Server, name: str) -> dict[str, str]:
    return {"REDIS_PORT": f"{server.port}", "REDIS_USERNAME": name, "REDIS_PASSWORD": password(name)}


def dead(server: Server, *arguments: str) -> str:
    """Run C{eventsvc dead} as its user."""
    environment = {**os.environ, **account(server, OPERATOR)}
    command = [str(EVENTSVC), "dead", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_role_works_with_the_rights_on_the_page(client: Any, each_server: Server, services: Services) -> None:
    """Redis refuses nothing, from the first event to the purge of a dead letter."""
    producer = services.start(
        "eventsvc", "producer", "--rest-server-port=0", environment=account(each_server, PRODUCER)
    )
    options = ("--redis-stream-max-len=2", "--redis-claim-idle=0.5", "--redis-read-timeout=0.2")
    consumer = services.start("eventsvc", "consumer", *options, environment=account(each_server, CONSUMER))
    wait_until(lambda: producer.says("connected to Redis"))
    for number in range(20):
        key = {"Idempotency-Key": f"{number}"} if number % 2 else {}
        assert post(producer.port(), json.dumps({"description": f"event {number}"}), headers=key).status == 200
    client.xadd("NotificationStream", {"no": "event"})
    wait_until(lambda: client.xlen(DEAD) == 1)
    wait_until(lambda: client.xlen("NotificationStream") <= 2)  # trimmed
    assert "malformed" in dead(each_server, "list")
    dead(each_server, "replay", "--all", "--yes")
    wait_until(lambda: client.xlen(DEAD) == 1)
    dead(each_server, "purge", "--all", "--yes")
    assert consumer.stop() == 0
    assert producer.stop() == 0
    assert client.execute_command("ACL", "LOG") == []


def run_command(server: Server, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of C{eventsvc} as a user."""
    environment = {**os.environ, **account(server, name)}
    command = [str(EVENTSVC), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)


def test_whoever_looks_needs_no_more_than_the_rights_of_the_dashboard(client: Any, each_server: Server) -> None:
    """Redis refuses nothing to the commands that look, wherever an event is."""
    client.xgroup_create("NotificationStream", "demo_consumer_group", "0", mkstream=True)
    event = '{"id":%d,"description":"d","timestamp":"2025-02-25T22:06:25.478310425Z"}'
    for number in range(3):
        client.xadd("NotificationStream", {"EventStream": event % (4711 + number)})
    client.xreadgroup("demo_consumer_group", "c", {"NotificationStream": ">"}, count=1)
    client.xadd(DEAD, {"reason": "failed", "id": "1-0", "error": "e", "field:EventStream": event % 99})
    for line in ("status", "groups", "tail --no-follow", "find 4711", "find 4712", "find 99", "dead list"):
        done = run_command(each_server, DASHBOARD, *line.split())
        assert (line, done.returncode) == (line, 0), done.stderr + done.stdout
    assert client.execute_command("ACL", "LOG") == []


@pytest.mark.parametrize(
    ("name", "role"),
    [(PRODUCER, "producer"), (CONSUMER, "consumer"), (OPERATOR, "operator"), (DASHBOARD, "dashboard")],
)
def test_the_doctor_knows_which_rights_a_role_needs(client: Any, each_server: Server, name: str, role: str) -> None:
    """Each user on the page has those of its role, and not those of another."""
    is_old = client.info("server")["redis_version"].startswith("6.2")

    def ask(asked: str) -> tuple[str, str]:
        done = run_command(each_server, name, "doctor", "--role", asked, "--json")
        [check] = [check for check in json.loads(done.stdout) if check["name"] == "rights"]
        return check["state"], check["what"]

    state, what = ask(role)
    assert state == ("unknown" if is_old else "ok"), what
    if not is_old:
        assert ask("producer" if role != "producer" else "consumer")[0] == "wrong"


def test_a_dashboard_works_with_the_rights_on_the_page(client: Any, each_server: Server, services: Services) -> None:
    """Redis refuses nothing, whatever is looked at."""
    client.xgroup_create("NotificationStream", "demo_consumer_group", "0", mkstream=True)
    entry = client.xadd("NotificationStream", {"no": "event"}).decode()
    letter = client.xadd(DEAD, {"reason": "malformed", "id": entry}).decode()
    dashboard = services.start(
        "eventsvc", "dashboard", "--dashboard-port=0", environment=account(each_server, DASHBOARD)
    )
    port = dashboard.port()
    wait_until(lambda: client.exists("{NotificationStream}:hour") and "● ready" in get(port, "/")[1])
    for path in ("/", "/events", f"/event?entry={entry}", "/dead", f"/letter?id={letter}", "/processes"):
        assert get(port, path)[0] == 200
    assert dashboard.stop() == 0
    assert [line for line in dashboard.lines() if line["level"] != "info"] == []
    assert client.execute_command("ACL", "LOG") == []


@pytest.mark.parametrize("name", USERS)
def test_every_command_of_a_script_is_among_the_rights(name: str) -> None:
    """So none is refused that the other test happens not to run."""
    wanted = set()
    for script in SCRIPTS[name]:
        text = (ROOT / "eventsvc" / "redis" / f"{script}.lua").read_text()
        calls = re.findall(r"(?:call|refusal|ask)\('(\w+)'(?:, '([A-Z]+)')?", text)
        wanted |= {
            f"+{word}|{more}".lower() if word in ("XGROUP", "XINFO") else f"+{word}".lower() for word, more in calls
        }
    assert wanted <= set(re.sub(r"[()]", "", USERS[name]).split())


def test_every_script_has_a_user() -> None:
    there = {path.stem for path in (ROOT / "eventsvc" / "redis").glob("*.lua")} - {"rights"}
    assert there == {name for names in SCRIPTS.values() for name in names}


@pytest.mark.parametrize(
    ("name", "command"),
    [
        (PRODUCER, "XINFO STREAM NotificationStream"),
        (PRODUCER, "XGROUP DESTROY NotificationStream demo_consumer_group"),
        (PRODUCER, "XACK NotificationStream demo_consumer_group 1-0"),
        (PRODUCER, "XREAD STREAMS NotificationStream 0"),
        (PRODUCER, "XTRIM NotificationStream MAXLEN 0"),
        (PRODUCER, "DEL NotificationStream"),
        (PRODUCER, "SET NotificationStream a"),
        (PRODUCER, "EXPIRE NotificationStream 1"),
        (PRODUCER, "XRANGE {NotificationStream}:dead - +"),
        (CONSUMER, "XADD NotificationStream * a b"),
        (CONSUMER, "DEL NotificationStream"),
        (CONSUMER, "XGROUP DESTROY NotificationStream demo_consumer_group"),
        (CONSUMER, "HMGET {NotificationStream}:keys:0 a"),
        (CONSUMER, "XDEL {NotificationStream}:dead 1-0"),
        (OPERATOR, "XRANGE NotificationStream - +"),
        (OPERATOR, "XACK NotificationStream demo_consumer_group 1-0"),
        *[(name, command) for name in USERS for command in ("FLUSHALL", "CONFIG GET *", "KEYS *", "XADD Other * a b")],
    ],
)
def test_what_a_user_cannot_do(name: str, command: str, server: Server) -> None:
    """The page says so, for servers that have rights in parentheses."""
    with server.client() as client:
        for each in USERS:
            client.execute_command("ACL", "SETUSER", each, *rules(each, "7"))
        limited = redis.Redis(port=server.port, username=name, password=password(name), protocol=2)
        with limited, pytest.raises(redis.exceptions.NoPermissionError):
            limited.execute_command(*command.split())
        client.execute_command("ACL", "DELUSER", *USERS)


#: The rights that each level of durability needs beside the others.
LEVELS: list[tuple[str, str]] = re.findall(
    r"`REDIS_DURABILITY=(\w+)` (?:the producer also needs )?the rights? `([^`]+)`",
    (ROOT / "docs" / "security.md").read_text(),
)


@pytest.mark.parametrize(("level", "more"), LEVELS)
def test_a_level_of_durability_needs_more_rights(
    level: str, more: str, own_server: Server, services: Services, tmp_path: Path
) -> None:
    """Without, the producer says so; with them Redis refuses nothing."""
    with running_replica(own_server, tmp_path / "replica"), own_server.client() as client:
        client.config_set("appendfsync", "always")
        client.execute_command("ACL", "SETUSER", PRODUCER, *rules(PRODUCER, "7"))
        flags = ("--rest-server-port=0", f"--redis-durability={level}")
        producer = services.start("eventsvc", "producer", *flags, environment=account(own_server, PRODUCER))
        wait_until(lambda: producer.says(f"REDIS_DURABILITY={level} needs the right to run"))
        client.execute_command("ACL", "LOG", "RESET")
        client.execute_command("ACL", "SETUSER", PRODUCER, *more.split())
        wait_until(lambda: producer.says("connected to Redis"))
        assert post(producer.port(), json.dumps({"description": "event"})).status == 200
        assert producer.stop() == 0
        assert [line for line in client.execute_command("ACL", "LOG") if "wait" not in str(line)] == []


def test_both_levels_are_there() -> None:
    assert [level for level, _ in LEVELS] == ["replicas", "disk"]
