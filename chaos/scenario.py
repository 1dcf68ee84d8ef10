"""
A scenario, and how it is run: load before, during and after the fault, then
mend, drain, judge.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Final

import attrs
import msgspec
from redis import RedisError
from requests import RequestException

from chaos.deployment import OK, Deployment
from chaos.evidence import Evidence, gather
from chaos.faults import Fault
from chaos.plan import Plan
from chaos.planted import BUGS
from chaos.process import EndedByItself, Process, watchdog
from chaos.signs import Sign, doubts
from chaos.suites import NotInTime, wait_until
from chaos.toxics import NotChanged
from chaos.workload import Load
from eventsvc.testing import history
from eventsvc.testing.history import History, Verdict, check

#: Seconds after which a scenario is given up.
DEADLINE: Final = 200.0
#: What is seen of a run that was given up.
_NOTHING: Final = History(ops=(), stream=())


@attrs.frozen(kw_only=True)
class Expectations(history.Expectations):
    """What must hold of a scenario, for the usual load."""

    least_ok: int = 200
    least_each: int = 50
    in_order: bool = True
    recover_within: float = 8.0
    rest_at_most: float = 15.0


@attrs.frozen(kw_only=True)
class Scenario:
    """
    What is broken under which load, and what must hold.

    Times are in seconds.

    @ivar faults: broken one after another, C{pulses} times in all.
    @ivar on: how long each is broken.
    @ivar off: how long it is whole in between.
    @ivar drawn: they are drawn by lot, and C{on} and C{off} are means.
    @ivar signs: what shows that the fault had an effect.
    @ivar direct: clients reach the producers without a proxy.
    """

    name: str
    what: str
    faults: Sequence[Fault]
    plan: Plan = attrs.field(factory=Plan)
    load: Load = attrs.field(factory=Load)
    pulses: int = 1
    on: float = 4.0
    off: float = 0.5
    drawn: bool = False
    before: float = 1.5
    after: float = 2.0
    signs: Sequence[Sign] = ()
    expect: Expectations = attrs.field(factory=Expectations)
    direct: bool = False

    @property
    def seconds(self) -> float:
        """How long it takes at least."""
        return self.before + self.pulses * (self.on + self.off) + self.after


@attrs.frozen(kw_only=True)
class Run:
    """
    What came of a scenario.

    @ivar directory: where the output of all processes is.
    @ivar began: seconds since the epoch, and by the clock of the attempts.
    @ivar evidence: C{None} if it was given up before there was any.
    @ivar memory: most bytes each process had resident.
    """

    scenario: Scenario
    seed: int
    directory: Path
    began: tuple[float, float]
    seconds: float
    verdict: Verdict
    evidence: Evidence | None
    journal: Sequence[tuple[float, str]]
    memory: Mapping[str, int]
    planted: str | None = None

    @property
    def title(self) -> str:
        """What it is, among all runs."""
        return f"{self.scenario.name}, seed {self.seed}" + (f", with {self.planted}" if self.planted else "")

    @property
    def passed(self) -> bool:
        """Whether it held; with a planted bug, whether that was found."""
        return BUGS[self.planted].is_found(self.verdict) if self.planted else self.verdict.held

    @property
    def command(self) -> str:
        """What repeats it."""
        what = "self-test" if self.planted else f"run {self.scenario.name}"
        return f"python -m chaos {what} --seed {self.seed}"


def run(scenario: Scenario, seed: int, directory: Path, planted: str | None = None) -> Run:
    """
    Run a scenario.

    @param directory: for the output of all processes.
    @param planted: a bug that the services have on purpose.
    """
    directory = directory.resolve()
    directory.mkdir(parents=True)
    deployment = Deployment(scenario.plan, directory, planted)
    began = time.time(), time.monotonic()
    evidence = None
    ended, failed = [], []
    try:
        with watchdog(DEADLINE):
            deployment.start()
            evidence = _break(scenario, seed, deployment)
            deployment.stop_services()
    except EndedByItself as problem:
        ended.append(str(problem))
    except (NotInTime, NotChanged, RedisError, RequestException) as problem:
        failed.append(f"{type(problem).__name__}: {problem}")
    finally:
        deployment.end()
    ended += deployment.complaints
    seen = evidence.history if evidence else _NOTHING
    unfelt = doubts(evidence, scenario.signs) if evidence else ()
    return Run(
        scenario=scenario,
        seed=seed,
        directory=directory,
        began=began,
        seconds=time.monotonic() - began[1],
        verdict=check(
            attrs.evolve(seen, ended=[*ended, *deployment.complaints], doubts=[*failed, *unfelt]), scenario.expect
        ),
        evidence=evidence,
        journal=deployment.journal,
        memory={name: process.peak for name, process in deployment.processes.items()},
        planted=planted,
    )


def _break(scenario: Scenario, seed: int, deployment: Deployment) -> Evidence:
    workload = deployment.start_load(msgspec.structs.replace(scenario.load, seed=seed), scenario.direct)
    deployment.wait(scenario.before)
    begin = time.monotonic()
    _pulse(scenario, Random(seed), deployment)
    deployment.toxics.check_healed()
    end = time.monotonic()
    deployment.note("all is mended")
    unfit = _recover(scenario.expect.recover_within, workload, deployment)
    deployment.wait(end + scenario.after - time.monotonic())
    workload.end(signal.SIGTERM)
    deployment.note("the load has ended")
    drained = not unfit and deployment.drain()
    evidence = gather(deployment, workload.out, (begin, end), drained)
    return attrs.evolve(evidence, history=attrs.evolve(evidence.history, unfit=unfit))


def _pulse(scenario: Scenario, random: Random, deployment: Deployment) -> None:
    for pulse in range(scenario.pulses):
        if pulse:
            deployment.wait(scenario.off * random.uniform(0.5, 1.5))
        fault = random.choice(scenario.faults) if scenario.drawn else scenario.faults[pulse % len(scenario.faults)]
        with fault.breaking(deployment):
            deployment.wait(scenario.on * (random.uniform(0.3, 1.7) if scenario.drawn else 1.0))


def _recover(within: float, workload: Process, deployment: Deployment) -> Mapping[str, float]:
    """
    Post until an event is stored and all services are ready, but not for much
    longer than that may take.

    @return: those that still are not, and after how many seconds.
    """
    mended, stored = time.monotonic(), workload.count(OK)

    def all_is_well() -> bool:
        with suppress(RequestException):  # it may still be starting
            return workload.says(OK, stored + 1) and not deployment.unready()
        return False

    try:
        wait_until(all_is_well, "all is well", within + 1)
    except NotInTime as problem:
        deployment.note(str(problem))
        unfit = deployment.unready()
        for name in unfit:
            deployment.check_link(name)
        return dict.fromkeys(unfit, time.monotonic() - mended)
    return {}
