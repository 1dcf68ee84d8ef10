"""
Tests for L{cluster.scaling}, without a cluster: it decides as KEDA does, by the ScaledObject of the chart.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from cluster.commands import Failed
from cluster.scaling import Scaler, State, decide
from tests.support.helm import render, the

SPEC = the(render({"consumer.keda.enabled": True, "consumer.keda.minReplicas": 0}), "ScaledObject", "event-consumer")[
    "spec"
]


@pytest.mark.parametrize(
    ("values", "state", "replicas"),
    [
        ([0, 0], State(0), 0),
        ([1, 0.001], State(0), 1),  # an event of this moment
        ([1, 0], State(0), 1),  # a pending one, whose consumer died
        ([1, 0], State(1), 1),
        ([1, 600], State(0), 1),  # the first one only
        ([1, 30], State(1), 1),
        ([1, 30.1], State(1), 2),
        ([1, 95], State(2), 4),
        ([1, 10_000], State(4), 10),
        ([1, 0], State(4), 1),
        ([0, 0], State(1, idle=299), 1),
        ([0, 0], State(4, idle=299), 1),
        ([0, 0], State(1, idle=301), 0),
        ([None, None], State(1, failures=1, idle=301), 1),
        ([None, None], State(4, failures=9, idle=301), 4),
        ([None, None], State(0, failures=2), 0),
        ([None, None], State(0, failures=3), 1),
    ],
)
def test_it_decides_as_keda(values: Sequence[float | None], state: State, replicas: int) -> None:
    """As docs/kubernetes.md says of the chart."""
    assert decide(SPEC, values, state) == replicas


def test_without_scaling_to_zero_one_stays() -> None:
    assert decide({**SPEC, "minReplicaCount": 2}, [0, 0], State(5, idle=1)) == 2


class Cluster:
    """A cluster with one Deployment, whose producer answers from a list."""

    def __init__(self, *answers: dict[str, float] | None) -> None:
        self.answers = list(answers)
        self.replicas = 0
        self.asked: list[str] = []

    def get(self, *what: str) -> Any:
        return {"spec": SPEC if what[0] == "scaledobject" else {"replicas": self.replicas}}

    def kubectl(self, *arguments: str) -> str:
        self.replicas = int(arguments[-1].removeprefix("--replicas="))
        return ""

    def run(self, *command: str, **_: Any) -> str:
        """Answer a question; the second trigger has the same answer as the first."""
        self.asked.append(command[-1])
        answer = self.answers[0] if len(self.asked) % 2 else self.answers.pop(0)
        if answer is None:
            raise Failed("503")
        return json.dumps(answer)


def test_it_asks_and_scales(monkeypatch: pytest.MonkeyPatch) -> None:
    """From 0 to 1, kept through an outage, and back once nothing waits."""
    idle, busy = {"waiting": 0, "oldest_unread_seconds": 0.0}, {"waiting": 1, "oldest_unread_seconds": 0.001}
    cluster = Cluster(idle, busy, busy, None, None, None, None, idle, idle)
    monkeypatch.setattr("cluster.scaling.run", cluster.run)
    now = 0.0
    scaler = Scaler(cluster, clock=lambda: now)  # type: ignore[arg-type]
    seen = []
    for _ in range(9):
        now += 100.0
        seen.append(scaler.step())
    assert seen == [0, 1, 1, 1, 1, 1, 1, 0, 0]
    assert scaler.steps == [1, 0]
    assert set(cluster.asked) == {
        "/api/v1/namespaces/here/services/event-producer-svc:8080/proxy/backlog?stream=NotificationStream"
    }
