"""
The commands that do the work: kubectl, helm, and those that make images.
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
    """A command failed; the text says which and why."""


def run(*command: str, input: str | None = None) -> str:
    """
    Run a command and give its output.

    @raise Failed: it ended with another code than 0.
    """
    done = subprocess.run(command, input=input, capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"{' '.join(command)[:200]} ended with {done.returncode}: {(done.stderr + done.stdout).strip()}")
    return done.stdout


def wait_for(what: Callable[[], T], name: str, patience: float) -> T:
    """
    Ask again and again, until the answer is true; a command that fails is no answer.

    @raise NotInTime: it did not become true in C{patience} seconds.
    """
    return wait_until(what, name, patience, every=0.2, passing=(Failed,))


@attrs.frozen
class Namespace:
    """
    One namespace of the current context.

    @ivar user: who kubectl is to act as; empty: as the context says.
    """

    name: str
    user: str = ""

    def command(self, *arguments: str) -> list[str]:
        """A command of kubectl."""
        acting = ["--as", self.user] if self.user else []
        return ["kubectl", "--namespace", self.name, *acting, *arguments]

    def kubectl(self, *arguments: str, input: str | None = None) -> str:
        return run(*self.command(*arguments), input=input)

    def helm(self, *arguments: str) -> str:
        return run("helm", "--namespace", self.name, *arguments)

    def get(self, *arguments: str) -> Any:
        """What there is, as the API tells it."""
        return json.loads(self.kubectl("get", *arguments, "--output", "json"))

    @contextmanager
    def forwarded(self, what: str, port: int) -> Iterator[int]:
        """
        A port of this machine that leads to one of a pod.

        @raise Failed: there is no such pod, or it is not ready.
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
