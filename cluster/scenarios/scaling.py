"""
Consumers are scaled by how long events wait, by a stand-in for KEDA.
"""

from __future__ import annotations

import time
from typing import Final

from chaos import GROUP, STREAM
from cluster.commands import Failed
from cluster.judging import Promise, judge
from cluster.release import Release
from cluster.scaling import Scaler, define_scaled_objects, forget_scaled_objects
from cluster.stage import Scenario, Stage

_TARGET: Final = 5
_VALUES: Final = (
    "consumer.keda.enabled=true",
    "consumer.keda.minReplicas=0",
    "consumer.keda.maxReplicas=3",
    f"consumer.keda.targetAgeSeconds={_TARGET}",
    "consumer.keda.cooldownSeconds=5",
    "consumer.settings.REDIS_CLAIM_IDLE=5",
)
#: Seconds that the stand-in has for a change.
_PATIENCE: Final = 90.0


def _play(stage: Stage) -> str:
    define_scaled_objects()
    try:
        stage.install(*_VALUES)
        return _scale(stage.release, Scaler(stage.namespace))
    finally:
        forget_scaled_objects()


def _scale(release: Release, scaler: Scaler) -> str:
    _rest(release, scaler)
    release.post("one event")
    _handle(release, scaler, "one event")

    release.post("one that its consumer has left pending")
    with release.redis() as client:
        [[_, left]] = client.xreadgroup(GROUP, "gone", {STREAM: ">"})
    if len(left) != 1:
        raise Failed(f"expected one event to leave pending, got {left}")
    _handle(release, scaler, "a pending event")

    with release.redis() as client:
        client.bgrewriteaof()
        client.xtrim(STREAM, maxlen=0)
    release.stop_one("redis")
    release.settle()
    scaler.until(lambda: not scaler.failures, "a producer knows what waits", _PATIENCE)
    if scaler.step():
        raise Failed(f"nothing waits, but {scaler.steps[-1]} consumers are wanted after a trim and a restart of Redis")

    def act() -> None:
        time.sleep(2 * _TARGET)  # nobody asks
        scaler.until(lambda: not release.servers.unread(), "all events are read", _PATIENCE)

    judged = judge(release, act, Promise(at_once=True))
    most = max(scaler.steps)
    if most < 2:
        raise Failed(f"events waited for {2 * _TARGET} s, but there were never two consumers: {scaler.steps}")
    _rest(release, scaler)
    return judged.conclude(f"from 0 to 1 for one event, and for a pending one, to {most} for old ones, and back to 0")


def _handle(release: Release, scaler: Scaler, what: str) -> None:
    scaler.until(release.servers.is_drained, f"{what} is handled", _PATIENCE)
    _rest(release, scaler)


def _rest(release: Release, scaler: Scaler) -> None:
    consumers = ("pods", "--selector", release.selector("consumer"))  # one that is ending still reads
    scaler.until(lambda: not release.namespace.get(*consumers)["items"], "no consumer is left", _PATIENCE)


SCENARIO: Final = Scenario("scaling", "Consumers are scaled from 0 and back by how long events wait.", _play)
