"""
What may be a handler, and how one is made and bound, whatever shape it was written in.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.reflect import safe_repr, safe_str

from eventsvc.consumer.bound_handler import BoundHandler, do_nothing
from eventsvc.consumer.handler_call import find_async, find_fault
from eventsvc.settings.reading import InvalidSettings, read

#: Most events in a batch, unless the handler says otherwise.
_BATCH: Final = 1_000

#: The methods of a handler, and the number of their arguments.
_METHODS: Final = {"handle": 1, "handle_batch": 1, "start": 0, "stop": 0}


class WrongHandler(ValueError):
    """An object can never handle an event, or cannot be made; the text says why."""


def check(found: Any, name: str) -> None:
    """
    Check that an object, a function, a class or a factory could handle an event.

    @param name: what the error calls it.
    @raise WrongHandler: it never could.
    """
    fault = _fault_of_factory(found) if is_factory(found) else _fault_of(found)
    if fault:
        raise WrongHandler(f"'{name}{fault}")


def make(found: Any, name: str, environment: Mapping[str, str]) -> Any:
    """
    Return the handler: what a class or factory makes, else the object itself.

    @raise WrongHandler: it cannot be made.
    @raise InvalidSettings: its own settings are invalid.
    """
    if not is_factory(found):
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
    except (Exception, SystemExit) as error:
        raise WrongHandler(f"{name!r} cannot be made: {type(error).__name__}: {safe_str(error)}") from error
    if fault := _fault_of(made):
        raise WrongHandler(f"'{name}() returned {safe_repr(made)}, and that{fault.removeprefix(chr(39))}")
    return made


def bind(
    handler: Any,
    clock: IReactorTime,
    timeout: float = 0.0,
    defer_to_thread: Callable[..., Deferred[None]] | None = None,
    most_threads: int = 0,
) -> BoundHandler:
    """
    Return a handler in its one form.

    @param defer_to_thread: calls something in a thread, for handlers that block.
    @param most_threads: see L{BoundHandler}.
    @raise WrongHandler: its C{batch_size} is no number from 1.
    """
    handle_batch = getattr(handler, "handle_batch", None)
    has_methods = not inspect.isroutine(handler)
    return BoundHandler(
        function=_function_of(handler),
        clock=clock,
        batch_size=_read_count(handler, "batch_size", _BATCH) if handle_batch else 0,
        timeout=timeout,
        defer_to_thread=defer_to_thread,
        most_threads=most_threads,
        start=getattr(handler, "start", do_nothing) if has_methods else do_nothing,
        stop=getattr(handler, "stop", do_nothing) if has_methods else do_nothing,
    )


def count_threads(handler: Any, name: str, setting: int) -> int:
    """
    Return the number of threads that call a handler: the setting, else what it asks for; 0 for none.

    @raise WrongHandler: it asks for what is no number from 1.
    @raise InvalidSettings: it is async.
    """
    threads = setting or _read_count(handler, "threads", 0)
    if threads and find_async(_function_of(handler)):
        raise InvalidSettings(f"CONSUMER_THREADS={threads}: {name!r} is async: expected 0, or a plain function")
    return threads


def _function_of(handler: Any) -> Any:
    """Return what is called for each event or batch."""
    return getattr(handler, "handle_batch", None) or getattr(handler, "handle", handler)


def _read_count(handler: Any, name: str, default: int) -> int:
    """
    Return an attribute of a handler that is a number from 1.

    @raise WrongHandler: it is none.
    """
    count = getattr(handler, name, default)
    if isinstance(count, bool) or not isinstance(count, int) or (count < 1 and hasattr(handler, name)):
        raise WrongHandler(f"{name} of the handler is {safe_repr(count)}, and should be a whole number from 1")
    return count


def is_factory(found: Any) -> bool:
    """Return whether something makes the handler, and is none itself."""
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
