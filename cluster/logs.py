"""
The logs of the services of a release, kept while their pods come and go.
"""

from __future__ import annotations

import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import attrs

from chaos.evidence import Line, parse_log
from cluster.commands import Failed, Namespace, wait_for


@attrs.define(eq=False)
class Logs:
    """
    The logs of all pods of some that there were.

    @ivar selector: the labels of the pods.
    @ivar directory: where they are kept, a file for each pod.
    """

    namespace: Namespace
    selector: str
    directory: Path
    _followers: dict[str, subprocess.Popen[bytes]] = attrs.field(factory=dict, init=False)
    _ended: threading.Event = attrs.field(factory=threading.Event, init=False)
    _thread: threading.Thread | None = attrs.field(default=None, init=False)

    def start(self) -> None:
        """Follow all there are, and from now on each new one."""
        wait_for(self._look, "the logs are followed", 30)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(0.5):
            with suppress(Failed):  # the next look may find them
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
        """Follow no more."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        for follower in self._followers.values():
            follower.terminate()
            follower.wait()

    def lines(self, offset: float) -> list[Line]:
        """
        All lines so far, in the order of time.

        @param offset: what the time of day has more than that of the attempts.
        """
        found = [
            line for path in self.directory.glob("*.log") for line in parse_log(path.read_bytes(), path.stem, offset)
        ]
        return sorted(found, key=lambda line: line.at)
