"""
Tests for pending entries whose delivery lies in the future, because the clock of Redis has gone back, on real servers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pytest
import pytest_twisted

from eventsvc.event import EVENT_FIELD, Entry
from tests.support.backends import STREAM, OnServer, opened
from tests.support.processes import Server
from tests.support.producer_harness import until


def checksum(data: bytes) -> int:
    """Return the CRC-64 of Jones, as in the payload of DUMP."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x95AC9329AC4BC9B5 if crc & 1 else 0)
    return crc


def step_back(client: Any, seconds: int) -> None:
    """Have all pending entries delivered so much later, as they are once the clock has gone back."""
    words = client.execute_command("XINFO", "STREAM", STREAM, "FULL")
    [group] = words[words.index(b"groups") + 1]
    payload = client.dump(STREAM)
    data = payload[:-8]
    for _, _, at, _ in group[group.index(b"pending") + 1]:
        data = data.replace(struct.pack("<q", at), struct.pack("<q", at + 1000 * seconds))
    assert data != payload[:-8]
    client.restore(STREAM, 0, data + struct.pack("<Q", checksum(data)), replace=True)


@pytest.fixture
def backend(each_server: Server) -> Iterator[OnServer]:
    """A stream on a server of each make."""
    made = OnServer(each_server)
    yield made
    pytest_twisted.blockon(made.leave())


@pytest_twisted.ensureDeferred
async def test_what_a_dead_consumer_was_given_before_the_clock_went_back_is_claimed(backend: OnServer) -> None:
    """See the Note [Delivered in the future]: it is idle from the first search on, also among many."""
    group, other = await opened(backend), await opened(backend, "dead")
    ids = [backend.add({EVENT_FIELD: b"%d" % number}) for number in range(25)]
    await other.read(25, 0.0)
    step_back(backend.client, 3_600)
    found: list[Entry] = []

    async def search() -> None:
        cursor = "0-0"
        while True:
            page = await group.claim(0.05, cursor, 9)
            found.extend(page.entries)
            cursor = page.cursor
            if cursor == "0-0":
                return

    await search()
    assert found == []
    await until(lambda: len(backend.client.xpending_range(STREAM, "group", "-", "+", 25, idle=50)) == 25)
    await search()
    assert [entry.id for entry in found] == ids
    assert {entry.deliveries for entry in found} == {2}


@pytest_twisted.ensureDeferred
async def test_what_a_live_consumer_has_stays_with_it(backend: OnServer) -> None:
    """A search leaves the owner and the deliveries as they are, and nothing that was trimmed goes without a record."""
    group, other = await opened(backend), await opened(backend, "alive")
    idle, trimmed, id = [backend.add({EVENT_FIELD: text}) for text in (b"idle", b"trimmed", b"event")]
    await other.read(3, 0.0)
    await other.count_delivery([id], 4)
    step_back(backend.client, 3_600)
    backend.leave_idle(idle, 40.0)
    backend.client.xdel(STREAM, trimmed)
    page = await group.claim(30.0, "0-0", 9)
    assert backend.pending()[id] == ("alive", 4)
    assert [entry.id for entry in page.entries] == [idle]
    assert page.trimmed == [trimmed] or trimmed in backend.pending()
