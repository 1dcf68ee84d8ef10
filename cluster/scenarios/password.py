"""
Another password for Redis, under load.
"""

from __future__ import annotations

from typing import Final

from cluster.judging import PATIENCE, Promise, judge
from cluster.stage import Scenario, Stage


def _play(stage: Stage) -> str:
    stage.install()
    change = "redis.auth.password=another"
    return judge(stage.release, lambda: stage.upgrade(change), Promise(patience=PATIENCE)).conclude()


SCENARIO: Final = Scenario("password", "The password of Redis is changed under load.", _play)
