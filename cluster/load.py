"""
The load of a run, in its own pod, which logs the outcome of each event.
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
    """Return a pod without API token or privileges, for the restricted Pod Security Standard."""
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
    A pod that posts events to the producers' Service until it is stopped.

    @ivar image: image of the Robot suites, which contains the load too.
    """

    namespace: Namespace
    image: str

    def start(self, load: Load, url: str) -> None:
        """Start the pod, and wait until events are answered 200."""
        self.remove()
        pod = _pod(self.image, "python", "-m", "chaos.workload", msgspec.json.encode(load).decode(), url)
        self.namespace.kubectl("create", "--filename", "-", input=json.dumps(pod))
        wait_for(lambda: any(op.outcome is Outcome.OK for op in self.ops()), "events are answered 200", 180)

    def clock(self) -> tuple[float, float]:
        """Return the time of day and the time on the clock of the attempts."""
        asked = "import time; print(time.time(), time.monotonic())"
        day, attempts = self.namespace.kubectl("exec", NAME, "--", "python", "-c", asked).split()
        return float(day), float(attempts)

    def ops(self) -> list[Op]:
        """Return the attempts so far."""
        return [msgspec.json.decode(line, type=Op) for line in self._lines() if line.startswith("{")]

    def complaints(self) -> list[str]:
        """Return the client's messages about events that were not answered 200."""
        return [line for line in self._lines() if line and not line.startswith("{")]

    def _lines(self) -> list[str]:
        """Return the lines of the log; split only at newlines, because events contain other line separators."""
        return self.namespace.kubectl("logs", NAME).split("\n")[:-1]

    def stop(self) -> None:
        """Stop posting, and wait for the last answer."""
        self.namespace.kubectl("exec", NAME, "--", "sh", "-c", "kill 1")
        self.namespace.kubectl("wait", f"pod/{NAME}", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")

    def remove(self) -> None:
        """Delete the pod, if it exists."""
        self.namespace.kubectl("delete", "pod", NAME, "--ignore-not-found", "--grace-period=1")
