"""
The chart's Redis: one pod, or several with Sentinels, and what its scripts decide.

The table of decisions runs the real script with a redis-cli that replies as
told; the rest of the tests runs it with real servers and Sentinels, each pod on
a loopback address of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import attrs
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from chaos.suites import wait_until
from eventsvc.embedded import find_server, free_port
from eventsvc.settings import RedisSettings
from eventsvc.settings.reading import read
from tests.support.helm import CHART, Object, pod_of, refusal, render, the

SCRIPTS = sorted((CHART / "files" / "redis").iterdir())
THREE: Mapping[str, Any] = {"redis.replicas": 3}
NODES = ("127.0.0.31", "127.0.0.32", "127.0.0.33")
SET = "redis-master"
PASSWORD = 'a "quoted" \\ one'


def _pod(values: Mapping[str, Any]) -> Object:
    found: Object = pod_of(the(render(values), "StatefulSet", "redis-master"))["spec"]
    return found


def _named(objects: Sequence[Object], kind: str) -> set[str]:
    return {each["metadata"]["name"] for each in objects if each["kind"] == kind}


# What is installed


def test_one_pod_has_no_sentinel() -> None:
    objects = render()
    assert [each["name"] for each in _pod({})["containers"]] == ["redis"]
    assert "redis-master" not in _named(objects, "PodDisruptionBudget")
    assert "REDIS_SENTINELS" not in the(objects, "ConfigMap", "event-producer")["data"]
    assert "min-replicas" not in the(objects, "ConfigMap", "redis")["data"]["redis.conf"]


def test_producers_and_consumers_ask_the_sentinels_of_all_pods() -> None:
    objects = render(THREE)
    for role in ("producer", "consumer"):
        data = the(objects, "ConfigMap", f"event-{role}")["data"]
        given = read(RedisSettings, {name: text for name, text in data.items() if not name.endswith("_FILE")})
        assert [str(each) for each in given.sentinels] == [f"redis-master-{n}.here.svc:26379" for n in range(3)]
        assert given.sentinel_service == "redis-master"
        assert data["REDIS_SENTINEL_PASSWORD_FILE"] == data["REDIS_PASSWORD_FILE"]
    assert _named(objects, "Service") >= {f"redis-master-{number}" for number in range(3)}


@pytest.mark.parametrize("values", [{}, THREE])
def test_a_bad_pod_holds_up_no_other(values: Mapping[str, Any]) -> None:
    assert the(render(values), "StatefulSet", "redis-master")["spec"]["podManagementPolicy"] == "Parallel"


def test_a_drain_takes_one_pod_and_any_that_is_of_no_use() -> None:
    spec = the(render(THREE), "PodDisruptionBudget", "redis-master")["spec"]
    assert (spec["maxUnavailable"], spec["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")


@pytest.mark.parametrize(
    ("spread", "kind"),
    [
        ("soft", "preferredDuringSchedulingIgnoredDuringExecution"),
        ("hard", "requiredDuringSchedulingIgnoredDuringExecution"),
    ],
)
def test_pods_are_spread_over_nodes(spread: str, kind: str) -> None:
    affinity = _pod({**THREE, "redis.spread": spread})["affinity"]
    assert list(affinity["podAntiAffinity"]) == [kind]


def test_pods_are_not_spread_where_that_is_not_wanted() -> None:
    assert "podAntiAffinity" not in (_pod({**THREE, "redis.spread": "none"}).get("affinity") or {})
    assert "podAntiAffinity" not in (_pod({}).get("affinity") or {})


def test_redis_is_named_by_its_digest() -> None:
    digest = f"sha256:{'0' * 64}"
    assert _pod({"redis.image.digest": digest})["containers"][0]["image"] == f"localhost/eventsvc-redis@{digest}"


@pytest.mark.parametrize("replicas", [2, 4, 0, "3"])
def test_an_even_number_of_pods_is_refused_by_the_name_of_the_value(replicas: Any) -> None:
    assert "replicas" in refusal({"redis.replicas": replicas})


def test_with_tls_nothing_goes_without() -> None:
    objects = render({**THREE, "redis.tls": {"enabled": True, "existingSecret": "redis-certificate"}})
    for role in ("producer", "consumer"):
        data = the(objects, "ConfigMap", f"event-{role}")["data"]
        assert (data["REDIS_TLS"], data["REDIS_TLS_CA"]) == ("on", "/etc/eventsvc/redis-ca/ca.crt")
        volumes = pod_of(the(objects, "Deployment", f"event-{role}"))["spec"]["volumes"]
        assert "redis-certificate" in json.dumps(volumes)
    for container in pod_of(the(objects, "StatefulSet", "redis-master"))["spec"]["containers"]:
        assert {"name": "TLS", "value": "on"} in container["env"]


def test_tls_without_a_certificate_is_refused_with_a_sentence() -> None:
    assert "redis.tls.enabled is set without redis.tls.existingSecret:" in refusal({"redis.tls.enabled": True})


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_bash(path: Path) -> None:
    subprocess.run(["bash", "-n", path], check=True)


# What Redis starts as

#: What a Sentinel of the test replies, by what is known to it; a silent one has no line.
NONE = "ERR No such master with that name"


def _knows(primary: str, epoch: int = 1) -> str:
    words = {"name": SET, "ip": primary, "port": "6379", "runid": "", "flags": "master", "config-epoch": str(epoch)}
    return "\n".join(f"{name}\n{value}" for name, value in words.items())


@attrs.define
class Case:
    """
    @ivar me: the number of the pod.
    @ivar sentinels: replies by the number of the pod.
    @ivar volume: files on the volume of the pod, with their text.
    @ivar primary: number of a pod whose Redis says that it is a primary.
    """

    expected: str
    me: int = 0
    sentinels: Mapping[int, str] = {}
    volume: Mapping[str, str] = {"appendonlydir": ""}
    primary: int | None = None
    nodes: Sequence[str] = NODES


ALONE = {"alone": "", "appendonlydir": ""}
CASES = {
    "the first pod of a first start": Case("primary", sentinels={0: NONE, 1: NONE, 2: NONE}, volume={}),
    "another pod of a first start": Case("wait", me=1, sentinels={0: NONE, 1: NONE, 2: NONE}, volume={}),
    "one who may know is silent": Case("wait", sentinels={0: NONE, 1: NONE}, volume={}),
    "a restart of the primary": Case("primary", sentinels={0: _knows(NODES[0]), 1: _knows(NODES[0])}),
    "another was promoted": Case("replica 127.0.0.32", sentinels={0: _knows(NODES[0]), 1: _knows(NODES[1], 2)}),
    "the number counts, not the text": Case(
        "replica 127.0.0.32", sentinels={0: _knows(NODES[0], 9), 1: _knows(NODES[1], 10)}
    ),
    "only my own Sentinel answers": Case("wait", sentinels={0: _knows(NODES[0])}),
    "only another Sentinel answers": Case("wait", sentinels={1: _knows(NODES[1])}),
    "no Sentinel answers": Case("wait"),
    "a lost volume of the primary": Case("wait", sentinels=dict.fromkeys(range(3), _knows(NODES[0])), volume={}),
    "a lost volume of a replica": Case(
        "replica 127.0.0.31", me=1, sentinels={0: _knows(NODES[0]), 1: NONE, 2: _knows(NODES[0])}, volume={}
    ),
    "the file of Redis 6.2 is data too": Case(
        "primary", sentinels=dict.fromkeys(range(3), _knows(NODES[0])), volume={"appendonly.aof": ""}
    ),
    "from one to three, the first": Case("primary", sentinels={0: NONE, 1: NONE, 2: NONE}, volume=ALONE),
    "from one to three, another": Case("replica 127.0.0.31", me=2, sentinels={1: NONE, 2: NONE}, volume={}, primary=0),
    "the first has a Sentinel, but is no primary yet": Case("wait", me=2, sentinels=dict.fromkeys(range(3), NONE)),
    "from three to one and back, the first": Case(
        "wait", sentinels={0: NONE, 1: _knows(NODES[1]), 2: _knows(NODES[1])}, volume=ALONE
    ),
    "from three to one and back, another": Case(
        "wait", me=1, sentinels={1: _knows(NODES[1]), 2: _knows(NODES[1])}, primary=0
    ),
    "the Sentinel beside the primary is away": Case(
        "replica 127.0.0.31", me=1, sentinels={1: _knows(NODES[0]), 2: _knows(NODES[0])}, primary=0
    ),
    "the only pod": Case("primary", nodes=NODES[:1], volume={}),
    "the only pod, the last primary": Case(
        "primary", nodes=NODES[:1], volume={"sentinel.conf": f"sentinel monitor {SET} {NODES[0]} 6379 2\n"}
    ),
    "the only pod, a replica before": Case(
        "wait", nodes=NODES[:1], volume={"sentinel.conf": f"port 1\nsentinel monitor {SET} {NODES[1]} 6379 2\n"}
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_redis_starts_as(case: Case, tmp_path: Path) -> None:
    replies, volume, programs = tmp_path / "replies", tmp_path / "volume", tmp_path / "bin"
    for directory in (replies, volume, programs):
        directory.mkdir()
    for number, reply in case.sentinels.items():
        (replies / f"{NODES[number]}:26379").write_text(reply + "\n")
    if case.primary is not None:
        (replies / f"{NODES[case.primary]}:6379").write_text("master\n0\n")
    for name, text in case.volume.items():
        (volume / name).write_text(text)
    (programs / "redis-cli").write_text(f'#!/bin/bash\ncat "{replies}/$2:$4"\n')
    (programs / "redis-cli").chmod(0o755)
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "ME": case.nodes[case.me],
        "NODES": " ".join(case.nodes),
        "SET": SET,
        "CONFIG": str(CHART / "files" / "redis"),
        "DATA": str(volume),
    }
    script = 'source "$CONFIG/common"; source "$CONFIG/decide"; decide; echo "$as $of"; echo "$why"'
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=20)
    decision, why = done.stdout.splitlines()
    assert decision.strip() == case.expected, why
    assert why
    assert not done.stderr


# With real servers


@attrs.define
class Pod:
    """
    The scripts of a pod, as processes.

    @ivar directory: with its volume, and its logs.
    """

    host: str
    directory: Path
    environment: Mapping[str, str]
    processes: dict[str, subprocess.Popen[bytes]] = attrs.field(factory=dict)

    def start(self, *scripts: str) -> None:
        for script in scripts or ("sentinel", "start"):
            with (self.directory / f"{script}.log").open("wb") as log:
                command = ["bash", f"{self.environment['CONFIG']}/{script}"]
                environment = {**self.environment, "ME": self.host, "HERE": self.host, "BIND": self.host}
                environment |= {"DATA": str(self.directory), "LOG": "/dev/stdout"}
                self.processes[script] = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def kill(self, *scripts: str) -> None:
        for script in scripts or tuple(self.processes):
            process = self.processes.pop(script)
            process.kill()
            process.wait()

    def run(self, script: str) -> str:
        """Run a script to its end, and return its output."""
        self.start(script)
        self.processes.pop(script).wait(60)
        return (self.directory / f"{script}.log").read_text()

    def says(self, words: str) -> bool:
        return words in (self.directory / "start.log").read_text()

    def redis(self) -> Any:
        port = int(self.environment["REDIS_PORT"])
        return redis.Redis(
            self.host, port, password=PASSWORD, socket_timeout=2, protocol=2, retry=Retry(NoBackoff(), 0)
        )

    def role(self) -> str:
        with suppress(redis.RedisError), self.redis() as client:
            return str(client.execute_command("ROLE")[0].decode())
        return ""

    def lose_volume(self) -> None:
        for path in self.directory.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@attrs.define
class Pods:
    pods: Sequence[Pod]

    def primary(self) -> Pod | None:
        """Return the only primary, or nothing while there is none, or more than one."""
        found = [pod for pod in self.pods if pod.role() == "master"]
        return found[0] if len(found) == 1 else None

    def is_complete(self) -> bool:
        """Return whether a primary accepts events, which both replicas have, and which Sentinels may promote."""
        primary = self.primary()
        if primary is None:
            return False
        with suppress(redis.RedisError), primary.redis() as client:
            client.set("told", "once")
            return bool(client.wait(2, 100) == 2) and self._promotable() == 2
        return False

    def _promotable(self) -> int:
        count = 0
        for pod in self.pods:
            sentinel = redis.Redis(
                pod.host, int(pod.environment["SENTINEL_PORT"]), password=PASSWORD, socket_timeout=2, protocol=2
            )
            with suppress(redis.RedisError), sentinel:
                replies = sentinel.execute_command("SENTINEL REPLICAS", SET)
                good = [each for each in replies if dict(zip(each[::2], each[1::2]))[b"slave-priority"] == b"100"]
                count = max(count, len(good))
        return count


@pytest.fixture
def pods(tmp_path: Path) -> Iterator[Pods]:
    """Three pods that have not started."""
    if shutil.which("redis-cli") is None:
        pytest.skip("the command redis-cli is not installed")
    config, programs = tmp_path / "config", tmp_path / "bin"
    config.mkdir()
    programs.mkdir()
    values = {**THREE, "redis.sentinel": {"downAfterMilliseconds": 500, "failoverTimeoutMilliseconds": 2000}}
    for name, text in the(render(values), "ConfigMap", "redis")["data"].items():
        (config / name).write_text(text.replace("dir /data\n", ""))
    server = find_server()
    (programs / "redis-server").write_text(f'#!/bin/bash\ncd "$DATA" && exec "{server}" "$@"\n')
    (programs / "redis-server").chmod(0o755)
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "NODES": " ".join(NODES),
        "SET": SET,
        "CONFIG": str(config),
        "REDIS_PASSWORD": PASSWORD,
        "REDISCLI_AUTH": PASSWORD,
        "REDIS_PORT": str(free_port()),
        "SENTINEL_PORT": str(free_port()),
    }
    all_pods = []
    for host in NODES:
        (tmp_path / host).mkdir()
        all_pods.append(Pod(host, tmp_path / host, environment))
    with ExitStack() as stack:
        for pod in all_pods:
            stack.callback(pod.kill)
        yield Pods(all_pods)


def test_pods_find_each_other_fail_over_and_come_back(pods: Pods) -> None:
    first, second, third = pods.pods
    first.start()
    third.start()
    wait_until(lambda: first.says("some may that do not answer"), "it waits for the last Sentinel")
    second.start()
    wait_until(pods.is_complete, "the first start", 30)
    assert pods.primary() is first

    # Before it ends, the primary makes another the primary.
    assert "OK" in first.run("stop")
    assert first.role() == "slave"
    wait_until(pods.is_complete, "the primary has stepped down", 30)
    primary = pods.primary()
    assert primary not in (None, first)

    # All at once: what the Sentinels knew is on the volumes.
    for pod in pods.pods:
        pod.kill()
    for pod in pods.pods:
        pod.start()
    wait_until(pods.is_complete, "all have started again", 30)
    assert pods.primary() is primary


def test_an_empty_volume_never_becomes_the_primary(pods: Pods) -> None:
    for pod in pods.pods:
        pod.start()
    wait_until(pods.is_complete, "the first start", 30)
    first = pods.pods[0]
    with first.redis() as client:
        client.set("kept", "yes")
        assert client.wait(2, 5000) == 2
    first.kill()
    first.lose_volume()
    first.start()
    wait_until(pods.is_complete, "another has been promoted", 30)
    assert first.role() == "slave"
    for pod in pods.pods:
        with pod.redis() as client:
            assert client.get("kept") == b"yes"


def test_from_one_to_three_without_losing_an_event(pods: Pods) -> None:
    first, *others = pods.pods
    alone = attrs.evolve(first, environment={**first.environment, "NODES": first.host}, processes={})
    (Path(first.environment["CONFIG"]) / "redis.conf").write_text("appendonly yes\n")
    alone.start("start")
    try:
        wait_until(lambda: alone.role() == "master", "the only pod has started")
        with alone.redis() as client:
            client.set("kept", "yes")
        for pod in others:
            pod.start()
        wait_until(lambda: all(pod.role() == "slave" for pod in others), "the others copy it")
    finally:
        alone.kill()
    first.start()
    wait_until(pods.is_complete, "the first has a Sentinel", 30)
    for pod in pods.pods:
        with pod.redis() as client:
            assert client.get("kept") == b"yes"
