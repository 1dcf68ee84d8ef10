"""
Tests for what consumers do after Redis went back in time: all steps are drawn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from eventsvc.event import Notification
from eventsvc.testing import Fate, MemoryStream
from tests.support.consumer_world import ConsumerWorld
from tests.support.failovers import Primary, link_of


@attrs.define
class Model:
    """Consumers, a stream, and a replica that lags; all steps are drawn."""

    random: Random
    world: ConsumerWorld
    primary: Primary
    added: int = 0

    def step(self) -> None:
        pick = self.random.random()
        if pick < 0.35:
            count = self.random.randrange(1, 6)
            self.world.add(*[f"{self.added + number}" for number in range(count)])
            self.added += count
        elif pick < 0.5:
            self.primary.keep()
        elif pick < 0.6:
            self.primary.fail()
            self.world.run(self.random.choice([0.0, 0.01, 1.0]))
            if self.random.random() < 0.5:
                self.world.add(f"{self.added}")
                self.added += 1
            self.primary.promote()
        elif pick < 0.7:
            link_of(self.random.choice(self.world.consumers)).cut()
        elif pick < 0.8:
            link = link_of(self.random.choice(self.world.consumers))
            fates = [Fate.FINE, Fate.FINE, Fate.REFUSED, Fate.CUT_BEFORE, Fate.CUT_AFTER]
            link.expect(*self.random.choices(fates, k=6))
        self.world.run(self.random.choice([0.0, 0.001, 0.01, 0.1, 1.0]))


def handle_at_random(
    world: ConsumerWorld, random: Random, finished: Counter[str], notification: Notification
) -> Deferred[None] | None:
    """Fail, be done, or take a while."""
    text = notification.description
    if random.random() < 0.1:
        raise KeyError(text)
    if random.random() < 0.5:
        finished[text] += 1
        return None
    end: Deferred[None] = Deferred()

    def finish() -> None:
        finished[text] += 1
        end.callback(None)

    call = world.clock.callLater(random.choice([0.001, 0.2, 3.0]), finish)
    end._canceller = lambda _: call.cancel()
    return end


@pytest.mark.parametrize("start", range(0, 120, 20))
def test_whatever_goes_back_at_whichever_step_every_event_that_is_left_was_handled(start: int) -> None:
    """Each entry that is in the stream at the end has reached its end with a handler, and none is pending."""
    for seed in range(start, start + 20):
        random, clock, finished = Random(seed), Clock(), Counter[str]()
        world = ConsumerWorld(clock, MemoryStream(clock))
        handler: Callable[[Notification], Any] = partial(handle_at_random, world, random, finished)
        for name in ("one", "two")[: random.choice([1, 2])]:
            world.consumer(handler, name=name, concurrency=random.choice([1, 3]), claim_idle=5.0, retry_for=1e9)
        model = Model(random, world, Primary(world))
        for _ in range(60):
            model.step()
        for consumer in world.consumers:
            link_of(consumer).expect()
        world.run(120.0)
        left = [fields[b"EventStream"] for fields in world.stream.entries.values()]
        missing = [text for text in left if not finished[text.split(b'"')[5].decode()]]
        assert (missing, world.pending, world.stream.dead) == ([], [], []), seed
        for consumer in list(world.consumers):
            world.stop(consumer)
