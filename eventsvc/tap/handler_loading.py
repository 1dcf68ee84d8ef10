"""
Finds the handler that C{CONSUMER_HANDLER} names, and makes it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any, Final

from twisted.python.reflect import ModuleNotFound, ObjectNotFound, namedAny, safe_str

from eventsvc.consumer.handler_shape import WrongHandler, check, make
from eventsvc.settings.reading import InvalidSettings

#: The handlers that eventsvc brings along.
READY_MADE: Final = ("log", "webhook")

_EXPECTED: Final = "expected log, webhook, or the dotted name of a function, an object or a class"


def find_handler(name: str) -> Any:
    """
    Import what a dotted name means, and see that it could handle an event.

    As C{python -m} does, it looks in the working directory first.  Returns
    C{None} for a ready-made handler.

    @raise InvalidSettings: the text says why not.
    """
    if name in READY_MADE:
        return None
    directory = os.getcwd()
    if directory not in sys.path:
        sys.path.insert(0, directory)
    try:
        found = namedAny(name)
    except (ModuleNotFound, ObjectNotFound):
        module = name.partition(".")[0]
        raise _wrong(f"no module named {module!r}, neither in {directory} nor on Python's path") from None
    except (Exception, SystemExit) as error:
        raise _wrong(f"{name!r} cannot be imported: {safe_str(error) or type(error).__name__}") from None
    try:
        check(found, name)
    except WrongHandler as wrong:
        raise as_invalid_setting(wrong) from None
    return found


def make_handler(name: str, environment: Mapping[str, str]) -> Any:
    """
    Return the handler of a name, made from its class or factory if it is one.

    @raise InvalidSettings: it cannot be made; the text says why.
    """
    try:
        return make(find_handler(name), name, environment)
    except WrongHandler as wrong:
        raise as_invalid_setting(wrong) from wrong


def as_invalid_setting(wrong: WrongHandler) -> InvalidSettings:
    """Return what is told of a wrong handler at the start."""
    return _wrong(f"{wrong}")


def _wrong(fault: str) -> InvalidSettings:
    return InvalidSettings(f"--handler: {fault}: {_EXPECTED}")
