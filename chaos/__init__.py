"""
Injects faults into every link and process of eventsvc, and checks the promises
about events: C{python -m chaos list}.
"""

from typing import Final

#: The log message of the suite's handlers for an event that they fail on.
FAILED: Final = "event failed"
