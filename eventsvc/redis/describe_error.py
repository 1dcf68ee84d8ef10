"""
Describes connection errors for operators.
"""

from __future__ import annotations

import os

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import TimeoutError as WaitTimeoutError
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost, TimeoutError
from twisted.python.failure import Failure

from eventsvc.redis.errors import ErrorReply, UnclearReply


def describe_error(problem: BaseException | Failure) -> str:
    """Return why there is no connection, without terms of Python or OpenSSL."""
    error = problem.value if isinstance(problem, Failure) else problem
    match error:
        case ErrorReply() | UnclearReply():
            return error.reply
        case ConnectionDone():
            return "Redis closed the connection"
        case ConnectionLost():
            return "the connection broke"
        case TimeoutError() | WaitTimeoutError():
            return "no TCP connection in time"
        case ConnectError() if isinstance(error.osError, int):
            return os.strerror(error.osError)
        case VerificationError():
            return "TLS failed: the certificate is for another host"
        case SSL.Error():
            return f"TLS failed: {_reason(error)}"
        case _ if str(error):
            return str(error)
        case _:
            return type(error).__name__


def tell_error(error: Exception) -> str:
    """Return why there is no connection, without the text of Redis."""
    return str(error) if isinstance(error, ErrorReply | UnclearReply) else describe_error(error)


def _reason(error: SSL.Error) -> str:
    """Return the last reason in an OpenSSL error: a list of tuples, innermost first."""
    match error.args:
        case ([*_, (*_, str(reason))],) | (*_, str(reason)):
            return reason
        case _:
            return "no reason given"
