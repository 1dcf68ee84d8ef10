"""
An event log in memory, for tests: it does what Redis does, and loses what a
network loses when it is told to.
"""

from eventsvc.testing.group import MemoryEventGroup
from eventsvc.testing.link import Fate, Link
from eventsvc.testing.log import MemoryEventLog, MemoryStream

__all__ = ["Fate", "Link", "MemoryEventGroup", "MemoryEventLog", "MemoryStream"]
