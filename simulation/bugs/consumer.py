"""
Bugs of consumers.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any
from weakref import WeakKeyDictionary


def acknowledge_before_the_end() -> None:
    """An event is acknowledged once its handler has been called, although that has not finished."""
    handler_call: Any = import_module("eventsvc.consumer.handler_call")
    handler_call._unfinished = lambda result: None


def forget_the_cursor() -> None:
    """A search for idle entries goes on from where the last one has ended, and never begins again."""
    from eventsvc.consumer.recovery import Recovery
    from eventsvc.event import place_of

    async def claim(self: Recovery, count: int, size: int) -> Any:
        entries = await original(self, count, size)
        self._cursor = newest[self] = max(
            [newest.get(self, self._cursor), *(entry.id for entry in entries)], key=place_of
        )
        return entries

    newest: WeakKeyDictionary[Recovery, str] = WeakKeyDictionary()
    original = Recovery.claim
    Recovery.claim = claim  # type: ignore[method-assign]


def renew_nothing() -> None:
    """Entries with a slow handler are not renewed."""
    from eventsvc.consumer.recovery import Recovery

    async def renew(self: Recovery) -> None:
        return None

    Recovery._renew = renew  # type: ignore[method-assign]


def read_without_pending() -> None:
    """Redis is asked not to keep what was read until it is acknowledged."""
    from eventsvc.redis.group import RedisEventGroup

    def call(self: RedisEventGroup, *arguments: Any, **more: Any) -> Any:
        if arguments[0] == "XREADGROUP":
            arguments = (*arguments[:-3], "NOACK", *arguments[-3:])
        return original(self, *arguments, **more)

    original = RedisEventGroup._call
    RedisEventGroup._call = call  # type: ignore[method-assign]


def resume_late() -> None:
    """Own pending entries are not resumed before anything new, but wait until they are idle."""
    from eventsvc.consumer.recovery import Recovery

    async def begin(self: Recovery) -> None:
        await original(self)
        self._own = None

    original = Recovery.begin
    Recovery.begin = begin  # type: ignore[method-assign]


def retry_behind_others() -> None:
    """An event that comes again is handled behind those that were read after it."""
    from eventsvc.consumer.recovery import Recovery

    def take(self: Recovery, page: Any, is_done: Any) -> None:
        original(self, list(reversed(page)), is_done)

    original = Recovery._take
    Recovery._take = take  # type: ignore[method-assign]


def give_up_at_once() -> None:
    """An event is set aside when its handler has failed for the first time."""
    attempts: Any = import_module("eventsvc.consumer.delivery_attempts")
    original = attempts.after_failure

    def after_failure(deliveries: int, max_deliveries: int, *more: Any) -> Any:
        return original(deliveries, 1, *more)

    attempts.after_failure = after_failure


def forget_what_was_done() -> None:
    """Entries that come again after Redis went back are not recognised."""
    from eventsvc.consumer.recent import RecentEntries

    RecentEntries.recognises = lambda self, entry: False  # type: ignore[method-assign]


def confirm_without_comparing() -> None:
    """After a reconnection entries are acknowledged by their ids, without a look at what Redis has under them."""
    from eventsvc.consumer.recovery import Recovery

    async def renew_all(self: Recovery, digests: Any) -> Any:
        return await original(self, dict.fromkeys(digests, ""))

    original = Recovery._renew_all
    Recovery._renew_all = renew_all  # type: ignore[method-assign]


def hold_what_was_taken() -> None:
    """What another consumer claimed, or Redis lost, stays in flight, and is acknowledged when it is done."""
    from eventsvc.consumer.in_flight import InFlight

    InFlight.drop = lambda self, ids: None  # type: ignore[method-assign]
