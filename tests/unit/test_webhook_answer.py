"""
Tests for L{eventsvc.handlers.webhook_answer}: each status has one consequence.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventsvc.errors import Reject, RetryAfter
from eventsvc.handlers.webhook_answer import Answer, WebhookFailed, judge, read_pause

RECEIVER = "https://hooks.example"
NOW = 784111777.0  # Sun, 06 Nov 1994 08:49:37 GMT


def outcome(answer: Answer) -> object:
    """The kind of what follows; seconds for a pause."""
    error = judge(answer, RECEIVER, NOW)
    return error.seconds if isinstance(error, RetryAfter) else type(error)


@pytest.mark.parametrize("status", range(100, 600))
def test_what_follows_from_a_status(status: int) -> None:
    """Only 2xx is success."""
    if 200 <= status < 300:
        expected: object = type(None)
    elif status in (400, 413, 415, 422):
        expected = Reject
    else:
        expected = 60.0 if status == 410 else WebhookFailed
    assert outcome(Answer(status)) == expected


@pytest.mark.parametrize("status", [401, 403, 404, 408, 413, 425, 429, 500, 502, 503, 504])
def test_retry_after_is_followed(status: int) -> None:
    """With 413 too: it says that the event may pass later."""
    assert outcome(Answer(status, retry_after="7")) == 7.0


@pytest.mark.parametrize("status", [400, 415, 422])
def test_an_event_that_is_wrong_is_wrong_later_too(status: int) -> None:
    assert outcome(Answer(status, retry_after="7")) is Reject


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_a_redirect_is_a_failure_that_says_where_to(status: int) -> None:
    error = judge(Answer(status, location="https://u:hush@h.example/a?token=hush", retry_after="7"), RECEIVER, NOW)
    assert isinstance(error, WebhookFailed)
    assert str(error).endswith("leads to (hidden)@h.example/a?(hidden)")


def test_an_error_says_who_answered_what() -> None:
    assert str(judge(Answer(500, "oops"), RECEIVER, NOW)) == "https://hooks.example answered 500: oops"
    assert str(judge(Answer(422), RECEIVER, NOW)) == "https://hooks.example answered 422"
    assert str(judge(Answer(422, "no `id`"), RECEIVER, NOW)) == "https://hooks.example answered 422: no `id`"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 1.0),
        ("1", 1.0),
        (" 120 ", 120.0),
        ("3600", 3600.0),
        ("86400", 3600.0),
        ("9" * 5_000, 3600.0),
        ("Sun, 06 Nov 1994 08:50:37 GMT", 60.0),
        ("Sunday, 06-Nov-94 08:50:37 GMT", 60.0),
        ("Sun Nov  6 08:50:37 1994", 60.0),
        ("Sun, 06 Nov 1994 08:49:00 GMT", 1.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600.0),
        ("", None),
        ("-1", None),
        ("+1", None),
        ("1.5", None),
        ("1e3", None),
        ("soon", None),
        ("\u0663", None),
        ("Sun, 99 Nov 1994 08:49:37 GMT", None),
        ("1994-11-06T08:49:37Z", None),
    ],
)
def test_a_pause(text: str, seconds: float | None) -> None:
    assert read_pause(text, NOW) == seconds


@given(st.text() | st.text("0123456789 GMT:,-+SunNov"))
def test_any_pause_is_within_bounds(text: str) -> None:
    pause = read_pause(text, NOW)
    assert pause is None or 1.0 <= pause <= 3600.0
