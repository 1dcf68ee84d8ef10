"""
The log in memory and the one on a real server, given the same random calls:
every reply and every entry is the same.
"""

from __future__ import annotations

import random
from itertools import count
from typing import Any

import pytest
import pytest_twisted
from msgspec.structs import replace

from eventsvc.interfaces import IEventLog
from eventsvc.submission import BatchOutcome, IdempotencyKey, Submission
from tests.support.backends import Backend, InMemory, OnServer
from tests.support.processes import Server

#: What is done, and how often.
HOW_OFTEN = {"append": 9, "give back": 6, "renew": 3, "wipe": 0.2, "forget": 0.2, "forget_keys": 0.2}


class Calls:
    """Makes random calls, of few producers, keys and bodies, so that they often meet."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.ids = count(1)
        self.kept = {b"one": 0, b"two": 0}

    def _request(self) -> Submission:
        chance = self.chance
        events = chance.choice([1, 1, 2, 3])
        ids = tuple(next(self.ids) for _ in range(events))
        entries = tuple(b"%d" % id for id in ids)
        match chance.randrange(3):
            case 0:
                return Submission(ids, entries)
            case 1:
                body = chance.choice([b"body", b"other"]).ljust(16)
                return Submission(ids, entries, (IdempotencyKey(b"%c" % chance.choice(b"abc") * 16, body),))
        keys = tuple(IdempotencyKey(b"%c" % chance.choice(b"defgh") * 16) for _ in range(events))
        return Submission(ids, entries, keys)

    def make(self) -> tuple[str, tuple[Any, ...]]:
        """Return the name of a call and its arguments."""
        chance = self.chance
        producer_id = chance.choice([b"one", b"two"])
        kept = self.kept[producer_id]
        what = chance.choices(
            ["append", "give back", "renew", "wipe", "forget", "forget_keys"], [9, 6, 3, 0.2, 0.2, 0.2]
        )
        match what[0]:
            case "append":
                sequence, after = max(1, kept + chance.choice([1, 1, 1, 1, 0, 2, -1])), None
            case "give back":
                after = max(0, kept + chance.choice([0, 0, 0, -1, 1]))
                sequence = after + chance.choice([1, 2, 3])
            case "renew":
                return "renew", (producer_id, max(0, kept + chance.choice([0, 0, -1, 1])))
            case other:
                return other, (producer_id,)
        requests = tuple(self._request() for _ in range(chance.randrange(5)))
        return "append", (producer_id, sequence, requests, 10 * sequence, after)


class Pair:
    """Both logs, and what they have replied."""

    def __init__(self, *backends: Backend) -> None:
        self.backends = backends
        self.logs: list[IEventLog] = []

    async def open(self, *limits: Any) -> None:
        """Connect both, with the same limits."""
        self.logs = [await backend.log(*limits) for backend in self.backends]

    async def call(self, name: str, *arguments: Any) -> Any:
        """Call both logs, and return their reply, which is the same."""
        replies = [await backend.wait(getattr(log, name)(*arguments)) for backend, log in zip(self.backends, self.logs)]
        if name == "append":
            replies = [replace(reply, last=b"some" if reply.last else b"", sent=None) for reply in replies]
        assert replies[0] == replies[1], (name, arguments)
        return replies[0]

    def change(self, name: str, *arguments: Any) -> None:
        """Change the data of both."""
        for backend in self.backends:
            getattr(backend, name)(*arguments)


@pytest.mark.parametrize("seed", range(12))
@pytest_twisted.ensureDeferred
async def test_the_model_does_what_the_server_does(server: Server, seed: int) -> None:
    """Limits of entries and keys are reached, producer ids and keys forgotten, batches repeated and given back."""
    chance = random.Random(seed)
    model = InMemory()
    real = OnServer(server)
    pair = Pair(model, real)
    try:
        await pair.open(chance.choice([1000, 12, 30]), 1000.0, chance.choice([1000, 4, 8]))
        calls, outcomes = Calls(chance), set()
        for _ in range(150):
            name, arguments = calls.make()
            if name in ("append", "renew"):
                reply = await pair.call(name, *arguments)
                if name == "append":
                    outcomes.add(reply.outcome)
            elif name == "wipe":
                pair.change("wipe")
            elif name == "forget_keys" and model.stream.keys:
                pair.change("forget_keys")
            elif name == "forget" and arguments[0] in model.stream.producer_ids:
                pair.change("forget", *arguments)
            assert model.entries() == real.entries(), (name, arguments)
            for producer_id in calls.kept:
                last = model.stream.producer_ids.get(producer_id)
                calls.kept[producer_id] = last.sequence if last else 0
        assert outcomes >= {BatchOutcome.APPENDED, BatchOutcome.DUPLICATE, BatchOutcome.LOST}
    finally:
        await real.leave()
