"""
The inbox in a PostgreSQL database.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, Final

import attrs
import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from eventsvc.settings.reading import InvalidSettings

#: Defaults for what the DSN does not set.  A lost server is noticed within half a minute.
_DEFAULTS: Final = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",
    "fallback_application_name": "eventsvc inbox",
}

# Note [Sessions that nobody ends]
#
#     consumer   BEGIN, record 7          the network breaks
#     server     waits for the next statement; its row 7 is not committed
#     consumer   reconnects, record 7     waits until the first session ends: in two hours
#
# The keepalive of the system takes two hours.  L{_DEFAULTS} make the client notice
# within half a minute, and this makes the server notice.
_KEEPALIVE: Final = "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3"

#: Of two processes that create a table at the same time one fails, whatever IF NOT EXISTS says.
_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtext('eventsvc_inbox'))"
_EXISTS: Final = "SELECT to_regclass('eventsvc_inbox') IS NOT NULL"
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS eventsvc_inbox (
    id bigint NOT NULL,
    accepted text NOT NULL,
    recorded timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id, accepted)
)
"""
_INDEX: Final = "CREATE INDEX IF NOT EXISTS eventsvc_inbox_recorded ON eventsvc_inbox (recorded)"
_RECORD: Final = """
INSERT INTO eventsvc_inbox (id, accepted)
SELECT * FROM unnest(%s::bigint[], %s::text[])
ON CONFLICT DO NOTHING RETURNING id, accepted
"""
_FORGET: Final = """
DELETE FROM eventsvc_inbox WHERE (id, accepted) IN (SELECT * FROM unnest(%s::bigint[], %s::text[]))
"""
# An array of ctid is looked up row by row; a plain IN may scan the whole table.
_REMOVE: Final = """
DELETE FROM eventsvc_inbox WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM eventsvc_inbox
    WHERE recorded < now() - %s * interval '1 day' ORDER BY recorded LIMIT %s FOR UPDATE SKIP LOCKED
))
"""


def _read(dsn: str) -> dict[str, Any]:
    try:
        return {**_DEFAULTS, **conninfo_to_dict(dsn)}
    except psycopg.Error:
        # without its text: there may be a password in it
        raise InvalidSettings(
            "inbox: the DSN is not a connection URI of PostgreSQL: "
            "expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with special characters percent-encoded"
        ) from None


@attrs.define(eq=False)
class PostgresDatabase:
    """
    A connection to PostgreSQL, for one thread at a time.

    @ivar parameters: of the connection, read from a DSN.
    """

    parameters: dict[str, Any] = attrs.field(converter=_read, repr=False)
    _connection: psycopg.Connection[Any] | None = attrs.field(default=None, init=False, repr=False)

    def open(self) -> None:
        """Connect and create the table, unless that is done."""
        self._open()

    def _open(self) -> psycopg.Connection[Any]:
        if self._connection is None:
            connection = psycopg.connect(**self.parameters, autocommit=True)
            try:
                connection.execute(_KEEPALIVE)
                _create_table(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def close(self) -> None:
        """Close the connection; what is not committed is rolled back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """
        Commit what is done inside, or roll it back.

        psycopg refuses C{commit()} and C{rollback()} inside.  After an error of the
        database the connection is closed; the next call makes another.
        """
        connection = self._open()
        try:
            with connection.transaction():
                try:
                    yield
                except psycopg.Rollback as error:  # which the transaction would swallow
                    raise RuntimeError("the handler raised psycopg.Rollback") from error
        except psycopg.Error:
            self.close()
            raise
        finally:
            if connection.info.transaction_status is not TransactionStatus.IDLE:
                self.close()

    def cursor(self) -> psycopg.Cursor[Any]:
        """Return a new cursor."""
        return self._open().cursor()

    def is_in_transaction(self) -> bool:
        """
        Return whether the transaction can be committed.

        After an error in it, PostgreSQL answers COMMIT with a rollback, and
        reports no error.
        """
        return self._open().info.transaction_status is TransactionStatus.INTRANS

    def record(self, identities: Collection[tuple[int, str]]) -> set[tuple[int, str]]:
        """
        Record events, and return those that were not recorded before.

        Waits for a transaction that is recording one of them.  They are sorted, so
        that two transactions never wait for each other.
        """
        with self._open().cursor(row_factory=tuple_row) as cursor:  # whatever the handler has set
            return set(cursor.execute(_RECORD, _columns(identities)).fetchall())

    def forget_if_ended(self, identities: Collection[tuple[int, str]]) -> None:
        """Remove the records of events if the handler has committed them with its own statement."""
        connection = self._open()
        if connection.info.transaction_status is TransactionStatus.IDLE:
            connection.execute(_FORGET, _columns(identities))

    def remove_old(self, days: float, most: int) -> None:
        """Remove records older than so many days, the oldest first, and at most C{most} of them."""
        self._open().execute(_REMOVE, (days, most))


def _columns(identities: Collection[tuple[int, str]]) -> tuple[list[int], list[str]]:
    rows = sorted(identities)
    return [id for id, _ in rows], [accepted for _, accepted in rows]


def _create_table(connection: psycopg.Connection[Any]) -> None:
    """
    Create the table if it is missing.

    Looks first: PostgreSQL refuses CREATE TABLE IF NOT EXISTS to a user who may
    not create tables, even if the table exists.
    """
    if connection.execute(_EXISTS).fetchone() == (True,):
        return
    with connection.transaction():
        for statement in (_LOCK, _TABLE, _INDEX):
            connection.execute(statement)
