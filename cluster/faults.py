"""
What happens to the release while events are posted to it, and the verdict.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import attrs

from chaos.workload import Load
from cluster.commands import Failed, Namespace, wait_until
from cluster.evidence import CONSUMERS, Logs, Stream
from cluster.images import NEXT_TAG, ROOT, TAG
from cluster.load import LoadPod
from eventsvc.history import History, Must, Verdict, check

RELEASE: Final = "demo"
CHART: Final = str(ROOT / "charts/eventsvc")
REDIS: Final = "app.kubernetes.io/name=redis,app.kubernetes.io/component=master"
PRODUCERS: Final = "app=event-producer"
PRODUCER: Final = "deployment/event-producer"
CONSUMER: Final = "deployment/event-consumer"
URL: Final = "http://event-producer-svc:8080"

#: Seconds of load before and after a fault.
_BEFORE: Final = 5.0
_AFTER: Final = 5.0


def settle(namespace: Namespace) -> None:
    """Wait until all pods that should be there are, and no other."""
    for what in (PRODUCER, CONSUMER, "statefulset/redis-master"):
        namespace.kubectl("rollout", "status", what, "--timeout=120s")
    wait_until("no pod is ending", lambda: not _ending(namespace), 120)


def _ending(namespace: Namespace) -> bool:
    pods = namespace.get("pods", "--selector", f"app.kubernetes.io/instance={RELEASE}")["items"]
    return any("deletionTimestamp" in pod["metadata"] for pod in pods)


def _delete(selector: str, *how: str) -> Callable[[Namespace], None]:
    """Delete one of the pods, and wait until it is gone."""

    def delete(namespace: Namespace) -> None:
        namespace.kubectl("delete", "pod", namespace.pods(selector)[0], *how)

    return delete


def _scale(namespace: Namespace) -> None:
    for replicas in (1, 3, 1):
        namespace.kubectl("scale", PRODUCER, CONSUMER, f"--replicas={replicas}")
        settle(namespace)


def _upgrade(namespace: Namespace) -> None:
    """To the next tag, or back again."""
    image = namespace.get(PRODUCER)["spec"]["template"]["spec"]["containers"][0]["image"]
    tag = TAG if image.endswith(NEXT_TAG) else NEXT_TAG
    namespace.helm("upgrade", RELEASE, CHART, "--reuse-values", "--set", f"image.tag={tag}", "--wait")


@attrs.frozen
class Fault:
    """
    Something that happens.

    @ivar all_ok: every event must be answered 200 meanwhile.
    """

    name: str
    happen: Callable[[Namespace], None]
    all_ok: bool


_AT_ONCE: Final = ("--force", "--grace-period=0")

FAULTS: Final[Sequence[Fault]] = (
    Fault("redis-deleted", _delete(REDIS), False),
    Fault("redis-deleted-at-once", _delete(REDIS, *_AT_ONCE), False),
    Fault("producer-deleted", _delete(PRODUCERS), True),
    Fault("producer-deleted-at-once", _delete(PRODUCERS, *_AT_ONCE), False),
    Fault("consumer-deleted", _delete(CONSUMERS), True),
    Fault("consumer-deleted-at-once", _delete(CONSUMERS, *_AT_ONCE), True),
    Fault("scaled-1-3-1", _scale, True),
    Fault("upgraded", _upgrade, True),
)


def try_out(namespace: Namespace, fault: Fault, rate: float, seed: int) -> Verdict:
    """Let a fault happen under load, and judge what came of the events."""
    settle(namespace)
    load, stream = LoadPod(namespace), Stream(namespace)
    earlier = {event.id for event in stream.notifications()}
    with tempfile.TemporaryDirectory() as directory, Logs(namespace, Path(directory)) as logs:
        load.start(Load(rate=rate, seed=seed), URL)
        time.sleep(_BEFORE)
        begin = load.now()
        fault.happen(namespace)
        settle(namespace)
        end = load.now()
        time.sleep(_AFTER)
        load.stop()
        wait_until("all events are handled", stream.is_drained, 120)
        events = [event for event in stream.notifications() if event.id not in earlier]
        with suppress(Failed):  # the judge will say so
            wait_until("the logs have all events", lambda: {event.id for event in events} <= set(logs.handled()), 15)
        handled = [id for id in logs.handled() if id not in earlier]
    must = Must(least_ok=200, least_each=50)
    verdict = check(History(load.ops(), events, handled, fault=(begin, end)), must)
    broken = list(verdict.broken)
    if stream.dead():
        broken.append(f"{stream.dead()} events were set aside")
    if fault.all_ok and verdict.ledger["ok"] < verdict.ledger["sent"]:
        broken.append(f"not all were answered 200: {'; '.join(load.complaints()[:3])}")
    load.remove()
    return attrs.evolve(verdict, broken=tuple(broken))
