"""
The options that commands share.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from eventsvc.event import is_entry_id
from eventsvc.settings import RedisSettings
from eventsvc.settings.reading import Setting, rows

_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}


def entry_id(text: str) -> str:
    """Return the id of an entry; the type of an argument."""
    if not is_entry_id(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not an id: expected one such as 1764000000000-0, see `list`")
    return text


def count(text: str) -> int:
    """Return a number from 1; the type of an argument."""
    if not re.fullmatch(r"[0-9]{1,9}", text) or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from 1")
    return int(text)


def utf8(text: str) -> str:
    """Return a text of UTF-8; the type of an argument."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected UTF-8") from None
    return text


def words(text: str) -> str:
    """Return a text of UTF-8 that is not empty; the type of an argument."""
    if not utf8(text):
        raise argparse.ArgumentTypeError("expected a text that is not empty")
    return text


def moment(text: str) -> int:
    """Return a time in milliseconds since 1970: that long ago, or a date; the type of an argument."""
    if found := re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smhd]?)", text):
        return max(0, round((time.time() - float(found[1]) * _UNITS[found[2]]) * 1000))
    try:
        date = datetime.fromisoformat(text)
        return max(0, round((date if date.tzinfo else date.astimezone()).timestamp() * 1000))
    except (ValueError, OverflowError, OSError):
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected how long ago, such as 90s, 15m, 1h or 2d, or a date, such as 2030-01-31T12:00:00Z"
        ) from None


def json_option() -> argparse.ArgumentParser:
    """Return a parent parser with C{--json}."""
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument("--json", action="store_true", help="write the result as JSON")
    return parent


def redis_options() -> argparse.ArgumentParser:
    """Return a parent parser with the settings of Redis."""
    parent = argparse.ArgumentParser(add_help=False)
    add_settings(parent, "Redis", (row for _, row in rows(RedisSettings)))
    return parent


def add_settings(parser: argparse.ArgumentParser, title: str, settings: Iterable[Setting]) -> None:
    """Add a group of options, one for each setting."""
    group = parser.add_argument_group(title, "each can also be set in the environment, as for the services")
    for row in settings:
        group.add_argument(f"--{row.flag}", dest=row.flag, metavar="VALUE", help=f"{row.help} [{row.name}]")


def add_topic(topics: Any, name: str, help: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add a topic that is a command itself."""
    parser: argparse.ArgumentParser = topics.add_parser(
        name, allow_abbrev=False, help=help, description=f"{help[0].upper()}{help[1:]}.", parents=list(parents)
    )
    return parser
