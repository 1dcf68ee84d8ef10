"""
C{python -m cluster}: builds the images, installs the chart, runs helm test and
the Robot suites that delete pods under load, upgrades, installs it again with
tokens and TLS, uninstalls, and checks that nothing is left.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Final

from chaos.suites import NotInTime
from cluster.commands import Failed, Namespace, run, wait_for
from cluster.images import NEXT_TAG, ROOT, build, load
from cluster.release import CHART, Release
from cluster.secured import try_secured

RELEASE: Final = "demo"
#: The user that the suites act as; it has only the permissions of robot/role.yaml.
USER: Final = "robot"
_ROLE: Final = str(ROOT / "robot" / "role.yaml")


def main(arguments: Sequence[str]) -> int:
    """Run the command, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m cluster", description="Test the chart on the cluster of kubectl's current context."
    )
    parser.add_argument("--namespace", default="eventsvc-test", help="namespace to create; default %(default)s")
    parser.add_argument("--keep", action="store_true", help="leave everything in place if something fails")
    parser.add_argument("--no-images", action="store_true", help="do not build and load images; they are on the nodes")
    parser.add_argument(
        "--repeat", type=int, default=2, metavar="N", help="run the robustness suite N times; default %(default)s"
    )
    parser.add_argument(
        "--secured-only", action="store_true", help="only install the release with tokens and TLS, and change them"
    )
    options = parser.parse_args(arguments)
    try:
        _try(
            Namespace(options.namespace),
            images=not options.no_images,
            repeat=options.repeat,
            keep=options.keep,
            secured_only=options.secured_only,
        )
    except (Failed, NotInTime) as problem:
        print(f"failed: {problem}", file=sys.stderr)
        return 1
    return 0


def _try(namespace: Namespace, images: bool, repeat: int, keep: bool, secured_only: bool) -> None:
    """
    Install the chart, inject faults, and uninstall it.

    @param images: whether to build the images and load them onto the nodes first.
    @param repeat: how often the robustness suite runs.
    @param keep: whether to leave everything in place if something fails.
    @param secured_only: whether only the release with tokens and TLS is tried.
    """
    if images:
        begin = time.monotonic()
        load(build())
        print(f"images built and loaded in {time.monotonic() - begin:.0f} s", flush=True)
    run("kubectl", "create", "namespace", namespace.name)
    run("kubectl", "label", "namespace", namespace.name, "pod-security.kubernetes.io/enforce=restricted")
    try:
        if not secured_only:
            _try_release(namespace, repeat)
        try_secured(namespace, RELEASE)
        _expect_nothing_left(namespace)
    except BaseException:
        if not keep:
            run("kubectl", "delete", "namespace", namespace.name)
        raise
    run("kubectl", "delete", "namespace", namespace.name)


def _try_release(namespace: Namespace, repeat: int) -> None:
    """Install the release, run all suites on it, and uninstall it."""
    print(f"first 200 {_install(namespace):.1f} s after helm install", flush=True)
    begin = time.monotonic()
    try:
        namespace.helm("test", RELEASE)
    except Failed as problem:
        raise Failed(f"{problem}\n{namespace.kubectl('logs', 'event-test')}") from None
    print(f"helm test passed in {time.monotonic() - begin:.0f} s", flush=True)
    namespace.kubectl("apply", "--filename", _ROLE)
    for number in range(repeat):
        _robot(namespace, f"robustness-{number + 1}", "robustness.robot", user=USER)
    _robot(namespace, "upgrade", "upgrade.robot")
    namespace.kubectl("delete", "--filename", _ROLE)
    namespace.helm("uninstall", RELEASE, "--wait")
    _expect_nothing_left(namespace)


def _expect_nothing_left(namespace: Namespace) -> None:
    wait_for(lambda: not left(namespace), "nothing is left", 120)
    print("uninstalled, and nothing is left", flush=True)


def _install(namespace: Namespace) -> float:
    """Install the chart, and return the seconds until an event is answered 200."""
    begin = time.monotonic()
    namespace.helm(
        "install", RELEASE, str(CHART), "--set", "consumer.settings.REDIS_CLAIM_IDLE=5,redis.persistence.keep=false"
    )
    # The request comes from a producer's own pod, because it must come from inside the cluster.
    url = f"{Release(namespace).url}/event"
    ask = f"from urllib.request import urlopen; urlopen('{url}', b'{{\"description\": \"first\"}}', 5)"
    command = ("exec", "deployment/event-producer", "--", "python", "-c", f"{ask}; print(200)")
    wait_for(lambda: namespace.kubectl(*command), "a 200", 120)
    return time.monotonic() - begin


def _robot(namespace: Namespace, name: str, suite: str, user: str = "") -> None:
    """Run a Robot suite, which prints its progress."""
    variables = {"TARGET": "cluster", "NAMESPACE": namespace.name, "RELEASE": RELEASE, "TAG": NEXT_TAG, "AS": user}
    command = [sys.executable, "-m", "robot", "--outputdir", f"build/cluster/{name}", "--name", name]
    for variable, value in variables.items():
        command += ["--variable", f"{variable}:{value}"]
    if subprocess.run([*command, f"robot/{suite}"], cwd=ROOT).returncode:
        raise Failed(f"{name}: see build/cluster/{name}/log.html")


def left(namespace: Namespace) -> list[str]:
    """Return the names of objects that are, or may be, left of the release."""
    kinds = run("kubectl", "api-resources", "--namespaced", "--verbs=list", "--output=name").split()
    kinds = [kind for kind in kinds if not kind.startswith("events")]
    found = namespace.kubectl("get", ",".join(kinds), "--output=name", "--ignore-not-found").split()
    volumes = json.loads(run("kubectl", "get", "persistentvolumes", "--output=json"))["items"]
    found += [
        volume["metadata"]["name"]
        for volume in volumes
        if volume["spec"].get("claimRef", {}).get("namespace") == namespace.name
    ]
    own = {"configmap/kube-root-ca.crt", "serviceaccount/default"}
    return [name for name in found if name not in own]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
