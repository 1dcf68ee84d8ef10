"""
The command C{eventsvc}.

It exits with 0 on success, 1 if anything failed, and 2 if the command line or a
setting is invalid.  Results go to standard output, everything else to standard
error.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import react
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogBeginner
from twisted.python.reflect import namedAny
from zope.interface import provider

from eventsvc import __version__
from eventsvc.cli.call import Call, NotDone
from eventsvc.cli.completion import add_completion_topic, write_completion
from eventsvc.cli.dead_topic import add_dead_topic
from eventsvc.cli.report import add_report_topic, show_report
from eventsvc.cli.tokens import NewToken, add_token_topic
from eventsvc.cli.topics import add_doctor_topic, add_find_topic, add_send_topic, add_status_topics, add_tail_topic
from eventsvc.redis.trouble import ERROR_REPLY
from eventsvc.settings import RedisSettings
from eventsvc.settings.reading import InvalidSettings, read
from eventsvc.tap.monotonic_time import use_monotonic_time
from eventsvc.text_lines import printable


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="eventsvc", description="Look at eventsvc, and manage it.")
    parser.add_argument("--version", action="version", version=__version__)
    topics = parser.add_subparsers(title="topics", required=True, metavar="TOPIC", dest="topic")
    add_status_topics(topics)
    add_tail_topic(topics)
    add_find_topic(topics)
    add_send_topic(topics)
    add_dead_topic(topics)
    add_doctor_topic(topics)
    add_token_topic(topics)
    add_report_topic(topics)
    add_completion_topic(topics)
    return parser


def parse(arguments: Sequence[str] | None, anybody: bool) -> Mapping[str, Any]:
    """
    Parse the command line; exit with 2 if it is invalid.

    @param anybody: whether a user can be asked for confirmation.
    """
    parser = make_parser()
    if not (sys.argv[1:] if arguments is None else arguments):
        parser.print_help(sys.stderr)
        parser.exit(2)
    given = vars(parser.parse_args(arguments))
    if "check" in given:
        given["check"](parser, given, anybody)
    if "run" in given:
        try:
            for settings in given.get("settings", [RedisSettings]):
                read(settings, os.environ, given)
        except InvalidSettings as problems:
            parser.exit(2, "".join(f"eventsvc: {problem}\n" for problem in str(problems).splitlines()))
    return given


async def run(reactor: Any, given: Mapping[str, Any]) -> int:
    """Run the command, and return the exit code."""
    call = Call(given=given, reactor=reactor, out=sys.stdout, err=sys.stderr)
    try:
        code: int = await namedAny(given["run"])(call)
        sys.stdout.flush()
        return code
    except (InvalidSettings, NotDone) as problems:
        for problem in str(problems).splitlines():
            call.say(f"eventsvc: {problem}")
        return 2 if isinstance(problems, InvalidSettings) else 1
    except OSError as error:
        return give_up(error)


async def until_interrupted(reactor: Any, command: Coroutine[Any, Any, int]) -> int:
    """Run a command; when the reactor stops, as after Ctrl-C, cancel it, and wait until it has said how far it came."""
    running = Deferred.fromCoroutine(command)
    ended: Deferred[None] = Deferred()

    def interrupt() -> Deferred[None]:
        running.cancel()
        return ended

    reactor.addSystemEventTrigger("before", "shutdown", interrupt)
    try:
        return await running
    finally:
        ended.callback(None)


def run_at_once(command: Callable[[], int]) -> int:
    """Run a command that needs no reactor, and return the exit code."""
    try:
        code = command()
        sys.stdout.flush()
        return code
    except OSError as error:
        return give_up(error)


def give_up(error: OSError) -> int:
    """Say that the result cannot be written, unless its reader has had enough; return the exit code."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python writes the rest when it ends
    if not isinstance(error, BrokenPipeError):
        sys.stderr.write(f"eventsvc: cannot write the result: {error.strerror}\n")
    return 1


def open_outputs() -> None:
    """
    Prepare standard output and standard error: they may be in ASCII, or closed.

    Results for an output that is closed cannot be written; messages are dropped.
    """
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w")
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


@provider(ILogObserver)
def warn(event: LogEvent) -> None:
    """Write a log event of level warn or higher to standard error, on one line, unless the command itself says it."""
    if event.get("log_level", LogLevel.info) >= LogLevel.warn and event.get("log_format") != ERROR_REPLY:
        sys.stderr.write(f"eventsvc: {printable(formatEvent(event))}\n")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and end the process."""
    open_outputs()
    given = parse(arguments, anybody=sys.stdin is not None and sys.stdin.isatty())
    if given["topic"] == "token":
        raise SystemExit(NewToken(sys.stdout.buffer, sys.stderr, secrets.token_bytes, time.time_ns).show(given))
    if given["topic"] == "report":
        raise SystemExit(run_at_once(partial(show_report, given)))
    if given["topic"] == "completion":
        raise SystemExit(run_at_once(partial(write_completion, make_parser(), given["shell"], sys.stdout)))
    globalLogBeginner.beginLoggingTo([warn], redirectStandardIO=False, discardBuffer=True)
    code = 130  # the exit code after an interrupt

    async def job(reactor: Any) -> None:
        nonlocal code
        use_monotonic_time(reactor)
        with suppress(CancelledError):
            code = await until_interrupted(reactor, run(reactor, given))

    try:
        react(job)
    except SystemExit as end:
        raise SystemExit(end.code or code) from None
