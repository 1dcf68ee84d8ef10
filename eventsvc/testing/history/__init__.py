"""
The checker: compares the answers that clients got with the stream and with
what the handlers did.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal

import attrs

from eventsvc.outcome import Outcome
from eventsvc.testing.history.checks import Expectations, find_broken
from eventsvc.testing.history.content import Content
from eventsvc.testing.history.records import Cause, Finding, Handling, History, Op

__all__ = ["Cause", "Content", "Expectations", "Handling", "History", "Op", "Outcome", "State", "Verdict", "check"]

State = Literal["held", "broke", "no evidence"]

#: The expectations of every run.
_ALWAYS: Final = Expectations()
#: How many findings of one kind a verdict lists.
_SPELL_OUT: Final = 3
#: Characters of a finding.
_LONGEST: Final = 160


@attrs.frozen
class Verdict:
    """
    The result of a check.

    @ivar broken: the promises that were broken, one sentence each.
    @ivar missing: reasons why the evidence does not suffice.
    @ivar ledger: the counts behind the verdict.
    @ivar silence: as L{History.silence}.
    @ivar recovery: as L{History.recovery}.
    """

    broken: tuple[str, ...]
    missing: tuple[str, ...]
    ledger: Mapping[str, int]
    silence: float
    recovery: float | None

    @property
    def state(self) -> State:
        return "broke" if self.broken else "no evidence" if self.missing else "held"

    @property
    def held(self) -> bool:
        return self.state == "held"

    def describe(self) -> str:
        """Return the verdict as text, one finding per line."""
        figures = ", ".join(f"{name} {figure}" for name, figure in self.ledger.items())
        return "\n".join([self.state, *self.broken, *self.missing, figures])


def check(history: History, expect: Expectations = _ALWAYS) -> Verdict:
    """Check a run against the promises, and return the verdict."""
    ledger = _count(history)
    return Verdict(
        broken=tuple(_spell_out(find_broken(history, expect))),
        missing=tuple(_find_missing(history, ledger, expect)),
        ledger=ledger,
        silence=history.silence,
        recovery=history.recovery,
    )


def _find_missing(history: History, ledger: Mapping[str, int], expect: Expectations) -> Iterator[str]:
    yield from history.doubts
    if not history.drained:
        yield "the run was not drained"
    if ledger["confirmed"] < expect.least_ok:
        yield f"{ledger['confirmed']} events were answered 200, fewer than {expect.least_ok}"
    if any(op.ended is None and op.outcome is not Outcome.UNKNOWN for op in history.ops):
        yield "an attempt has an outcome but no end time"
    if history.fault is None or not expect.least_each:
        return
    begin, end = history.fault
    for name, count in (
        ("before", sum(op.invoked < begin for op in history.ops)),
        ("during", sum(begin <= op.invoked <= end for op in history.ops)),
        ("after", sum(op.invoked > end for op in history.ops)),
    ):
        if count < expect.least_each:
            yield f"{count} attempts began {name} the fault, fewer than {expect.least_each}"
    if history.recovery is None:
        yield "no event was answered 200 after the fault"


def _count(history: History) -> dict[str, int]:
    outcomes = Counter(op.outcome for op in history.ops)
    unsure = {op.description for op in history.ops if op.outcome is Outcome.UNKNOWN}
    sure = {op.description for op in history.ops if op.outcome is Outcome.OK}
    handled = history.handled_ids
    return {
        "sent": len(history.ops),
        "ok": outcomes[Outcome.OK],
        "refused": outcomes[Outcome.REFUSED],
        "unknown": outcomes[Outcome.UNKNOWN],
        "confirmed": len(sure),
        "stored": len(history.stream),
        "stored though unknown": sum(each.description in unsure - sure for each in history.stream),
        "handled": len(set(handled)),
        "handled again": len(handled) - len(set(handled)),
        "set aside": len(set(history.dead)),
        "pending": len(history.pending),
    }


def _spell_out(findings: Iterable[Finding]) -> Iterator[str]:
    """Yield one sentence for all findings of a kind."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for kind, what in findings:
        kinds[kind].append(repr(what[:_LONGEST]))
    for kind, whats in kinds.items():
        shown = ", ".join(whats[:_SPELL_OUT])
        more = f" and {len(whats) - _SPELL_OUT} more" if len(whats) > _SPELL_OUT else ""
        yield kind if shown == "''" else f"{kind}: {shown}{more}"
