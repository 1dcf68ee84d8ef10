"""
Keywords for what happens under load, and for the verdict on it.
"""

from __future__ import annotations

import random
import time
from html import escape
from pathlib import Path
from typing import Final, Protocol

import attrs
from local import Local
from robot.api import Failure, SkipExecution, logger
from robot.api.deco import keyword, library

from chaos.charts import draw_charts
from chaos.evidence import Evidence
from chaos.failovers import PrimaryKilled, SteppedDown
from chaos.plan import Plan
from chaos.process import raise_file_limit
from chaos.report import ledger, read_style
from chaos.scenario import run
from chaos.scenarios import BY_NAME
from chaos.signs import Counted, Said, Sign, doubts
from chaos.workload import Load
from cluster.commands import Namespace
from cluster.release import Release
from eventsvc.outcome import Outcome
from eventsvc.testing.history import Expectations, Verdict, check

#: Seconds of load before and after what happens.
_BEFORE: Final = 2.0
_AFTER: Final = 2.0
#: Events per second.
_RATE: Final = 75.0
#: Every part that comes back, or loses Redis, says this.
_FELT: Final = Said("connected to Redis")
#: What a new primary did not have is given back.
_RESTORED: Final = Counted("eventsvc_restored")
_MUST: Final = Expectations(least_ok=200, least_each=30, recover_within=8.0)


class System(Protocol):
    """What the suites break."""

    def start(self) -> None: ...
    def end(self) -> None: ...
    def settle(self) -> None: ...
    def stop_one(self, part: str) -> None: ...
    def kill_one(self, part: str) -> None: ...
    def roll(self) -> None: ...
    def scale(self, replicas: int) -> None: ...
    def now(self) -> float: ...
    def start_load(self, load: Load) -> None: ...
    def stop_load(self, fault: tuple[float, float]) -> Evidence: ...


@library(scope="TEST")
class robustness:
    """
    A system, and the load it is under.

    @ivar target: C{local} or C{cluster}.
    @ivar user: who kubectl is to act as, if it is not who the context says.
    """

    def __init__(self, target: str, namespace: str, prefix: str, user: str, image: str, seed: str) -> None:
        self.release = Release(Namespace(namespace, user), prefix, image)
        self.system: System = self.release if target == "cluster" else Local()
        self.local = target != "cluster"
        self.seed = int(seed) if seed else random.SystemRandom().randrange(1, 10_000)
        self.replicated = Local()
        self.begin = 0.0
        self.evidence: Evidence | None = None

    @keyword
    def start_redis_with_sentinels(self) -> None:
        """A system of its own on this machine, whose Redis fails over."""
        self.replicated = Local(Plan(producers=2, handlers=["log", "log"], sentinels=True, proxied=False, tokens=False))
        self.system = self.replicated

    @keyword
    def the_primary_is_killed(self) -> None:
        """Kill it after a moment without replication; the old primary returns as a replica."""
        self.replicated.fail_over(PrimaryKilled())

    @keyword
    def the_primary_steps_down(self) -> None:
        """Tell the Sentinels to replace it, after a moment without replication."""
        self.replicated.fail_over(SteppedDown())

    @keyword
    def keep_posting_events(self) -> None:
        """Start what is not there, and post events to it until the end of the test."""
        logger.info(f"seed {self.seed}")
        self.system.start()
        self.system.start_load(Load(rate=_RATE, seed=self.seed))
        time.sleep(_BEFORE)
        self.begin = self.system.now()

    @keyword
    def post_no_more(self) -> None:
        """Leave nothing behind."""
        self.system.end()

    @keyword
    def restart(self, part: str) -> None:
        """Stop one of them in its own way; it comes back."""
        self.system.stop_one(part)

    @keyword
    def kill(self, part: str) -> None:
        """Kill one of them; it comes back."""
        self.system.kill_one(part)

    @keyword
    def restart_all_services(self) -> None:
        """One after the other."""
        self.system.roll()

    @keyword
    def scale_to(self, replicas: int) -> None:
        """Have so many producers and consumers; on this machine, consumers alone."""
        self.system.scale(replicas)

    @keyword
    def upgrade(self, name: str, tag: str) -> None:
        """Let helm upgrade the release to another tag of the image."""
        self.release.upgrade(name, tag)

    @keyword
    def every_promise_is_kept(self) -> None:
        """End the load, wait until all is handled, and judge what clients were told."""
        self._judge(_FELT)

    def _judge(self, felt: Sign) -> None:
        self.system.settle()
        end = self.system.now()
        time.sleep(_AFTER)
        self.evidence = self.system.stop_load((self.begin, end))
        seen = attrs.evolve(self.evidence.history, doubts=doubts(self.evidence, [felt]))
        _tell(check(seen, _MUST), self.evidence, self.begin - _BEFORE)

    @keyword
    def every_accepted_event_is_in_the_stream_once(self) -> None:
        """Judge as ever; the new primary must have lacked some, which were given back to it."""
        self._judge(_RESTORED)

    @keyword
    def every_event_was_answered_200(self) -> None:
        """No client had to try again."""
        assert self.evidence is not None, "nothing was judged yet"
        failed = [op for op in self.evidence.history.ops if op.outcome is not Outcome.OK]
        if failed:
            raise Failure(f"{len(failed)} events were not answered 200; the first: {failed[0]}")

    @keyword
    def scenario_holds(self, name: str, directory: str) -> None:
        """Run a scenario of the chaos suite, with Toxiproxy on every link."""
        if not self.local:
            raise SkipExecution("Toxiproxy stands between processes of this machine, and not in a cluster.")
        raise_file_limit()
        done = run(BY_NAME[name], self.seed, Path(directory) / f"{name}-{self.seed}")
        logger.info(f"{done.scenario.what}\nAgain: {done.command}")
        _tell(done.verdict, done.evidence, done.began[1])


def _tell(verdict: Verdict, evidence: Evidence | None, began: float) -> None:
    """Put the verdict, its ledger and its plot into the log; fail unless all held."""
    words = [verdict.state, *verdict.broken, *verdict.missing]
    figures = ledger(verdict.ledger) if verdict.ledger else []
    logger.info("\n".join([*words, *figures]), also_console=True)
    if evidence is not None:
        drawn = "\n".join(draw_charts(evidence, began))
        page = f"<meta charset=utf-8><style>{read_style()}</style>{drawn}"
        frame = f'<iframe srcdoc="{escape(page)}" style="width: 100%; height: 620px; border: 0"></iframe>'
        logger.info(frame, html=True)
    if not verdict.held:
        raise Failure("\n".join(words))
