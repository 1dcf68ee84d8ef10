"""
Planted bugs, which the suite must find.

C{python -m chaos.planted BUG -- ARGUMENTS...} runs C{twistd ARGUMENTS...} with
one function of eventsvc replaced.  eventsvc has no code for this.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import attrs

from chaos.bugs import consumer, failover, producer
from eventsvc.testing.history import Verdict


@attrs.frozen
class Bug:
    """
    A planted bug.

    @ivar plant: replaces the function; its docstring describes the bug.
    @ivar scenario: the scenario that must find it.
    @ivar finding: text that the finding must contain.
    """

    plant: Callable[[], None]
    scenario: str
    finding: str

    @property
    def what(self) -> str:
        return (self.plant.__doc__ or "").strip()

    def is_found(self, verdict: Verdict) -> bool:
        return any(self.finding in words for words in verdict.broken)


BUGS: Final[Mapping[str, Bug]] = {
    "acknowledge-before-append": Bug(producer.acknowledge_before_append, "down-long", "answered 200, but not stored"),
    "resend-with-new-number": Bug(producer.resend_with_new_number, "reply-cut", "stored more than once"),
    "read-only-new": Bug(consumer.read_only_new, "read-reply-cut", "then left pending"),
    "acknowledge-before-handling": Bug(consumer.acknowledge_before_handling, "consumer-killed", "neither handled"),
    "trim-by-length": Bug(consumer.trim_by_length, "trimmed", "neither handled"),
    "renew-by-writing": Bug(producer.renew_by_writing, "rolled-back-idle", "answered 200, but not stored"),
    "wall-clock-timers": Bug(producer.wall_clock_timers, "clock-back", "after the fault"),
    "forget-acknowledgements": Bug(
        consumer.forget_acknowledgements, "acknowledgement-cut", "handled again without a cause"
    ),
    "page-by-count": Bug(consumer.page_by_count, "large-pending", "were handled during the fault"),
    "acknowledge-unawaited": Bug(consumer.acknowledge_unawaited, "consumer-restarted", "neither handled"),
    "never-trip": Bug(consumer.never_trip, "database-away", "set aside, but a handler could have handled it"),
    "acknowledge-whole-batches": Bug(consumer.acknowledge_whole_batches, "batch-fails", "neither handled"),
    "ignore-keys": Bug(consumer.ignore_keys, "database-hangs", "handled out of the order of its key"),
    "acknowledge-timed-out": Bug(consumer.acknowledge_timed_out, "handler-hangs", "neither handled"),
    "follow-redirects": Bug(consumer.follow_redirects, "webhook-receiver-flaps", "neither handled"),
    "take-any-answer": Bug(consumer.take_any_answer, "webhook-receiver-flaps", "neither handled"),
    "encode-data-again": Bug(producer.encode_data_again, "stream-full-beside", "another `data` than was posted"),
    "decode-for-handlers": Bug(consumer.decode_for_handlers, "consumer-restarted", "another `data` than is stored"),
    "forget-identities": Bug(producer.forget_identities, "stream-full-beside", "stored more than once"),
    "lose-beside-known": Bug(producer.lose_beside_known, "stream-full-beside", "answered 200, but not stored"),
    "give-back-out-of-order": Bug(
        failover.give_back_out_of_order, "failover-kill", "stored before an event that was confirmed earlier"
    ),
    "give-back-under-new-numbers": Bug(failover.give_back_under_new_numbers, "failover-kill", "stored more than once"),
    "give-back-with-new-ids": Bug(
        failover.give_back_with_new_ids, "failover-kill", "stored under another id than it was answered"
    ),
    "wait-for-nothing": Bug(failover.wait_for_nothing, "replicas-and-producers-killed", "answered 200, but not stored"),
    "ignore-roles": Bug(failover.ignore_roles, "replica-at-address", "handled again without a cause"),
    "give-up-after-failed-auth": Bug(producer.give_up_after_failed_auth, "cut-in-handshake", "not ready again"),
}


def main(arguments: Sequence[str]) -> None:
    """Plant a bug, then run twistd."""
    name, _, *rest = arguments
    BUGS[name].plant()
    sys.argv = ["twistd", *rest]
    from twisted.scripts.twistd import run

    run()


if __name__ == "__main__":
    main(sys.argv[1:])
