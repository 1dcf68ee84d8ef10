"""
An upgrade of all parts under load.
"""

from __future__ import annotations

from typing import Final

from cluster.judging import Promise, judge
from cluster.stage import Scenario, Stage


def _play(stage: Stage) -> str:
    stage.install()
    # The annotation restarts Redis, whose image has a tag of its own.
    values = (
        f"image.tag={stage.images.next_tag}",
        "producer.podAnnotations.rolled=yes",
        "consumer.podAnnotations.rolled=yes",
    )
    return judge(stage.release, lambda: stage.upgrade(*values), Promise(at_once=True)).conclude()


SCENARIO: Final = Scenario("rolling", "Producers and consumers are upgraded under load: no request fails.", _play)
