"""
Handlers with an inbox, for consumers that tests start as processes.

C{INBOX_DSN} names the database.  Each call is written to the file C{INBOX_CALLS}
as well, outside of the transaction, so that it is seen what was rolled back.

With C{INBOX_GATE}, a FIFO, every hundredth call of a process takes a byte from it,
and waits if there is none: in a transaction that is not committed.
"""

from __future__ import annotations

import os
import time
from itertools import count
from typing import Any

from eventsvc.event import Notification
from eventsvc.handlers.inbox import inbox

_DSN = os.environ["INBOX_DSN"]
_CALLS = os.open(os.environ["INBOX_CALLS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
_GATE = os.open(os.environ["INBOX_GATE"], os.O_RDWR) if "INBOX_GATE" in os.environ else None
_NUMBERS = count(1)
_MARK = "?" if _DSN.startswith("sqlite") else "%s"
_INSERT = f"INSERT INTO effects VALUES ({_MARK}, {_MARK})"


def write(notification: Notification, transaction: Any) -> None:
    """Insert one row."""
    transaction.execute(_INSERT, (notification.id, notification.description))


def write_slowly(notification: Notification, transaction: Any) -> None:
    """Insert one row, and take 1 ms; or until the gate opens."""
    os.write(_CALLS, b"%19d\n" % notification.id)
    if next(_NUMBERS) % 100 == 0 and _GATE is not None:
        os.read(_GATE, 1)
    write(notification, transaction)
    time.sleep(0.001)


fast = inbox(write, _DSN)
slow = inbox(write_slowly, _DSN)
