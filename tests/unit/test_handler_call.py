"""
Tests for L{eventsvc.consumer.handler_call}: whatever a handler is, returns or raises,
it is finished, awaited or an C{Exception}; never taken for success unrun.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import types
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import pytest
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    ensureDeferred,
    fail,
    inlineCallbacks,
    returnValue,
    succeed,
)
from twisted.python.failure import Failure

from eventsvc.consumer.handler_call import HandlerExit, HandlerMistake, call, find_fault

ran: list[str] = []


@pytest.fixture(scope="module", autouse=True)
def _few_objects() -> None:
    """Exempt what other tests have left from garbage collection: one after each test here takes long otherwise."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _nothing_ran() -> Iterator[None]:
    ran.clear()
    yield
    gc.collect()  # a coroutine that was never awaited warns, and fails the test


def outcome(function: Callable[..., Any], *arguments: object) -> Any:
    """Call a handler and await it; C{"finished"}, the error, or the Deferred it waits in."""
    try:
        unfinished = call(function, *arguments)
    except Exception as error:
        return error
    if unfinished is None:
        return "finished"
    results: list[Any] = []
    waiting = ensureDeferred(unfinished)
    waiting.addCallbacks(lambda _: "finished", lambda failure: failure.value).addCallback(results.append)
    return results[0] if results else waiting


async def work(*_: object) -> None:
    ran.append("work")


def generate(*_: object) -> Generator[int, None, None]:
    ran.append("generated")
    yield 1


async def generate_async(*_: object) -> Any:
    ran.append("generated")
    yield 1


@types.coroutine
def old_coroutine(*_: object) -> Generator[Deferred[None], None, None]:
    yield succeed(None)
    ran.append("work")


@inlineCallbacks
def inline(*_: object) -> Generator[Deferred[None], None, None]:
    yield succeed(None)
    ran.append("work")


class Awaitable:
    """What Cython's coroutines are: something with C{__await__}."""

    def __await__(self) -> Iterator[Any]:
        yield from succeed(None).__await__()
        ran.append("work")


class Callable_:
    """An object that is called."""

    async def __call__(self, _: object) -> None:
        ran.append("work")

    async def method(self, _: object) -> None:
        ran.append("work")


class CallableGenerator:
    """An object that is called, and would have to be iterated."""

    def __call__(self, _: object) -> Generator[int, None, None]:
        yield 1


@pytest.mark.parametrize("result", [None, 0, True, "text", [], {}, object(), MagicMock(), 1.5, b"", iter([])])
def test_a_plain_result_is_success(result: object) -> None:
    assert outcome(lambda _: result, 1) == "finished"


@pytest.mark.parametrize(
    "function",
    [
        work,
        old_coroutine,
        inline,
        lambda _: Awaitable(),
        lambda _: work(),
        lambda _: succeed(None).addCallback(lambda _: work()),
        Callable_(),
        Callable_().method,
        functools.partial(work, 1),
        functools.partial(functools.partial(Callable_(), 1)),
        AsyncMock(side_effect=work),
    ],
)
def test_what_can_be_awaited_is_awaited(function: Callable[..., Any]) -> None:
    arguments = () if isinstance(function, functools.partial) else (1,)
    assert outcome(function, *arguments) == "finished"
    assert ran == ["work"]


async def _forgets_to_await(_: object) -> Any:
    return work()


def test_what_the_result_of_a_coroutine_or_deferred_leaves_is_awaited_too() -> None:
    assert outcome(_forgets_to_await, 1) == "finished"
    assert outcome(lambda _: succeed(work()), 1) == "finished"
    assert ran == ["work", "work"]


async def _returns(result: object) -> object:
    return result


@pytest.mark.parametrize(
    "make",
    [
        generate,
        generate_async,
        lambda: map(print, "ab"),
        lambda: Callable_,
        lambda: ValueError,
        lambda: work,
        lambda: print,
        lambda: "".join,
        lambda: functools.partial(work),
        lambda: lambda: None,
        Future,
    ],
)
@pytest.mark.parametrize("wrap", [lambda result: result, _returns, succeed])
def test_what_nobody_would_run_is_a_mistake(make: Callable[[], object], wrap: Callable[[Any], Any]) -> None:
    error = outcome(lambda _: wrap(make()), 1)
    assert isinstance(error, HandlerMistake)
    assert str(error).startswith("the handler returned ")
    assert ran == []


