"""
Another size for the volume of Redis, by the recipe of C{docs/operations.md}.
"""

from __future__ import annotations

from typing import Final

from cluster.commands import Failed, run
from cluster.judging import Promise, judge
from cluster.stage import Scenario, Stage, expect_refusal

_SIZE: Final = "3Gi"
_VALUE: Final = f"redis.persistence.size={_SIZE}"


def _play(stage: Stage) -> str:
    stage.install()
    expect_refusal(lambda: stage.upgrade(_VALUE), "redis.persistence.size", "--cascade=orphan")
    claims = [claim["metadata"]["name"] for claim in stage.namespace.get("persistentvolumeclaims")["items"]]
    can_grow = _can_grow(stage, claims[0])

    def act() -> None:
        if can_grow:
            for claim in claims:
                patch = f'{{"spec": {{"resources": {{"requests": {{"storage": "{_SIZE}"}}}}}}}}'
                stage.namespace.kubectl("patch", "persistentvolumeclaim", claim, "--patch", patch)
        stage.namespace.kubectl("delete", "statefulset", "redis-master", "--cascade=orphan")
        stage.upgrade(_VALUE)

    judged = judge(stage.release, act, Promise(at_once=True))
    template = stage.namespace.get("statefulset", "redis-master")["spec"]["volumeClaimTemplates"][0]
    if template["spec"]["resources"]["requests"]["storage"] != _SIZE:
        raise Failed(f"the StatefulSet does not ask for {_SIZE}: {template}")
    grown = f"the claims ask for {_SIZE}" if can_grow else "the storage class cannot expand, so the claims stayed"
    return judged.conclude(grown)


def _can_grow(stage: Stage, claim: str) -> bool:
    """Return whether the storage class of a claim allows expansion."""
    name = stage.namespace.get("persistentvolumeclaim", claim)["spec"]["storageClassName"]
    return run("kubectl", "get", "storageclass", name, "--output=jsonpath={.allowVolumeExpansion}") == "true"


SCENARIO: Final = Scenario("resize", "The volume of Redis gets another size under load: no request fails.", _play)
