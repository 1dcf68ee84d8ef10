"""
Tests for the account of what may be lost or repeated in a simulated world.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from eventsvc.testing.history import Handling
from simulation.schedules.choices import Setup
from simulation.servers.history import History, Position, fork
from simulation.world.account import Account, Rollback
from simulation.world.excuses import find_forgotten
from simulation.world.servers import Stored

#: A history of five writes, and what another server has that was promoted with three of them, and wrote two more.
OLD = History("old", times=[1.0, 2.0, 3.0, 4.0, 5.0], effects=[None] * 5)
NEW = fork(Position(OLD, 3), "new")
NEW.append(6.0, None)
NEW.append(7.0, None)


@pytest.mark.parametrize(
    ("state", "other", "has"),
    [
        (Position(OLD, 3), Position(OLD, 3), True),
        (Position(OLD, 3), Position(OLD, 4), False),
        (Position(NEW, 5), Position(OLD, 3), True),
        (Position(NEW, 5), Position(OLD, 4), False),
        (Position(NEW, 4), Position(NEW, 5), False),
        (Position(OLD, 5), Position(NEW, 4), False),
    ],
)
def test_a_state_has_all_writes_of_an_earlier_one(state: Position, other: Position, has: bool) -> None:
    assert state.has(other) is has


def test_a_failover_loses_what_the_old_primary_had_more_and_what_it_still_writes() -> None:
    old = History("old", times=[1.0, 2.0], effects=[None] * 2)
    rollback = Rollback(3.0, 2.0, before=Position(old, 2), after=Position(old, 1), promotes=True)
    old.append(3.5, None)
    assert [rollback.loses(Position(old, offset)) for offset in (1, 2, 3)] == [False, True, True]


def test_what_redis_never_had_is_not_lost() -> None:
    rollback = Rollback(3.0, 2.0, before=Position(OLD, 5), after=Position(OLD, 3), promotes=True)
    assert not rollback.loses(Position(History("another", times=[1.0], effects=[None]), 1))


def test_the_time_of_a_write_is_known_whoever_wrote_it() -> None:
    assert [NEW.time(offset) for offset in (0, 3, 4)] == [0.0, 3.0, 6.0]


@pytest.mark.parametrize(("moment", "calm"), [(1.0, 4.0), (8.0, 12.0), (30.0, 30.0)])
def test_it_is_calm_once_no_fault_follows_another_one_soon(moment: float, calm: float) -> None:
    account = Account(SimpleNamespace())
    account.faults += [(10.0, 12.0), (2.0, 4.0), (0.5, 3.0)]
    assert account.calm_after(moment, within=3.0) == calm


@pytest.mark.parametrize(("moment", "begin"), [(1.0, 0.5), (13.0, 10.0), (20.0, 20.0), (11.0, 10.0)])
def test_a_time_was_disturbed_since_the_begin_of_its_faults(moment: float, begin: float) -> None:
    account = Account(SimpleNamespace())
    account.faults += [(0.5, 3.0), (10.0, 12.0)]
    assert account.disturbed_since(moment, within=3.0) == begin


@pytest.mark.parametrize(
    ("kept", "anew", "held"),
    [(0, 4.0, True), (0, None, False), (0, 2.0, False), (0, 6.5, False), (3, 4.0, False)],
    ids=["group gone", "group not missed", "missed before it was gone", "missed later", "not all lost"],
)
def test_a_consumer_may_forget_only_when_its_group_is_gone(kept: int, anew: float | None, held: bool) -> None:
    log = [] if anew is None else [(anew, {"details": {"alarm": "group_recreated"}})]
    rollback = Rollback(3.0, 1.0, before=Position(OLD, 5), after=Position(OLD, kept), promotes=False)
    handlings = [Handling(7, "consumer-1", at) for at in (1.5, 6.0)]
    world: Any = SimpleNamespace(
        account=SimpleNamespace(rollbacks=[rollback]),
        lives=[SimpleNamespace(log=log)],
        handlings=handlings,
        entries=["consumer-1 0 5-0"] * 2,
        setup=Setup(consumers=1),
        servers=SimpleNamespace(stored=[Stored(Position(OLD, 2), b"5-0", {})]),
    )
    assert (not list(find_forgotten(world))) is held


@pytest.mark.parametrize(("times", "held"), [(2, True), (3, False)])
def test_what_is_stored_again_under_its_old_id_may_be_handled_once_more(times: int, held: bool) -> None:
    handlings = [Handling(7, "consumer-1", 3.0 + number) for number in range(times)]
    rollback = Rollback(5.5, 4.0, before=Position(OLD, 5), after=Position(OLD, 3), promotes=False)
    places = [Position(OLD, 4), Position(NEW, 4), Position(NEW, 5)]  # the last one is a later look at the second
    world: Any = SimpleNamespace(
        account=SimpleNamespace(rollbacks=[rollback]),
        lives=[],
        handlings=handlings,
        entries=["consumer-1 0 5-0"] * times,
        setup=Setup(consumers=1),
        servers=SimpleNamespace(stored=[Stored(place, b"5-0", {}) for place in places]),
    )
    assert (not list(find_forgotten(world))) is held
