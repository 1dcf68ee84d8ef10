"""
Reads the W3C trace context of a request.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

#: Most characters of each of the two values, and most members of a C{tracestate}.
_LONGEST: Final = 512
_MOST: Final = 32

_IDS: Final = rb"-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
#: Version 00 exactly; a later one may have more after a dash (Trace Context, 3.2.4).
_TRACEPARENT: Final = re.compile(rb"00" + _IDS + rb"|(?!00|ff)[0-9a-f]{2}" + _IDS + rb"(?:-[\x21-\x7e]*)?")

_KEY: Final = rb"[a-z0-9][a-z0-9_\-*/@]{0,255}"
_VALUE: Final = rb"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
#: A member may be empty (Trace Context, 3.3.1; keys as in level 2).
_MEMBER: Final = rb"[ \t]*(?:" + _KEY + rb"=" + _VALUE + rb"[ \t]*)?"
_TRACESTATE: Final = re.compile(_MEMBER + rb"(?:," + _MEMBER + rb")*")
#: The keys of a valid one.
_KEYS: Final = re.compile(rb"(?:\A|,)[ \t]*([^=, \t]+)=")


def read_trace_context(traceparents: Sequence[bytes], tracestates: Sequence[bytes]) -> tuple[str | None, str | None]:
    """
    Return the C{traceparent} and C{tracestate} of a request, each C{None} if it is absent or malformed.

    Both are passed on as they came: a C{tracestate} keeps its white space and
    empty members, and is dropped whole if it is too long.  Without a valid
    C{traceparent} there is no C{tracestate} (W3C Trace Context, levels 1 and 2).

    @param traceparents: the values of all C{traceparent} headers; two are malformed.
    @param tracestates: the values of all C{tracestate} headers, which are parts of one list.
    """
    if len(traceparents) != 1:
        return None, None
    traceparent = traceparents[0].strip(b" \t")
    if len(traceparent) > _LONGEST or not _TRACEPARENT.fullmatch(traceparent):
        return None, None
    return traceparent.decode(), _read_tracestate(tracestates) if tracestates else None


def _read_tracestate(values: Sequence[bytes]) -> str | None:
    joined = b",".join(values).strip(b" \t")
    if len(joined) > _LONGEST or not _TRACESTATE.fullmatch(joined):
        return None
    keys = _KEYS.findall(joined)
    return joined.decode() if 0 < len(keys) <= _MOST and len(set(keys)) == len(keys) else None
