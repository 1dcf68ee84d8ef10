"""
The command C{eventsvc}.

It exits with 0 on success, 1 if anything failed, and 2 if the command line or a
setting is invalid.  Results go to standard output, everything else to standard
error.
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import signal
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, NoReturn

import attrs
from twisted.internet.task import react
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogBeginner
from zope.interface import provider

from eventsvc import __version__
from eventsvc.cli.dead_letters import Asked, Desk, NotDone
from eventsvc.cli.report import add_report_topic, show_report
from eventsvc.cli.tokens import NewToken, add_token_topic
from eventsvc.settings import RedisSettings
from eventsvc.settings.reading import InvalidSettings, read, rows
from eventsvc.tap.parts.connection import make_connection
from eventsvc.tap.process import use_monotonic_time


def _id(text: str) -> str:
    if not re.fullmatch(r"[0-9]{1,20}-[0-9]{1,20}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not an id: expected one such as 1764000000000-0, see `list`")
    return text


def _limit(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from 1")
    return int(text)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="eventsvc", description="Manage eventsvc from the command line.")
    parser.add_argument("--version", action="version", version=__version__)
    topics = parser.add_subparsers(title="topics", required=True, metavar="TOPIC", dest="topic")
    add_token_topic(topics)
    add_report_topic(topics)
    dead = topics.add_parser("dead", help="list, show, replay or purge events that were set aside")
    commands = dead.add_subparsers(title="commands", required=True, metavar="COMMAND", dest="command")

    everywhere = argparse.ArgumentParser(add_help=False)
    form = everywhere.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="write the result as JSON")
    form.add_argument("-q", "--quiet", action="store_true", help="write only ids, one per line")
    redis = everywhere.add_argument_group("Redis", "each can also be set in the environment, as for the services")
    for _, row in rows(RedisSettings):
        redis.add_argument(f"--{row.flag}", dest=row.flag, metavar="VALUE", help=f"{row.help} [{row.name}]")

    some = argparse.ArgumentParser(add_help=False)
    some.add_argument("ids", nargs="*", type=_id, metavar="ID", help="id of a dead letter, from `list`")
    some.add_argument("--all", action="store_true", help="all dead letters")
    some.add_argument("-y", "--yes", action="store_true", help="do not ask for confirmation")

    add = partial(commands.add_parser, allow_abbrev=False)
    listing = add("list", parents=[everywhere], help="list dead letters, the oldest first")
    listing.add_argument("--limit", type=_limit, metavar="N", help="list at most N dead letters")
    show = add("show", parents=[everywhere], help="show one dead letter in full")
    show.add_argument("id", type=_id, metavar="ID", help="id of a dead letter, from `list`")
    add("replay", parents=[some, everywhere], help="move dead letters back to the end of the stream")
    add("purge", parents=[some, everywhere], help="delete dead letters permanently")
    return parser


def parse(arguments: Sequence[str] | None, anybody: bool) -> tuple[Asked, RedisSettings]:
    """
    Parse the command line of C{dead}; exit with 2 if it is invalid.

    @param anybody: whether a user can be asked for confirmation.
    """
    parser = make_parser()
    return check_dead(parser, vars(parser.parse_args(arguments)), anybody)


def check_dead(parser: argparse.ArgumentParser, given: dict[str, Any], anybody: bool) -> tuple[Asked, RedisSettings]:
    """Return the command C{dead} that was given, with the settings of Redis; exit with 2 if it is invalid."""
    asked = Asked(**{name: value for name, value in given.items() if name in attrs.fields_dict(Asked)})
    if asked.command in ("replay", "purge"):
        if bool(asked.ids) == asked.all:
            parser.error("expected either ids or --all")
        if not asked.yes and not anybody:
            parser.error("cannot ask for confirmation, because standard input is not a terminal: pass --yes")
    try:
        return asked, read(RedisSettings, os.environ, given)
    except InvalidSettings as problems:
        parser.exit(2, "".join(f"eventsvc: {problem}\n" for problem in str(problems).splitlines()))


async def run(reactor: Any, asked: Asked, redis: RedisSettings) -> int:
    """Run the command, and return the exit code."""
    try:
        connection = make_connection(reactor, redis, follow=False, lasting=False)  # the services warn about that
    except InvalidSettings as wrong:
        sys.stderr.write(f"eventsvc: {wrong}\n")
        return 2
    desk = Desk(asked=asked, redis=redis, connection=connection, clock=reactor, out=sys.stdout, err=sys.stderr, ask=ask)
    connection.startService()
    try:
        await getattr(desk, asked.command)()
    except NotDone as problems:
        for problem in str(problems).splitlines():
            sys.stderr.write(f"eventsvc: {problem}\n")
        return 1
    except BrokenPipeError:  # the reader of the output has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    finally:
        await connection.stopService()
    return 0


def ask(question: str) -> bool:
    """
    Ask the user at the terminal.

    This blocks the reactor, so its handler of Ctrl-C is replaced meanwhile;
    otherwise Ctrl-C would have no effect.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        sys.stderr.write(question)
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return False
    finally:
        signal.signal(signal.SIGINT, before)


@provider(ILogObserver)
def warn(event: LogEvent) -> None:
    """Write a log event of level warn or higher to standard error, on one line."""
    if event.get("log_level", LogLevel.info) >= LogLevel.warn:
        sys.stderr.write(f"eventsvc: {formatEvent(event)}\n")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and end the process."""
    parser = make_parser()
    given = vars(parser.parse_args(arguments))
    if given["topic"] == "token":
        raise SystemExit(NewToken(sys.stdout.buffer, sys.stderr, secrets.token_bytes, time.time_ns).show(given))
    if given["topic"] == "report":
        raise SystemExit(show_report(given))
    asked, redis = check_dead(parser, given, anybody=sys.stdin.isatty())
    globalLogBeginner.beginLoggingTo([warn], redirectStandardIO=False, discardBuffer=True)
    code = 130  # the exit code after an interrupt

    async def job(reactor: Any) -> None:
        nonlocal code
        use_monotonic_time(reactor)
        code = await run(reactor, asked, redis)

    try:
        react(job)
    except SystemExit as end:
        raise SystemExit(end.code or code) from None
