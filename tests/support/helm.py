"""
Renders the chart with helm, without a cluster.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from chaos.programs import NotFound, Program

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "eventsvc"
OVERLAYS = sorted((CHART / "ci").glob("*.yaml"))

#: The version of Kubernetes that it is rendered for.
KUBERNETES = "1.35"

Object = dict[str, Any]

#: The environment of programs in Go that run for a moment: to collect their garbage costs more than to keep it.
GO_ENVIRONMENT = {**os.environ, "GOGC": "400"}


def find_command(name: str) -> str:
    """Return the path of a command beside this interpreter or on PATH; skip the test without it."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"the command {name} is not installed")
    return found


HELM = Program(
    "helm",
    "helm.sh/helm/v3/cmd/helm",
    "v3.20.2",
    "there is no helm on the PATH, and no Go that could build it",
)


@cache
def find_helm() -> str:
    """Return the path of helm; skip the test without it."""
    try:
        return HELM.find()
    except NotFound as remedy:
        pytest.skip(str(remedy))


def run_helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run helm, and return its result, even if it failed."""
    return subprocess.run([find_helm(), *arguments], capture_output=True, text=True, timeout=60, env=GO_ENVIRONMENT)


helm = cache(run_helm)


def render(
    values: Mapping[str, Any] | None = None,
    overlay: Path | None = None,
    chart: Path = CHART,
    release: str = "demo",
    kubernetes: str = KUBERNETES,
    server: str = "",
) -> list[Object]:
    """
    Return the objects of a release in the namespace C{here}.

    @param server: the URL of the API that C{lookup} asks; without one it finds nothing.
    """
    more = ["--dry-run=server", f"--kube-apiserver={server}"] if server else []
    done = _template(values, overlay, chart, release, f"--kube-version={kubernetes}", *more)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.load_all(done.stdout, yaml.CSafeLoader) if each]  # eight times as fast


def refusal(values: Mapping[str, Any], chart: Path = CHART) -> str:
    """Return the error of rendering the chart with these values."""
    done = _template(values, None, chart, "demo", f"--kube-version={KUBERNETES}")
    assert done.returncode != 0, "it was rendered"
    return done.stderr


def _template(
    values: Mapping[str, Any] | None, overlay: Path | None, chart: Path, release: str, *options: str
) -> subprocess.CompletedProcess[str]:
    more = [f"--values={overlay}"] if overlay else []
    more += [f"--set-json={name}={json.dumps(value)}" for name, value in (values or {}).items()]
    run = run_helm if "--dry-run=server" in options else helm  # a server may change
    return run("template", release, str(chart), "--namespace=here", *options, *more)


def the(objects: Sequence[Object], kind: str, name: str) -> Object:
    """Return the only object of a kind and a name."""
    (found,) = [each for each in objects if each["kind"] == kind and each["metadata"]["name"] == name]
    return found


def pod_of(workload: Object) -> Object:
    """Return the pod that an object creates or is; one without a spec if there is none."""
    if workload["kind"] == "Pod":
        return workload
    template: Object = workload.get("spec", {}).get("template", {})
    return template


def container(objects: Sequence[Object], name: str) -> Object:
    """Return the first container of a Deployment."""
    found: Object = pod_of(the(objects, "Deployment", name))["spec"]["containers"][0]
    return found


def settings(objects: Sequence[Object], name: str) -> dict[str, str]:
    """Return the data of a ConfigMap."""
    found: dict[str, str] = the(objects, "ConfigMap", name)["data"]
    return found


def pods(objects: Sequence[Object]) -> list[Object]:
    """Return all pods that the objects create."""
    return [pod for each in objects if "spec" in (pod := pod_of(each))]


def selectors(objects: Sequence[Object]) -> dict[tuple[str, str], Mapping[str, str]]:
    """Return the pod selectors of the objects that have one."""
    found = {}
    for each in objects:
        spec = each.get("spec", {})
        selector = spec.get("podSelector") or spec.get("selector") or {}
        if labels := selector.get("matchLabels", selector):
            found[each["kind"], each["metadata"]["name"]] = labels
    return found


def picks(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return selector.items() <= labels.items()
