"""
Databases with an inbox, for tests: handlers that write to them, and what they hold.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from eventsvc.event import Notification
from eventsvc.handlers.inbox import Inbox, inbox

if TYPE_CHECKING:
    from tests.support.postgres import Postgres  # which needs psycopg


@attrs.define
class Place:
    """
    A database, and how to look into it from outside.

    @ivar query: runs a statement on a connection of its own, and returns its rows.
    @ivar mark: the place of a parameter in a statement.
    """

    dsn: str
    query: Callable[..., list[Any]]
    mark: str
    inboxes: list[Inbox] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.query("CREATE TABLE effects (id BIGINT, description TEXT)")

    @property
    def is_postgres(self) -> bool:
        return self.mark == "%s"

    def write(self, notification: Notification, transaction: Any) -> None:
        """Be a handler: insert one row."""
        row = (notification.id, notification.description)
        transaction.execute(f"INSERT INTO effects VALUES ({self.mark}, {self.mark})", row)

    def inbox(self, handler: Callable[[Notification, Any], object] | None = None, **options: Any) -> Inbox:
        """An inbox here; its handler is L{write} unless another is given."""
        made = inbox(handler or self.write, self.dsn, **options)
        self.inboxes.append(made)
        return made

    def effects(self) -> list[int]:
        """The ids that were written, in order."""
        return [id for (id,) in self.query("SELECT id FROM effects ORDER BY id")]

    def records(self) -> list[int]:
        """The ids that are recorded, in order."""
        return [id for (id,) in self.query("SELECT id FROM eventsvc_inbox ORDER BY id")]

    def end(self) -> None:
        for each in self.inboxes:
            each.stop()


def sqlite_place(path: str) -> Place:
    """A database in a file."""

    def query(statement: str, *parameters: object) -> list[Any]:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as connection:
            return connection.execute(statement, parameters).fetchall()

    return Place(f"sqlite:///{path}", query, "?")


def postgres_place(server: Postgres) -> Place:
    """A new database of a server."""
    name = server.new_database()
    return Place(server.dsn(name), partial(server.query, database=name), "%s")


def events(ids: Iterable[int], timestamp: str = "2026-11-27T09:00:00.000000000Z") -> list[Notification]:
    """Events as a stream has them."""
    return [Notification(id, f"event {id}", timestamp, f"{id + 1}-0") for id in ids]
