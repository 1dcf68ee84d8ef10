"""
Tests for L{eventsvc.redis.primary_choice}: whom to believe.
"""

from __future__ import annotations

from typing import Any

import pytest

from eventsvc.redis.primary_choice import Named, choose, rank, read_announcement, read_named
from eventsvc.settings.addresses import Address

A, B, C = (Address(host, 6379) for host in ("10.0.0.1", "10.0.0.2", "10.0.0.3"))


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        pytest.param([], [], id="nobody answers"),
        pytest.param([(A, 1)], [A], id="one"),
        pytest.param([(A, 1), (A, 1), (A, 1)], [A], id="all alike"),
        pytest.param([(A, 1), (A, 1), (B, 2)], [B, A], id="the leader of a failover knows first"),
        pytest.param([(B, 2), (A, 1), (A, 1)], [B, A], id="in any order"),
        pytest.param([(A, 0), (B, 0), (B, 0)], [B, A], id="no epochs: the most votes"),
        pytest.param([(A, 3), (B, 0), (B, 0)], [A, B], id="an epoch beats votes"),
        pytest.param([(A, 1), (A, 4), (B, 3)], [A, B], id="the highest epoch of an address counts"),
        pytest.param([(B, 1), (A, 1)], [A, B], id="a tie: the same for all processes"),
        pytest.param([(C, 1), (B, 2), (A, 3)], [A, B, C], id="three opinions"),
    ],
)
def test_the_highest_epoch_wins_then_the_most_votes(
    answers: list[tuple[Address, int]], expected: list[Address]
) -> None:
    assert [each.address for each in rank([Named(*answer) for answer in answers])] == expected


#: A promoted replica, and the old primary that two Sentinels still name.
FAILOVER = rank([Named(B, 2), Named(A, 1), Named(A, 1)])
#: Two opinions without epochs.
NO_EPOCHS = rank([Named(B), Named(B), Named(A)])


@pytest.mark.parametrize(
    ("candidates", "failing", "expected"),
    [
        pytest.param(FAILOVER, {}, B, id="the best"),
        pytest.param(FAILOVER, {A: 9.0}, B, id="the other one has failed"),
        pytest.param(FAILOVER, {B: 0.0}, B, id="an old opinion is no second one"),
        pytest.param(FAILOVER, {B: 2.9}, B, id="for three seconds"),
        pytest.param(FAILOVER, {B: 3.0}, A, id="then it is tried"),
        pytest.param(FAILOVER, {A: 0.0, B: 2.9}, B, id="both have failed, the better one for less"),
        pytest.param(FAILOVER, {A: 0.0, B: 3.0}, None, id="both have failed"),
        pytest.param(NO_EPOCHS, {}, B, id="the most votes"),
        pytest.param(NO_EPOCHS, {B: 0.0}, A, id="the other one at once"),
        pytest.param(NO_EPOCHS, {A: 0.0, B: 0.0}, None, id="all have failed"),
        pytest.param(rank([Named(A, 1)]), {A: 0.0}, None, id="the only one has failed"),
        pytest.param(rank([Named(A, 1)]), {B: 0.0}, A, id="what nobody names does not count"),
        pytest.param([], {}, None, id="none"),
    ],
)
def test_what_fails_does_not_keep_others_from_being_tried(candidates: Any, failing: Any, expected: Any) -> None:
    chosen = choose(candidates, failing)
    assert (chosen.address if chosen else None) == expected


FACTS = [b"name", b"mymaster", b"config-epoch", b"7", b"flags", b"master"]


@pytest.mark.parametrize(
    ("address", "facts", "expected"),
    [
        ([b"10.0.0.1", b"6379"], FACTS, Named(A, 7)),
        ([b"10.0.0.1", b"6379"], None, Named(A, 0)),
        ([b"10.0.0.1", b"6379"], [], Named(A, 0)),
        ([b"10.0.0.1", b"6379"], [b"config-epoch"], Named(A, 0)),
        ([b"10.0.0.1", b"6379"], [b"config-epoch", b"-1"], Named(A, 0)),
        ([b"10.0.0.1", b"6379"], [b"config-epoch", 7], Named(A, 0)),
        ([b"10.0.0.1", b"6379"], [[b"config-epoch"], b"7"], Named(A, 0)),
        ([b"::1", b"1"], None, Named(Address("::1", 1))),
        ([b"redis-0.redis", b"65535"], None, Named(Address("redis-0.redis", 65_535))),
        (None, FACTS, None),
    ],
)
def test_an_answer_is_read(address: Any, facts: Any, expected: Named | None) -> None:
    assert read_named(address, facts) == expected


@pytest.mark.parametrize(
    "address",
    [
        b"OK",
        1,
        [],
        [b"10.0.0.1"],
        [b"", b"1"],
        [b"a", b"0"],
        [b"a", b"65536"],
        [b"a", b"x"],
        [b"a", 1],
        [b"\xff", b"1"],
    ],
)
def test_what_is_no_address_is_none(address: Any) -> None:
    with pytest.raises(ValueError, match=r"^$|utf-8"):
        read_named(address, None)


@pytest.mark.parametrize(
    ("channel", "text", "expected"),
    [
        (b"+switch-master", b"mymaster 10.0.0.1 6379 10.0.0.2 6379", B),
        (b"+switch-master", b"mymaster ::1 1 ::1 2", Address("::1", 2)),
        (b"+switch-master", b"other 10.0.0.1 6379 10.0.0.2 6379", None),
        (b"+promoted-slave", b"slave 10.0.0.2:6379 10.0.0.2 6379 @ mymaster 10.0.0.1 6379", B),
        (b"+promoted-slave", b"slave 10.0.0.2:6379 10.0.0.2 6379 @ other 10.0.0.1 6379", None),
        (b"+promoted-slave", b"master mymaster 10.0.0.2 6379", None),
        (b"+sdown", b"mymaster 10.0.0.1 6379 10.0.0.2 6379", None),
        *[
            (b"+switch-master", text, None)
            for text in (b"", b"\xff", b"mymaster", b"mymaster a 1 b x", b"mymaster a 1  1", b"mymaster a 1 b 1 c")
        ],
    ],
)
def test_an_announcement_is_read(channel: bytes, text: bytes, expected: Address | None) -> None:
    assert read_announcement(channel, text, "mymaster") == expected
