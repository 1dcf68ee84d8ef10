"""
Handlers with an inbox, for consumers that tests start as processes.

C{INBOX_DSN} names the database.  Each call is written to the file C{INBOX_CALLS}
as well, outside of the transaction, so that it is seen what was rolled back.
"""

from __future__ import annotations

import os
import time
from typing import Any

from eventsvc.event import Notification
from eventsvc.handlers.inbox import inbox

_DSN = os.environ["INBOX_DSN"]
_CALLS = os.open(os.environ["INBOX_CALLS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
_MARK = "?" if _DSN.startswith("sqlite") else "%s"
_INSERT = f"INSERT INTO effects VALUES ({_MARK}, {_MARK})"


def write(notification: Notification, transaction: Any) -> None:
    """Insert one row."""
    transaction.execute(_INSERT, (notification.id, notification.description))


def write_slowly(notification: Notification, transaction: Any) -> None:
    """Insert one row, and take 1 ms."""
    os.write(_CALLS, b"%d\n" % notification.id)
    write(notification, transaction)
    time.sleep(0.001)


fast = inbox(write, _DSN)
slow = inbox(write_slowly, _DSN)
