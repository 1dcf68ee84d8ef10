"""
Planted bugs, which the suite must find.

C{python -m chaos.planted BUG -- ARGUMENTS...} runs C{twistd ARGUMENTS...} with
one function of eventsvc replaced.  eventsvc has no code for this.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from inspect import iscoroutine
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, ensureDeferred

from eventsvc.testing.history import Verdict


def _acknowledge_before_append() -> None:
    """A request is answered before Redis has confirmed its events."""
    from eventsvc.producer.appender import Appender

    def submit(self: Appender, events: Any, keys: Any, answer: Callable[[Any, Any], None], since: Any = None) -> Any:
        request = original(self, events, keys, lambda request, result: None, since)

        def tell() -> None:
            if not request.settled:
                answer(request, request.ids)

        self.clock.callLater(0, tell)
        return request

    original = Appender.submit
    Appender.submit = submit  # type: ignore[method-assign]


def _resend_with_new_number() -> None:
    """A batch whose reply was lost is sent again as a new batch."""
    from eventsvc.redis.log import RedisEventLog

    def append(self: RedisEventLog, producer_id: bytes, sequence: int, submissions: Any) -> Any:
        return original(self, secrets.token_hex(8).encode(), 1, submissions)

    original = RedisEventLog.append
    RedisEventLog.append = append  # type: ignore[method-assign]


def _read_only_new() -> None:
    """Entries that were read before a crash or a lost reply are never read again."""
    from eventsvc.consumer.recovery import Recovery

    async def take_up_nothing(self: Recovery, count: int, size: int) -> Any:
        self._own = None
        return ()

    async def claim_nothing(self: Recovery, count: int, size: int) -> Any:
        self._claim_due = self.clock.seconds() + self.claim_idle
        return ()

    Recovery.take_up_own = take_up_nothing  # type: ignore[method-assign]
    Recovery.claim = claim_nothing  # type: ignore[method-assign]


def _acknowledge_before_handling() -> None:
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


def _trim_by_length() -> None:
    """The stream is trimmed to its maximum length, even if entries were not read."""
    from eventsvc.redis.group import RedisEventGroup

    def trim(self: RedisEventGroup, max_len: int) -> Any:
        return self.connection.call("XTRIM", self.stream, "MAXLEN", "=", max_len)

    RedisEventGroup.trim = trim  # type: ignore[method-assign]


def _give_up_after_failed_auth() -> None:
    """After the first connection, a failed handshake ends all attempts to connect."""
    from eventsvc.redis.connection import Connection, Session

    async def handshake(self: Connection, session: Session) -> None:
        try:
            await original(self, session)
        except Exception:
            if not self.connects:
                raise
            await Deferred()

    original = Connection._handshake
    Connection._handshake = handshake  # type: ignore[method-assign]


def _renew_by_writing() -> None:
    """An idle producer renews with an empty batch of its last sequence, which may be applied."""
    from eventsvc.redis.log import RedisEventLog
    from eventsvc.submission import BatchOutcome, Renewal

    def renew(self: RedisEventLog, producer_id: bytes, sequence: int) -> Any:
        return self.append(producer_id, sequence, []).addCallback(
            lambda reply: Renewal(known=reply.outcome is BatchOutcome.DUPLICATE, keys=0)
        )

    RedisEventLog.renew = renew  # type: ignore[method-assign]


def _wall_clock_timers() -> None:
    """Timers use the wall clock."""
    from eventsvc.tap import process

    process.use_monotonic_time = lambda reactor: None


def _forget_acknowledgements() -> None:
    """An acknowledgement whose reply was lost counts as confirmed."""
    from eventsvc.redis.group import RedisEventGroup

    def acknowledge(self: RedisEventGroup, ids: Sequence[str]) -> Any:
        return original(self, ids).addErrback(lambda _: None)

    original = RedisEventGroup.acknowledge
    RedisEventGroup.acknowledge = acknowledge  # type: ignore[method-assign]


def _page_by_count() -> None:
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


def _acknowledge_unawaited() -> None:
    """The result of a handler is awaited only if it is a Deferred or a coroutine."""
    from eventsvc.consumer import handler_call

    def unfinished(result: object) -> Any:
        return original(result) if isinstance(result, Deferred) or iscoroutine(result) else None

    original = handler_call._unfinished
    handler_call._unfinished = unfinished


def _acknowledge_whole_batches() -> None:
    """A batch is acknowledged although its handler has failed on some of its events."""
    from eventsvc.consumer.batch import BatchDelivery

    async def attempt(self: BatchDelivery, batch: Any, unfinished: Any) -> Any:
        return None if await original(self, batch, unfinished) is None else {}

    original = BatchDelivery._attempt
    BatchDelivery._attempt = attempt  # type: ignore[method-assign]


def _never_trip() -> None:
    """Every failure counts against its event, even while all events fail."""
    from eventsvc.consumer.breaker import Breaker

    Breaker.failed = lambda self, id: True  # type: ignore[method-assign]


def _acknowledge_timed_out() -> None:
    """An event whose handler was cancelled because it took too long is acknowledged."""
    from eventsvc.consumer import bound_handler

    def end_in_any_case(unfinished: Any, seconds: float, clock: Any) -> Any:
        return original(unfinished, seconds, clock).addErrback(
            lambda failure: failure.trap(bound_handler.HandlerTimeout)
        )

    original = bound_handler.end_within
    bound_handler.end_within = end_in_any_case


def _ignore_keys() -> None:
    """Events of one key are handled at the same time."""
    from eventsvc.consumer.line import Line

    def admits(self: Line, entry: Any, notification: Any, keys: Any = ()) -> bool:
        return True

    Line.admits = admits  # type: ignore[method-assign]
    Line.begin = lambda self, keys, id: None  # type: ignore[method-assign]
    Line.end = lambda self, keys, last: None  # type: ignore[method-assign]
    Line.put_back = lambda self, batch: self.entries.extend(entry for entry, _ in batch)  # type: ignore[method-assign]


def _follow_redirects() -> None:
    """A webhook follows redirects, as browsers do."""
    from treq.client import HTTPClient

    def request(self: HTTPClient, *arguments: Any, **more: Any) -> Any:
        return original(self, *arguments, **more | {"allow_redirects": True, "browser_like_redirects": True})

    original: Any = HTTPClient.request
    HTTPClient.request = request  # type: ignore[method-assign]


def _take_any_answer() -> None:
    """A webhook is delivered once there is an answer, whatever it is."""
    from eventsvc.handlers import webhook

    webhook.judge = lambda *_: None  # type: ignore[attr-defined]


def _encode_data_again() -> None:
    """The data of an event is decoded and encoded again."""
    from msgspec import Raw, json, structs

    from eventsvc.json_text import read_any

    appender: Any = import_module("eventsvc.producer.appender")

    def write(id: int, event: Any, timestamp: str) -> bytes:
        if event.data is not None:
            event = structs.replace(event, data=Raw(json.encode(read_any(event.data))))
        encoded: bytes = original(id, event, timestamp)
        return encoded

    original = appender.write_notification
    appender.write_notification = write


def _decode_for_handlers() -> None:
    """Handlers get data that was decoded and encoded again."""
    from msgspec import Raw, json, structs

    delivery: Any = import_module("eventsvc.consumer.delivery")

    def decode(*arguments: Any) -> Any:
        event = original(*arguments)
        return structs.replace(event, data_json=Raw(json.encode(event.data))) if bytes(event.data_json) else event

    original = delivery.decode_notification
    delivery.decode_notification = decode


def _forget_identities() -> None:
    """Each post of a CloudEvent is a new event, whatever its source and id."""
    post_head: Any = import_module("eventsvc.web.post_head")

    original = post_head.event_key
    post_head.event_key = lambda identity: original(identity + secrets.token_bytes(8))


def _lose_beside_known() -> None:
    """Once one of the CloudEvents of a batch is known, the others are passed over too."""
    from eventsvc.redis import log
    from eventsvc.redis.session import Script

    text = log._APPEND.text
    for rule, bug in (
        (
            "    if not digest or not known[digest] and",
            "    local any = false\n"
            "    for key = 1, keys do any = any or known[ARGV[at + 2 * key]] end\n"
            "    if not digest or not any and",
        ),
        ("elseif not known[digest] then", "elseif written[digest] and not known[digest] then"),
    ):
        assert rule in text, "append.lua has changed"
        text = text.replace(rule, bug)
    log._APPEND = Script(text)  # type: ignore[misc]


#: More bytes than any page has.
_ANY_SIZE: Final = 2**40


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
    "acknowledge-before-append": Bug(_acknowledge_before_append, "down-long", "answered 200, but not stored"),
    "resend-with-new-number": Bug(_resend_with_new_number, "reply-cut", "stored more than once"),
    "read-only-new": Bug(_read_only_new, "read-reply-cut", "then left pending"),
    "acknowledge-before-handling": Bug(_acknowledge_before_handling, "consumer-killed", "neither handled"),
    "trim-by-length": Bug(_trim_by_length, "trimmed", "neither handled"),
    "renew-by-writing": Bug(_renew_by_writing, "rolled-back-idle", "no alarm was raised"),
    "wall-clock-timers": Bug(_wall_clock_timers, "clock-back", "after the fault"),
    "forget-acknowledgements": Bug(_forget_acknowledgements, "acknowledgement-cut", "handled again without a cause"),
    "page-by-count": Bug(_page_by_count, "large-pending", "were handled during the fault"),
    "acknowledge-unawaited": Bug(_acknowledge_unawaited, "consumer-restarted", "neither handled"),
    "never-trip": Bug(_never_trip, "database-away", "set aside, but a handler could have handled it"),
    "acknowledge-whole-batches": Bug(_acknowledge_whole_batches, "batch-fails", "neither handled"),
    "ignore-keys": Bug(_ignore_keys, "database-hangs", "handled out of the order of its key"),
    "acknowledge-timed-out": Bug(_acknowledge_timed_out, "handler-hangs", "neither handled"),
    "follow-redirects": Bug(_follow_redirects, "webhook-receiver-flaps", "neither handled"),
    "take-any-answer": Bug(_take_any_answer, "webhook-receiver-flaps", "neither handled"),
    "encode-data-again": Bug(_encode_data_again, "stream-full-beside", "another `data` than was posted"),
    "decode-for-handlers": Bug(_decode_for_handlers, "consumer-restarted", "another `data` than is stored"),
    "forget-identities": Bug(_forget_identities, "stream-full-beside", "stored more than once"),
    "lose-beside-known": Bug(_lose_beside_known, "stream-full-beside", "answered 200, but not stored"),
    "give-up-after-failed-auth": Bug(_give_up_after_failed_auth, "cut-in-handshake", "not ready again"),
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
