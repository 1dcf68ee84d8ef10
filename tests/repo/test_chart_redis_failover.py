"""
The chart's Redis with three pods: the real scripts with real servers and Sentinels.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

import attrs
import pytest
import redis

from chaos.suites import wait_until
from eventsvc.embedded import NoServer
from tests.support.redis_pods import Pod, Pods, three_pods
from tests.support.server_binaries import find_binary

T = TypeVar("T")

#: Seconds for a start or a failover; on a busy machine Sentinels take several tries.
LONG: Final = 120


def wait_for(what: Callable[[], T], name: str) -> T:
    """Wait for what takes seconds; a look at it is several connections."""
    return wait_until(what, name, LONG, every=0.25)


@pytest.fixture
def pods(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pods]:
    """Three pods that have not started; by default of the current server."""
    name, _, tls = getattr(request, "param", "valkey-9").partition(" with ")
    if shutil.which("redis-cli") is None:
        pytest.skip("the command redis-cli is not installed")
    try:
        server = find_binary(name)
    except NoServer as remedy:
        pytest.skip(str(remedy))
    with three_pods(tmp_path, server, tls=bool(tls)) as made:
        yield made


def the_primary(pods: Pods) -> Pod:
    """Return the only primary, once there is one."""
    primary = wait_for(pods.primary, "one is the primary")
    assert primary is not None
    return primary


def keep_a_key(primary: Pod) -> None:
    """Write something to the primary, which both replicas have then."""
    with primary.redis() as client:
        client.set("kept", "yes")
        assert client.wait(2, 5000) == 2


def has_the_key(pod: Pod) -> bool:
    with suppress(redis.RedisError), pod.redis() as client:
        return bool(client.get("kept") == b"yes")
    return False


@pytest.mark.parametrize("pods", ["valkey-9", "redis-7.0 with TLS"], indirect=True)
def test_pods_find_each_other_fail_over_and_come_back(pods: Pods) -> None:
    first, second, third = pods.pods
    first.start()
    third.start()
    wait_for(lambda: first.says("some may that do not answer"), "it waits for the last Sentinel")
    second.start()
    wait_for(pods.is_complete, "the first start")
    assert [pod for pod in pods.pods if pod.says("starting as primary")] == [first]

    # Before it ends, the primary makes another the primary. A slow machine may have made another one already.
    primary = the_primary(pods)
    assert "OK" in primary.run("stop")
    wait_for(lambda: primary.role() == "slave", "the primary steps down")
    wait_for(pods.is_complete, "the primary has stepped down")

    # All at once: what the Sentinels knew is on the volumes. They may promote another before the primary is back.
    keep_a_key(the_primary(pods))
    for pod in pods.pods:
        pod.kill()
    for pod in pods.pods:
        pod.start()
    wait_for(pods.is_complete, "all have started again")
    wait_for(lambda: all(has_the_key(pod) for pod in pods.pods), "none has lost what was written")
    assert not any(pod.says("this is the first start") for pod in pods.pods)


def test_an_empty_volume_never_becomes_the_primary(pods: Pods) -> None:
    """
    The pod is back before a Sentinel misses it.

    It may become the primary later, once it has copied everything: Sentinels
    fail over again if the new primary is slow.
    """
    for pod in pods.pods:
        pod.start()
    wait_for(pods.is_complete, "the first start")
    lost = the_primary(pods)
    others = [pod for pod in pods.pods if pod is not lost]
    keep_a_key(lost)
    for pod in others:
        pod.down_after(1000 * LONG)
    lost.kill()
    lost.lose_volume()
    lost.start()
    wait_for(lambda: lost.says("its volume is empty"), "it waits, because all still name it")
    assert lost.role() == ""
    for pod in others:
        pod.down_after(2000)
    wait_for(pods.is_complete, "another has been promoted")
    assert lost.says("starting as replica")
    assert not lost.says("starting as primary")
    wait_for(lambda: all(has_the_key(pod) for pod in pods.pods), "none has lost what was written")


def test_from_one_to_three_without_losing_an_event(pods: Pods) -> None:
    first, *others = pods.pods
    alone = attrs.evolve(first, environment={**first.environment, "NODES": first.host}, processes={})
    (Path(first.environment["CONFIG"]) / "redis.conf").write_text("appendonly yes\n")
    alone.start("start")
    try:
        wait_for(lambda: alone.role() == "master", "the only pod has started")
        with alone.redis() as client:
            client.set("kept", "yes")
        for pod in others:
            pod.start()
        wait_for(lambda: all(pod.role() == "slave" for pod in others), "the others copy it")
    finally:
        alone.kill()
    first.start()
    wait_for(pods.is_complete, "the first has a Sentinel")
    wait_for(lambda: all(has_the_key(pod) for pod in pods.pods), "none has lost what was written")
