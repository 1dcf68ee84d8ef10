"""
The logs of the services of a release, kept even after their pods are gone.
"""

from __future__ import annotations

import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import attrs

from chaos.lines import Line, parse_log
from cluster.commands import Failed, Namespace, wait_for


@attrs.define(eq=False)
class Logs:
    """
    Follows the logs of all pods with given labels.

    @ivar selector: label selector of the pods.
    @ivar directory: directory for the logs, one file for each pod.
    """

    namespace: Namespace
    selector: str
    directory: Path
    _followers: dict[str, subprocess.Popen[bytes]] = attrs.field(factory=dict, init=False)
    _ended: threading.Event = attrs.field(factory=threading.Event, init=False)
    _thread: threading.Thread | None = attrs.field(default=None, init=False)

    def start(self) -> None:
        """Follow the logs of all existing pods, and of each new one."""
        wait_for(self._look, "the logs are followed", 30)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(0.5):
            with suppress(Failed):  # the next call may succeed
                self._look()

    def _look(self) -> bool:
        for pod in self.namespace.get("pods", "--selector", self.selector)["items"]:
            name = pod["metadata"]["name"]
            if name not in self._followers and pod["status"]["phase"] == "Running":
                command = self.namespace.command("logs", "--follow", name)
                with (self.directory / f"{name}.log").open("wb") as log:
                    self._followers[name] = subprocess.Popen(command, stdout=log, stderr=subprocess.DEVNULL)
        return bool(self._followers)

    def stop(self) -> None:
        """Stop following."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        for follower in self._followers.values():
            follower.terminate()
            follower.wait()

    def lines(self, offset: float) -> list[Line]:
        """
        Return all lines so far, ordered by time.

        @param offset: time of day minus the clock of the attempts, in seconds.
        """
        found = [
            line for path in self.directory.glob("*.log") for line in parse_log(path.read_bytes(), path.stem, offset)
        ]
        return sorted(found, key=lambda line: line.at)
