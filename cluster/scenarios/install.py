"""
How long a new release takes until it stores events, and C{helm test}.
"""

from __future__ import annotations

import time
from typing import Final

from cluster.commands import Failed, wait_for
from cluster.stage import REPLICATED, Scenario, Stage

#: The most seconds from C{helm install} to the first 200, with the images on the nodes.
_MOST: Final = 30.0


def _play(stage: Stage) -> str:
    one, three = _try(stage), _try(stage, REPLICATED)
    return f"first 200 {one:.1f} s after helm install, {three:.1f} s with three Redis"


def _try(stage: Stage, *values: str) -> float:
    """Install, test and uninstall the chart, and return the seconds until an event was answered 200."""
    begin = time.monotonic()
    stage.install("redis.persistence.keep=false", *values, wait=False)
    wait_for(lambda: stage.release.post("first"), "a 200", 120)
    took = time.monotonic() - begin
    if took > _MOST:
        raise Failed(f"the first 200 came {took:.1f} s after helm install {values}, later than {_MOST:g} s")
    stage.release.settle()
    stage.test()
    stage.uninstall()
    stage.expect_nothing_left()
    return took


SCENARIO: Final = Scenario(
    "install", "A new release answers 200 within 30 s, passes helm test, and leaves nothing.", _play
)
