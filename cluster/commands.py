"""
Runs kubectl, helm and the commands that build images.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import attrs

from chaos.suites import wait_until

T = TypeVar("T")


class Failed(Exception):
    """A command failed; the text names the command and the cause."""


def run(*command: str, input: str | None = None) -> str:
    """
    Run a command, and return its output.

    @raise Failed: there is no such program, or its exit status was not 0.
    """
    try:
        done = subprocess.run(command, input=input, capture_output=True, text=True)
    except FileNotFoundError:
        raise Failed(f"{command[0]} is not installed") from None
    if done.returncode:
        raise Failed(f"{' '.join(command)[:200]} ended with {done.returncode}: {(done.stderr + done.stdout).strip()}")
    return done.stdout


def wait_for(what: Callable[[], T], name: str, patience: float) -> T:
    """
    Call a function repeatedly until its result is true, and return the result.
    A failed command counts as false.

    @raise NotInTime: it did not become true within C{patience} seconds.
    """
    return wait_until(what, name, patience, every=0.5, passing=(Failed,))


@attrs.frozen
class Namespace:
    """
    A namespace of the current context.

    @ivar user: user that kubectl impersonates; empty for that of the context.
    """

    name: str
    user: str = ""

    def command(self, *arguments: str) -> list[str]:
        """Return a kubectl command for this namespace."""
        acting = ["--as", self.user] if self.user else []
        return ["kubectl", "--namespace", self.name, *acting, *arguments]

    def kubectl(self, *arguments: str, input: str | None = None) -> str:
        return run(*self.command(*arguments), input=input)

    def helm(self, *arguments: str) -> str:
        return run("helm", "--namespace", self.name, *arguments)

    def get(self, *arguments: str) -> Any:
        """Return objects as decoded JSON from C{kubectl get}."""
        return json.loads(self.kubectl("get", *arguments, "--output", "json"))

    def pods(self, selector: str) -> list[str]:
        """Return the names of the pods with given labels that are not ending."""
        items = self.get("pods", "--selector", selector)["items"]
        return [pod["metadata"]["name"] for pod in items if "deletionTimestamp" not in pod["metadata"]]

    @contextmanager
    def forwarded(self, what: str, port: int) -> Iterator[int]:
        """
        Forward a port of this machine to a port of a pod, and yield its number.

        @raise Failed: the pod does not exist or is not ready.
        """
        command = self.command("port-forward", what, f":{port}")
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            try:
                assert process.stdout is not None
                said = process.stdout.readline()
                found = re.match(r"Forwarding from 127\.0\.0\.1:(\d+)", said)
                if found is None:
                    raise Failed(f"kubectl port-forward {what}: {said.strip()}")
                yield int(found[1])
            finally:
                process.terminate()
