"""
The inbox while its database restarts, locks, refuses, or does not answer a commit.
"""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import pytest

from eventsvc.event import Notification
from eventsvc.handlers.inbox import inbox
from eventsvc.handlers.inbox_sqlite import SqliteDatabase
from tests.support.inboxes import Place, events, postgres_place, sqlite_place

psycopg = pytest.importorskip("psycopg")

from tests.support.cutting import running_link  # noqa: E402
from tests.support.postgres import Postgres  # noqa: E402


@pytest.fixture
def on_postgres(shared_postgres: Postgres) -> Iterator[Place]:
    """A database of its own, on a server that others use."""
    made = postgres_place(shared_postgres)
    yield made
    made.end()


def end_sessions(place: Place) -> None:
    """End the sessions of everybody else in a database, as an administrator or a proxy does."""
    place.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


# A connection that is lost


def test_a_connection_that_is_lost_between_two_batches_fails_one_delivery(on_postgres: Place) -> None:
    made = on_postgres.inbox()
    made.handle_batch(events([1]))
    end_sessions(on_postgres)
    with pytest.raises(psycopg.OperationalError):
        made.handle_batch(events([2]))
    made.handle_batch(events([2]))
    assert on_postgres.effects() == on_postgres.records() == [1, 2]


@pytest.mark.parametrize("hides", [False, True], ids=["raises", "hides the error"])
def test_a_connection_that_is_lost_while_a_handler_runs_rolls_the_batch_back(on_postgres: Place, hides: bool) -> None:
    lost = False

    def write(notification: Notification, transaction: Any) -> None:
        nonlocal lost
        on_postgres.write(notification, transaction)
        if notification.id == 3 and not lost:
            end_sessions(on_postgres)
            lost = True
            try:
                transaction.execute("SELECT 1")
            except psycopg.OperationalError:
                if not hides:
                    raise

    made = on_postgres.inbox(write)
    with pytest.raises(Exception, match=r"terminating connection|savepoint"):
        made.handle_batch(events([1, 2, 3]))
    assert on_postgres.effects() == on_postgres.records() == []
    made.handle_batch(events([1, 2, 3]))
    assert on_postgres.effects() == on_postgres.records() == [1, 2, 3]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT], ids=["restart", "crash"])
def test_a_server_that_comes_back_is_used_again(own_postgres: Postgres, number: int) -> None:
    place = Place(own_postgres.dsn(), own_postgres.query, "%s")
    made = place.inbox()
    made.start()
    made.handle_batch(events([1, 2]))
    own_postgres.end(number)
    for _ in range(3):
        with pytest.raises(psycopg.OperationalError):
            made.handle_batch(events([3]))
    own_postgres.start()
    made.handle_batch(events([2, 3]))
    assert place.effects() == place.records() == [1, 2, 3]
    made.stop()


def test_a_database_that_is_away_at_the_start_ends_it(own_postgres: Postgres) -> None:
    place = Place(own_postgres.dsn(), own_postgres.query, "%s")
    made = place.inbox()
    own_postgres.end(signal.SIGINT)
    with pytest.raises(psycopg.OperationalError):
        made.start()
    made.stop()
    own_postgres.start()
    made.start()
    assert place.records() == []
    made.stop()


# A commit whose reply is lost


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_commit_whose_reply_is_lost_is_answered_by_the_record(
    shared_postgres: Postgres, on_postgres: Place, when: Literal["before", "after"]
) -> None:
    with running_link(shared_postgres.port) as link:
        on_postgres.dsn = on_postgres.dsn.replace(f":{shared_postgres.port}/", f":{link.port}/")
        made = on_postgres.inbox()
        made.start()
        link.cuts = when
        with pytest.raises(psycopg.OperationalError):
            made.handle_batch(events([1, 2]))
        assert on_postgres.effects() == ([1, 2] if when == "after" else [])
        for event in events([1, 2]):
            made.handle_batch([event])
        assert on_postgres.effects() == on_postgres.records() == [1, 2]
        made.stop()


def test_a_session_that_nobody_ends_is_noticed_by_the_server(on_postgres: Place) -> None:
    """It would hold what it has recorded, and a redelivery waits for that."""
    shown: list[tuple[str]] = []

    def write(_: Notification, transaction: Any) -> None:
        for name in ("idle", "interval", "count"):
            shown.append(transaction.execute(f"SHOW tcp_keepalives_{name}").fetchone())

    on_postgres.inbox(write).handle_batch(events([1]))
    idle, interval, count = (int(value) for (value,) in shown)
    assert idle + interval * count <= 30


# Rights


def test_a_user_who_may_not_create_tables_uses_the_one_that_is_there(
    shared_postgres: Postgres, on_postgres: Place
) -> None:
    name = on_postgres.dsn.rpartition("/")[2]
    on_postgres.query(f"CREATE ROLE writer_{name} LOGIN")
    made = inbox(on_postgres.write, on_postgres.dsn.replace("eventsvc@", f"writer_{name}@"))
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        made.start()
    on_postgres.inbox().start()
    on_postgres.query(f"GRANT SELECT, INSERT, DELETE, UPDATE ON eventsvc_inbox TO writer_{name}")
    on_postgres.query(f"GRANT INSERT ON effects TO writer_{name}")
    made.start()
    made.handle_batch(events([1]))
    assert on_postgres.effects() == on_postgres.records() == [1]
    made.stop()


def test_a_message_that_postgresql_cannot_hold_fails_alone(on_postgres: Place) -> None:
    made = on_postgres.inbox()
    for event in (*events([1 << 64]), *events([1], "\0")):
        with pytest.raises(psycopg.Error):
            made.handle_batch([event])
    made.handle_batch(events([1]))
    assert on_postgres.effects() == [1]


# SQLite


def test_another_writer_is_waited_for_and_then_the_delivery_fails(tmp_path: Path) -> None:
    place = sqlite_place(str(tmp_path / "effects.db"))
    made = place.inbox()
    assert isinstance(made.database, SqliteDatabase)
    made.database.busy_timeout = 0.05
    made.start()
    with closing(sqlite3.connect(tmp_path / "effects.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        made.stop()
        made.start()  # it does not write
        for _ in range(2):
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                made.handle_batch(events([1]))
        other.rollback()
    made.handle_batch(events([1]))
    assert place.effects() == place.records() == [1]
    place.end()


def test_a_commit_is_on_the_disk_and_readers_do_not_wait(tmp_path: Path) -> None:
    place = sqlite_place(str(tmp_path / "effects.db"))
    seen: list[int] = []

    def write(notification: Notification, transaction: Any) -> None:
        place.write(notification, transaction)
        seen.extend(place.effects())

    made = place.inbox(write)
    made.handle_batch(events([1, 2]))
    assert seen == []
    assert isinstance(made.database, SqliteDatabase)
    [(mode,)] = made.database._open().execute("PRAGMA journal_mode").fetchall()
    [(synchronous,)] = made.database._open().execute("PRAGMA synchronous").fetchall()
    assert (mode, synchronous) == ("wal", 2)
    place.end()


def test_a_directory_that_is_missing_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        inbox(print, f"sqlite:///{tmp_path}/nowhere/effects.db").start()
