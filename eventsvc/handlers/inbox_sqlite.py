"""
The inbox in a SQLite database.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import attrs

_EXISTS: Final = "SELECT 1 FROM sqlite_master WHERE name = 'eventsvc_inbox_recorded'"
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS eventsvc_inbox (
    id INTEGER NOT NULL,
    accepted TEXT NOT NULL,
    recorded INTEGER NOT NULL DEFAULT (CAST(strftime('%s', 'now') AS INTEGER)),
    PRIMARY KEY (id, accepted)
) WITHOUT ROWID
"""
_INDEX: Final = "CREATE INDEX IF NOT EXISTS eventsvc_inbox_recorded ON eventsvc_inbox (recorded)"
_RECORD: Final = "INSERT INTO eventsvc_inbox (id, accepted) VALUES (?, ?) ON CONFLICT DO NOTHING"
_FORGET: Final = "DELETE FROM eventsvc_inbox WHERE id = ? AND accepted = ?"
_REMOVE: Final = """
DELETE FROM eventsvc_inbox WHERE (id, accepted) IN (
    SELECT id, accepted FROM eventsvc_inbox
    WHERE recorded < CAST(strftime('%s', 'now') AS INTEGER) - ? ORDER BY recorded LIMIT ?
)
"""


@attrs.define(eq=False)
class SqliteDatabase:
    """
    A database file, for one thread at a time.

    It is in WAL mode, so readers do not wait.  Each commit is synced to the
    disk, because the event is acknowledged after it.

    @ivar path: of the file; it is created if it is missing.
    @ivar busy_timeout: the most seconds to wait for another writer.
    """

    path: str
    busy_timeout: float = 5.0
    _connection: sqlite3.Connection | None = attrs.field(default=None, init=False)
    _is_guarded: bool = attrs.field(default=False, init=False)

    def open(self) -> None:
        """Open the file and create the table, unless that is done."""
        self._open()

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            # a pool may use a different thread for each call
            connection = sqlite3.connect(
                self.path, timeout=self.busy_timeout, isolation_level=None, check_same_thread=False
            )
            try:
                with suppress(sqlite3.OperationalError):  # locked: another process is doing it
                    connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                _create_table(connection)
                connection.set_authorizer(self._authorize)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def close(self) -> None:
        """Close the file; what is not committed is rolled back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """
        Commit what is done inside, or roll it back.

        After an error of SQLite the file is closed, and opened again next time.
        """
        connection = self._open()
        try:
            connection.execute("BEGIN IMMEDIATE")
            self._is_guarded = True
            try:
                yield
            finally:
                self._is_guarded = False
            connection.commit()
        except sqlite3.Error:
            self.close()
            raise
        except BaseException:
            connection.rollback()
            raise

    def _authorize(self, action: int, *_: object) -> int:
        """Refuse to end the transaction while handlers run; C{commit()} and C{executescript()} ask here too."""
        if self._is_guarded and action == sqlite3.SQLITE_TRANSACTION:
            return sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_OK

    def cursor(self) -> sqlite3.Cursor:
        """Return a new cursor."""
        return self._open().cursor()

    def is_in_transaction(self) -> bool:
        """Return whether the transaction is open: an error may have rolled it back."""
        return self._open().in_transaction

    def record(self, identities: Collection[tuple[int, str]]) -> set[tuple[int, str]]:
        """Record events, and return those that were not recorded before."""
        execute = self._open().execute
        return {identity for identity in identities if execute(_RECORD, identity).rowcount}

    def forget_if_ended(self, identities: Collection[tuple[int, str]]) -> None:
        """Do nothing: only a rollback can end the transaction while handlers run."""

    def remove_old(self, days: float, most: int) -> None:
        """Remove records older than so many days, the oldest first, and at most C{most} of them."""
        self._open().execute(_REMOVE, (days * 86_400, most))


def _create_table(connection: sqlite3.Connection) -> None:
    """Create the table if it is missing; if it exists, do not wait for another writer."""
    if connection.execute(_EXISTS).fetchone():
        return
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(_TABLE)
    connection.execute(_INDEX)
    connection.commit()
