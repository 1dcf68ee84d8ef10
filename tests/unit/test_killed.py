"""
Consumers as processes that an event kills again and again: it ends among the dead letters, and takes no other with it.
"""

from __future__ import annotations

import json
import signal
from functools import partial

import pytest

from chaos.suites import wait_until
from tests.support.killing_handlers import KILLER
from tests.support.processes import Server, Service, Services
from tests.unit.test_handling import DEAD, add, pending, start_consumer, unread

HANDLERS = "tests.support.killing_handlers"


def is_done(server: Server) -> bool:
    """Whether all entries are acknowledged."""
    return not (pending(server) or unread(server))


def has_ended(consumer: Service, server: Server) -> bool:
    """Whether a consumer was killed, or has nothing left to do."""
    return consumer.process.poll() is not None or is_done(server)


@pytest.mark.parametrize(
    ("handler", "flags", "most"),
    [
        ("kill_plainly", (), 1),
        ("kill_soon", ("--concurrency=4",), 3),
        ("kill_soon", ("--concurrency=20",), 1),
        ("kill_plainly", ("--threads=4",), 1),
        ("Batches", ("--concurrency=4",), 1),
    ],
)
def test_an_event_that_kills_its_process_takes_no_other_with_it(
    services: Services, server: Server, handler: str, flags: tuple[str, ...], most: int
) -> None:
    texts = add(server, 20)
    kills = 0
    while not is_done(server):
        consumer = start_consumer(
            services, server, "one", f"--handler={HANDLERS}.{handler}", f"--max-deliveries={most}", *flags
        )
        wait_until(partial(has_ended, consumer, server))
        status = consumer.stop()
        assert status in (0, -signal.SIGKILL), consumer.err()
        kills += status != 0
        assert kills <= most + 3
    with server.client() as client:
        letters = client.xrange(DEAD)
    assert [json.loads(letter[b"field:EventStream"])["description"] for _, letter in letters] == [KILLER]
    assert kills > most
    done = [line for service in services.started for line in service.err().splitlines() if line.startswith("event ")]
    assert set(done) == {text for text in texts if text != KILLER}
