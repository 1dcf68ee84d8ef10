"""
The pod of the primary is deleted under load, five times; once gracefully, so that
it hands over first, and once at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Final

from cluster.commands import Failed, wait_for
from cluster.judging import PATIENCE, Promise, judge
from cluster.patience import pauses
from cluster.release import AT_ONCE, Release
from cluster.stage import REPLICATED, Scenario, Stage

_TIMES: Final = 5
#: Seconds of load between two deletions.
_BETWEEN: Final = 3.0
#: The most seconds without a 200, as the median of all deletions.
_MOST: Final = 3.0


def delete_primary(release: Release, *how: str) -> float:
    """
    Delete the primary's pod, and wait until another is the primary and all pods are back.

    @return: when it was deleted, on the clock of the attempts.
    """
    old = release.servers.primary()
    uid = release.uid(old)
    deleted = release.now()
    release.namespace.kubectl("delete", "pod", old, "--wait=false", *how)
    wait_for(lambda: release.uid(old) not in ("", uid), f"{old} is another pod", 120)
    release.settle()
    return deleted


def _deleted(*how: str) -> Callable[[Stage], str]:
    def play(stage: Stage) -> str:
        stage.install(REPLICATED)
        release, moments = stage.release, list[float]()

        def act() -> None:
            for _ in range(_TIMES):
                moments.append(delete_primary(release, *how))
                time.sleep(_BETWEEN)

        judged = judge(release, act, Promise(patience=PATIENCE, rolled_back=bool(how)))
        found = pauses(judged.evidence.history.ops, moments)
        figures = f"without a 200 for {median(found):.1f} s (median), {max(found):.1f} s (most)"
        done = judged.conclude(figures)
        if median(found) > _MOST:
            raise Failed(f"more than {_MOST:g} s: {done}")
        return done

    return play


SCENARIO: Final = Scenario("primary", "The primary's pod is deleted five times under load.", _deleted())
KILLED: Final = Scenario("killed", "The primary's pod is killed five times under load.", _deleted(*AT_ONCE))
