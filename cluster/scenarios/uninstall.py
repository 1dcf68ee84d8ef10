"""
What an uninstalled release leaves.
"""

from __future__ import annotations

from typing import Final

from chaos import STREAM
from cluster.commands import Failed, wait_for
from cluster.judging import Promise, judge
from cluster.stage import Scenario, Stage


def _play(stage: Stage) -> str:
    stage.install("redis.persistence.keep=true")
    judge(stage.release, stage.release.roll, Promise()).conclude()
    with stage.release.redis() as client:
        stored = client.xlen(STREAM)
    stage.uninstall()
    claim, (volume,) = "persistentvolumeclaim/data-redis-master-0", stage.volumes()
    wait_for(lambda: set(stage.left()) == {claim, volume}, "only the volume is left", 120)
    stage.install("redis.persistence.keep=true")
    with stage.release.redis() as client:
        found = client.xlen(STREAM)
    if found < stored:
        raise Failed(f"the next release found {found} of {stored} events in the volume")
    stage.upgrade("redis.persistence.keep=false")
    stage.uninstall()
    stage.expect_nothing_left()
    return f"the volume stayed with its {stored} events, and went when it was not to be kept"


SCENARIO: Final = Scenario("uninstall", "Only the volumes that were to be kept are left.", _play)
