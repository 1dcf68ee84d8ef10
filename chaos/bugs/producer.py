"""
Bugs of producers, and of the connection to Redis.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from importlib import import_module
from typing import Any

from twisted.internet.defer import Deferred


def acknowledge_before_append() -> None:
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


def resend_with_new_number() -> None:
    """A batch whose reply was lost is sent again as a new batch."""
    from eventsvc.redis.log import RedisEventLog

    def append(self: RedisEventLog, producer_id: bytes, sequence: int, submissions: Any, *more: Any) -> Any:
        return original(self, secrets.token_hex(8).encode(), 1, submissions, *more[:1])

    original = RedisEventLog.append
    RedisEventLog.append = append  # type: ignore[method-assign, assignment]


def renew_by_writing() -> None:
    """An idle producer renews with an empty batch of its last sequence, which may be applied."""
    from eventsvc.redis.log import RedisEventLog
    from eventsvc.submission import BatchOutcome, Kept, Renewal

    def renew(self: RedisEventLog, producer_id: bytes, sequence: int) -> Any:
        return self.append(producer_id, sequence, [], 0).addCallback(
            lambda reply: Renewal(reply.outcome is not BatchOutcome.LOST, 0, Kept())
        )

    RedisEventLog.renew = renew  # type: ignore[method-assign]


def encode_data_again() -> None:
    """The data of an event is decoded and encoded again."""
    from msgspec import Raw, json, structs

    from eventsvc.json_text import read_any

    appender: Any = import_module("eventsvc.producer.appender")

    def encode_again(event: Any) -> Any:
        return event if event.data is None else structs.replace(event, data=Raw(json.encode(read_any(event.data))))

    def write(ids: Any, events: Any, timestamp: str) -> Any:
        return original(ids, [encode_again(event) for event in events], timestamp)

    original = appender.write_notifications
    appender.write_notifications = write


def forget_identities() -> None:
    """Each post of a CloudEvent is a new event, whatever its source and id."""
    idempotency: Any = import_module("eventsvc.web.idempotency")

    original = idempotency.event_key
    idempotency.event_key = lambda identity: original(identity + secrets.token_bytes(8))


def lose_beside_known() -> None:
    """Once one of the CloudEvents of a batch is known, the others are passed over too."""
    from eventsvc.redis import log
    from eventsvc.redis.session import Script

    text = log._APPEND.text
    for rule, bug in (
        (
            "      if not known[digest] and",
            "      local any = false\n"
            "      for place = key + 1, key + keys do any = any or known[pairs[2 * place - 1]] end\n"
            "      if not any and",
        ),
        ("elseif not known[digest] then", "elseif written[digest] and not known[digest] then"),
    ):
        assert rule in text, "append.lua has changed"
        text = text.replace(rule, bug)
    log._APPEND = Script(text)  # type: ignore[misc]


def wall_clock_timers() -> None:
    """Timers use the wall clock."""
    from eventsvc.tap import process

    process.use_monotonic_time = lambda reactor: None


def give_up_after_failed_auth() -> None:
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
