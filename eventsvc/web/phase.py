"""
The states of an HTTP connection.
"""

from __future__ import annotations

from enum import Enum, auto


class Phase(Enum):
    """The state of a connection between its first byte and its end."""

    #: no byte has arrived yet
    NEW = auto()
    #: between two requests
    IDLE = auto()
    #: the same, but twisted.web has skipped a blank line, so it parses the next request
    BLANK = auto()
    #: part of a request has arrived, which the fast path may take
    READING = auto()
    #: part of a request has arrived, and twisted.web parses it
    PARSING = auto()
    #: requests are in progress, or the client does not read their answers
    ANSWERING = auto()
    #: the last answer is written; further bytes are discarded
    ENDING = auto()


#: Module names, because looking up an enum member takes ten times as long.
NEW, IDLE, BLANK, READING, PARSING, ANSWERING, ENDING = Phase
