"""
Injects faults into every link and process of eventsvc, and checks the promises
about events: C{python -m chaos list}.
"""

from typing import Final

#: The log message of the suite's handlers for an event that they fail on.
FAILED: Final = "event failed"

#: The beginning of the descriptions of events that no client has posted.
FOREIGN: Final = "foreign"

#: The stream of a run, its dead letters and its group.
STREAM: Final = "NotificationStream"
DEAD: Final = "{NotificationStream}:dead"
GROUP: Final = "demo_consumer_group"
