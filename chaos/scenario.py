"""
A scenario and its run: load before, during and after the fault, then drain and
check.
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
from chaos.evidence import Evidence, gather, gather_beside
from chaos.faults import Fault
from chaos.plan import Plan
from chaos.planted import BUGS
from chaos.power import NotRun
from chaos.process import EndedByItself, Process, watchdog
from chaos.signs import Sign, doubts
from chaos.suites import NotInTime, wait_until
from chaos.toxics import NotChanged
from chaos.workload import Load
from eventsvc.testing import history
from eventsvc.testing.history import History, Verdict, check

#: Seconds after which a run is aborted.
DEADLINE: Final = 200.0
#: The history of a run that was aborted.
_NOTHING: Final = History(ops=(), stream=())


@attrs.frozen(kw_only=True)
class Expectations(history.Expectations):
    """The promises of a scenario, with defaults for the usual load."""

    least_ok: int = 200
    least_each: int = 50
    in_order: bool = True
    recover_within: float = 8.0
    rest_at_most: float = 15.0


#: What must hold for the second stream.
_BESIDE: Final = Expectations(least_each=20, in_order=False)


@attrs.frozen(kw_only=True)
class Scenario:
    """
    Faults under a load, and the promises that must hold.

    Times are in seconds.

    @ivar what: one sentence that describes the fault.
    @ivar faults: the faults, injected one after another, C{pulses} times in all.
    @ivar on: duration of each fault.
    @ivar off: time between two faults.
    @ivar drawn: whether faults are chosen at random; C{on} and C{off} are means then.
    @ivar before: time under load before the first fault.
    @ivar after: time under load after the last fault.
    @ivar signs: evidence that the faults had an effect.
    @ivar direct: whether clients connect to the producers without a proxy.
    @ivar beside: the load of the second stream, if there is one.
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
    beside: Load | None = None

    @property
    def seconds(self) -> float:
        """Return the least duration of a run."""
        return self.before + self.pulses * (self.on + self.off) + self.after


@attrs.frozen(kw_only=True)
class Run:
    """
    A run of a scenario, and its verdict.

    @ivar directory: directory of the output of all processes.
    @ivar began: its begin, in seconds since the epoch and on the clock of the
        attempts.
    @ivar evidence: C{None} if the run was aborted before there was any.
    @ivar journal: the changes made to the deployment, with their times.
    @ivar memory: peak of the resident memory of each process, in bytes.
    @ivar planted: the planted bug of the services, if any.
    @ivar not_run: why the scenario could not be run on this machine; empty if it was run.
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
    not_run: str = ""

    @property
    def state(self) -> str:
        """Return the verdict in a word or two."""
        return "not run" if self.not_run else self.verdict.state

    @property
    def title(self) -> str:
        """Return the title of the run in reports."""
        return f"{self.scenario.name}, seed {self.seed}" + (f", with {self.planted}" if self.planted else "")

    @property
    def passed(self) -> bool:
        """Return whether all promises held or, with a planted bug, whether it was found; true if it was not run."""
        if self.not_run:
            return True
        return BUGS[self.planted].is_found(self.verdict) if self.planted else self.verdict.held

    @property
    def command(self) -> str:
        """Return the command that repeats the run."""
        what = "self-test" if self.planted else f"run {self.scenario.name}"
        return f"python -m chaos {what} --seed {self.seed}"


def run(scenario: Scenario, seed: int, directory: Path, planted: str | None = None) -> Run:
    """
    Run a scenario.

    @param directory: directory for the output of all processes.
    @param planted: a planted bug of the services.
    """
    directory = directory.resolve()
    directory.mkdir(parents=True)
    deployment = Deployment(scenario.plan, directory, planted)
    began = time.time(), time.monotonic()
    evidence = None
    ended, failed, not_run = [], [], ""
    try:
        with watchdog(DEADLINE):
            deployment.start()
            evidence = _break(scenario, seed, deployment)
            deployment.stop_services()
    except NotRun as problem:
        not_run = str(problem)
    except EndedByItself as problem:
        ended.append(str(problem))
    except (NotInTime, NotChanged, RedisError, RequestException) as problem:
        failed.append(f"{type(problem).__name__}: {problem}")
    finally:
        deployment.end()
    ended += deployment.complaints
    if evidence is not None and evidence.beside is not None:
        beside = check(evidence.beside, _BESIDE)
        ended += [f"{scenario.plan.beside}: {words}" for words in beside.broken]
        failed += [f"{scenario.plan.beside}: {words}" for words in beside.missing]
    seen = evidence.history if evidence else _NOTHING
    unfelt = doubts(evidence, scenario.signs) if evidence else ()
    return Run(
        scenario=scenario,
        seed=seed,
        directory=directory,
        began=began,
        seconds=time.monotonic() - began[1],
        verdict=check(attrs.evolve(seen, ended=ended, doubts=[*failed, *unfelt]), scenario.expect),
        evidence=evidence,
        journal=deployment.journal,
        memory={name: process.peak for name, process in deployment.processes.items()},
        planted=planted,
        not_run=not_run,
    )


def _break(scenario: Scenario, seed: int, deployment: Deployment) -> Evidence:
    workload = deployment.start_load(msgspec.structs.replace(scenario.load, seed=seed), scenario.direct)
    beside = None
    if scenario.beside is not None:
        second = msgspec.structs.replace(scenario.beside, seed=seed, stream=scenario.plan.beside)
        beside = deployment.start_load(second, scenario.direct)
    deployment.wait(scenario.before)
    begin = time.monotonic()
    _pulse(scenario, Random(seed), deployment)
    deployment.toxics.check_healed()
    end = time.monotonic()
    deployment.note("all is mended")
    unfit = _recover(scenario.expect.recover_within, workload, deployment)
    deployment.wait(end + scenario.after - time.monotonic())
    for load in [workload, *([] if beside is None else [beside])]:
        load.end(signal.SIGTERM)
    deployment.note("the load has ended")
    drained = not unfit and deployment.drain()
    evidence = gather(deployment, workload.out, (begin, end), drained)
    if beside is not None:
        evidence = attrs.evolve(evidence, beside=gather_beside(deployment, beside.out, (begin, end)))
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
    Wait until an event is stored and all services are ready, a little longer
    than C{within} seconds at most.

    @return: the services that are still not ready, and the seconds waited.
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
