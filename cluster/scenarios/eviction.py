"""
What a drain of nodes does to a release.
"""

from __future__ import annotations

import json
from typing import Final

from cluster.commands import Failed, Namespace, run, wait_for
from cluster.judging import PATIENCE, Promise, judge
from cluster.release import PARTS, Release
from cluster.stage import REPLICATED, Scenario, Stage, expect_refusal

#: What the Eviction API answers if a budget forbids an eviction.
_FORBIDDEN: Final = "would violate the pod's disruption budget"


def evict(namespace: Namespace, pod: str) -> bool:
    """Evict a pod as a drain does, and return whether it may be."""
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace.name}}
    path = f"/api/v1/namespaces/{namespace.name}/pods/{pod}/eviction"
    try:
        run("kubectl", "create", "--raw", path, "--filename=-", input=json.dumps(eviction))
    except Failed as problem:
        if _FORBIDDEN not in str(problem):
            raise
        return False
    return True


def _evict_all(release: Release) -> None:
    """Evict each pod as soon as the budgets allow it."""
    for part in PARTS:
        for pod in release.pods(part):
            uid = release.uid(pod)
            wait_for(lambda: evict(release.namespace, pod), f"{pod} may be evicted", 120)  # noqa: B023
            wait_for(lambda: release.uid(pod) != uid, f"{pod} is gone", 120)  # noqa: B023
            release.settle()


def _play_evicted(stage: Stage) -> str:
    stage.install(REPLICATED)
    release = stage.release
    return judge(release, lambda: _evict_all(release), Promise(patience=PATIENCE)).conclude()


def _play_away(stage: Stage) -> str:
    stage.install()
    release, namespace = stage.release, stage.namespace
    namespace.kubectl("set", "image", "statefulset/redis-master", "redis=localhost/missing:1")
    wait_for(lambda: not any(release.ready(part) for part in PARTS), "nothing is ready", 60)
    pods = [pod for part in ("producer", "consumer") for pod in release.pods(part)]
    forbidden = [pod for pod in pods if not evict(namespace, pod)]
    if forbidden:
        raise Failed(f"while Redis is down, a budget forbids to evict {forbidden}")
    return f"{len(pods)} pods evicted while Redis was down"


def _play_drained(stage: Stage) -> str:
    stage.install(REPLICATED)
    release, namespace = stage.release, stage.namespace
    said = ""

    def act() -> None:
        nonlocal said
        node = namespace.get("pod", release.servers.primary())["spec"]["nodeName"]
        nodes = len(json.loads(run("kubectl", "get", "nodes", "--output=json"))["items"])
        own = f"--pod-selector=app.kubernetes.io/instance={stage.name}"
        options = ("--ignore-daemonsets", "--delete-emptydir-data", "--timeout=60s", own)
        try:
            if nodes == 1:
                # Nothing can start elsewhere, so a second pod of a part must stay.
                expect_refusal(lambda: run("kubectl", "drain", node, *options), _FORBIDDEN)
                said = "the budgets blocked the drain of the only node"
            else:
                run("kubectl", "drain", node, *options)
                said = "drained"
        finally:
            run("kubectl", "uncordon", node)

    return judge(release, act, Promise(patience=PATIENCE)).conclude(said)


SCENARIO: Final = Scenario("evicted", "All pods are evicted one after the other under load.", _play_evicted)
AWAY: Final = Scenario("away", "Pods can be evicted while Redis is down.", _play_away)
DRAINED: Final = Scenario(
    "drained", "kubectl drain of the primary's node, under load; with one node the budgets block it.", _play_drained
)
