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
    """Something by which a fault shows that it had an effect; its text says what."""

    def seen(self, evidence: Evidence) -> bool: ...


@attrs.frozen
class Suffered:
    """
    Attempts to post, during the fault, that failed or were slow.

    @ivar seconds: what is slow.
    @ivar least: how many there have to be.
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
    Words in the logs of services, since the fault began.

    @ivar by: how the names of these services begin; empty, all of them.
    @ivar least: how many lines have to have them.
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
    Alarms of one kind in the logs of services, since the fault began.

    @ivar alarm: the member C{alarm} of a line of the log.
    @ivar by: how the names of these services begin; empty, all of them.
    @ivar least: how many there have to be.
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
    A figure of the services.

    @ivar figure: its name, without C{_total}.
    @ivar least: what it has to come to.
    """

    figure: str
    least: int = 1

    def seen(self, evidence: Evidence) -> bool:
        return evidence.figures.get(self.figure, 0) >= self.least

    def __str__(self) -> str:
        return f"{self.figure} is {self.least} or more"


@attrs.frozen
class HandledAgain:
    """Events that were handled more than once."""

    least: int = 1

    def seen(self, evidence: Evidence) -> bool:
        handled = evidence.history.handled_ids
        return len(handled) - len(set(handled)) >= self.least

    def __str__(self) -> str:
        return f"{self.least} events were handled again"


@attrs.frozen
class SetAside:
    """Events among the dead letters."""

    least: int = 1

    def seen(self, evidence: Evidence) -> bool:
        return len(evidence.history.dead) >= self.least

    def __str__(self) -> str:
        return f"{self.least} events were set aside"


def doubts(evidence: Evidence, signs: Sequence[Sign]) -> Sequence[str]:
    """The signs that are missing, in words."""
    return [f"the fault was not felt: expected that {sign}" for sign in signs if not sign.seen(evidence)]
