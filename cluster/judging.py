"""
Does something to a release under load, and judges what clients were told.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from importlib.resources import files
from math import inf, isinf
from pathlib import Path
from typing import Final

import attrs
import msgspec

from chaos.charts import draw_charts
from chaos.evidence import Evidence
from chaos.signs import Sign, doubts
from chaos.workload import Load
from cluster.commands import Failed
from cluster.patience import waits
from cluster.release import Release
from eventsvc.outcome import Outcome
from eventsvc.testing.history import Expectations, Verdict, check

#: Seconds of load before and after what happens.
_BEFORE: Final = 3.0
_AFTER: Final = 3.0
#: Events per second.
_RATE: Final = 75.0
_EXPECTATIONS: Final = Expectations(least_ok=200, least_each=30, recover_within=8.0)
#: How many messages of clients a failure lists.
_SPELL_OUT: Final = 5
#: The patience of a client, in seconds.
PATIENCE: Final = 5.0


@attrs.frozen(kw_only=True)
class Promise:
    """
    What must hold besides the promises of every run.

    @ivar patience: the most seconds until each event is answered 200.  Its client
        posts it again, with its key, until then.
    @ivar at_once: whether each attempt must be answered 200.
    @ivar rolled_back: whether Redis may return to an earlier state, as a replica that
        replaces a primary that was killed does.
    @ivar signs: what must have been felt.
    """

    patience: float = inf
    at_once: bool = False
    rolled_back: bool = False
    signs: Sequence[Sign] = ()


@attrs.frozen
class Judged:
    """
    A run and its verdict.

    @ivar problems: sentences about promises that were broken, or evidence that does not suffice.
    """

    evidence: Evidence
    verdict: Verdict
    problems: Sequence[str]

    def conclude(self, *figures: str) -> str:
        """
        Return the figures in words.

        @param figures: further ones.
        @raise Failed: there are problems.
        """
        words = "; ".join([*figures, self.figures])
        if self.problems:
            raise Failed("\n".join([*self.problems, words]))
        return words

    @property
    def figures(self) -> str:
        """Return the figures in words."""
        ledger, ops = self.verdict.ledger, self.evidence.history.ops
        failed = sum(op.outcome is not Outcome.OK for op in ops)
        held = ", 0 lost, 0 doubled" if self.verdict.held else ""
        return (
            f"{ledger['confirmed']} events{held}, {failed} attempts not answered 200, "
            f"{ledger['handled again']} handled again, longest wait {max(waits(ops).values(), default=inf):.1f} s"
        )


def judge(release: Release, act: Callable[[], object], promise: Promise) -> Judged:
    """
    Do something to a release under load, and judge what its clients were told.

    Charts of it, the attempts and the log lines are kept in C{build/cluster/NAMESPACE}.
    """
    seed = random.SystemRandom().randrange(1, 1_000_000_000)
    release.start()
    try:
        release.start_load(Load(rate=_RATE, seed=seed, keyed=1.0 if promise.patience < inf else 0.0))
        time.sleep(_BEFORE)
        begin = release.now()
        act()
        release.settle()
        end = release.now()
        time.sleep(_AFTER)
        evidence = release.stop_load((begin, end))
        complaints = release.load.complaints()
    finally:
        release.end()
    history = attrs.evolve(evidence.history, doubts=doubts(evidence, promise.signs), rolled_back=promise.rolled_back)
    verdict = check(history, _EXPECTATIONS)
    problems = [*([] if verdict.held else [verdict.describe()]), *find_failed(evidence, promise)]
    if problems:
        problems += [*complaints[:_SPELL_OUT], f"see {_keep(release.namespace.name, evidence, begin)}"]
    return Judged(evidence, verdict, problems)


def _keep(name: str, evidence: Evidence, began: float) -> Path:
    """Write down the evidence, and return the page with its charts."""
    directory = Path("build", "cluster", name)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "ops.jsonl").write_bytes(b"\n".join(map(msgspec.json.encode, evidence.history.ops)))
    words = [
        f"{line.at - began:8.2f} {line.process} {line.level} {line.message}" for line in evidence.lines if not line.id
    ]
    (directory / "services.log").write_text("\n".join(words), encoding="utf-8")
    style = files("chaos").joinpath("report.css").read_text(encoding="utf-8")
    page = f"<meta charset=utf-8><style>{style}</style>" + "\n".join(draw_charts(evidence, began))
    (directory / "charts.html").write_text(page, encoding="utf-8")
    return directory / "charts.html"


def find_failed(evidence: Evidence, promise: Promise) -> Sequence[str]:
    """Return a sentence for each kind of request that failed against the promise."""
    ops = evidence.history.ops
    failed = [op for op in ops if op.outcome is not Outcome.OK]
    late = {name: wait for name, wait in waits(ops).items() if wait > promise.patience}
    found = []
    if promise.at_once and failed:
        found.append(f"{len(failed)} of {len(ops)} attempts were not answered 200; the first: {failed[0]}")
    if late:
        never, longest = sum(map(isinf, late.values())), max(late.values())
        found.append(
            f"{len(late)} events were not answered 200 within {promise.patience:g} s: "
            f"{never} never, the others after at most {longest if not never else 0:.1f} s"
        )
    return found
