"""
The boundary to handlers: calls them, and trusts nothing they return or raise.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Generator
from concurrent.futures import Future
from types import CoroutineType, coroutine
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
    Call a handler.

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


async def finish_call(function: Callable[..., Any], *arguments: object) -> None:
    """L{call} a method of a handler, and wait until it has finished."""
    unfinished = call(function, *arguments)
    if unfinished is not None:
        await unfinished


def find_fault(function: object, *arguments: object) -> str:
    """
    Say why a callable can never succeed with so many arguments.

    Returns the end of a sentence, or nothing if no fault is known.
    """
    if inspect.isclass(function):
        return "is a class without handle or handle_batch"
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


def find_async(function: object) -> bool:
    """Return whether a callable is known to return a coroutine."""
    inner: Any = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    return any(inspect.iscoroutinefunction(each) for each in (inner, type(inner).__call__))


def _unfinished(result: object) -> Unfinished | None:
    """
    What a result leaves to be awaited.

    A coroutine is begun at once: one that awaits nothing costs little more than
    a plain function.

    @raise HandlerMistake: it leaves something that nobody would ever run.
    """
    if isinstance(result, Failure):
        error: Any = result.value
        raise error if isinstance(error, Exception) else _as_exception(error)
    if inspect.isawaitable(result):
        loop = None if isinstance(result, Deferred) else _asyncio_loop()
        if loop is not None:
            return _finish(_await_future(_as_future(result, loop)))
        steps = result if isinstance(result, CoroutineType) else _await(result)
        try:
            waits_for = steps.send(None)
        except StopIteration as end:
            return None if end.value is None else _unfinished(end.value)
        return _finish(_until_done(steps, waits_for))
    if inspect.isgenerator(result) or inspect.isasyncgen(result) or isinstance(result, map | filter):
        raise HandlerMistake(f"the handler returned {safe_repr(result)}, which nothing would run")
    if inspect.isclass(result) or inspect.isroutine(result) or isinstance(result, functools.partial):
        raise HandlerMistake(f"the handler returned {safe_repr(result)} without calling it")
    if isinstance(result, Future):
        raise HandlerMistake("the handler returned a Future of a thread: return what deferToThread gives instead")
    return None


async def _finish(awaitable: Awaitable[object]) -> None:
    """Await something, then what its result leaves to be awaited."""
    result = await awaitable
    rest = call(lambda: result)  # its first step may raise anything too
    if rest is not None:
        await rest


async def _await(awaitable: Awaitable[object]) -> object:
    return await awaitable


@coroutine
def _until_done(steps: Coroutine[Any, Any, object], waits_for: object) -> Generator[Deferred[Any], Any, object]:
    """
    Run a coroutine that was begun to its end, and look at each thing it waits for.

    Twisted would take what is no Deferred for a result, and resume at once.
    """
    while True:
        step: Callable[[Any], object] = steps.send
        if not isinstance(waits_for, Deferred):
            steps.close()
            raise HandlerMistake(
                f"the handler waits for {safe_repr(waits_for)}: Twisted's reactor knows Deferreds only, "
                "and asyncio's awaitables with REACTOR=asyncio"
            )
        try:
            value: Any = yield waits_for
        except BaseException as error:
            if isinstance(error, GeneratorExit) and not waits_for.called:
                steps.close()  # nobody waits for us any more
                raise
            step, value = steps.throw, error
        try:
            waits_for = step(value)
        except StopIteration as end:
            return end.value
        except Exception:
            raise
        except BaseException as error:
            raise _as_exception(error) from error


def _asyncio_loop() -> asyncio.AbstractEventLoop | None:
    """The loop of asyncio, if it is what runs the reactor."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _as_future(awaitable: Awaitable[object], loop: asyncio.AbstractEventLoop) -> asyncio.Future[Any]:
    """
    Have asyncio run something: much of its ecosystem asks for the current task.

    A task notices a future that belongs to another loop, and that nothing would ever end.
    """
    steps = awaitable if isinstance(awaitable, CoroutineType) else _await(awaitable)
    return loop.create_task(_in_task(steps, loop))


async def _await_future(future: asyncio.Future[Any]) -> object:
    try:
        return await Deferred.fromFuture(future)
    except (Exception, GeneratorExit):
        raise
    except BaseException as error:  # asyncio's CancelledError is one
        raise _as_exception(error) from error


async def _in_task(steps: Coroutine[Any, Any, object], loop: asyncio.AbstractEventLoop) -> object:
    return await _bridge(steps, loop)


@coroutine
def _bridge(steps: Coroutine[Any, Any, object], loop: asyncio.AbstractEventLoop) -> Generator[Any, Any, object]:
    """
    Run a coroutine in a task of asyncio, for which Deferreds are turned into futures.

    Only an C{Exception} may leave it: others end the loop, or cancel who waits.
    """
    step: Callable[[Any], Any] = steps.send
    value: Any = None
    while True:
        try:
            waits_for = step(value)
        except StopIteration as end:
            return end.value
        except Exception:
            raise
        except BaseException as error:
            raise _as_exception(error) from error
        try:
            if isinstance(waits_for, Deferred):
                value = yield from _when_fired(waits_for, loop)
            else:
                value = yield waits_for
        except BaseException as error:
            step, value = steps.throw, error
        else:
            step = steps.send


def _when_fired(deferred: Deferred[Any], loop: asyncio.AbstractEventLoop) -> asyncio.Future[Any]:
    """
    Return a future that is done once a Deferred has fired.

    The Deferred keeps its result, which C{asFuture} would take: who awaits a
    Deferred looks at its result after the wait.
    """
    future: asyncio.Future[Any] = loop.create_future()

    def pass_on(result: Any) -> Any:
        if future.cancelled():
            return None
        future.set_result(None)
        return result

    def pass_back(ended: asyncio.Future[Any]) -> None:
        if ended.cancelled():
            deferred.cancel()

    deferred.addBoth(pass_on)
    future.add_done_callback(pass_back)
    return future


def _as_exception(error: BaseException) -> Exception:
    words = f"the handler raised {type(error).__name__}: {safe_str(error)}"
    if isinstance(error, SystemExit | KeyboardInterrupt):
        return HandlerExit(words)
    return HandlerMistake(words)
