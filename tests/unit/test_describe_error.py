"""
Tests for L{eventsvc.redis.describe_error}.
"""

from __future__ import annotations

import pytest
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost, DNSLookupError, TimeoutError

from eventsvc.interfaces import Unknown
from eventsvc.redis.describe_error import describe_error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionDone(), "Redis closed the connection"),
        (ConnectionLost(), "the connection broke"),
        (TimeoutError(), "no TCP connection in time"),
        (ConnectError(113), "No route to host"),
        (
            DNSLookupError("no results for hostname lookup: nowhere"),
            "DNS lookup failed: no results for hostname lookup: nowhere.",
        ),
        (SSL.Error([("SSL routines", "", "certificate verify failed")]), "TLS failed: certificate verify failed"),
        (SSL.Error([("rsa", "", "inner"), ("SSL", "", "outer")]), "TLS failed: outer"),
        (SSL.SysCallError(-1, "Unexpected EOF"), "TLS failed: Unexpected EOF"),
        (SSL.Error([]), "TLS failed: no reason given"),
        (SSL.Error(), "TLS failed: no reason given"),
        (VerificationError(errors=[]), "TLS failed: the certificate is for another host"),
        (Unknown("what it says"), "what it says"),
        (KeyError(), "KeyError"),
    ],
)
def test_problems_are_told_in_words(error: Exception, words: str) -> None:
    """Not as tuples of numbers or class names."""
    assert describe_error(error) == words
