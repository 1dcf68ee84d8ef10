"""
Other passwords for Redis, under load.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cluster.commands import Failed
from cluster.judging import PATIENCE, Promise, judge
from cluster.stage import Scenario, Stage

#: Seconds for the upgrade: Kubernetes may take two minutes to update the files of a pod.
_PATIENCE: Final = 300


def _play(stage: Stage) -> str:
    stage.install()
    before = _passwords(stage)

    def act() -> None:
        stage.upgrade("redis.auth.rotation=2", timeout=_PATIENCE)

    figures = judge(stage.release, act, Promise(patience=PATIENCE)).conclude()
    kept = {name for name, password in _passwords(stage).items() if before.get(name) == password}
    if kept:
        raise Failed(f"the passwords {sorted(kept)} are still the same")
    return figures


def _passwords(stage: Stage) -> Mapping[str, str]:
    """Return the passwords that clients use, encoded."""
    data: dict[str, str] = stage.namespace.get("secret", "redis")["data"]
    return {name: password for name, password in data.items() if not name.endswith("-previous")}


SCENARIO: Final = Scenario(
    "password", "The passwords of Redis are changed under load: each event is stored in time.", _play
)
