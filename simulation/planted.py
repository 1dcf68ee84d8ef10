"""
Planted bugs, which the simulation must find.

Each replaces a function of eventsvc in this interpreter, and is undone
afterwards.  eventsvc has no code for this.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final

import attrs

from chaos.bugs import consumer as chaos_consumer
from chaos.bugs import failover as chaos_failover
from chaos.bugs import producer as chaos_producer
from simulation.bugs import connections, consumer, producer, scripts


@attrs.frozen
class Bug:
    """
    A planted bug.

    @ivar plant: replaces the function; its docstring describes the bug.
    @ivar findings: texts of which the findings must contain one.
    """

    plant: Callable[[], None]
    findings: tuple[str, ...]

    @property
    def what(self) -> str:
        """What is wrong, in a sentence."""
        return (self.plant.__doc__ or "").strip()


_LOST: Final = "answered 200, but not stored"
_TWICE: Final = "stored more than once"
_REFUSED: Final = "refused, but stored"
_ANOTHER: Final = ("stored under another id than it was answered", "answered with more than one id")
_UNHANDLED: Final = "neither handled"
_LEFT: Final = "then left pending"
_AGAIN: Final = "handled again without a cause"
_ASIDE: Final = "set aside, but a handler could have handled it"

#: Those of the chaos suite.
_OF_CHAOS: Final[Mapping[str, Bug]] = {
    "acknowledge-before-append": Bug(chaos_producer.acknowledge_before_append, (_LOST,)),
    "resend-with-new-number": Bug(chaos_producer.resend_with_new_number, (_TWICE,)),
    "read-only-new": Bug(chaos_consumer.read_only_new, (_LEFT,)),
    "acknowledge-before-handling": Bug(chaos_consumer.acknowledge_before_handling, (_UNHANDLED,)),
    "trim-by-length": Bug(chaos_consumer.trim_by_length, (_UNHANDLED,)),
    "renew-by-writing": Bug(chaos_producer.renew_by_writing, (_LOST,)),
    "forget-acknowledgements": Bug(chaos_consumer.forget_acknowledgements, (_AGAIN,)),
    "acknowledge-unawaited": Bug(chaos_consumer.acknowledge_unawaited, (_UNHANDLED,)),
    "never-trip": Bug(chaos_consumer.never_trip, (_ASIDE,)),
    "acknowledge-whole-batches": Bug(chaos_consumer.acknowledge_whole_batches, (_UNHANDLED,)),
    "ignore-keys": Bug(chaos_consumer.ignore_keys, ("handled out of the order of its key",)),
    "acknowledge-timed-out": Bug(chaos_consumer.acknowledge_timed_out, (_UNHANDLED,)),
    "encode-data-again": Bug(chaos_producer.encode_data_again, ("another `data` than was posted",)),
    "decode-for-handlers": Bug(chaos_consumer.decode_for_handlers, ("another `data` than is stored",)),
    "forget-identities": Bug(chaos_producer.forget_identities, (_TWICE,)),
    "lose-beside-known": Bug(chaos_producer.lose_beside_known, (_LOST,)),
    "give-back-out-of-order": Bug(
        chaos_failover.give_back_out_of_order, ("stored before an event that was confirmed earlier",)
    ),
    "give-back-under-new-numbers": Bug(chaos_failover.give_back_under_new_numbers, (_TWICE,)),
    "give-back-with-new-ids": Bug(chaos_failover.give_back_with_new_ids, _ANOTHER),
    "wait-for-nothing": Bug(chaos_failover.wait_for_nothing, (_LOST,)),
    "give-up-after-failed-auth": Bug(chaos_producer.give_up_after_failed_auth, ("not ready again", "after the fault")),
}

#: Those of the chaos suite that cannot be shown here, and why.
NOT_SHOWN: Final[Mapping[str, str]] = {
    "wall-clock-timers": "the timers of the world are its own: no process can set them by its wall clock",
    "page-by-count": "it takes megabytes on a slow link, and links of the world have no bandwidth",
    "ignore-roles": "a replica refuses what services write, so they leave it; what differs is seen too rarely",
    "follow-redirects": "the world has no webhooks",
    "take-any-answer": "the world has no webhooks",
}

#: Subtler ones.
_SUBTLE: Final[Mapping[str, Bug]] = {
    "accept-a-gap": Bug(scripts.accept_a_gap, (_LOST,)),
    "forget-first-answers": Bug(scripts.forget_first_answers, _ANOTHER),
    "check-no-rights": Bug(scripts.check_no_rights, (_TWICE, _REFUSED)),
    "renew-forwards": Bug(scripts.renew_forwards, (_LOST,)),
    "trim-what-is-pending": Bug(scripts.trim_what_is_pending, (_UNHANDLED, _ASIDE)),
    "begin-at-the-end": Bug(scripts.begin_at_the_end, (_UNHANDLED,)),
    "leave-with-pending-entries": Bug(scripts.leave_with_pending_entries, (_UNHANDLED,)),
    "acknowledge-before-letter": Bug(scripts.acknowledge_before_letter, (_UNHANDLED,)),
    "refuse-what-was-sent": Bug(producer.refuse_what_was_sent, (_REFUSED,)),
    "forget-doubt": Bug(producer.forget_doubt, (_REFUSED,)),
    "drop-in-doubt": Bug(producer.drop_in_doubt, (_LOST,)),
    "retain-no-duplicates": Bug(producer.retain_no_duplicates, (_LOST,)),
    "take-what-is-kept": Bug(producer.take_what_is_kept, (_LOST,)),
    "give-back-one-less": Bug(producer.give_back_one_less, (_LOST,)),
    "give-back-without-keys": Bug(producer.give_back_without_keys, (_TWICE,)),
    "acknowledge-before-the-end": Bug(consumer.acknowledge_before_the_end, (_UNHANDLED,)),
    "forget-the-cursor": Bug(consumer.forget_the_cursor, (_LEFT,)),
    "renew-nothing": Bug(consumer.renew_nothing, (_AGAIN,)),
    "read-without-pending": Bug(consumer.read_without_pending, (_UNHANDLED,)),
    "resume-late": Bug(consumer.resume_late, ("handled out of order",)),
    "retry-behind-others": Bug(consumer.retry_behind_others, ("handled out of order",)),
    "stop-without-asking": Bug(producer.stop_without_asking, (_LOST,)),
    "resend-after-a-loss": Bug(producer.resend_after_a_loss, (_TWICE, _LOST, "never answered 200")),
    "confirm-without-comparing": Bug(consumer.confirm_without_comparing, (_UNHANDLED,)),
    "hold-what-was-taken": Bug(consumer.hold_what_was_taken, (_UNHANDLED, _AGAIN)),
    "forget-what-was-done": Bug(consumer.forget_what_was_done, ("by a consumer that remembers it",)),
    "give-up-at-once": Bug(consumer.give_up_at_once, (_ASIDE,)),
    "back-off-without-limit": Bug(connections.back_off_without_limit, ("not ready again",)),
}

BUGS: Final[Mapping[str, Bug]] = {**_OF_CHAOS, **_SUBTLE}


@contextmanager
def planted(name: str) -> Iterator[Bug]:
    """Plant a bug, and undo that on the way out."""
    for role in ("producer", "consumer"):
        import_module(f"eventsvc.tap.parts.{role}")
    before = {id(place): (place, dict(vars(place))) for place in _places()}
    try:
        BUGS[name].plant()
        yield BUGS[name]
    finally:
        for place, names in before.values():
            _restore(place, names)


def _places() -> Iterator[Any]:
    """Yield each module of eventsvc, and each class that one holds."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "eventsvc":
            yield module
            yield from (each for each in vars(module).values() if isinstance(each, type))


def _restore(place: Any, names: Mapping[str, Any]) -> None:
    for name, value in list(vars(place).items()):
        if name not in names:
            delattr(place, name)
        elif names[name] is not value:
            setattr(place, name, names[name])
