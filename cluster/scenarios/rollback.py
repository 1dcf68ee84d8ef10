"""
An upgrade to an image of Redis that does not exist, and back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from cluster.judging import PATIENCE, Promise, judge
from cluster.stage import REPLICATED, Scenario, Stage, expect_refusal

#: Seconds that helm waits for the bad image.
_GIVES_UP: Final = 20


def _rolled_back(promise: Promise, *values: str) -> Callable[[Stage], str]:
    def play(stage: Stage) -> str:
        stage.install(*values)
        took = 0.0

        def act() -> None:
            nonlocal took
            expect_refusal(lambda: stage.upgrade("redis.image.tag=missing", timeout=_GIVES_UP), "helm")
            begin = time.monotonic()
            stage.rollback()
            took = time.monotonic() - begin

        return judge(stage.release, act, promise).conclude(f"rolled back in {took:.0f} s")

    return play


SCENARIO: Final = Scenario(
    "rollback", "A bad image of the only Redis is rolled back under load: nothing is lost.", _rolled_back(Promise())
)
REPLICATED_ONE: Final = Scenario(
    "rollback-3",
    "A bad image of three Redis is rolled back under load: each event is stored in time.",
    _rolled_back(Promise(patience=PATIENCE), REPLICATED),
)
