"""
Breaks every link and process of eventsvc on purpose, and judges what became
of the events: C{python -m chaos list}.
"""

from typing import Final

#: What a handler of the suite logs of an event that it fails on.
FAILED: Final = "event failed"
