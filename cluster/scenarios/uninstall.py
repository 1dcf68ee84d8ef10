"""
What an uninstalled release leaves.
"""

from __future__ import annotations

from typing import Final

from chaos import STREAM
from cluster.commands import Failed, wait_for
from cluster.judging import Promise, judge
from cluster.stage import REPLICATED, Scenario, Stage


def _play(stage: Stage) -> str:
    stage.install(REPLICATED, "redis.persistence.keep=true")
    judge(stage.release, stage.release.roll, Promise()).conclude()
    with stage.release.redis() as client:
        stored = client.xlen(STREAM)
    claims = [f"persistentvolumeclaim/data-{pod}" for pod in stage.release.pods("redis")]
    kept = {*claims, *stage.volumes()}
    stage.uninstall()
    wait_for(lambda: set(stage.left()) == kept, f"only {sorted(kept)} are left", 120)
    stage.install(REPLICATED, "redis.persistence.keep=true")
    with stage.release.redis() as client:
        found = client.xlen(STREAM)
    if found < stored:
        raise Failed(f"the next release found {found} of {stored} events in the volumes")
    stage.upgrade("redis.persistence.keep=false")
    stage.uninstall()
    stage.expect_nothing_left()
    return f"{len(claims)} volumes stayed with {stored} events, and went when they were not to be kept"


SCENARIO: Final = Scenario("uninstall", "Only the volumes that were to be kept are left.", _play)
