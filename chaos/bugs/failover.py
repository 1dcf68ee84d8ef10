"""
Bugs of what happens when Redis fails over, or returns to an earlier state.
"""

from __future__ import annotations

import secrets
from importlib import import_module
from typing import Any

import attrs


def give_back_out_of_order() -> None:
    """Batches that Redis has lost are sent again, the newest first."""
    change_what_is_given_back(lambda submissions: submissions[::-1])


def give_back_with_new_ids() -> None:
    """Events that Redis has lost are stored again under other ids."""
    from eventsvc.event import with_id

    def renumber(submission: Any) -> Any:
        entries = tuple(with_id(entry, secrets.randbits(63)) for entry in submission.entries)
        return type(submission)(submission.ids, entries, submission.keys)

    change_what_is_given_back(lambda submissions: [renumber(each) for each in submissions])


def change_what_is_given_back(change: Any) -> None:
    """Replace the submissions that are sent again by what a function makes of them."""
    from eventsvc.producer.retained import Part, Retained

    def after(self: Retained, kept: Any, most_events: int, most_bytes: int) -> Part:
        part = original(self, kept, most_events, most_bytes)
        return attrs.evolve(part, submissions=change(part.submissions))

    original = Retained.after
    Retained.after = after  # type: ignore[method-assign]


def give_back_under_new_numbers() -> None:
    """Batches that Redis has lost are sent again as the first of another producer."""
    from eventsvc.redis.log import RedisEventLog

    def append(
        self: RedisEventLog, producer_id: bytes, sequence: int, submissions: Any, events: int, after: Any = None
    ) -> Any:
        if after is None:
            return original(self, producer_id, sequence, submissions, events)
        return original(self, secrets.token_hex(8).encode(), 1, submissions, events)

    original = RedisEventLog.append
    RedisEventLog.append = append  # type: ignore[method-assign]


def wait_for_nothing() -> None:
    """A batch counts as replicated as soon as Redis has answered."""
    from eventsvc.redis.durability import OnReplicas

    OnReplicas.wait = property(lambda self: ("WAIT", 0, 0))  # type: ignore[method-assign, assignment]
    OnReplicas.is_met = lambda self, reply: True  # type: ignore[method-assign]


def ignore_roles() -> None:
    """Any server that answers is taken for the primary."""
    connection: Any = import_module("eventsvc.redis.connection")

    assert connection.no_primary, "the check has another name"
    connection.no_primary = lambda session, role: ""
