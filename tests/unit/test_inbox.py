"""
The inbox on real databases: what its handler writes is there once, or not at all.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from twisted.python.failure import Failure

from eventsvc.errors import BatchFailed, Reject, RetryAfter
from eventsvc.event import Notification
from eventsvc.handlers.inbox import REMOVE_EVERY, Inbox, TransactionEnded
from eventsvc.handlers.inbox_sqlite import SqliteDatabase
from tests.support.inboxes import Place, events


class Away(BaseException):
    """An exception of somebody who read too little."""


def test_each_event_has_its_effect_and_its_record(place: Place) -> None:
    made = place.inbox()
    made.start()
    assert place.records() == []
    made.handle_batch(events(range(3)))
    made.handle_batch(events(range(3, 5)))
    assert place.effects() == place.records() == [0, 1, 2, 3, 4]


def test_an_event_that_is_recorded_is_skipped(place: Place) -> None:
    made = place.inbox()
    made.handle_batch(events([1, 2]))
    made.handle_batch(events([2, 3, 1, 4]))
    assert place.effects() == place.records() == [1, 2, 3, 4]


def test_an_event_that_comes_twice_in_a_batch_is_handled_once(place: Place) -> None:
    place.inbox().handle_batch(events([1, 2, 1, 1, 2]))
    assert place.effects() == place.records() == [1, 2]


def test_an_empty_batch_is_nothing(place: Place) -> None:
    place.inbox().handle_batch([])
    assert place.records() == []


def test_a_dead_letter_that_is_replayed_is_the_same_event(place: Place) -> None:
    """It has a stream id of its own, and all of the message that it had."""
    made = place.inbox()
    [event] = events([7])
    made.handle_batch([event])
    replayed = Notification(event.id, event.description, event.timestamp, "99-0")
    made.handle_batch([replayed])
    assert place.effects() == [7]


def test_two_events_that_share_a_random_id_are_two(place: Place) -> None:
    made = place.inbox()
    made.handle_batch(events([7]))
    made.handle_batch(events([7], "2026-11-27T09:00:00.000000001Z"))
    assert place.effects() == place.records() == [7, 7]


@pytest.mark.parametrize(
    "error",
    [ValueError("no"), RetryAfter(5.0, "away"), Reject("never"), SystemExit(3), StopIteration("x"), Away()],
    ids=["error", "retry-after", "reject", "exit", "stop", "base"],
)
def test_what_the_handler_raises_is_raised_on_and_nothing_is_left_of_the_batch(
    place: Place, error: BaseException
) -> None:
    def fail_on_two(notification: Notification, transaction: Any) -> None:
        place.write(notification, transaction)
        if notification.id == 2:
            raise error

    made = place.inbox(fail_on_two)
    with pytest.raises(type(error)) as raised:
        made.handle_batch(events([1, 2, 3]))
    assert raised.value is error
    assert place.effects() == place.records() == []
    for event in events([1, 3]):  # as the consumer delivers them then
        made.handle_batch([event])
    assert place.effects() == place.records() == [1, 3]


def test_a_handler_of_one_event_cannot_say_that_the_others_are_handled(place: Place) -> None:
    """They are not: all of the batch is rolled back."""

    def fail_on_two(notification: Notification, transaction: Any) -> None:
        place.write(notification, transaction)
        if notification.id == 2:
            raise BatchFailed({notification.stream_id: ValueError("no")})

    with pytest.raises(TypeError, match="BatchFailed"):
        place.inbox(fail_on_two).handle_batch(events([1, 2, 3]))
    assert place.effects() == place.records() == []


def test_an_error_of_the_database_is_raised_on_and_the_next_batch_is_handled(place: Place) -> None:
    def write(notification: Notification, transaction: Any) -> None:
        place.write(notification, transaction)
        if notification.id == 2:
            transaction.execute("INSERT INTO nowhere VALUES (1)")

    made = place.inbox(write)
    with pytest.raises(Exception, match="nowhere"):
        made.handle_batch(events([1, 2, 3]))
    assert place.effects() == place.records() == []
    made.handle_batch(events([1, 3]))
    assert place.effects() == place.records() == [1, 3]


def test_a_constraint_that_is_checked_at_the_commit_fails_the_batch(place: Place) -> None:
    place.query("CREATE TABLE parents (id BIGINT PRIMARY KEY)")
    reference = "parent BIGINT REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED"
    place.query(f"CREATE TABLE children ({reference})")

    def write(notification: Notification, transaction: Any) -> None:
        place.write(notification, transaction)
        transaction.execute(f"INSERT INTO children VALUES ({place.mark})", (notification.id,))

    made = place.inbox(write)
    if not place.is_postgres:  # which checks references only if it is asked to, outside of a transaction
        assert isinstance(made.database, SqliteDatabase)
        made.database._open().execute("PRAGMA foreign_keys = ON")
    with pytest.raises(Exception, match=r"(?i)foreign key"):
        made.handle_batch(events([1, 2]))
    assert place.effects() == place.records() == []
    place.query("INSERT INTO parents VALUES (1), (2)")
    made.handle_batch(events([1, 2]))
    assert place.effects() == place.records() == [1, 2]


# Handlers that meddle with the transaction


def execute(statement: str) -> Callable[[Any], object]:
    return lambda transaction: transaction.execute(statement)


def enter_connection(transaction: Any) -> None:
    with transaction.connection:
        pass


def raise_rollback(transaction: Any) -> None:
    import psycopg

    raise psycopg.Rollback


MEDDLING: dict[str, Callable[[Any], object]] = {
    "commit()": lambda transaction: transaction.connection.commit(),
    "rollback()": lambda transaction: transaction.connection.rollback(),
    "close()": lambda transaction: transaction.connection.close(),
    "with connection": enter_connection,
    "executescript": lambda transaction: transaction.executescript("INSERT INTO effects VALUES (9, '')"),
    "COMMIT": execute("COMMIT"),
    "ROLLBACK": execute("ROLLBACK"),
    "Rollback": raise_rollback,
    "END": execute("END"),
    "COMMIT, hidden": execute("SELECT 1; COMMIT"),
}


@pytest.mark.parametrize("how", MEDDLING)
def test_a_handler_that_ends_the_transaction_fails_and_no_event_is_lost(place: Place, how: str) -> None:
    """Whatever was committed, each event has its effect in the end, and what the batch had left has it once."""
    if how == "executescript" and place.is_postgres:
        pytest.skip("psycopg has none")
    if how == "Rollback" and not place.is_postgres:
        pytest.skip("sqlite3 has none")
    meddles = True

    def write(notification: Notification, transaction: Any) -> None:
        place.write(notification, transaction)
        if notification.id == 2 and meddles:
            MEDDLING[how](transaction)

    made = place.inbox(write)
    with pytest.raises(Exception, match=r".") as raised:
        made.handle_batch(events([1, 2, 3, 4]))
    if not place.is_postgres:
        assert place.effects() == place.records() == [], raised.value
    meddles = False
    for event in events([1, 2, 3, 4]):
        made.handle_batch([event])
    assert place.effects() == place.records() == [1, 2, 3, 4]


def test_a_handler_that_commits_and_then_fails_gets_its_event_again(place: Place) -> None:
    if not place.is_postgres:
        pytest.skip("SQLite refuses to commit")
    fails = True

    def write(notification: Notification, transaction: Any) -> None:
        if fails:
            transaction.execute("COMMIT")
            raise ValueError
        place.write(notification, transaction)

    made = place.inbox(write)
    with pytest.raises(ValueError):  # noqa: PT011
        made.handle_batch(events([1, 2]))
    fails = False
    made.handle_batch(events([1, 2]))
    assert place.effects() == place.records() == [1, 2]


def test_a_handler_that_hides_an_error_of_the_database_fails(place: Place) -> None:
    """PostgreSQL would take COMMIT for ROLLBACK then; SQLite has undone the one statement."""

    def write(notification: Notification, transaction: Any) -> None:
        place.write(notification, transaction)
        try:
            transaction.execute("INSERT INTO nowhere VALUES (1)")
        except Exception:
            return

    made = place.inbox(write)
    if place.is_postgres:
        with pytest.raises(TransactionEnded, match="savepoint"):
            made.handle_batch(events([1]))
        assert place.effects() == place.records() == []
    else:
        made.handle_batch(events([1]))
        assert place.effects() == place.records() == [1]


def test_a_statement_of_sqlite_that_rolls_back_fails_the_batch(place: Place) -> None:
    if place.is_postgres:
        pytest.skip("SQLite alone has OR ROLLBACK")
    place.query("CREATE UNIQUE INDEX once ON effects (description)")

    def write(_: Notification, transaction: Any) -> None:
        try:
            transaction.execute("INSERT OR ROLLBACK INTO effects VALUES (1, 'the same')")
        except Exception:
            return

    with pytest.raises(TransactionEnded):
        place.inbox(write).handle_batch(events([1, 2, 3]))
    assert place.effects() == place.records() == []


def test_a_handler_may_set_savepoints(place: Place) -> None:
    def write(notification: Notification, transaction: Any) -> None:
        transaction.execute("SAVEPOINT before")
        try:
            transaction.execute("INSERT INTO nowhere VALUES (1)")
        except Exception:
            transaction.execute("ROLLBACK TO SAVEPOINT before")
        transaction.execute("RELEASE SAVEPOINT before")
        place.write(notification, transaction)

    place.inbox(write).handle_batch(events([1, 2]))
    assert place.effects() == place.records() == [1, 2]


def test_what_a_handler_sets_on_its_connection_disturbs_nothing(place: Place) -> None:
    def write(notification: Notification, transaction: Any) -> None:
        rows: Any = _dict_rows() if place.is_postgres else lambda cursor, row: {"value": row[0]}
        transaction.connection.row_factory = rows
        place.write(notification, transaction)
        transaction.close()

    made = place.inbox(write)
    made.handle_batch(events([1, 2]))
    made.handle_batch(events([1, 2, 3]))
    assert place.effects() == place.records() == [1, 2, 3]


def _dict_rows() -> Any:
    from psycopg.rows import dict_row

    return dict_row


def test_a_cursor_that_is_kept_writes_nothing_later(place: Place) -> None:
    kept: list[Any] = []
    made = place.inbox(lambda _, transaction: kept.append(transaction))
    made.handle_batch(events([1]))
    with pytest.raises(Exception, match="closed"):
        place.write(*events([1]), *kept)
    assert place.effects() == []


@pytest.mark.parametrize("ends", [False, True], ids=["", "and rolls back"])
def test_a_block_that_a_handler_does_not_leave_fails_one_delivery(place: Place, ends: bool) -> None:
    """psycopg counts the blocks of a connection, and would refuse to begin another one for ever."""
    if not place.is_postgres:
        pytest.skip("sqlite3 has none")

    def write(notification: Notification, transaction: Any) -> None:
        place.write(notification, transaction)
        if len(blocks) < 2:
            blocks.append(transaction.connection.transaction())
            blocks[-1].__enter__()
            if ends:
                transaction.execute("ROLLBACK")

    blocks: list[Any] = []
    made = place.inbox(write)
    for _ in range(2):
        with pytest.raises(Exception, match=r"nesting|ended"):
            made.handle_batch(events([1]))
    made.handle_batch(events([1, 2]))
    assert place.effects() == place.records() == [1, 2]


async def handle_later(_: Notification, __: Any) -> None:
    """Be a coroutine, which nothing awaits here."""


@pytest.mark.filterwarnings("ignore:coroutine 'handle_later' was never awaited")
def test_what_a_handler_leaves_to_be_awaited_is_no_success(place: Place) -> None:
    made = place.inbox(lambda notification, transaction: handle_later(notification, transaction))
    with pytest.raises(TypeError, match="nothing would run"):
        made.handle_batch(events([1]))
    assert place.records() == []


def test_inserts_that_are_mapped_and_never_made_are_no_success(place: Place) -> None:
    made = place.inbox(lambda notification, transaction: map(transaction.execute, ["SELECT 1"]))
    with pytest.raises(TypeError, match="nothing would run"):
        made.handle_batch(events([1]))
    assert place.records() == []


@pytest.mark.parametrize(("error", "raised"), [(KeyError("x"), KeyError), (BatchFailed({}), TypeError)])
def test_a_failure_that_a_handler_returns_is_the_error_it_holds(
    place: Place, error: Exception, raised: type[Exception]
) -> None:
    made = place.inbox(lambda notification, transaction: Failure(error))
    with pytest.raises(raised):
        made.handle_batch(events([1]))
    assert place.records() == []


# Threads


def test_calls_from_many_threads_come_one_at_a_time(place: Place) -> None:
    """Of a consumer with several threads, or after a call that took too long."""
    made = place.inbox()
    threads = [threading.Thread(target=made.handle_batch, args=(events(range(n, n + 30)),)) for n in range(0, 100, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert place.effects() == place.records() == list(range(120))


def test_a_stop_does_not_wait_for_a_call_that_hangs(place: Place) -> None:
    begun, end = threading.Event(), threading.Event()

    def write(notification: Notification, transaction: Any) -> None:
        place.write(notification, transaction)
        begun.set()
        waited.append(end.wait(30))

    waited: list[bool] = []
    made = place.inbox(write)
    thread = threading.Thread(target=made.handle_batch, args=(events([1]),))
    thread.start()
    assert begun.wait(30)
    made.stop()
    end.set()
    thread.join()
    assert waited == [True]
    assert place.effects() == place.records() == [1]


def test_consumers_that_have_the_same_events_write_each_once(place: Place) -> None:
    """In opposite orders: they would wait for each other if each recorded in its own."""
    errors: list[BaseException] = []

    def run(made: Inbox, start: int, step: int) -> None:
        batch = events(range(200))
        try:
            for number in range(0, 200, 20):
                made.handle_batch(batch[number : number + 20][::step] if start else batch[::step])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(place.inbox(), *how)) for how in ((1, 1), (1, -1), (0, 1), (0, -1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert place.effects() == place.records() == list(range(200))


def test_processes_that_start_together_create_one_table(place: Place) -> None:
    errors: list[BaseException] = []

    def start(made: Inbox) -> None:
        try:
            barrier.wait(30)
            made.start()
        except BaseException as error:
            errors.append(error)

    barrier = threading.Barrier(8)
    threads = [threading.Thread(target=start, args=(place.inbox(),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert place.records() == []


# Old records


@pytest.fixture
def aged(place: Place) -> Place:
    """A database with 5,000 records that are 40 days old, and 10 that are 20 days old."""
    place.inbox().start()
    record(place, range(1_000, 6_000), days=40)
    record(place, range(6_000, 6_010), days=20)
    return place


def record(place: Place, ids: range, days: int) -> None:
    """Record events as it would have been done some days ago."""
    then = f"now() - interval '{days} days'" if place.is_postgres else f"strftime('%s', 'now', '-{days} days')"
    rows = ", ".join(f"({id}, 'then', {then})" for id in ids)
    place.query(f"INSERT INTO eventsvc_inbox (id, accepted, recorded) VALUES {rows}")


def test_old_records_are_removed_some_at_a_time(aged: Place) -> None:
    made = aged.inbox()
    made.handle_batch(events(range(10)))
    left = len(aged.records())
    assert 5_020 - left == 2 * (REMOVE_EVERY + 10)
    made.handle_batch(events(range(10, 20)))
    assert len(aged.records()) == left + 10
    for start in range(1_000_000, 1_005_000, 500):
        made.handle_batch(events(range(start, start + 500)))
    assert aged.records() == [*range(20), *range(6_000, 6_010), *range(1_000_000, 1_005_000)]


@pytest.mark.parametrize(("keep", "left"), [(50, 5_010), (30.5, 5_010 - 200), (10, 5_010 - 200)])
def test_records_are_kept_for_as_many_days_as_it_is_said(aged: Place, keep: float, left: int) -> None:
    made = aged.inbox(keep=keep)
    made.handle_batch([])
    assert len(aged.records()) == left
    for _ in range(100):
        made.handle_batch(events(range(REMOVE_EVERY)))
    assert len(aged.records()) == REMOVE_EVERY + {50: 5_010, 30.5: 10, 10: 0}[keep]
