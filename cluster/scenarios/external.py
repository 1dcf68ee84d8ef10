"""
From the release's own Redis to another one, with events that are not read yet, by
the steps of C{docs/kubernetes.md}.
"""

from __future__ import annotations

from typing import Final

from cluster.commands import Failed, wait_for
from cluster.judging import PATIENCE, Promise, judge
from cluster.servers import Servers
from cluster.stage import Scenario, Stage, expect_refusal

#: The release whose Redis is the other one.
_OTHER: Final = "other"
_ALONE: Final = (f"fullnameOverride={_OTHER}", "producer.enabled=false", "consumer.enabled=false")
_THERE: Final = (f"externalRedis.host={_OTHER}-redis-master", f"externalRedis.existingSecret={_OTHER}-redis")


def _play(stage: Stage) -> str:
    stage.install(*_ALONE, name=f"{stage.name}-{_OTHER}")
    stage.install()
    release, namespace = stage.release, stage.namespace
    unread: list[int] = []

    def act() -> None:
        stage.upgrade("consumer.replicas=0")
        wait_for(lambda: not release.pods("consumer"), "no consumer is left", 60)
        expect_refusal(
            lambda: stage.upgrade("redis.enabled=false", *_THERE), "redis.enabled is false", "externalRedis.moved"
        )
        stage.upgrade(*_THERE, "externalRedis.moved=producers")
        release.settle()  # a producer that is ending still writes to the Redis of before
        unread.append(release.servers.unread())
        stage.upgrade("consumer.replicas=1")
        wait_for(release.servers.is_drained, "the stream is drained", 120)
        release.move(Servers(namespace, f"{_OTHER}-"))
        stage.upgrade("redis.enabled=false", "externalRedis.moved=all")

    figures = judge(release, act, Promise(patience=PATIENCE, rolled_back=True)).conclude(
        f"moved with {unread[0]} unread events"
    )
    claims = namespace.kubectl("get", "persistentvolumeclaims", "--output=name").split()
    if "persistentvolumeclaim/data-redis-master-0" not in claims:
        raise Failed(f"the volume of the first Redis is gone; there is {claims}")
    return figures


SCENARIO: Final = Scenario("external", "A release moves to another Redis under load.", _play)
