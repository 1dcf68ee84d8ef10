"""
The load of a run, in a pod of its own: what became of each event is in its log.
"""

from __future__ import annotations

import json
from typing import Final

import attrs
import msgspec

from chaos.workload import Load
from cluster.commands import Namespace, lines, wait_until
from cluster.images import EVENTSVC, ROOT, TAG
from eventsvc.history import Op

NAME: Final = "event-load"

#: What the pod runs, beside what is in its image.
_SOURCES: Final = ("__init__.py", "impolite.py", "workload.py")

#: No API token, no rights: the restricted Pod Security Standard.
_POD: Final = {
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
                "image": f"{EVENTSVC}:{TAG}",
                "imagePullPolicy": "IfNotPresent",
                "env": [{"name": "PYTHONPATH", "value": "/load"}],
                "volumeMounts": [{"name": "sources", "mountPath": "/load/chaos"}],
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
            }
        ],
        "volumes": [{"name": "sources", "configMap": {"name": NAME}}],
    },
}


@attrs.frozen
class LoadPod:
    """Posts events to the producers' Service until it is stopped."""

    namespace: Namespace

    def start(self, load: Load, url: str) -> None:
        """Start it, and wait until events are answered."""
        self.remove()
        files = [f"--from-file={ROOT / 'chaos' / name}" for name in _SOURCES]
        self.namespace.kubectl("create", "configmap", NAME, *files)
        pod = json.loads(json.dumps(_POD))
        pod["spec"]["containers"][0]["command"] = [
            "python",
            "-m",
            "chaos.workload",
            msgspec.json.encode(load).decode(),
            url,
        ]
        self.namespace.kubectl("create", "--filename", "-", input=json.dumps(pod))
        wait_until("events are answered 200", lambda: any(op.outcome == "ok" for op in self.ops()), 60)

    def now(self) -> float:
        """The time of the attempts."""
        return float(self.namespace.exec(NAME, "python", "-c", "import time; print(time.monotonic())"))

    def ops(self) -> list[Op]:
        """What became of the events so far."""
        return [msgspec.json.decode(line, type=Op) for line in self._lines() if line.startswith("{")]

    def complaints(self) -> list[str]:
        """What was not answered 200, in the words of the client."""
        return [line for line in self._lines() if line and not line.startswith("{")]

    def _lines(self) -> list[str]:
        return lines(self.namespace.kubectl("logs", NAME))

    def stop(self) -> None:
        """Post no more, and wait for the last answer."""
        self.namespace.exec(NAME, "sh", "-c", "kill 1")
        self.namespace.kubectl("wait", f"pod/{NAME}", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")

    def remove(self) -> None:
        """Leave nothing of it."""
        self.namespace.kubectl("delete", f"pod/{NAME}", f"configmap/{NAME}", "--ignore-not-found", "--grace-period=1")
