"""
The commands that do the work: kubectl, helm, and those that make images.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from typing import Any, TypeVar

import attrs

T = TypeVar("T")


class Failed(Exception):
    """A command failed, or what was waited for did not come; the text says which and why."""


def run(*command: str, input: str | None = None) -> str:
    """
    Run a command and give its output.

    @raise Failed: it ended with another code than 0.
    """
    done = subprocess.run(command, input=input, capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"{' '.join(command)[:200]} ended with {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def wait_until(what: str, is_so: Callable[[], T], patience: float) -> T:
    """
    Ask again and again, until the answer is true; a command that fails is no answer.

    @raise Failed: it did not become true in C{patience} seconds.
    """
    deadline = time.monotonic() + patience
    why = ""
    while True:
        try:
            answer = is_so()
            if answer:
                return answer
        except Failed as problem:
            why = f": {problem}"
        if time.monotonic() > deadline:
            raise Failed(f"not within {patience:g} s: {what}{why}")
        time.sleep(0.2)


def lines(text: str) -> list[str]:
    """The lines of an output; events may hold what Python takes for the end of one."""
    return text.removesuffix("\n").split("\n")


@attrs.frozen
class Namespace:
    """One namespace of the current context."""

    name: str

    def kubectl(self, *arguments: str, input: str | None = None) -> str:
        return run("kubectl", "--namespace", self.name, *arguments, input=input)

    def helm(self, *arguments: str) -> str:
        return run("helm", "--namespace", self.name, *arguments)

    def get(self, *arguments: str) -> Any:
        """What there is, as the API tells it."""
        return json.loads(self.kubectl("get", *arguments, "--output", "json"))

    def pods(self, selector: str) -> list[str]:
        """Names of the pods there are, those that end included."""
        return [pod["metadata"]["name"] for pod in self.get("pods", "--selector", selector)["items"]]

    def exec(self, pod: str, *command: str) -> str:
        return self.kubectl("exec", pod, "--", *command)
