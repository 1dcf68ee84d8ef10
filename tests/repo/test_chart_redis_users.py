"""
Tests the users of the chart's Redis: their passwords, which change while it runs, and their rights.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from chaos.suites import wait_until
from tests.support.helm import CHART, ROOT, pod_of, refusal, render, settings, the
from tests.support.pods import files
from tests.support.processes import Services, post
from tests.support.redis_pod import RedisPod, config_of, running_redis_pod, secret_of
from tests.support.redis_pods import NODES, PASSWORD, SET
from tests.support.server_binaries import find_binary

KEY = "eventsvc-password"
SECRET = {"redis-password": "operator", KEY: "ours"}


def rights(page: str, user: str) -> list[str]:
    """Return the rules of a user on a page, without its password."""
    (line,) = re.findall(rf"^ACL SETUSER {user} on >\S+ (.+)$", (ROOT / "docs" / page).read_text(), re.M)
    return str(line).split()


@pytest.fixture
def pod(binary: str, tmp_path: Path) -> Iterator[RedisPod]:
    with running_redis_pod(binary, tmp_path / "pod", SECRET, key=KEY) as pod:
        yield pod


# Rights


def test_the_rights_are_those_of_the_pages() -> None:
    config = config_of({"tests.stream": ""})
    assert config["rights"].replace('"', "").split() == rights("install.md", "eventsvc")
    assert config["sentinel-rights"].split() == rights("security.md", "eventsvc-sentinel")


def test_the_rights_are_for_all_streams_of_the_release() -> None:
    values = {
        "settings.REDIS_STREAM": "Orders",
        "producer.streams": ["Audit", "a*b"],
        "consumer.settings.REDIS_STREAM": "Mine",
    }
    keys = [word for word in config_of(values)["rights"].split() if word.startswith('"~')]
    names = ("Audit", "HelmTest", "Mine", "Orders", r"a\\*b")
    assert keys == [f'"~{pattern}"' for name in names for pattern in (name, f"{{{name}}}:*")]


@pytest.mark.parametrize(("level", "more"), [("memory", ""), ("replicas", "+wait"), ("disk", "+waitaof +config|get")])
def test_durability_has_the_rights_it_needs(level: str, more: str) -> None:
    assert config_of({"producer.settings.REDIS_DURABILITY": level})["rights"].split("+role")[1].strip() == more


def test_both_roles_and_the_suites_work_as_this_user(pod: RedisPod, services: Services) -> None:
    """Redis refuses nothing, and eventsvc dead works too."""
    account = {"REDIS_PORT": f"{pod.port}", "REDIS_USERNAME": "eventsvc", "REDIS_PASSWORD": "ours"}
    producer = services.start("eventsvc", "producer", "--rest-server-port=0", environment=account)
    options = ("--redis-stream-max-len=2", "--redis-claim-idle=0.5", "--redis-read-timeout=0.2")
    consumer = services.start("eventsvc", "consumer", *options, environment=account)
    wait_until(lambda: producer.says("connected to Redis"))
    for number in range(10):
        assert post(producer.port(), '{"description": "a"}', headers={"Idempotency-Key": f"{number}"}).status == 200
    with pod.client("eventsvc", "ours") as client:
        client.xadd("NotificationStream", {"no": "event"})
        wait_until(lambda: client.xlen("{NotificationStream}:dead") == 1)
        wait_until(lambda: client.xlen("NotificationStream") <= 2)
    assert (producer.stop(), consumer.stop()) == (0, 0)
    with pod.client("default", "operator") as operator:
        denied = {dict(zip(each[::2], each[1::2]))[b"object"] for each in operator.execute_command("ACL", "LOG")}
    assert denied <= {b"client"}, "which is redis-py's"


@pytest.mark.parametrize("command", ["FLUSHALL", "KEYS *", "CONFIG GET *", "XADD Other * a b", "SHUTDOWN", "ACL LIST"])
def test_what_this_user_cannot_do(pod: RedisPod, command: str) -> None:
    with pod.client("eventsvc", "ours") as client, pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(*command.split())


def test_a_stream_gets_its_rights_without_a_restart(pod: RedisPod) -> None:
    before = render()
    more = {"producer.streams": ["Audit"]}
    with pod.client("eventsvc", "ours") as client:
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.xadd("Audit", {"a": "b"})
        pod.put("config", config_of(more) | {"redis.conf": (pod.directory / "config" / "redis.conf").read_text()})
        wait_until(lambda: "users and passwords changed" in pod.log())
        assert client.xadd("Audit", {"a": "b"}), "on the same connection"
    assert _annotations(before, "StatefulSet", "redis-master") == _annotations(
        render(more), "StatefulSet", "redis-master"
    )


def _annotations(objects: Any, kind: str, name: str) -> Any:
    return pod_of(the(objects, kind, name))["metadata"]["annotations"]


# Passwords


@pytest.mark.parametrize("password", ["plain", 'a "quoted" \\ one', "with $(words) and `more`", "ünï 'code' #>", "* ~"])
def test_a_password_reaches_redis_as_it_is(password: str, tmp_path: Path) -> None:
    """Neither the shell nor the configuration of Redis interprets any character of it."""
    secret = secret_of({"redis.auth.password": password, "redis.auth.eventsvcPassword": f"{password}2"})
    assert secret == {"redis-password": password, KEY: f"{password}2"}
    with running_redis_pod(find_binary("valkey-9"), tmp_path / "pod", secret, key=KEY) as pod:
        assert pod.admits("default", password)
        assert pod.admits("eventsvc", f"{password}2")
        assert not pod.admits("eventsvc", password)
        assert not pod.admits("default", "")


def test_a_password_changes_while_clients_are_connected(pod: RedisPod) -> None:
    """First both are accepted, then the new one; who is connected stays."""
    new = {"redis-password": "operator 2", KEY: "ours 2"}
    with pod.client("eventsvc", "ours") as client, pod.client("default", "operator") as operator:
        client.ping()
        began = operator.info("server")["run_id"]
        pod.put("secret", new | {"redis-password-previous": "operator", f"{KEY}-previous": "ours"})
        wait_until(lambda: pod.admits("eventsvc", "ours 2"))
        assert pod.admits("eventsvc", "ours")
        wait_until(lambda: pod.admits("default", "operator 2"))
        assert pod.admits("default", "operator")
        pod.put("secret", new)
        wait_until(lambda: not pod.admits("eventsvc", "ours"))
        wait_until(lambda: not pod.admits("default", "operator"))
        assert pod.admits("eventsvc", "ours 2")
        assert client.xadd("NotificationStream", {"a": "b"}), "on the connection from before"
        assert operator.info("server")["run_id"] == began


def test_a_password_that_is_replaced_at_once_is_taken_up_too(pod: RedisPod) -> None:
    """As in a Secret of somebody's own, without the previous one."""
    for number in range(3):
        pod.put("secret", {"redis-password": f"operator {number}", KEY: f"ours {number}"})
        wait_until(partial(pod.admits, "default", f"operator {number}"))
        wait_until(partial(pod.admits, "eventsvc", f"ours {number}"))
    assert not pod.admits("eventsvc", "ours")


