"""
Bugs of consumers and their handlers.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from inspect import iscoroutine
from typing import Any, Final

from twisted.internet.defer import Deferred, ensureDeferred

#: More bytes than any page has.
_ANY_SIZE: Final = 2**40


def read_only_new() -> None:
    """Entries that were read before a crash or a lost reply are never read again."""
    from eventsvc.consumer.recovery import Recovery

    async def take_up_nothing(self: Recovery, count: int, size: int) -> Any:
        self._own = None
        self._behind.clear()
        return ()

    async def claim_nothing(self: Recovery, count: int, size: int) -> Any:
        self.has_searched, self._claim_due = True, self.clock.seconds() + self.claim_idle
        return ()

    Recovery.take_up_own = take_up_nothing  # type: ignore[method-assign]
    Recovery.claim = claim_nothing  # type: ignore[method-assign]


def acknowledge_before_handling() -> None:
    """Entries are acknowledged when they are read."""
    from eventsvc.redis.group import RedisEventGroup

    async def read_and_acknowledge(self: RedisEventGroup, count: int, block: float) -> Any:
        entries = await original(self, count, block)
        if entries:
            await self.acknowledge([entry.id for entry in entries])
        return entries

    original = RedisEventGroup.read
    RedisEventGroup.read = (  # type: ignore[method-assign]
        lambda self, count, block: ensureDeferred(read_and_acknowledge(self, count, block))
    )


def trim_by_length() -> None:
    """The stream is trimmed to its maximum length, even if entries were not read."""
    from eventsvc.redis.group import RedisEventGroup

    def trim(self: RedisEventGroup, max_len: int) -> Any:
        return self.connection.call("XTRIM", self.stream, "MAXLEN", "=", max_len)

    RedisEventGroup.trim = trim  # type: ignore[method-assign]


def forget_acknowledgements() -> None:
    """An acknowledgement whose reply was lost counts as confirmed, and what was acknowledged is not recognised."""
    from eventsvc.consumer.recent import RecentEntries
    from eventsvc.redis.group import RedisEventGroup

    def acknowledge(self: RedisEventGroup, ids: Sequence[str]) -> Any:
        return original(self, ids).addErrback(lambda _: None)

    original = RedisEventGroup.acknowledge
    RedisEventGroup.acknowledge = acknowledge  # type: ignore[method-assign]
    RecentEntries.recognises = lambda self, entry: False  # type: ignore[method-assign]


def page_by_count() -> None:
    """A page has a fixed number of entries, whatever their size."""
    from eventsvc.consumer.delivery import Pace
    from eventsvc.consumer.page import PageSize
    from eventsvc.redis.group import RedisEventGroup

    def read_pending(self: RedisEventGroup, after: str, count: int, size: int = 0) -> Any:
        return read_page(self, after, count, _ANY_SIZE)

    def claim(self: RedisEventGroup, idle: float, cursor: str, count: int, size: int = 0) -> Any:
        return claim_page(self, idle, cursor, count, _ANY_SIZE)

    read_page, claim_page = RedisEventGroup.read_pending, RedisEventGroup.claim
    RedisEventGroup.read_pending = read_pending  # type: ignore[method-assign]
    RedisEventGroup.claim = claim  # type: ignore[method-assign]
    Pace.observe = lambda self, handled, seconds: setattr(self, "size", self.most)  # type: ignore[method-assign]
    PageSize.count = lambda self, most: most  # type: ignore[method-assign]
    PageSize.is_filled_by = lambda self, entries: False  # type: ignore[method-assign]


def acknowledge_unawaited() -> None:
    """The result of a handler is awaited only if it is a Deferred or a coroutine."""
    from eventsvc.consumer import handler_call

    def unfinished(result: object) -> Any:
        return original(result) if isinstance(result, Deferred) or iscoroutine(result) else None

    original = handler_call._unfinished
    handler_call._unfinished = unfinished


def acknowledge_whole_batches() -> None:
    """A batch is acknowledged although its handler has failed on some of its events."""
    from eventsvc.consumer.batch import BatchDelivery

    async def attempt(self: BatchDelivery, batch: Any, unfinished: Any) -> Any:
        failed, began = await original(self, batch, unfinished)
        return None if failed is None else {}, began

    original = BatchDelivery._attempt
    BatchDelivery._attempt = attempt  # type: ignore[method-assign]


def never_trip() -> None:
    """Every failure counts against its event, even while all events fail."""
    from eventsvc.consumer.breaker import Breaker

    Breaker.failed = lambda self, id: True  # type: ignore[method-assign]


def acknowledge_timed_out() -> None:
    """An event whose handler was cancelled because it took too long is acknowledged."""
    from eventsvc.consumer import bound_handler

    def end_in_any_case(unfinished: Any, seconds: float, clock: Any) -> Any:
        return original(unfinished, seconds, clock).addErrback(
            lambda failure: failure.trap(bound_handler.HandlerTimeout)
        )

    original = bound_handler.end_within
    bound_handler.end_within = end_in_any_case


def ignore_keys() -> None:
    """Events of one key are handled at the same time."""
    from eventsvc.consumer.line import Line

    def admits(self: Line, entry: Any, notification: Any, keys: Any = ()) -> bool:
        return True

    Line.admits = admits  # type: ignore[method-assign]
    Line.begin = lambda self, keys, id: None  # type: ignore[method-assign]
    Line.end = lambda self, keys, last: None  # type: ignore[method-assign]
    Line.put_back = lambda self, batch: self.entries.extend(entry for entry, _ in batch)  # type: ignore[method-assign]


def follow_redirects() -> None:
    """A webhook follows redirects, as browsers do."""
    from treq.client import HTTPClient

    def request(self: HTTPClient, *arguments: Any, **more: Any) -> Any:
        return original(self, *arguments, **more | {"allow_redirects": True, "browser_like_redirects": True})

    original: Any = HTTPClient.request
    HTTPClient.request = request  # type: ignore[method-assign]


def take_any_answer() -> None:
    """A webhook is delivered once there is an answer, whatever it is."""
    from eventsvc.handlers import webhook

    webhook.judge = lambda *_: None  # type: ignore[attr-defined]


def decode_for_handlers() -> None:
    """Handlers get data that was decoded and encoded again."""
    from msgspec import Raw, json, structs

    delivery: Any = import_module("eventsvc.consumer.delivery")

    def decode(*arguments: Any) -> Any:
        event = original(*arguments)
        return structs.replace(event, data_json=Raw(json.encode(event.data))) if bytes(event.data_json) else event

    original = delivery.decode_notification
    delivery.decode_notification = decode
