"""
What processes take from Python and from the operating system, replaced for a run.
"""

from __future__ import annotations

import gc
import os
import random
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from time import gmtime
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import twisted.internet.endpoints as twisted_endpoints
import twisted.logger._logger as twisted_logger
import twisted.web.http as twisted_http
from twisted.logger import ILogObserver, globalLogPublisher

import eventsvc.tap.parts.consumer as consumer_parts
import eventsvc.tap.parts.producer as producer_parts
import eventsvc.tap.process as eventsvc_process
from eventsvc.tap.heartbeats import Identity
from simulation.world.handlers import ruling
from simulation.world.process import EPOCH, Process
from simulation.world.reactor import Port
from simulation.world.timeline import Timeline


class _NoThread:
    """A thread that never runs: nothing in a simulated process outlasts its reactor."""

    daemon = False

    def __init__(self, *_: object) -> None: ...

    def start(self) -> None: ...


def _leave_undeclared(*interfaces: object) -> Callable[[type], type]:
    """Leave the class that an endpoint makes for each attempt to connect as it is: to declare it takes longest."""
    return lambda made: made


@contextmanager
def surroundings(world: Any) -> Iterator[None]:
    """
    Replace clocks, chance and the operating system by those of the process that runs.

    Nothing that differs between two runs reaches the processes of a world.
    """
    timeline: Timeline = world.timeline

    seconds = timeline.seconds

    def wall() -> float:
        current: Process | None = timeline.current
        return EPOCH + timeline.now if current is None else current.wall.time()

    def chance() -> random.Random:
        current: Process | None = timeline.current
        return world.random if current is None else current.random

    def end_now(code: int) -> None:
        timeline.current.end(code)

    def take_signal(number: int, handler: Any) -> None:
        timeline.current.signals[number] = handler

    def identify(role: str, name: str, group: str = "") -> Identity:
        current: Process = timeline.current
        return Identity(role, name, group, host=current.host, pid=1 + current.life, started=current.wall.time())

    def observe(event: Any) -> None:
        world.logged(event)

    patches = [
        patch.multiple(
            time,
            time=wall,
            time_ns=lambda: round(wall() * 1e9),
            monotonic=seconds,
            monotonic_ns=lambda: round(seconds() * 1e9),
            perf_counter=seconds,
            process_time=lambda: 0.0,
        ),
        patch.multiple(
            random,
            random=lambda: chance().random(),
            getrandbits=lambda bits: chance().getrandbits(bits),
            randrange=lambda *between: chance().randrange(*between),
            uniform=lambda low, high: chance().uniform(low, high),
        ),
        patch.multiple(
            secrets,
            token_hex=lambda size=32: chance().randbytes(size).hex(),
            token_bytes=lambda size=32: chance().randbytes(size),
        ),
        patch.object(sys, "unraisablehook", lambda unraisable: None),
        patch.object(os, "urandom", lambda size: chance().randbytes(size)),
        patch.object(twisted_logger, "time", wall),
        patch.object(twisted_endpoints, "implementer", _leave_undeclared),
        patch.multiple(twisted_http, time=wall, gmtime=lambda *seconds: gmtime(*(seconds or [wall()]))),
        patch.multiple(
            eventsvc_process,
            signal=SimpleNamespace(signal=take_signal, SIGTERM=signal.SIGTERM, SIGINT=signal.SIGINT),
            os=SimpleNamespace(_exit=end_now),
            Timer=_NoThread,
            PausingPort=Port,
            listening_reactor=lambda reactor: reactor,
            _leave_to_the_end=lambda: None,
        ),
        patch.multiple(producer_parts, raise_descriptor_limit=lambda: 65_536, Identity=identify),
        patch.object(consumer_parts, "Identity", identify),
    ]
    collects = gc.isenabled()
    gc.disable()  # finalizers would run at any time
    observers, globalLogPublisher._observers = globalLogPublisher._observers, [cast(ILogObserver, observe)]
    try:
        with ExitStack() as stack, ruling(world):
            for each in patches:
                stack.enter_context(each)
            yield
    finally:
        globalLogPublisher._observers = observers
        if collects:
            gc.enable()
