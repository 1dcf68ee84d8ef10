"""
What follows from the answer of a webhook's receiver.
"""

from __future__ import annotations

import re
from calendar import timegm
from email.utils import parsedate_to_datetime
from typing import Final

import attrs

from eventsvc.errors import Reject, RetryAfter
from eventsvc.settings.kinds import hide_url
from eventsvc.text import shorten

#: Statuses that are about this event, and not about the receiver.
_REJECTED: Final = frozenset({400, 413, 415, 422})
#: The receiver wants no more webhooks.
GONE: Final = 410
#: Seconds between two attempts at a receiver that is gone.
GONE_PAUSE: Final = 60.0
#: The least and most seconds that C{Retry-After} is followed.
_LEAST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 3_600.0


class WebhookFailed(Exception):
    """A webhook was not taken; the text names the receiver without path and query, and says why."""


@attrs.frozen
class Answer:
    """
    The answer of a receiver.

    @ivar text: the beginning of its body, on one line.
    """

    status: int
    text: str = ""
    location: str = ""
    retry_after: str = ""


def judge(answer: Answer, receiver: str, now: float) -> Exception | None:
    """
    Return what the handler raises on an answer; C{None} if the event is handled.

    @param receiver: name of the receiver for the error text.
    @param now: seconds since the epoch.
    """
    status = answer.status
    if 200 <= status < 300:
        return None
    words = f"{receiver} answered {status}"
    if 300 <= status < 400:
        to = shorten(hide_url(answer.location), 200) or "nowhere"
        return WebhookFailed(f"{words}: redirects are not followed, and this one leads to {to}")
    if status == GONE:
        return RetryAfter(GONE_PAUSE, f"{words}: the receiver wants no more webhooks")
    pause = read_pause(answer.retry_after, now)
    if status in _REJECTED and not (status == 413 and pause is not None):
        return Reject(f"{words}: {answer.text}" if answer.text else words)
    if pause is not None:
        return RetryAfter(pause, f"{words}, to be tried again after {pause:g} s")
    return WebhookFailed(f"{words}: {answer.text}" if answer.text else words)


def read_pause(text: str, now: float) -> float | None:
    """
    Return the seconds that a C{Retry-After} asks for, within bounds.

    C{None} if it is neither a number of seconds nor a date of HTTP.
    """
    text = text.strip()
    if re.fullmatch(r"[0-9]+", text):
        seconds = float(text[:300])
    else:
        try:
            seconds = timegm(parsedate_to_datetime(text).utctimetuple()) - now
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
    return min(max(seconds, _LEAST_PAUSE), _LONGEST_PAUSE)
