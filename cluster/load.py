"""
The load of a run, in a pod of its own: what became of each event is in its log.
"""

from __future__ import annotations

import json
from typing import Any, Final

import attrs
import msgspec

from chaos.workload import Load
from cluster.commands import Namespace, wait_for
from eventsvc.outcome import Outcome
from eventsvc.testing.history import Op

NAME: Final = "event-load"


def _pod(image: str, *command: str) -> dict[str, Any]:
    """No API token, no rights: the restricted Pod Security Standard."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": NAME},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "load",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": command,
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
        },
    }


@attrs.frozen
class LoadPod:
    """
    Posts events to the producers' Service until it is stopped.

    @ivar image: that of the Robot suites, which has the load too.
    """

    namespace: Namespace
    image: str

    def start(self, load: Load, url: str) -> None:
        """Start it, and wait until events are answered."""
        self.remove()
        pod = _pod(self.image, "python", "-m", "chaos.workload", msgspec.json.encode(load).decode(), url)
        self.namespace.kubectl("create", "--filename", "-", input=json.dumps(pod))
        wait_for(lambda: any(op.outcome is Outcome.OK for op in self.ops()), "events are answered 200", 60)

    def clock(self) -> tuple[float, float]:
        """The time of day, and that of the attempts."""
        asked = "import time; print(time.time(), time.monotonic())"
        day, attempts = self.namespace.kubectl("exec", NAME, "--", "python", "-c", asked).split()
        return float(day), float(attempts)

    def ops(self) -> list[Op]:
        """What became of the events so far."""
        return [msgspec.json.decode(line, type=Op) for line in self._lines() if line.startswith("{")]

    def complaints(self) -> list[str]:
        """What was not answered 200, in the words of the client."""
        return [line for line in self._lines() if line and not line.startswith("{")]

    def _lines(self) -> list[str]:
        """Events may hold what Python takes for the end of a line."""
        return self.namespace.kubectl("logs", NAME).split("\n")[:-1]

    def stop(self) -> None:
        """Post no more, and wait for the last answer."""
        self.namespace.kubectl("exec", NAME, "--", "sh", "-c", "kill 1")
        self.namespace.kubectl("wait", f"pod/{NAME}", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")

    def remove(self) -> None:
        """Leave nothing of it."""
        self.namespace.kubectl("delete", "pod", NAME, "--ignore-not-found", "--grace-period=1")
