"""
What a scenario is, and where it runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Final

import attrs

from cluster.commands import Failed, Namespace, run, wait_for
from cluster.images import Images
from cluster.release import CHART, Release

#: The value for a Redis that fails over.
REPLICATED: Final = "redis.replicas=3"


@attrs.frozen
class Stage:
    """
    A namespace of its own for one scenario.

    @ivar images: the images that are installed.
    @ivar given: values for each installation, as of C{helm --set}.
    @ivar repeat: how often a scenario that draws lots runs.
    """

    namespace: Namespace
    images: Images
    given: Sequence[str] = ()
    repeat: int = 1

    @property
    def name(self) -> str:
        """Return the name of the release; other namespaces have none of this name."""
        return self.namespace.name

    @property
    def release(self) -> Release:
        """Return the installed release."""
        return self.other("")

    def other(self, prefix: str) -> Release:
        """Return a release whose names have a prefix."""
        return Release(self.namespace, prefix, self.images.robot)

    def install(self, *values: str, name: str = "", wait: bool = True) -> None:
        """Install the chart, and wait until all pods are ready."""
        self.namespace.helm(
            "install",
            name or self.name,
            str(CHART),
            *self._set(values),
            *(["--wait", "--timeout=180s"] if wait else []),
        )

    def upgrade(self, *values: str, timeout: int = 180) -> None:
        """
        Change values of the release, keep all others, and wait until all pods are ready.

        @raise Failed: they were not within C{timeout} seconds, or the chart refuses the values.
        """
        options = [f"--set={value}" for value in values]
        self.namespace.helm(
            "upgrade", self.name, str(CHART), "--reuse-values", *options, "--wait", f"--timeout={timeout}s"
        )

    def rollback(self, timeout: int = 180) -> None:
        """Return to the values before the last upgrade, and wait until all pods are ready."""
        self.namespace.helm("rollback", self.name, "--wait", f"--timeout={timeout}s")

    def uninstall(self, name: str = "") -> None:
        self.namespace.helm("uninstall", name or self.name, "--wait")

    def test(self) -> None:
        """
        Run C{helm test}.

        @raise Failed: it failed; the text has the log of its pod.
        """
        try:
            self.namespace.helm("test", self.name)
        except Failed as problem:
            raise Failed(f"{problem}\n{self.namespace.kubectl('logs', 'event-test')}") from None

    def left(self) -> Sequence[str]:
        """Return the names of objects that are, or may be, left of the release."""
        kinds = run("kubectl", "api-resources", "--namespaced", "--verbs=list", "--output=name").split()
        kinds = [kind for kind in kinds if not kind.startswith("events")]
        found = self.namespace.kubectl("get", ",".join(kinds), "--output=name", "--ignore-not-found").split()
        own = {"configmap/kube-root-ca.crt", "serviceaccount/default"}
        return [name for name in (*found, *self.volumes()) if name not in own]

    def volumes(self) -> Sequence[str]:
        """Return the names of the volumes that claims of the namespace have."""
        volumes = json.loads(run("kubectl", "get", "persistentvolumes", "--output=json"))["items"]
        return [
            volume["metadata"]["name"]
            for volume in volumes
            if volume["spec"].get("claimRef", {}).get("namespace") == self.namespace.name
        ]

    def expect_nothing_left(self) -> None:
        """
        Wait until nothing is left in the namespace.

        @raise NotInTime: something is.
        """
        wait_for(lambda: not self.left(), "nothing is left", 120)

    def _set(self, values: Sequence[str]) -> Sequence[str]:
        images = [f"--set-string={value}" for value in self.images.values]
        return [*images, *(f"--set={value}" for value in (*self.given, *values))]


@attrs.frozen
class Scenario:
    """
    Something that an operator does, or that happens to one.

    @ivar what: one sentence.
    @ivar play: does it, and returns the figures in words.
    """

    name: str
    what: str
    play: Callable[[Stage], str]


def expect_refusal(act: Callable[[], object], *words: str) -> None:
    """
    Do something that must fail with some words in the text.

    @raise Failed: it succeeded, or the words are others.
    """
    try:
        act()
    except Failed as problem:
        missing = [word for word in words if word not in str(problem)]
        if missing:
            raise Failed(f"expected a refusal with {missing}, got: {problem}") from None
        return
    raise Failed(f"expected a refusal with {list(words)}, got none")


def check_context() -> None:
    """
    @raise Failed: kubectl has no context, or its cluster does not answer.
    """
    try:
        context = run("kubectl", "config", "current-context").strip()
    except Failed as problem:
        raise Failed(
            f"kubectl has no cluster to test on ({problem}): set KUBECONFIG, or choose a context "
            "with `kubectl config use-context NAME`; `kubectl config get-contexts` lists them"
        ) from None
    try:
        run("kubectl", "--request-timeout=10s", "get", "--raw", "/readyz")
    except Failed as problem:
        raise Failed(f"the cluster of kubectl's context {context!r} does not answer: {problem}") from None