def test_a_password_that_changes_while_redis_starts_is_taken_up(tmp_path: Path) -> None:
    """What follows the Secret presents the password that Redis began with, not that of its first look."""
    (tmp_path / "redis-password").write_text("new")
    (tmp_path / "rights").write_text("+ping")
    script = f"""source {CHART}/files/redis/accounts
        turns=0 && sleep() {{ ((turns++ == 0)); }} && say() {{ :; }}
        give_users_to_redis() {{ echo "$auth"; [[ $auth == old ]]; }}
        follow redis rights "default reset on" old"""
    environment = {"PATH": os.environ["PATH"], "USER_KEY": "", "config": str(tmp_path), "SECRET": str(tmp_path)}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=30)
    assert done.stdout == "old\n", done.stderr


def test_a_secret_that_lacks_a_password_changes_nothing(tmp_path: Path) -> None:
    """Redis would admit nobody without it."""
    with running_redis_pod(find_binary("valkey-9"), tmp_path / "pod", SECRET, key=KEY) as pod:
        for lacking in SECRET:
            pod.put("secret", {name: f"{text} 2" for name, text in SECRET.items() if name != lacking})
            wait_until(partial(_says, pod, f"the Secret has no {lacking}:"))
            assert pod.admits("default", "operator")
            assert pod.admits("eventsvc", "ours")


