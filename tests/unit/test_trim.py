"""
Tests for what every L{IEventGroup} guarantees about trimming: no entry that a group has not
acknowledged is ever removed.
"""

from __future__ import annotations

from random import Random

import pytest
import pytest_twisted

from eventsvc.event import EVENT_FIELD
from eventsvc.interfaces import IEventGroup
from tests.support.backends import STREAM, Backend, InMemory, OnServer

#: The most that one step may remove.
STEP = 1_000


def add(backend: Backend, count: int) -> list[str]:
    """Add events, named by their numbers."""
    return [backend.add({EVENT_FIELD: b"%d" % number}) for number in range(count)]


def left(backend: Backend) -> list[int]:
    """Return the numbers of the remaining entries."""
    return [int(fields[EVENT_FIELD]) for fields in backend.entries()]


async def opened(backend: Backend, name: str = "group") -> IEventGroup:
    """Return a consumer of a group, ready to read."""
    group = await backend.group(name)
    await backend.wait(group.open())
    return group


async def handle(backend: Backend, group: IEventGroup, count: int, *forgotten: int) -> None:
    """Read entries and acknowledge them, except those at some positions."""
    ids = [entry.id for entry in await backend.wait(group.read(count, 0.0))]
    done = [id for number, id in enumerate(ids) if number not in forgotten]
    if done:
        await backend.wait(group.acknowledge(done))


async def trim(backend: Backend, group: IEventGroup, max_len: int) -> list[int]:
    """Trim until there is nothing to remove, and return the remaining entries."""
    while removed := await backend.wait(group.trim(max_len)):
        assert 0 < removed <= STEP
    return left(backend)


@pytest_twisted.ensureDeferred
async def test_what_all_have_acknowledged_is_removed(backend: Backend) -> None:
    """The oldest are removed, and the configured number is left."""
    group = await opened(backend)
    add(backend, 9)
    await handle(backend, group, 7)
    for max_len in (20, 9):
        assert await trim(backend, group, max_len) == [*range(9)]
    assert await trim(backend, group, 8) == [*range(1, 9)]
    assert await trim(backend, group, 5) == [4, 5, 6, 7, 8]


@pytest_twisted.ensureDeferred
async def test_what_is_unread_is_kept(backend: Backend) -> None:
    """However long the stream gets."""
    group = await opened(backend)
    add(backend, 9)
    assert await trim(backend, group, 1) == [*range(9)]
    await handle(backend, group, 4)
    assert await trim(backend, group, 1) == [3, 4, 5, 6, 7, 8]


@pytest_twisted.ensureDeferred
async def test_what_is_pending_is_kept(backend: Backend) -> None:
    """All later entries are kept too."""
    group = await opened(backend)
    add(backend, 9)
    await handle(backend, group, 9, 2, 5)
    assert await trim(backend, group, 1) == [2, 3, 4, 5, 6, 7, 8]


@pytest_twisted.ensureDeferred
async def test_every_group_counts(backend: Backend) -> None:
    """The group that is furthest behind decides, whichever group trims."""
    quick, slow = await opened(backend, "quick"), await opened(backend, "slow")
    add(backend, 9)
    await handle(backend, quick, 9)
    await handle(backend, slow, 4)
    assert await trim(backend, quick, 1) == [3, 4, 5, 6, 7, 8]
    await handle(backend, slow, 9)
    assert await trim(backend, quick, 1) == [8]


@pytest_twisted.ensureDeferred
async def test_a_group_that_never_acknowledges_keeps_all(backend: Backend) -> None:
    """Its consumers may be dead, but its events are still needed."""
    quick, dead = await opened(backend, "quick"), await opened(backend, "dead")
    add(backend, 9)
    await handle(backend, quick, 9)
    await handle(backend, dead, 9, *range(9))
    assert await trim(backend, quick, 1) == [*range(9)]


@pytest_twisted.ensureDeferred
async def test_a_group_that_never_reads_keeps_all(backend: Backend) -> None:
    """It may still begin to read."""
    quick, _ = await opened(backend, "quick"), await opened(backend, "empty")
    add(backend, 9)
    await handle(backend, quick, 9)
    assert await trim(backend, quick, 1) == [*range(9)]


@pytest_twisted.ensureDeferred
async def test_without_a_group_all_is_kept(backend: Backend) -> None:
    """No group has acknowledged anything."""
    group = await opened(backend)
    backend.destroy_group("group")
    assert await backend.wait(group.trim(1)) == 0
    add(backend, 9)
    assert await trim(backend, group, 1) == [*range(9)]


@pytest_twisted.ensureDeferred
async def test_much_is_removed_in_small_steps(backend: Backend) -> None:
    """No step blocks the server, and none removes more than allowed."""
    group = await opened(backend)
    add(backend, 2_345)
    await handle(backend, group, 2_345)
    before = 2_345
    while removed := await backend.wait(group.trim(100)):
        assert removed <= STEP
        assert len(left(backend)) == before - removed
        before -= removed
    assert left(backend) == [*range(2_245, 2_345)]


@pytest.mark.parametrize("backend", ["server"], indirect=True)
@pytest_twisted.ensureDeferred
async def test_both_backends_trim_alike(backend: OnServer) -> None:
    """Whatever the groups have read and acknowledged, both keep the same entries."""
    for seed in range(12):
        random, other = Random(seed), InMemory()
        backend.wipe()
        names = ("a", "b", "c")[: random.randint(1, 3)]
        groups = [(await opened(backend, name), await opened(other, name)) for name in names]
        for _ in range(4):
            add(backend, count := random.randint(0, 150))
            add(other, count)
            for here, there in groups:
                count = random.randint(1, 200)
                forgotten = [number for number in range(count) if random.random() < 0.005]
                await handle(backend, here, count, *forgotten)
                await handle(other, there, count, *forgotten)
            max_len = random.randint(1, 300)
            assert await trim(backend, groups[0][0], max_len) == await trim(other, groups[0][1], max_len)


@pytest.mark.parametrize("backend", ["server"], indirect=True)
@pytest_twisted.ensureDeferred
async def test_ids_are_compared_as_numbers(backend: OnServer) -> None:
    """An id with more digits is later, in either part, up to the greatest id."""
    most = 2**64 - 1
    ids = ["9-0", "10-9", "10-10", "99-1", "100-0", f"{10**17}-2", f"{10**17 + 1}-1", f"{most}-{most - 1}"]
    for name, forgotten in (("early", 2), ("late", 6)):
        backend.wipe()
        ahead, behind = await opened(backend, "ahead"), await opened(backend, name)
        for number, id in enumerate(ids):
            backend.client.xadd(STREAM, {EVENT_FIELD: b"%d" % number}, id)
        await handle(backend, ahead, 9)
        await handle(backend, behind, 9, forgotten)
        assert await trim(backend, ahead, 1) == [*range(forgotten, len(ids))]
