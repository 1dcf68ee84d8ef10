"""
A stand-in for KEDA, which few test clusters have: it asks what a ScaledObject
names, and scales its Deployment.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from math import ceil
from typing import Any, Final
from urllib.parse import urlsplit

import attrs

from cluster.commands import Failed, Namespace, run, wait_for

_OURS: Final = "eventsvc-tests"
#: The kind of resource that KEDA brings, without its schema.
_DEFINITION: Final[Mapping[str, Any]] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "scaledobjects.keda.sh", "labels": {"app.kubernetes.io/part-of": _OURS}},
    "spec": {
        "group": "keda.sh",
        "scope": "Namespaced",
        "names": {"kind": "ScaledObject", "plural": "scaledobjects", "singular": "scaledobject"},
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
                    }
                },
            }
        ],
    },
}


def define_scaled_objects() -> None:
    """
    Let the cluster accept ScaledObjects.

    @raise Failed: KEDA is installed, whose definition would be lost.
    """
    found = run(
        "kubectl", "get", "crd/scaledobjects.keda.sh", "--ignore-not-found", "--output=jsonpath={.metadata.labels}"
    )
    if found and _OURS not in found:
        raise Failed("the cluster has KEDA already: its scaling needs no stand-in")
    run("kubectl", "apply", "--filename=-", input=json.dumps(_DEFINITION))
    run("kubectl", "wait", "--for=condition=Established", "crd/scaledobjects.keda.sh", "--timeout=30s")


def forget_scaled_objects() -> None:
    """Undo L{define_scaled_objects}: all ScaledObjects go too."""
    run("kubectl", "delete", "crd/scaledobjects.keda.sh", "--ignore-not-found")


@attrs.frozen
class State:
    """
    What a decision goes by.

    @ivar replicas: how many there are.
    @ivar failures: how often in a row a trigger could not be asked, this time included.
    @ivar idle: seconds since something was active.
    """

    replicas: int
    failures: int = 0
    idle: float = 0.0


def decide(spec: Mapping[str, Any], values: Sequence[float | None], state: State) -> int:
    """
    Return how many replicas KEDA and its HorizontalPodAutoscaler would want.

    Without their pauses between two steps.  Source: KEDA's specification of ScaledObjects, and "Algorithm details" of
    Kubernetes' Horizontal Pod Autoscaling.

    @param spec: that of a ScaledObject whose triggers have C{AverageValue}s.
    @param values: what each trigger has answered; C{None} for an error.
    """
    least, most = spec["minReplicaCount"], spec["maxReplicaCount"]
    known = [
        (value, trigger["metadata"])
        for value, trigger in zip(values, spec["triggers"], strict=True)
        if value is not None
    ]
    if any(value > float(metadata.get("activationTargetValue", 0)) for value, metadata in known):
        wanted = [ceil(value / float(metadata["targetValue"])) for value, metadata in known]
        return int(min(max(1, least, *wanted), most)) if state.replicas else max(1, least)
    if len(known) < len(values):
        fallback = spec["fallback"]
        if state.failures < fallback["failureThreshold"]:
            return state.replicas
        assert fallback["behavior"] == "currentReplicasIfHigher"
        return int(max(state.replicas, fallback["replicas"]))
    if least == 0 and state.replicas and state.idle < spec["cooldownPeriod"]:
        return 1
    return int(least)


@attrs.define(eq=False)
class Scaler:
    """
    Scales a Deployment as its ScaledObject says.

    @ivar name: that of the ScaledObject.
    @ivar steps: the number of replicas after each step that changed it.
    @ivar failures: how often in a row a trigger could not be asked.
    """

    namespace: Namespace
    name: str = "event-consumer"
    clock: Callable[[], float] = time.monotonic
    steps: list[int] = attrs.field(factory=list, init=False)
    failures: int = attrs.field(default=0, init=False)
    _active: float = attrs.field(default=float("-inf"), init=False)

    def step(self) -> int:
        """Ask, scale, and return the number of replicas."""
        spec = self.namespace.get("scaledobject", self.name)["spec"]
        target = f"deployment/{spec['scaleTargetRef']['name']}"
        values = [self._ask(**trigger["metadata"]) for trigger in spec["triggers"]]
        self.failures = self.failures + 1 if None in values else 0
        if any(values):
            self._active = self.clock()
        replicas = self.namespace.get(target)["spec"]["replicas"]
        wanted = decide(spec, values, State(replicas, self.failures, self.clock() - self._active))
        if wanted != replicas:
            self.namespace.kubectl("scale", target, f"--replicas={wanted}")
            self.steps.append(wanted)
        return wanted

    def until(self, done: Callable[[], object], name: str, patience: float) -> None:
        """
        Scale until something is true.

        @raise NotInTime: it did not become true within C{patience} seconds.
        """
        wait_for(lambda: (self.step(), done())[1], name, patience)

    def _ask(self, url: str, valueLocation: str, **_: str) -> float | None:
        """Ask as KEDA does; return C{None} if there is no number."""
        with suppress(Failed, KeyError, TypeError, ValueError):
            return float(ask(url)[valueLocation])
        return None


def ask(url: str) -> Any:
    """
    Return the decoded JSON at a URL of a Service, by way of the API server.

    @raise Failed: the answer is not 200.
    """
    parts = urlsplit(url)
    service, namespace = (parts.hostname or "").split(".")[:2]
    path = f"/api/v1/namespaces/{namespace}/services/{service}:{parts.port}/proxy{parts.path}?{parts.query}"
    return json.loads(run("kubectl", "get", "--raw", path))
