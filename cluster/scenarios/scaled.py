"""
Consumers that are scaled by how long events wait, down to none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs

from chaos import GROUP, STREAM
from cluster.commands import Failed, wait_for
from cluster.scaling import Scaler, ask, scaled_objects
from cluster.stage import Scenario, Stage

_TARGET: Final = 5
_VALUES: Final = (
    "consumer.keda.enabled=true",
    "consumer.keda.minReplicas=0",
    "consumer.keda.maxReplicas=3",
    f"consumer.keda.targetAgeSeconds={_TARGET}",
    "consumer.keda.cooldownSeconds=3",
    "consumer.settings.REDIS_CLAIM_IDLE=3",
    "producer.replicas=1",
)
_PATIENCE: Final = 240.0
_EVENT: Final = {"EventStream": b'{"id":1,"description":"a","timestamp":"2025-02-25T22:06:25Z"}'}


@attrs.define(eq=False)
class _Scaled:
    """A release, and what scales its consumers."""

    stage: Stage
    scaler: Scaler = attrs.field(init=False)
    figures: list[str] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.scaler = Scaler(self.stage.namespace)

    def backlog(self) -> Any:
        return ask(f"http://event-producer-svc.{self.stage.namespace.name}:8080/backlog?stream={STREAM}")

    def waits(self) -> bool:
        return bool(self.backlog()["waiting"])

    def consumers(self) -> int:
        replicas: int = self.stage.namespace.get("deployment/event-consumer")["spec"]["replicas"]
        return replicas

    def to_none(self) -> None:
        """Scale until no consumer is left."""
        self.scaler.until(lambda: self.consumers() == 0, "no consumer is wanted", _PATIENCE)
        wait_for(lambda: not self.stage.release.pods("consumer"), "no consumer is left", _PATIENCE)

    def wakes(self, what: str, cause: Callable[[], object]) -> None:
        """Let events wait: consumers come, handle them, and go."""
        self.to_none()
        self.scaler.steps.clear()
        cause()
        begin = time.monotonic()
        wait_for(self.waits, "a producer knows", _PATIENCE)
        self.scaler.until(lambda: self.scaler.steps, "a consumer is wanted", _PATIENCE)
        woken = time.monotonic() - begin
        self.scaler.until(lambda: not self.waits(), "nothing waits", _PATIENCE)
        self.to_none()
        self.figures.append(f"{what}: {woken:.1f} s, replicas {self.scaler.steps}")

    def sleeps(self, what: str) -> None:
        """
        Wait until nothing waits, without a consumer.

        @raise Failed: a consumer is wanted.
        """
        wait_for(lambda: not self.waits(), "nothing waits", _PATIENCE)
        if self.consumers() or self.scaler.step():
            raise Failed(f"{what}: a consumer is wanted, and nothing waits: {self.backlog()}")
        self.figures.append(f"{what}: none")

    # What may happen

    def add(self, count: int = 1) -> None:
        with self.stage.release.redis() as client:
            for _ in range(count):
                client.xadd(STREAM, _EVENT)

    def leave_pending(self) -> None:
        """Read an event as a consumer that dies."""
        with self.stage.release.redis() as client:
            client.xadd(STREAM, _EVENT)
            client.xreadgroup(GROUP, "gone", {STREAM: ">"})

    def let_wait(self) -> None:
        """Add an event, and let it become older than twice what one consumer is for."""
        self.add()
        wait_for(lambda: self.backlog()["oldest_unread_seconds"] > 2 * _TARGET, "it is old", _PATIENCE)

    def trim(self) -> None:
        """Remove events that nobody has read."""
        with self.stage.release.redis() as client:
            client.xadd(STREAM, _EVENT)
            client.xtrim(STREAM, 0)

    def rewrite(self) -> None:
        """Have the append-only file rewritten: on Redis 7.0 the lag is wrong if it restarts after further reads."""
        with self.stage.release.redis() as client:
            client.bgrewriteaof()
            wait_for(lambda: not client.info("persistence")["aof_rewrite_in_progress"], "it is rewritten", _PATIENCE)

    def restart_redis(self) -> None:
        self.stage.release.kill_one("redis")
        self.stage.release.settle()
        with self.stage.release.redis() as client:
            (group,) = client.xinfo_groups(STREAM)
        self.figures.append(f"Redis' own lag after a restart: {group.get('lag')}")

    def lose_producers(self) -> None:
        """Nobody knows whether events wait: a consumer runs."""
        self.stage.namespace.kubectl("scale", "deployment/event-producer", "--replicas=0")
        self.scaler.until(lambda: self.consumers() == 1, "a consumer runs without producers", _PATIENCE)
        self.stage.namespace.kubectl("scale", "deployment/event-producer", "--replicas=1")
        self.to_none()
        self.figures.append("without producers: one")


def _play(stage: Stage) -> str:
    with scaled_objects():
        stage.install(*_VALUES)
        figures = _try(_Scaled(stage))
        stage.uninstall()
    return "; ".join(figures)


def _try(scaled: _Scaled) -> Sequence[str]:
    scaled.wakes("one event", scaled.add)
    scaled.wakes("a pending one", scaled.leave_pending)
    scaled.wakes("an old one", scaled.let_wait)
    scaled.trim()
    scaled.sleeps("after a trim")
    scaled.rewrite()
    scaled.wakes("a hundred", lambda: scaled.add(100))
    scaled.restart_redis()
    scaled.sleeps("after a restart of Redis")
    scaled.lose_producers()
    return scaled.figures


SCENARIO: Final = Scenario("scaled", "Consumers come when events wait, and go when none does.", _play)