def test_a_failure_is_the_error_it_holds() -> None:
    """A returned Failure, or a Deferred that fails, is an error like any other."""
    for value in (Failure(KeyError("x")), fail(KeyError("x"))):
        error = outcome(lambda _, value=value: value, 1)
        assert isinstance(error, KeyError)
    assert isinstance(outcome(lambda _: Failure(SystemExit()), 1), HandlerExit)
    assert isinstance(outcome(_returns, Failure(SystemExit())), HandlerExit)


class Own(BaseException):
    """An exception of somebody who read too little."""


def _raise(error: BaseException) -> Any:
    raise error


async def _raise_later(error: BaseException) -> Any:
    await succeed(None)
    raise error


def _fail(error: BaseException) -> Any:
    return fail(Failure(error))


async def _await_failed(error: BaseException) -> Any:
    await fail(Failure(error))


RAISERS = [_raise, _raise_later, _fail, _await_failed]


@pytest.mark.parametrize("function", RAISERS)
@pytest.mark.parametrize("error", [asyncio.CancelledError(), GeneratorExit(), Own("x")])
def test_no_base_exception_gets_past(function: Callable[..., Any], error: BaseException) -> None:
    found = outcome(function, error)
    assert isinstance(found, HandlerMistake)
    assert str(found).startswith(f"the handler raised {type(error).__name__}: ")


@pytest.mark.parametrize("function", RAISERS)
@pytest.mark.parametrize("error", [SystemExit(0), SystemExit("x"), KeyboardInterrupt()])
def test_who_asks_for_the_end_is_told_apart(function: Callable[..., Any], error: BaseException) -> None:
    assert isinstance(outcome(function, error), HandlerExit)


@pytest.mark.parametrize("result", [_raise_later, _fail, Failure])
@pytest.mark.parametrize(
    "error", [SystemExit(0), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError(), Own()]
)
def test_nor_does_what_a_handler_returns_after_it_has_waited(
    result: Callable[[BaseException], object], error: BaseException
) -> None:
    """A coroutine that it returns is begun then, and may raise at its first step."""
    turn: Deferred[None] = Deferred()
    failures: list[Failure] = []

    async def handler(_: object) -> object:
        await turn
        return result(error)

    unfinished = call(handler, 1)
    assert unfinished is not None
    ensureDeferred(unfinished).addErrback(failures.append)
    turn.callback(None)
    is_exit = isinstance(error, SystemExit | KeyboardInterrupt)
    assert [failure.type for failure in failures] == [HandlerExit if is_exit else HandlerMistake]


@pytest.mark.parametrize("function", RAISERS)
@pytest.mark.parametrize("error", [ValueError("x"), CancelledError(), StopAsyncIteration()])
def test_an_exception_stays_what_it_is(function: Callable[..., Any], error: Exception) -> None:
    found = outcome(function, error)
    assert type(found) in (type(error), RuntimeError)  # a coroutine may not raise some of them


def test_return_value_outside_of_inline_callbacks_is_a_mistake() -> None:
    with pytest.warns(DeprecationWarning, match="returnValue"):
        found = outcome(lambda _: returnValue(1), 1)
    assert isinstance(found, HandlerMistake)


# What it waits for


def test_a_deferred_holds_it_until_it_fires() -> None:
    waits: list[Deferred[int]] = []

    async def handler(_: object) -> None:
        for _ in range(2):
            waits.append(Deferred())
            ran.append(f"{await waits[-1]}")

    waiting = outcome(handler, 1)
    assert isinstance(waiting, Deferred)
    waits[0].callback(1)
    waits[1].callback(2)
    assert ran == ["1", "2"]
    assert waiting.called


def test_what_it_waits_for_may_fail_and_it_go_on() -> None:
    first: Deferred[None] = Deferred()

    async def handler(_: object) -> None:
        try:
            await first
        except KeyError:
            ran.append("caught")

    waiting = outcome(handler, 1)
    first.errback(KeyError("x"))
    assert ran == ["caught"]
    assert waiting.called


def test_a_cancellation_reaches_what_it_waits_for() -> None:
    first: Deferred[None] = Deferred()

    async def handler(_: object) -> None:
        try:
            await first
        finally:
            ran.append("left")

    unfinished = call(handler, 1)
    assert unfinished is not None
    waiting = ensureDeferred(unfinished)
    waiting.cancel()
    assert first.called
    assert ran == ["left"]
    waiting.addErrback(lambda failure: failure.trap(CancelledError))


def test_one_that_is_forgotten_is_closed() -> None:
    """As Python does with coroutines that nobody refers to."""

    async def handler(_: object) -> None:
        try:
            await Deferred()
        finally:
            ran.append("left")

    unfinished = call(handler, 1)
    assert unfinished is not None
    unfinished.send(None)
    unfinished.close()
    assert ran == ["left"]


