"""
Finds the handler that C{CONSUMER_HANDLER} names, and makes it.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
from twisted.python.reflect import ModuleNotFound, ObjectNotFound, namedAny, safe_repr, safe_str

from eventsvc.consumer.handler_call import find_fault
from eventsvc.settings.reading import InvalidSettings, read

#: The handlers that eventsvc brings along.
READY_MADE: Final = ("log", "webhook")

_EXPECTED: Final = "expected log, webhook, or the dotted name of a function, an object or a class"

#: The methods of a handler, and the number of their arguments.
_METHODS: Final = {"handle": 1, "handle_batch": 1, "start": 0, "stop": 0}


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
    fault = _fault_of_factory(found) if _is_factory(found) else _fault_of(found)
    if fault:
        raise _wrong(f"'{name}{fault}")
    return found


def make_handler(name: str, environment: Mapping[str, str]) -> Any:
    """
    Return the handler of a name, made from its class or factory if it is one.

    @raise InvalidSettings: it cannot be made; the text says why.
    """
    found = find_handler(name)
    if not _is_factory(found):
        return found
    arguments: list[object] = []
    if hasattr(found, "settings"):
        arguments.append(read(found.settings, environment))
    elif _constructor_fault(found):
        arguments.append(environment)
    try:
        made = found(*arguments)
    except InvalidSettings:
        raise
    except Exception as error:
        raise _wrong(f"{name!r} cannot be made: {type(error).__name__}: {safe_str(error)}") from error
    if fault := _fault_of(made):
        raise _wrong(f"'{name}() returned {safe_repr(made)}, and that{fault.removeprefix(chr(39))}")
    return made


def read_count(handler: Any, name: str, default: int) -> int:
    """
    Return an attribute of a handler that is a number from 1.

    @raise InvalidSettings: it is none.
    """
    count = getattr(handler, name, default)
    if isinstance(count, bool) or not isinstance(count, int) or (count < 1 and hasattr(handler, name)):
        raise _wrong(f"{name} of the handler is {safe_repr(count)}, and should be a whole number from 1")
    return count


def _wrong(fault: str) -> InvalidSettings:
    return InvalidSettings(f"--handler: {fault}: {_EXPECTED}")


def _is_factory(found: Any) -> bool:
    return inspect.isclass(found) or getattr(found, "is_handler_factory", False) is True


def _methods_of(target: Any) -> Mapping[str, Callable[..., Any]]:
    return {name: getattr(target, name) for name in _METHODS if hasattr(target, name)}


def _fault_of(handler: Any) -> str:
    """Say why an object can never handle an event: the end of a sentence, or nothing."""
    methods = _methods_of(handler)
    if not ("handle" in methods or "handle_batch" in methods):
        if fault := find_fault(handler, None):
            return f"' {fault}"
        if inspect.isroutine(handler):
            methods = {}
    if hasattr(handler, "flush") and "handle_batch" not in methods:
        return "' has a flush, which nothing calls: give it handle_batch instead"
    return _fault_of_methods(methods)


def _fault_of_factory(factory: Any) -> str:
    """Say why a class or factory can never make a handler."""
    if inspect.isclass(factory):
        methods = _methods_of(factory)
        if not ("handle" in methods or "handle_batch" in methods):
            return "' is a class without handle or handle_batch"
        if fault := _fault_of_methods(methods, None):
            return fault
    takes_settings = [None] if hasattr(factory, "settings") else []
    if takes_settings and not attrs.has(factory.settings):
        return "' has settings that are no attrs class"
    faults = [_constructor_fault(factory, *arguments) for arguments in (takes_settings, [None])]
    return f"' {faults[0]}" if all(faults) else ""


def _fault_of_methods(methods: Mapping[str, Callable[..., Any]], *instance: None) -> str:
    for name, method in methods.items():
        arguments = [None] * _METHODS[name]
        if fault := find_fault(method, *instance, *arguments):
            return f".{name}' {fault}"
    return ""


def _constructor_fault(factory: Any, *arguments: None) -> str:
    try:
        inspect.signature(factory).bind(*arguments)
    except TypeError as error:
        return f"cannot be made with {len(arguments)} arguments: {error}"
    except ValueError:  # some of those written in C do not tell
        return ""
    return ""
