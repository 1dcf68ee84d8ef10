"""
An event log in memory, for tests.  It behaves as Redis does, and a link to it
loses messages on request.
"""

from eventsvc.testing.group import MemoryEventGroup
from eventsvc.testing.link import Fate, Link
from eventsvc.testing.log import MemoryEventLog, MemoryStream

__all__ = ["Fate", "Link", "MemoryEventGroup", "MemoryEventLog", "MemoryStream"]
