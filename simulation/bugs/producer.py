"""
Bugs of producers.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import attrs

from chaos.bugs.failover import change_what_is_given_back


def refuse_what_was_sent() -> None:
    """A request whose time is up is refused, although an attempt with it may have been stored."""
    from eventsvc.producer.backlog import PendingRequest

    def expired(self: PendingRequest, trouble: Any = None) -> Any:
        self.sent = False
        return original(self, trouble)

    original = PendingRequest.expired
    PendingRequest.expired = expired  # type: ignore[method-assign]


def forget_doubt() -> None:
    """A refusal ends the doubt about an earlier attempt whose reply was lost."""
    from eventsvc.errors import Refused
    from eventsvc.producer.sequence import Resend

    appender: Any = import_module("eventsvc.producer.appender")

    def decide(outcome: Any, in_doubt: bool) -> Any:
        step = original(outcome, in_doubt)
        return attrs.evolve(step, in_doubt=not isinstance(outcome, Refused)) if isinstance(step, Resend) else step

    original = appender.decide
    appender.decide = decide


def drop_in_doubt() -> None:
    """A batch for which nobody waits any more is dropped, and its sequence used again, although it may be stored."""
    appender: Any = import_module("eventsvc.producer.appender")
    appender.may_drop = lambda in_doubt, nobody_waits: nobody_waits


def retain_no_duplicates() -> None:
    """A batch that was found in Redis when it was sent again is not retained."""
    from eventsvc.producer.retained import Retained
    from eventsvc.submission import BatchOutcome

    def keep(self: Retained, sent: Any, reply: Any, *more: Any) -> None:
        original(self, sent, reply, *more)
        if reply.outcome is BatchOutcome.DUPLICATE and self._batches:
            self.size -= self._batches.pop().size

    original = Retained.keep
    Retained.keep = keep  # type: ignore[method-assign, assignment]


def take_what_is_kept() -> None:
    """A producer goes on from the sequence that Redis has kept, and gives nothing back."""
    from eventsvc.producer.repair import Repair

    async def run(self: Repair, producer_id: bytes, kept: Any, in_doubt: bool) -> bool:
        self.retained.sequence, self.retained.total = kept.sequence, kept.events
        return False

    Repair.run = run  # type: ignore[method-assign]


def give_back_one_less() -> None:
    """The first batch that Redis has lost is not given back."""

    def without_first(submissions: Any) -> Any:
        return submissions[1:]

    change_what_is_given_back(without_first)


def give_back_without_keys() -> None:
    """Events are given back without their keys, so that a repeat stores them again."""

    def without_keys(submissions: Any) -> Any:
        return [type(each)(each.ids, each.entries, ()) for each in submissions]

    change_what_is_given_back(without_keys)


def stop_without_asking() -> None:
    """A producer that stops does not ask whether Redis still has what it had confirmed."""
    from eventsvc.producer.appender import Appender

    Appender.drain = lambda self: self.backlog.when_settled()  # type: ignore[method-assign]


def resend_after_a_loss() -> None:
    """A batch in doubt is sent again under the next sequence once Redis has gone back."""
    from eventsvc.producer.repair import Repair

    async def run(self: Repair, producer_id: bytes, kept: Any, in_doubt: bool) -> bool:
        result = await original(self, producer_id, kept, in_doubt)
        if in_doubt and not result:
            self.retained.skip(self.retained.sequence + 1)
        return result

    original = Repair.run
    Repair.run = run  # type: ignore[method-assign]
