"""
Does something to a release under load, and judges what clients were told.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from math import inf, isinf
from typing import Final

import attrs

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
    """A run that held."""

    evidence: Evidence
    verdict: Verdict

    @property
    def figures(self) -> str:
        """Return the figures in words."""
        ledger, ops = self.verdict.ledger, self.evidence.history.ops
        failed = sum(op.outcome is not Outcome.OK for op in ops)
        return (
            f"{ledger['confirmed']} events, 0 lost, 0 doubled, {failed} attempts not answered 200, "
            f"longest wait {max(waits(ops).values()):.1f} s"
        )


def judge(release: Release, act: Callable[[], object], promise: Promise) -> Judged:
    """
    Do something to a release under load.

    @raise Failed: a promise was broken, or the evidence does not suffice.
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
    verdict = check(history, Expectations(least_ok=200, least_each=30, recover_within=8.0))
    problems = [] if verdict.held else [verdict.describe()]
    problems += find_failed(evidence, promise)
    if problems:
        raise Failed("\n".join([*problems, *complaints[:5]]))
    return Judged(evidence, verdict)


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
