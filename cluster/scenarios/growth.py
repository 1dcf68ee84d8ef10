"""
From one Redis to three, under load.
"""

from __future__ import annotations

from typing import Final

from cluster.commands import Failed
from cluster.judging import PATIENCE, Promise, judge
from cluster.stage import REPLICATED, Scenario, Stage


def _play(stage: Stage) -> str:
    stage.install()
    figures = judge(stage.release, lambda: stage.upgrade(REPLICATED), Promise(patience=PATIENCE)).conclude()
    if (pods := stage.release.ready("redis")) != 3:
        raise Failed(f"expected three pods of Redis that are ready, found {pods}")
    return figures


SCENARIO: Final = Scenario("growth", "One Redis becomes three under load.", _play)
