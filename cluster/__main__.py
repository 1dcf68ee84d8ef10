"""
C{python -m cluster}: plays scenarios with the chart on a cluster, each in a
namespace of its own, and prints a table of the results.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence

import attrs

from chaos.suites import NotInTime
from cluster.commands import Failed, Namespace, run
from cluster.images import REDIS_TAG, TAG, Images, build, load
from cluster.scenarios import ALL
from cluster.stage import Scenario, Stage, check_context


@attrs.frozen
class Result:
    """
    How a scenario ended.

    @ivar said: its figures, or why it failed.
    """

    name: str
    passed: bool
    seconds: float
    said: str


def main(arguments: Sequence[str]) -> int:
    """Run the command, and return the exit status."""
    options = _parse(arguments)
    if options.list:
        for scenario in ALL:
            print(f"{scenario.name:<12} {scenario.what}")
        return 0
    chosen = [scenario for scenario in ALL if not options.only or scenario.name in options.only]
    images = Images(options.tag, options.redis_tag)
    try:
        check_context()
        if options.images:
            begin = time.monotonic()
            load(build(images))
            print(f"images built and loaded in {time.monotonic() - begin:.0f} s", flush=True)
    except Failed as problem:
        print(f"failed: {problem}", file=sys.stderr)
        return 1
    results = []
    for scenario in chosen:
        print(f"{scenario.name}: {scenario.what}", flush=True)
        namespace = Namespace(f"{options.namespace}-{scenario.name}")
        stage = Stage(namespace, images, options.set, options.repeat)
        results.append(play(scenario, stage, options.keep))
        print(f"  {'passed' if results[-1].passed else 'FAILED'}: {results[-1].said}", flush=True)
    print(table(results))
    return 0 if all(result.passed for result in results) else 1


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m cluster", description="Test the chart on the cluster of kubectl's current context."
    )
    add = parser.add_argument
    add("--list", action="store_true", help="list the scenarios, and do nothing")
    add(
        "--only",
        action="append",
        metavar="NAME",
        choices=[each.name for each in ALL],
        help="play this scenario; may be repeated",
    )
    add(
        "--namespace",
        default="eventsvc-test",
        help="beginning of the names of the namespaces to create; default %(default)s",
    )
    add("--keep", action="store_true", help="leave the namespace of a scenario that fails")
    add(
        "--set",
        action="append",
        default=[],
        metavar="VALUE",
        help="a value for every installation, as of helm; may be repeated",
    )
    add("--tag", default=TAG, help="tag of the images; default %(default)s")
    add("--redis-tag", default=REDIS_TAG, help="tag of the image of Redis; default %(default)s")
    add("--no-images", dest="images", action="store_false", help="do not build and load images; they are on the nodes")
    add("--repeat", type=int, default=2, metavar="N", help="run the robustness suite N times; default %(default)s")
    return parser.parse_args(arguments)


def play(scenario: Scenario, stage: Stage, keep: bool, clock: Callable[[], float] = time.monotonic) -> Result:
    """
    Play a scenario in a new namespace, and delete it.

    @param keep: whether to leave the namespace if the scenario fails.
    """
    name, begin = stage.namespace.name, clock()
    try:
        run("kubectl", "create", "namespace", name)
        run("kubectl", "label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    except Failed as problem:
        return Result(scenario.name, False, clock() - begin, str(problem))
    passed = False
    try:
        said, passed = scenario.play(stage), True
    except (Failed, NotInTime) as problem:
        said = str(problem)
    finally:
        if passed or not keep:
            run("kubectl", "delete", "namespace", name)
    return Result(scenario.name, passed, clock() - begin, said)


def table(results: Sequence[Result]) -> str:
    """Return the results as a table, with the first line of what each said."""
    rows = [("scenario", "result", "seconds", "figures")]
    for result in results:
        first = (result.said.splitlines() or [""])[0]
        rows.append((result.name, "passed" if result.passed else "FAILED", f"{result.seconds:.0f}", first))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[3]]) for row in rows)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
