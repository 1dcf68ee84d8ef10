"""
The boundary to handlers: calls them, and trusts nothing they return or raise.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Generator
from concurrent.futures import Future
from types import coroutine
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.python.reflect import safe_repr, safe_str

#: What a handler call has left to do.
Unfinished = Coroutine[Deferred[Any], Any, None]

#: A generator that C{await} takes.
_AWAITABLE_GENERATOR: Final = inspect.CO_ITERABLE_COROUTINE


class HandlerMistake(Exception):
    """The handler did something that cannot be taken for success; the text says what."""


class HandlerExit(Exception):
    """The handler asks for the end of the process."""


def call(function: Callable[..., Any], *arguments: object) -> Unfinished | None:
    """
    Call a handler, or its C{flush}.

    Returns C{None} if it has finished, else what must be awaited until it has.
    Raises an C{Exception} whatever the handler raises: L{HandlerExit} for
    C{SystemExit} and C{KeyboardInterrupt}, L{HandlerMistake} for any other
    C{BaseException}.
    """
    try:
        result = function(*arguments)
        return None if result is None else _unfinished(result)
    except Exception:
        raise
    except BaseException as error:
        raise _as_exception(error) from error


def find_fault(function: object, *arguments: object) -> str:
    """
    Say why a callable can never succeed with so many arguments.

    Returns the end of a sentence, or nothing if no fault is known.
    """
    if inspect.isclass(function):
        return "is a class: expected a function or an instance"
    if not callable(function):
        return "is not callable"
    inner: Any = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    for each in (inner, type(inner).__call__):
        if inspect.isasyncgenfunction(each):
            return "is an async generator: nothing would run it"
        if inspect.isgeneratorfunction(each) and not each.__code__.co_flags & _AWAITABLE_GENERATOR:
            return "is a generator: nothing would run it; is inlineCallbacks forgotten?"
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some of those written in C do not tell
        return ""
    try:
        signature.bind(*arguments)
    except TypeError as error:
        return f"cannot be called with {len(arguments)} arguments: {error}"
    return ""


def _unfinished(result: object) -> Unfinished | None:
    """
    What a result leaves to be awaited.

    @raise HandlerMistake: it leaves something that nobody would ever run.
    """
    if isinstance(result, Failure):
        error: Any = result.value
        raise error if isinstance(error, Exception) else _as_exception(error)
    if inspect.isawaitable(result):
        return _finish(result)
    if inspect.isgenerator(result) or inspect.isasyncgen(result) or isinstance(result, map | filter):
        raise HandlerMistake(f"the handler returned {safe_repr(result)}, which nothing would run")
    if inspect.isclass(result) or inspect.isroutine(result) or isinstance(result, functools.partial):
        raise HandlerMistake(f"the handler returned {safe_repr(result)} without calling it")
    if isinstance(result, Future):
        raise HandlerMistake("the handler returned a Future of a thread: return what deferToThread gives instead")
    return None


async def _finish(awaitable: Awaitable[object]) -> None:
    """Await something, then what its result leaves to be awaited."""
    result = await _until_done(awaitable)
    rest = None if result is None else _unfinished(result)
    if rest is not None:
        await rest


async def _await(awaitable: Awaitable[object]) -> object:
    return await awaitable


@coroutine
def _until_done(awaitable: Awaitable[object]) -> Generator[Deferred[Any], Any, object]:
    """
    Await something step by step, and look at each thing it waits for.

    Twisted would take what is no Deferred for a result, and resume at once.
    """
    steps = _await(awaitable)
    step, value = steps.send, None
    while True:
        try:
            waits_for = step(value)
        except StopIteration as end:
            return end.value
        except Exception:
            raise
        except BaseException as error:
            raise _as_exception(error) from error
        if not isinstance(waits_for, Deferred):
            try:
                waits_for = _from_asyncio(waits_for)
            except HandlerMistake:
                steps.close()
                raise
        try:
            value = yield waits_for
        except BaseException as error:
            if isinstance(error, GeneratorExit) and not waits_for.called:
                steps.close()  # nobody waits for us any more
                raise
            step, value = steps.throw, error
        else:
            step = steps.send


def _from_asyncio(waits_for: Any) -> Deferred[Any]:
    """
    What asyncio waits for, as a Deferred.

    @raise HandlerMistake: asyncio does not run here, so it would never come.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        loop = None
    if loop is None or not (waits_for is None or asyncio.isfuture(waits_for)):
        raise HandlerMistake(
            f"the handler waits for {safe_repr(waits_for)}: Twisted's reactor knows Deferreds only, "
            "and asyncio's awaitables with `twistd --reactor asyncio`"
        )
    if waits_for is None:  # asyncio.sleep(0)
        turn: Deferred[None] = Deferred()
        loop.call_soon(turn.callback, None)
        return turn
    waits_for._asyncio_future_blocking = False
    return Deferred.fromFuture(waits_for)


def _as_exception(error: BaseException) -> Exception:
    words = f"the handler raised {type(error).__name__}: {safe_str(error)}"
    if isinstance(error, SystemExit | KeyboardInterrupt):
        return HandlerExit(words)
    return HandlerMistake(words)
