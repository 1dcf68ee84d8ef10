"""
Consumers with an inbox as processes: killed again and again, every effect is there once.

C{INBOX_KILLS=200} makes it 200 kills over 20,000 events; see C{docs/effects-once.md}.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

import attrs
import pytest

from chaos.suites import wait_until
from tests.support.inboxes import Place, postgres_place
from tests.support.processes import Server, Service, Services

if TYPE_CHECKING:
    from tests.support.postgres import Postgres  # which needs psycopg

STREAM = "NotificationStream"
GROUP = "demo_consumer_group"
DEAD = "{NotificationStream}:dead"

KILLS: Final = int(os.environ.get("INBOX_KILLS", "5"))
EVENTS: Final = 100 * KILLS

#: Bytes of a line in the file of calls.
_LINE: Final = 20

#: Calls of a process until it waits at its gate.
_GATED: Final = 100


def store(server: Server, random: Random, count: int) -> list[int]:
    """
    Put events into the stream, each twentieth a second time, as a dead letter that is replayed; their ids.

    The second time it has a stream id of its own, and some events between.
    """
    ids = [random.getrandbits(63) for _ in range(count)]
    messages = [
        json.dumps({"id": id, "description": f"event {number}", "timestamp": f"2026-11-27T09:00:00.{number:09d}Z"})
        for number, id in enumerate(ids)
    ]
    for number in range(0, count, 20):
        messages.insert(random.randrange(number, len(messages)), messages[number])
    with server.client() as client:
        client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
        pipe = client.pipeline(transaction=False)
        for message in messages:
            pipe.xadd(STREAM, {"EventStream": message})
        pipe.execute()
    return ids


def is_done(server: Server) -> bool:
    """Whether all entries are acknowledged."""
    with server.client() as client:
        [group] = client.xinfo_groups(STREAM)
        return bool(group["pending"] == 0 and group["lag"] == 0)


@attrs.define
class Killer:
    """
    Starts a consumer, kills it while it works, and starts it again.

    @ivar calls: the file of the handler's calls.
    @ivar gate: a FIFO; each byte lets a call go on that waits there.
    """

    services: Services
    server: Server
    place: Place
    calls: Path
    gate: Path
    random: Random

    def start(self, name: str = "one", gated: bool = False) -> Service:
        """
        Start one that sets nothing aside.

        It reads as much as it handles in a quarter of a second, so that a kill
        meets new events too.

        @param gated: whether each hundredth of its calls waits at the gate.
        """
        gate = {"INBOX_GATE": str(self.gate)} if gated else {}
        return self.services.start(
            *("eventsvc", "consumer", f"--redis-port={self.server.port}", f"--redis-consumer={name}"),
            *("--handler=tests.support.inbox_handlers.slow", "--log-level=DEBUG", "--redis-claim-idle=0.5"),
            "--max-deliveries=1000",
            environment={"INBOX_DSN": self.place.dsn, "INBOX_CALLS": str(self.calls), **gate},
        )

    def made(self) -> int:
        """How many calls were made."""
        return self.calls.stat().st_size // _LINE if self.calls.exists() else 0

    def open_gate(self, calls: int) -> None:
        """Let calls go on that wait at the gate, or will."""
        self.gate.write_bytes(bytes(calls))

    def kill_one(self, calls: int) -> None:
        """
        Kill a consumer at work: in a batch, at its commit, or before it acknowledges.

        The moment is some calls after its start, and then a part of a second,
        so that it does not depend on when calls are seen.  However late it is, the
        consumer has not passed its gate: it is killed there, or before.
        """
        target = self.made() + calls
        consumer = self.start(gated=True)
        wait_until(lambda: self.made() >= target, every=0.002)
        with suppress(subprocess.TimeoutExpired):
            consumer.process.wait(self.random.uniform(0, 0.03))
        assert not is_done(self.server)
        assert consumer.stop(signal.SIGKILL) == -signal.SIGKILL, consumer.out()

    def skipped(self) -> int:
        """How many deliveries the records have answered."""
        return sum(each.out().count("is already recorded: skipped") for each in self.services.started)


def new_killer(services: Services, server: Server, place: Place, directory: Path) -> Killer:
    gate = directory / "gate"
    os.mkfifo(gate)
    return Killer(services, server, place, directory / "calls", gate, Random(7))


@pytest.mark.timeout(180 + 6 * KILLS)
def test_whenever_a_consumer_is_killed_every_effect_is_there_once(
    services: Services, server: Server, place: Place, tmp_path: Path
) -> None:
    killer = new_killer(services, server, place, tmp_path)
    ids = store(server, killer.random, EVENTS)
    killer.kill_one(_GATED)  # in a transaction
    for _ in range(1, KILLS):
        killer.kill_one(killer.random.randrange(1, _GATED))
    consumer = killer.start()
    wait_until(lambda: is_done(server), patience=30 + EVENTS * 0.02)
    assert consumer.stop() == 0
    calls = killer.made()
    repeats = EVENTS // 20
    print(
        f"{KILLS} kills, {EVENTS} events and {repeats} of them again: {calls - EVENTS} calls were rolled back, "
        f"{killer.skipped()} deliveries were skipped"
    )
    assert place.effects() == place.records() == sorted(ids)
    assert calls > EVENTS  # some were rolled back
    with server.client() as client:
        assert client.xlen(DEAD) == 0


def test_a_consumer_that_stands_still_in_a_transaction_and_the_one_that_takes_over_write_each_effect_once(
    services: Services, server: Server, place: Place, tmp_path: Path
) -> None:
    """Both have the same events, and one of them has recorded them already and not committed."""
    killer = new_killer(services, server, place, tmp_path)
    ids = store(server, killer.random, 200)
    still = killer.start("still", gated=True)
    wait_until(lambda: killer.made() == _GATED)
    still.process.send_signal(signal.SIGSTOP)
    taking_over = killer.start("taking-over")
    with server.client() as client:
        wait_until(lambda: client.xpending_range(STREAM, GROUP, "-", "+", 1, "taking-over"))
    killer.open_gate(1000)
    still.process.send_signal(signal.SIGCONT)
    wait_until(lambda: is_done(server))
    assert place.effects() == place.records() == sorted(ids)
    assert [still.stop(), taking_over.stop()] == [0, 0]


def test_a_server_that_crashes_again_and_again_keeps_every_effect_once(
    services: Services, server: Server, own_postgres: Postgres, tmp_path: Path
) -> None:
    """Each crash cuts a transaction; what was committed is there after it."""
    place = postgres_place(own_postgres)
    killer = new_killer(services, server, place, tmp_path)
    ids = store(server, killer.random, 600)
    consumer = killer.start(gated=True)
    for number in range(1, 4):
        wait_until(lambda number=number: killer.made() == number * _GATED)  # type: ignore[misc]
        own_postgres.end(signal.SIGQUIT)
        killer.open_gate(1)
        own_postgres.start()
    killer.open_gate(1000)
    wait_until(lambda: is_done(server), patience=60)
    assert place.effects() == place.records() == sorted(ids)
    assert consumer.stop() == 0


def test_a_database_that_is_away_at_the_start_ends_the_process(services: Services, server: Server) -> None:
    consumer = services.start(
        *("eventsvc", "consumer", f"--redis-port={server.port}", "--handler=tests.support.inbox_handlers.fast"),
        environment={"INBOX_DSN": "sqlite:///nowhere/effects.db", "INBOX_CALLS": os.devnull},
    )
    assert consumer.process.wait(30) == 1
    assert "unable to open database file" in consumer.out()


def test_a_dsn_that_is_wrong_is_told_at_the_start(services: Services, server: Server) -> None:
    consumer = services.start(
        *("eventsvc", "consumer", f"--redis-port={server.port}", "--handler=tests.support.inbox_handlers.fast"),
        environment={"INBOX_DSN": "mysql://shop:secret@db/shop", "INBOX_CALLS": os.devnull},
    )
    assert consumer.process.wait(30) == 2
    assert "begins with postgresql:// or sqlite:///" in consumer.err() + consumer.out()
    assert "secret" not in consumer.err() + consumer.out()


def test_the_example_of_the_page_writes_each_event_once(services: Services, server: Server) -> None:
    page = (Path(__file__).parents[2] / "docs" / "effects-once.md").read_text(encoding="utf-8")
    (services.directory / "mine.py").write_text(page.partition("```python\n")[2].partition("```")[0])
    [create, run] = page.partition("```sh\n")[2].partition("```")[0].splitlines()
    program = create.removeprefix('python -c "').removesuffix('"')
    subprocess.run([sys.executable, "-c", program], cwd=services.directory, check=True, timeout=30)
    ids = store(server, Random(7), 40)
    command = run.removeprefix("twistd -n ").split()
    consumer = services.start(*command, f"--redis-port={server.port}")
    wait_until(lambda: is_done(server))
    assert consumer.stop() == 0
    with closing(sqlite3.connect(services.directory / "bookings.db")) as connection:
        booked = connection.execute("SELECT event, text FROM bookings").fetchall()
    assert sorted(booked) == sorted((id, f"event {number}") for number, id in enumerate(ids))
