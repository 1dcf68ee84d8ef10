"""
Effects exactly once: a handler whose writes to a database and the record of the
event are one transaction::

    from eventsvc.handlers.inbox import inbox

    def book(notification, transaction):
        transaction.execute("INSERT INTO bookings VALUES (%s, %s)", (notification.id, notification.description))

    handler = inbox(book, "postgresql://shop@db.example/shop")
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import AbstractContextManager, closing
from threading import Lock
from typing import Any, Final, Protocol

import attrs
from twisted.logger import Logger
from twisted.python.failure import Failure

from eventsvc.errors import BatchFailed
from eventsvc.event import Notification
from eventsvc.handlers.inbox_sqlite import SqliteDatabase
from eventsvc.settings.reading import InvalidSettings

#: A handler of one event, which writes with the cursor of a transaction.
TransactionHandler = Callable[[Notification, Any], object]

#: What identifies an event: its id, and the time when the producer accepted it.
Identity = tuple[int, str]

#: Number of new records after which old ones are removed.
REMOVE_EVERY: Final = 100

_SQLITE: Final = "sqlite:///"
_POSTGRES: Final = ("postgresql://", "postgres://")

_logger: Final = Logger(namespace="eventsvc.handlers.inbox")


class TransactionEnded(Exception):
    """The handler has ended or broken the transaction of its batch, or has hidden that the connection is lost."""


class Database(Protocol):
    """One connection to a database; every call except L{open} and L{close} is made inside a L{transaction}."""

    def open(self) -> None:
        """Connect and create the table, unless that is done."""

    def close(self) -> None:
        """Close the connection; what is not committed is rolled back."""

    def transaction(self) -> AbstractContextManager[object]:
        """Connect if there is no connection; commit at the end, or roll back after an error."""

    def cursor(self) -> Any:
        """Return a new cursor for the handler."""

    def is_in_transaction(self) -> bool:
        """Return whether the transaction is open and can be committed."""

    def record(self, identities: Collection[Identity]) -> set[Identity]:
        """Record events, and return those that were not recorded before."""

    def forget_if_ended(self, identities: Collection[Identity]) -> None:
        """Remove the records of events if somebody has committed them."""

    def remove_old(self, days: float, most: int) -> None:
        """Remove records older than so many days, the oldest first, and at most C{most} of them."""


def inbox(handler: TransactionHandler, dsn: str, *, keep: float = 30.0) -> Inbox:
    """
    Return a handler whose effects in a database happen exactly once.

    C{handler(notification, transaction)} is a plain function; it may block,
    because it runs in a thread.  C{transaction} is a cursor of psycopg or
    sqlite3, for this event alone.  The inbox commits, not the handler.

    A batch of events is one transaction.  It records the events in the table
    C{eventsvc_inbox} first, skips those that are already recorded, and calls
    the handler for the others.  If the handler raises, the inbox rolls the
    whole batch back, and the consumer delivers its events again.

    C{id} and C{timestamp} of the message identify an event.  They stay the same
    when an entry is delivered again, stored again after a lost reply, or
    replayed as a dead letter; a replay changes the C{stream_id}.  The C{id} alone
    is a random number, which two among billions of events may share.

    An event that is delivered after its record was removed has its effect again.
    So C{keep} must be longer than any event can wait for a delivery: while
    consumers are stopped, as a dead letter, or as an old entry of the stream,
    because all entries are delivered again if somebody destroys the group.

    @param dsn: C{postgresql://USER@HOST/DATABASE} with any option of libpq, or
        C{sqlite:///PATH}; an absolute path makes four slashes.
    @param keep: days; older records are removed, a bounded number at a time.
    @raise InvalidSettings: the DSN is neither, psycopg is missing, or the
        handler is not a plain function.
    """
    _check_handler(handler)
    if not keep > 0:
        raise InvalidSettings(f"inbox: keep={keep!r}: expected more than 0 days")
    return Inbox(handler, _database(dsn), keep)


@attrs.define(eq=False)
class Inbox:
    """
    The handler object that L{inbox} returns.

    @cvar threads: its calls block, so the consumer makes them in a thread.
    @ivar keep: days that a record is kept.
    """

    threads = 1

    handler: TransactionHandler
    database: Database
    keep: float
    _lock: Lock = attrs.field(factory=Lock, init=False)
    _recorded: int = attrs.field(default=REMOVE_EVERY, init=False)

    def start(self) -> None:
        """
        Connect, and create the table if it is missing.

        Raises the error of the database, so that a wrong address ends the process.
        """
        with self._lock:
            self.database.open()

    def stop(self) -> None:
        """Close the connection, unless a call that took too long is still using it."""
        if self._lock.acquire(blocking=False):
            try:
                self.database.close()
            finally:
                self._lock.release()

    def handle_batch(self, notifications: Sequence[Notification]) -> None:
        """
        Handle events in one transaction.

        Raises what the handler or the database raises; nothing is committed then.
        The one exception is a commit whose reply is lost: it may have been done,
        and the records answer that at the next delivery.
        """
        with self._lock, self.database.transaction():
            new = self.database.record({_identity(each) for each in notifications})
            try:
                for notification in notifications:
                    self._handle(notification, new)
            except BaseException:
                self.database.forget_if_ended(new)
                raise
            self._remove_old(len(notifications))

    def _handle(self, notification: Notification, new: set[Identity]) -> None:
        identity = _identity(notification)
        if identity not in new:
            _logger.debug("event {id} is already recorded: skipped", id=notification.id)
            return
        try:
            with closing(self.database.cursor()) as cursor:
                result = self.handler(notification, cursor)
            if result is not None:
                _check_result(result)
        except BatchFailed as error:  # the consumer would take all other events for handled
            raise TypeError("inbox: the handler raised BatchFailed, which is for handle_batch alone") from error
        new.remove(identity)
        if not self.database.is_in_transaction():
            raise TransactionEnded(
                "the handler has ended or broken the transaction: it must not commit or roll back, "
                "nor go on after an error of the database unless it has set a savepoint before"
            )

    def _remove_old(self, recorded: int) -> None:
        """Remove twice as many old records as are new, so that the table shrinks and no single delete takes long."""
        self._recorded += recorded
        if self._recorded >= REMOVE_EVERY:
            self.database.remove_old(self.keep, 2 * self._recorded)
            self._recorded = 0


def _identity(notification: Notification) -> Identity:
    return notification.id, notification.timestamp


def _check_result(result: object) -> None:
    if isinstance(result, Failure):
        result.raiseException()
    if inspect.isawaitable(result) or inspect.isgenerator(result) or isinstance(result, AsyncGenerator | map | filter):
        raise TypeError(f"inbox: the handler returned {result!r}, which nothing would run")


def _check_handler(handler: object) -> None:
    kind = ""
    if inspect.isclass(handler):
        kind = "a class"
    elif not callable(handler):
        kind = "not callable"
    elif any(
        check(each)
        for check in (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
        for each in (handler, type(handler).__call__)
    ):
        kind = "async or a generator"
    if kind:
        raise InvalidSettings(f"inbox: {handler!r} is {kind}: expected a plain function(notification, transaction)")


def _database(dsn: str) -> Database:
    if dsn.startswith(_SQLITE):
        path = dsn.removeprefix(_SQLITE)
        if path in ("", ":memory:"):
            raise InvalidSettings("inbox: a database in memory forgets what is recorded: expected sqlite:///PATH")
        return SqliteDatabase(path)
    if not dsn.startswith(_POSTGRES):
        # without the text: there may be a password in it
        raise InvalidSettings("inbox: expected a DSN that begins with postgresql:// or sqlite:///")
    try:
        from eventsvc.handlers.inbox_postgres import PostgresDatabase
    except ImportError as error:
        raise InvalidSettings(
            f"inbox: PostgreSQL needs psycopg ({error}): "
            "install eventsvc with its extra [postgres], or run `pip install 'psycopg[binary] >= 3.2.1'`"
        ) from None
    return PostgresDatabase(dsn)
