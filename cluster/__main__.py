"""
C{python -m cluster}: images, installation, helm test, faults under load,
upgrade, and uninstallation of which nothing is left.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Sequence

from cluster.commands import Failed, Namespace, run, wait_until
from cluster.faults import CHART, FAULTS, RELEASE, URL, Fault, try_out
from cluster.images import build, load


def main(arguments: Sequence[str]) -> int:
    """Do it all; the exit status."""
    options = _parse(arguments)
    namespace = Namespace(options.namespace)
    try:
        return _try(namespace, options)
    except Failed as problem:
        print(f"failed: {problem}", file=sys.stderr)
        return 1


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m cluster", description="Try the chart on the cluster of kubectl's current context."
    )
    parser.add_argument("--namespace", default="eventsvc-test", help="made for it; default %(default)s")
    parser.add_argument("--keep", action="store_true", help="leave all as it is if something fails")
    parser.add_argument("--no-images", action="store_true", help="the images are on the nodes already")
    parser.add_argument("--fault", action="append", choices=[fault.name for fault in FAULTS], help="only these")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="all faults N times")
    parser.add_argument("--rate", type=float, default=50.0, help="events per second; default %(default)s")
    return parser.parse_args(arguments)


def _try(namespace: Namespace, options: argparse.Namespace) -> int:
    if not options.no_images:
        begin = time.monotonic()
        load(build())
        print(f"images built and loaded in {time.monotonic() - begin:.0f} s", flush=True)
    run("kubectl", "create", "namespace", namespace.name)
    run("kubectl", "label", "namespace", namespace.name, "pod-security.kubernetes.io/enforce=restricted")
    try:
        broken = _try_release(namespace, options)
    except BaseException:
        if not options.keep:
            run("kubectl", "delete", "namespace", namespace.name)
        raise
    run("kubectl", "delete", "namespace", namespace.name)
    return int(broken > 0)


def _try_release(namespace: Namespace, options: argparse.Namespace) -> int:
    """From its installation to its end; how many faults it did not stand."""
    print(f"first 200 {_install(namespace):.1f} s after helm install", flush=True)
    namespace.helm("test", RELEASE)
    print("helm test passed", flush=True)
    broken = sum(not _try_fault(namespace, fault, options.rate) for fault in _faults(options))
    namespace.helm("uninstall", RELEASE, "--wait")
    wait_until("nothing is left", lambda: not left(namespace), 120)
    print("uninstalled, and nothing is left", flush=True)
    return broken


def _install(namespace: Namespace) -> float:
    """Install, and give the seconds until an event is answered 200."""
    begin = time.monotonic()
    namespace.helm("install", RELEASE, CHART, "--set", "consumer.settings.REDIS_CLAIM_IDLE=5")
    # Asked from a producer's own pod, as one must be somewhere in the cluster.
    ask = f"from urllib.request import urlopen; urlopen('{URL}/event', b'{{\"description\": \"first\"}}', 5)"
    wait_until("a 200", lambda: namespace.exec("deployment/event-producer", "python", "-c", f"{ask}; print(200)"), 120)
    return time.monotonic() - begin


def _faults(options: argparse.Namespace) -> Sequence[Fault]:
    repeat: int = options.repeat
    return [fault for fault in FAULTS if not options.fault or fault.name in options.fault] * repeat


def _try_fault(namespace: Namespace, fault: Fault, rate: float) -> bool:
    """Whether everything held."""
    begin = time.monotonic()
    try:
        verdict = try_out(namespace, fault, rate, random.SystemRandom().randrange(10**6))
    except Failed as problem:
        raise Failed(f"{fault.name}: {problem}") from None
    words = verdict.describe().replace("\n", "; ")
    took = time.monotonic() - begin
    print(f"{fault.name}: {words}; longest silence {verdict.silence:.1f} s ({took:.0f} s)", flush=True)
    return verdict.held


def left(namespace: Namespace) -> list[str]:
    """What there is of the release, or may be."""
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