def _says(pod: RedisPod, words: str) -> bool:
    return words in pod.log()


def test_without_its_key_there_is_no_such_user(tmp_path: Path) -> None:
    with running_redis_pod(find_binary("valkey-9"), tmp_path / "pod", {"redis-password": "operator"}) as pod:
        assert pod.admits("default", "operator")
        with pod.client("default", "operator") as client:
            assert client.acl_users() == ["default"]


# Secrets


def test_each_role_is_the_user_eventsvc() -> None:
    objects = render()
    for name in ("event-producer", "event-consumer"):
        given = settings(objects, name)
        assert given["REDIS_USERNAME"] == "eventsvc"
        assert files(pod_of(the(objects, "Deployment", name)))[given["REDIS_PASSWORD_FILE"]] == ("redis", KEY)
    assert ("redis", KEY) in files(the(objects, "Pod", "event-test")).values()


def test_the_sentinels_are_asked_as_this_user_too() -> None:
    given = settings(render({"redis.replicas": 3}), "event-producer")
    assert given["REDIS_SENTINEL_USERNAME"] == "eventsvc"
    assert given["REDIS_SENTINEL_PASSWORD_FILE"] == given["REDIS_PASSWORD_FILE"]


@pytest.mark.parametrize(("key", "user"), [("", None), ("events", "eventsvc")])
def test_a_secret_of_ones_own_may_have_one_password_or_two(key: str, user: str | None) -> None:
    objects = render({"redis.auth": {"existingSecret": "mine", "eventsvcKey": key}})
    given = settings(objects, "event-producer")
    assert given.get("REDIS_USERNAME") == user
    source = files(pod_of(the(objects, "Deployment", "event-producer")))[given["REDIS_PASSWORD_FILE"]]
    assert source == ("mine", key or "redis-password")
    (own,) = pod_of(the(objects, "StatefulSet", "redis-master"))["spec"]["containers"]
    assert {"name": "USER_KEY", "value": key} in own["env"]


def test_no_password_is_where_it_could_be_read() -> None:
    """Neither in a ConfigMap nor in an annotation, not even as a digest alone."""
    values = {"redis.auth.password": "operator", "redis.auth.eventsvcPassword": "ours"}
    for each in render(values):
        if each["kind"] != "Secret":
            assert "operator" not in str(each)
            assert "ours" not in re.findall(r"\w+", str(each))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"redis.auth": {"existingSecret": "a", "eventsvcPassword": "b"}},
            "redis.auth.password (or .eventsvcPassword)",
        ),
        ({"redis.auth": {"existingSecret": "a", "password": "b"}}, "redis.auth.password (or .eventsvcPassword)"),
        ({"redis.auth.eventsvcKey": "a"}, "redis.auth.eventsvcKey is set without redis.auth.existingSecret:"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_sentence(values: Any, sentence: str) -> None:
    assert sentence in refusal(values)


def test_a_sentinel_begins_with_the_users_of_the_secret(tmp_path: Path) -> None:
    """Producers and consumers ask it as the user eventsvc from its first moment on."""
    for name in ("secret", "data", "bin"):
        (tmp_path / name).mkdir()
    for key in ("redis-password", "eventsvc-password"):
        (tmp_path / "secret" / key).write_text(PASSWORD)
    (tmp_path / "bin" / "redis-server").write_text("#!/bin/bash\necho started\n")
    (tmp_path / "bin" / "redis-server").chmod(0o755)
    for name, text in the(render({"redis.replicas": 3}), "ConfigMap", "redis")["data"].items():
        (tmp_path / name).write_text(text)
    environment = {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "NODES": " ".join(NODES),
        "SET": SET,
        "ME": NODES[0],
        "USER_KEY": "eventsvc-password",
        "CONFIG": str(tmp_path),
        "DATA": str(tmp_path / "data"),
        "SECRET": str(tmp_path / "secret"),
    }
    with subprocess.Popen(
        ["bash", str(tmp_path / "sentinel")], env=environment, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"started\n"
        finally:
            os.killpg(process.pid, 9)
    lines = (tmp_path / "data" / "sentinel.conf").read_text().splitlines()
    users = [line.split()[1] for line in lines if line.startswith("user ")]
    assert users == ["eventsvc", "default"]
    assert not [line for line in lines if line.startswith("requirepass")]
