"""
What an HTTP connection is at.
"""

from __future__ import annotations

from enum import Enum, auto


class Phase(Enum):
    """Where a connection is between its first byte and its end."""

    #: nothing has come yet
    NEW = auto()
    #: between two requests
    IDLE = auto()
    #: the same, but twisted.web has skipped a blank line, so the next request is for it
    BLANK = auto()
    #: a request has begun that the fast path may take
    READING = auto()
    #: a request has begun, and twisted.web has it
    PARSING = auto()
    #: requests are under way, or the client does not take their answers
    ANSWERING = auto()
    #: the last answer is written; what still comes is thrown away
    ENDING = auto()


#: To look a member up in its class takes ten times as long.
NEW, IDLE, BLANK, READING, PARSING, ANSWERING, ENDING = Phase
