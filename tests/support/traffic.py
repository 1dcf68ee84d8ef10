"""
Clients that post events, and what came of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPException
from itertools import count

import attrs

from tests.support.processes import Service, post


def handled(consumer: Service) -> list[int]:
    """Return the ids of the events in the log of a consumer, in order."""
    return [line["id"] for line in consumer.lines() if line["message"] == "event"]


@attrs.define
class Traffic:
    """
    Clients that post one event after another, without retries.

    @ivar name: how the descriptions begin.
    @ivar ok: the ids of events answered 200, by description.
    @ivar refused: the descriptions of events answered as not stored.
    """

    port: int
    name: str = ""
    ok: dict[str, int] = attrs.field(factory=dict)
    refused: set[str] = attrs.field(factory=set)
    unknown: set[str] = attrs.field(factory=set)

    def failed(self) -> bool:
        """Return whether an event was not answered 200."""
        return bool(self.refused or self.unknown)

    def post(self, description: str) -> None:
        try:
            answer = post(self.port, json.dumps({"description": description}))
        except (OSError, HTTPException):
            self.unknown.add(description)
            return
        if answer.status == 200:
            self.ok[description] = int(answer.headers["Event-Id"])
        elif json.loads(answer.body)["stored"] == "no":
            self.refused.add(description)
        else:
            self.unknown.add(description)

    @contextmanager
    def running(self, clients: int, enough: Callable[[int], bool]) -> Iterator[list[Future[None]]]:
        """Post with C{clients} clients, each until C{enough} is true of its number of posts."""

        def run(client: int) -> None:
            for number in count():
                if enough(number):
                    break
                self.post(f"{self.name}{client}-{number}")

        with ThreadPoolExecutor(clients) as threads:
            yield [threads.submit(run, client) for client in range(clients)]
