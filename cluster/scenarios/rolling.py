"""
An upgrade of all parts under load.
"""

from __future__ import annotations

from typing import Final

from cluster.judging import Promise, judge
from cluster.stage import REPLICATED, Scenario, Stage


def _play(stage: Stage) -> str:
    stage.install(REPLICATED)
    # The annotation restarts Redis, whose image has a tag of its own.
    values = (f"image.tag={stage.images.next_tag}", "redis.podAnnotations.rolled=yes")
    return judge(stage.release, lambda: stage.upgrade(*values), Promise(at_once=True)).conclude()


SCENARIO: Final = Scenario("rolling", "Everything is upgraded under load, Redis too: no request fails.", _play)
