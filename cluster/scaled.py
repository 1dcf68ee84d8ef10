"""
A release whose consumers are scaled by what the producers tell, down to none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import attrs

from chaos import STREAM
from cluster.commands import Failed, Namespace, wait_for
from cluster.release import CHART, Release
from cluster.scaling import Scaler, ask, define_scaled_objects, forget_scaled_objects

_GROUP: Final = "demo_consumer_group"
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
_PATIENCE: Final = 180.0


@attrs.define(eq=False)
class Scaled:
    """The release, what scales its consumers, and what is tried with them."""

    namespace: Namespace
    scaler: Scaler = attrs.field(init=False)
    release: Release = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.scaler = Scaler(self.namespace)
        self.release = Release(self.namespace)

    def backlog(self) -> Any:
        return ask(f"http://event-producer-svc.{self.namespace.name}:8080/backlog?stream={STREAM}")

    def consumers(self) -> int:
        replicas: int = self.namespace.get("deployment/event-consumer")["spec"]["replicas"]
        return replicas

    def waits(self) -> bool:
        return bool(self.backlog()["waiting"])

    def to_none(self) -> None:
        """Scale until no consumer is left."""
        self.scaler.until(lambda: self.consumers() == 0, "no consumer is left", _PATIENCE)
        selector = self.release.selector("consumer")
        wait_for(lambda: not self.namespace.get("pods", "--selector", selector)["items"], "its pod is gone", _PATIENCE)

    def wakes(self, what: str, cause: Callable[[], object]) -> None:
        """Do something that makes events wait: consumers come, handle them, and go again."""
        self.to_none()
        self.scaler.steps.clear()
        cause()
        begin = time.monotonic()
        wait_for(self.waits, "a producer knows", _PATIENCE)
        self.scaler.until(lambda: self.scaler.steps, "a consumer is wanted", _PATIENCE)
        woken = time.monotonic() - begin
        self.scaler.until(lambda: not self.waits(), "nothing waits any more", _PATIENCE)
        handled = time.monotonic() - begin
        self.to_none()
        print(f"{what}: woken in {woken:.1f} s, handled in {handled:.1f} s, replicas {self.scaler.steps}", flush=True)

    def sleeps(self, what: str) -> None:
        """Check that no consumer is wanted."""
        wait_for(lambda: not self.waits(), "nothing waits", _PATIENCE)
        if self.consumers() or self.scaler.step():
            raise Failed(f"{what}: a consumer is wanted, and nothing waits: {self.backlog()}")
        print(f"{what}: no consumer", flush=True)

    def add(self, count: int = 1) -> None:
        with self.release.redis() as client:
            for _ in range(count):
                client.xadd(STREAM, {"EventStream": b'{"id":1,"description":"a","timestamp":"2025-02-25T22:06:25Z"}'})

    def leave_pending(self) -> None:
        """Read an event as a consumer that dies."""
        self.add()
        with self.release.redis() as client:
            client.xreadgroup(_GROUP, "gone", {STREAM: ">"})

    def let_wait(self) -> None:
        """Add an event, and let it become older than twice what one consumer is for."""
        self.add()
        wait_for(lambda: self.backlog()["oldest_unread_seconds"] > 2 * _TARGET, "it is old", _PATIENCE)

    def trim(self) -> None:
        """Remove events that nobody has read."""
        self.add(10)
        with self.release.redis() as client:
            client.xtrim(STREAM, 0)

    def restart_redis(self) -> None:
        """On Redis 7.0 its lag is wrong afterwards, because the file was rewritten before the last reads."""
        with self.release.redis() as client:
            print(f"lag before the restart: {client.xinfo_groups(STREAM)[0].get('lag')}", flush=True)
        self.release.kill_one("redis")
        self.release.settle()
        with self.release.redis() as client:
            print(f"lag after the restart: {client.xinfo_groups(STREAM)[0].get('lag')}", flush=True)

    def rewrite(self) -> None:
        """Have the append-only file rewritten."""
        with self.release.redis() as client:
            client.bgrewriteaof()
            wait_for(lambda: not client.info("persistence")["aof_rewrite_in_progress"], "it is rewritten", _PATIENCE)

    def lose_producers(self) -> None:
        """Without producers nobody knows whether events wait: a consumer runs."""
        self.to_none()
        self.namespace.kubectl("scale", "deployment/event-producer", "--replicas=0")
        self.scaler.until(lambda: self.consumers() == 1, "a consumer runs without producers", _PATIENCE)
        self.namespace.kubectl("scale", "deployment/event-producer", "--replicas=1")
        print("without producers: one consumer", flush=True)


@contextmanager
def _installed(namespace: Namespace, name: str, more: tuple[str, ...]) -> Iterator[Scaled]:
    settings = [each for value in (*_VALUES, *more) for each in ("--set", value)]
    define_scaled_objects()
    try:
        namespace.helm("install", name, str(CHART), *settings, "--wait", "--timeout=120s")
        yield Scaled(namespace)
        namespace.helm("uninstall", name, "--wait")
    finally:
        forget_scaled_objects()


def try_scaled(namespace: Namespace, name: str, *more: str) -> None:
    """
    Install a release, let events wait in each way, look at its consumers, and uninstall it.

    @param more: further values for C{--set}.
    """
    with _installed(namespace, name, more) as scaled:
        scaled.wakes("one event", scaled.add)
        scaled.wakes("a pending event", scaled.leave_pending)
        scaled.wakes("an old event", scaled.let_wait)
        scaled.trim()
        scaled.sleeps("after a trim")
        scaled.rewrite()
        scaled.wakes("a thousand events", lambda: scaled.add(1_000))
        scaled.restart_redis()
        scaled.sleeps("after a restart of Redis")
        scaled.lose_producers()
        scaled.to_none()
