"""
The Robot suite that restarts, kills and scales the parts of a release, with
few permissions.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Final

from cluster.commands import Failed
from cluster.images import ROOT
from cluster.stage import Scenario, Stage

#: The user that the suite acts as; it has only the permissions of robot/role.yaml.
USER: Final = "robot"
_ROLE: Final = str(ROOT / "robot" / "role.yaml")


def _play(stage: Stage) -> str:
    stage.install("consumer.settings.REDIS_CLAIM_IDLE=5")
    stage.namespace.kubectl("apply", "--filename", _ROLE)
    for number in range(stage.repeat):
        _robot(stage, f"robustness-{number + 1}", "robustness.robot", user=USER)
    _robot(stage, "upgrade", "upgrade.robot")
    return f"the suite passed {stage.repeat} times"


def _robot(stage: Stage, name: str, suite: str, user: str = "") -> None:
    """Run a Robot suite, which prints its progress."""
    variables = {
        "TARGET": "cluster",
        "NAMESPACE": stage.namespace.name,
        "RELEASE": stage.name,
        "IMAGE": stage.images.robot,
        "TAG": stage.images.next_tag,
        "AS": user,
    }
    command = [sys.executable, "-m", "robot", "--outputdir", f"build/cluster/{name}", "--name", name]
    for variable, value in variables.items():
        command += ["--variable", f"{variable}:{value}"]
    if subprocess.run([*command, f"robot/{suite}"], cwd=ROOT).returncode:
        raise Failed(f"{name}: see build/cluster/{name}/log.html")


SCENARIO: Final = Scenario("robustness", "Parts are restarted, killed, scaled and upgraded under load (Robot).", _play)
