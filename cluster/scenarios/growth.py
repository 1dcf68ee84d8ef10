"""
From one Redis to three, under load.
"""

from __future__ import annotations

from typing import Final

from cluster.commands import Failed
from cluster.judging import Promise, judge
from cluster.stage import REPLICATED, Scenario, Stage

#: The only Redis restarts: C{docs/kubernetes.md} says that requests may get 503 then, and how clients go on.
_PATIENCE: Final = 60.0


def _play(stage: Stage) -> str:
    stage.install()
    figures = judge(stage.release, lambda: stage.upgrade(REPLICATED), Promise(patience=_PATIENCE)).conclude()
    if (pods := stage.release.ready("redis")) != 3:
        raise Failed(f"expected three pods of Redis that are ready, found {pods}")
    return figures


SCENARIO: Final = Scenario("growth", "One Redis becomes three under load.", _play)