async def _sleep(_: object) -> None:
    await asyncio.sleep(0)
    ran.append("slept")


async def _wait_for_future(_: object) -> None:
    loop = asyncio.new_event_loop()
    try:
        await loop.create_future()
    finally:
        loop.close()
        ran.append("closed")


def test_what_only_asyncio_can_wait_for_is_a_mistake_without_it() -> None:
    """It would never come; taken for a result, a loop that waits for something would never end."""
    handlers: list[Callable[..., Any]] = [_sleep, _wait_for_future, lambda _: asyncio.Future(loop=MagicMock())]
    for handler in handlers:
        error = outcome(handler, 1)
        assert isinstance(error, HandlerMistake)
        assert "REACTOR=asyncio" in str(error)
    assert ran == ["closed"]


def test_with_asyncio_running_its_awaitables_are_awaited() -> None:
    async def handler(_: object) -> None:
        await asyncio.sleep(0)
        await succeed(None)
        await asyncio.sleep(0.001)
        ran.append("work")

    async def run() -> list[Any]:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        failed = loop.create_future()
        failed.set_exception(KeyError("x"))
        loop.call_soon(future.set_result, None)
        handlers: list[Callable[..., Any]] = [
            handler,
            lambda _: future,
            lambda _: failed,
            lambda _: loop.create_task(handler(1)),
        ]
        outcomes = []
        for each in handlers:
            unfinished = call(each, 1)
            assert unfinished is not None
            waiting = ensureDeferred(unfinished).addErrback(lambda failure: failure.type)
            outcomes.append(await waiting.asFuture(loop))
        return outcomes

    assert asyncio.run(run()) == [None, None, KeyError, None]
    assert ran == ["work", "work"]


def test_with_asyncio_running_a_future_of_another_loop_is_an_error() -> None:
    """Nothing runs that loop, so it would never come."""
    other = asyncio.new_event_loop()
    future = other.create_future()

    async def run() -> Any:
        unfinished = call(lambda _: future, 1)
        assert unfinished is not None
        waiting = ensureDeferred(unfinished).addErrback(lambda failure: failure.value)
        return await asyncio.wait_for(waiting.asFuture(asyncio.get_running_loop()), 5.0)

    error = asyncio.run(run())
    other.close()
    assert isinstance(error, RuntimeError)
    assert "attached to a different loop" in str(error)


def test_with_asyncio_running_a_deferred_gives_its_result() -> None:
    """Its failure too; and it is cancelled with the handler that waits for it."""
    cancelled: list[object] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        waits = asyncio.Event()

        async def handler(_: object) -> None:
            fired: Deferred[int] = Deferred()
            loop.call_soon(fired.callback, 7)
            ran.append(f"{await fired}")
            failed: Deferred[int] = Deferred()
            loop.call_soon(failed.errback, Failure(KeyError("x")))
            with pytest.raises(KeyError):
                await failed
            waits.set()
            await Deferred(cancelled.append)

        unfinished = call(handler, 1)
        assert unfinished is not None
        waiting = ensureDeferred(unfinished).addErrback(lambda _: None)
        await waits.wait()
        waiting.cancel()
        await waiting.asFuture(loop)

    asyncio.run(run())
    assert ran == ["7"]
    assert len(cancelled) == 1


# What can be known before


@pytest.mark.parametrize(
    ("function", "fault"),
    [
        (generate, "is a generator: nothing would run it; is inlineCallbacks forgotten?"),
        (functools.partial(generate, 1), "is a generator: nothing would run it; is inlineCallbacks forgotten?"),
        (CallableGenerator(), "is a generator: nothing would run it; is inlineCallbacks forgotten?"),
        (generate_async, "is an async generator: nothing would run it"),
        (Callable_, "is a class without handle or handle_batch"),
        (ValueError, "is a class without handle or handle_batch"),
        (3, "is not callable"),
        (Failure(KeyError()), "is not callable"),
        (succeed(1), "is not callable"),
        (lambda: None, "cannot be called with 1 arguments: too many positional arguments"),
        (lambda a, b: None, "cannot be called with 1 arguments: missing a required argument: 'b'"),
        (work, ""),
        (inline, ""),
        (old_coroutine, ""),
        (Callable_(), ""),
        (Callable_().method, ""),
        (functools.partial(Callable_.method, Callable_()), ""),
        (AsyncMock(), ""),
        (MagicMock(), ""),
        (print, ""),
        ({}.update, ""),
    ],
)
def test_a_fault_is_found_before_anything_runs(function: object, fault: str) -> None:
    assert find_fault(function, None) == fault
    assert ran == []
