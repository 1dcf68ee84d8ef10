"""
Tests for L{eventsvc.consumer.page}.
"""

from __future__ import annotations

from itertools import pairwise

import pytest

from eventsvc.consumer.page import PAGE_BYTES, PageSize, size_of
from eventsvc.event import Entry


def entries(count: int, size: int) -> dict[str, Entry]:
    """Return entries of these sizes, by id."""
    return {f"{number}-0": Entry(f"{number}-0", {b"EventStream": b"x" * size}) for number in range(count)}


def test_the_bytes_of_all_fields_count() -> None:
    assert size_of(Entry("1-0", {b"a": b"12", b"b": b"345"})) == 5
    assert size_of(Entry("1-0", None)) == 0


def test_it_begins_small_whatever_is_wanted() -> None:
    """No entry was read yet, and the first may be large."""
    assert PageSize().count(1_000) == 16
    assert PageSize().count(1) == 1


@pytest.mark.parametrize(("size", "count"), [(100, 500), (10_000, 419), (1_000_000, 4), (50_000_000, 1)])
def test_it_asks_for_what_the_largest_entry_seen_lets_fit(size: int, count: int) -> None:
    page, three = PageSize(), entries(3, size).values()
    for _ in range(40):
        page.arrived(three)
    assert page.count(500) == count


def test_a_large_entry_is_remembered_for_a_while() -> None:
    """The next may be large too, but pages do not stay small forever."""
    page = PageSize()
    page.arrived(entries(1, 1_000_000).values())
    counts = []
    for _ in range(30):
        page.arrived(entries(9, 100).values())
        counts.append(page.count(500))
    assert counts == sorted(counts)
    assert counts[0] == 5
    assert max(later / earlier for earlier, later in pairwise(counts)) < 1.5
    assert counts[-1] == 500


def test_pages_that_carry_nothing_teach_nothing() -> None:
    """Empty pages on an idle stream do not raise the size of the next."""
    page = PageSize()
    for _ in range(100):
        page.arrived([])
        page.arrived([Entry("1-0", None)])
    assert page.count(1_000) == 16


def test_what_did_not_arrive_is_halved_and_grows_again() -> None:
    page = PageSize()
    page.failed()
    page.failed()
    assert page.limit == PAGE_BYTES // 4
    page.arrived([])
    assert page.limit == PAGE_BYTES // 2
    for _ in range(100):
        page.failed()
    assert (page.limit, page.count(9)) == (16_384, 1)
    for _ in range(100):
        page.arrived([])
    assert page.limit == PAGE_BYTES


def test_a_hand_is_full_by_bytes() -> None:
    page = PageSize()
    held = entries(15, 2**20)
    page.arrived(held.values())
    assert not page.is_filled_by(held)
    for full in (16, 17):
        assert page.is_filled_by(entries(full, 2**20))
    assert not page.is_filled_by({})
    small = entries(1_000, 100)
    page.arrived(small.values())
    assert not page.is_filled_by(small)


def test_one_large_entry_does_not_fill_a_hand_of_small_ones() -> None:
    """All entries count, not only the largest."""
    page = PageSize()
    held = {**entries(999, 100), "x": Entry("x", {b"EventStream": b"x" * 2**20})}
    page.arrived(held.values())
    assert not page.is_filled_by(held)
