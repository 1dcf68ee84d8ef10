"""
An upgrade to an image of Redis that does not exist, and back.
"""

from __future__ import annotations

import time
from typing import Final

from cluster.judging import Promise, judge
from cluster.stage import Scenario, Stage, expect_refusal

#: Seconds that helm waits for the bad image.
_GIVES_UP: Final = 20


def _play(stage: Stage) -> str:
    stage.install()
    took = 0.0

    def act() -> None:
        nonlocal took
        expect_refusal(lambda: stage.upgrade("redis.image.tag=missing", timeout=_GIVES_UP), "helm")
        begin = time.monotonic()
        stage.rollback()
        took = time.monotonic() - begin

    return judge(stage.release, act, Promise()).conclude(f"rolled back in {took:.0f} s")


SCENARIO: Final = Scenario("rollback", "A bad image of Redis is rolled back under load: nothing is lost.", _play)
