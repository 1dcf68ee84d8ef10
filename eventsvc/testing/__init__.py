"""
For tests: a consumer that runs a handler in memory, and the event log in memory
that it reads.  The log behaves as Redis does, and a link to it loses messages
on request.
"""

from eventsvc.testing.consumer import MemoryConsumer
from eventsvc.testing.group import MemoryEventGroup
from eventsvc.testing.link import Fate, Link
from eventsvc.testing.log import MemoryEventLog, MemoryStream
from eventsvc.testing.notification import make_notification
from eventsvc.testing.records import Call

__all__ = [
    "Call",
    "Fate",
    "Link",
    "MemoryConsumer",
    "MemoryEventGroup",
    "MemoryEventLog",
    "MemoryStream",
    "make_notification",
]
