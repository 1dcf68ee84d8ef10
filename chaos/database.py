"""
Handlers that store each event in a database, a Redis server of the suite.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import attrs
import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from chaos.handlers import say, say_in_thread
from chaos.plan import PASSWORD
from eventsvc.errors import BatchFailed
from eventsvc.event import Notification
from eventsvc.settings.kinds import PORT
from eventsvc.settings.reading import setting

#: The list of the ids that were stored.
EFFECTS: Final = "effects"


@attrs.frozen
class Settings:
    """Where the database is."""

    port: int = setting("DATABASE_PORT", PORT, 0, "Port of the database.")


class Blocking:
    """Stores an event with a client that blocks, in a thread."""

    settings = Settings
    threads = 1

    def __init__(self, settings: Settings) -> None:
        self.client = redis.Redis(
            port=settings.port, password=PASSWORD, socket_timeout=1, retry=Retry(NoBackoff(), 0), protocol=2
        )

    def stop(self) -> None:
        self.client.close()

    def handle(self, notification: Notification) -> None:
        """Store an event, or fail."""
        self.client.rpush(EFFECTS, notification.id)
        say_in_thread(notification)


class Batches(Blocking):
    """Stores all events of a batch but the poison ones in one transaction."""

    batch_size = 20

    def handle_batch(self, notifications: Sequence[Notification]) -> None:
        """Store the events, or fail: on all of them, or on some."""
        good = [each for each in notifications if " poison " not in each.description]
        with self.client.pipeline() as moment:
            for each in good:
                moment.rpush(EFFECTS, each.id)
            moment.execute()
        say_in_thread(*good)
        if len(good) < len(notifications):
            raise BatchFailed({each.stream_id: ValueError("poison") for each in notifications if each not in good})


class Asyncio:
    """Stores an event with a client of asyncio, which waits for a reply for ever."""

    settings = Settings
    reactor = "asyncio"

    def __init__(self, settings: Settings) -> None:
        self.client: Any = redis.asyncio.Redis(
            port=settings.port, password=PASSWORD, retry=AsyncRetry(NoBackoff(), 0), protocol=2
        )

    async def stop(self) -> None:
        await self.client.aclose()

    async def handle(self, notification: Notification) -> None:
        """Store an event, or fail."""
        await self.client.rpush(EFFECTS, notification.id)
        await say(notification)
