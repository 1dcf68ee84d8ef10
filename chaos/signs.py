"""
The signs that a fault was felt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import attrs

from chaos.evidence import Evidence
from eventsvc.outcome import Outcome


class Sign(Protocol):
    """Evidence that a fault had an effect; C{str} describes it."""

    def seen(self, evidence: Evidence) -> bool: ...


@attrs.frozen
class Suffered:
    """
    Attempts to post failed or were slow during the fault.

    @ivar seconds: duration from which an attempt is slow.
    @ivar least: the least number of such attempts.
    """

    seconds: float = 0.3
    least: int = 3

    def seen(self, evidence: Evidence) -> bool:
        slow = [
            op
            for op in evidence.during()
            if op.outcome is not Outcome.OK or op.ended is None or op.ended - op.invoked >= self.seconds
        ]
        return len(slow) >= self.least

    def __str__(self) -> str:
        return f"{self.least} attempts failed or took {self.seconds:g} s"


@attrs.frozen
class Said:
    """
    Services have logged some words since the fault began.

    @ivar by: the beginning of the services' names; default: all services.
    @ivar least: the least number of such lines.
    """

    words: str
    by: str = ""
    least: int = 1

    def seen(self, evidence: Evidence) -> bool:
        return sum(self.words in line.message for line in evidence.since_fault(self.by)) >= self.least

    def __str__(self) -> str:
        return f"{self.by or 'a service'} said {self.words!r} {self.least} times"


@attrs.frozen
class Alarmed:
    """
    Services have raised alarms of one kind since the fault began.

    @ivar alarm: the member C{alarm} of a log line.
    @ivar by: the beginning of the services' names; default: all services.
    @ivar least: the least number of alarms.
    """

    alarm: str
    by: str = ""
    least: int = 1

    def seen(self, evidence: Evidence) -> bool:
        return sum(line.alarm == self.alarm for line in evidence.since_fault(self.by)) >= self.least

    def __str__(self) -> str:
        return f"{self.by or 'a service'} raised the alarm {self.alarm!r} {self.least} times"


@attrs.frozen
class Counted:
    """
    A metric of the services has reached a value.

    @ivar figure: its name, without C{_total}.
    @ivar least: the least sum over all services.
    """

    figure: str
    least: int = 1

    def seen(self, evidence: Evidence) -> bool:
        return evidence.figures.get(self.figure, 0) >= self.least

    def __str__(self) -> str:
        return f"{self.figure} is {self.least} or more"


@attrs.frozen
class HandledAgain:
    """Events were handled more than once."""

    least: int = 1

    def seen(self, evidence: Evidence) -> bool:
        handled = evidence.history.handled_ids
        return len(handled) - len(set(handled)) >= self.least

    def __str__(self) -> str:
        return f"{self.least} events were handled again"


@attrs.frozen
class SetAside:
    """Events were set aside as dead letters."""

    least: int = 1

    def seen(self, evidence: Evidence) -> bool:
        return len(evidence.history.dead) >= self.least

    def __str__(self) -> str:
        return f"{self.least} events were set aside"


def doubts(evidence: Evidence, signs: Sequence[Sign]) -> Sequence[str]:
    """Return a sentence for each missing sign."""
    return [f"the fault was not felt: expected that {sign}" for sign in signs if not sign.seen(evidence)]
