"""
The kinds of values of settings, and how each is parsed and checked.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import attrs


@attrs.frozen
class Kind:
    """
    A kind of value.

    @ivar expects: the expected form, for error texts and the docs.
    @ivar parse: returns the value of a text; raises C{ValueError} or C{KeyError}.
    """

    expects: str
    parse: Callable[[str], Any]


def _number(text: str) -> float:
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        raise ValueError
    return float(text)


def _integer(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", text) or not least <= int(text) <= most:
            raise ValueError
        return int(text)

    return parse


def _bounded(least: float, most: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        number = _number(text)
        if not least <= number <= most:
            raise ValueError
        return number

    return parse


def _choice(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.upper() not in words:
            raise ValueError
        return text.upper()

    return parse


def _switch(text: str) -> bool:
    return {"on": True, "true": True, "yes": True, "1": True, "off": False, "false": False, "no": False, "0": False}[
        text.lower()
    ]


def _text(text: str) -> str:
    text.encode()
    return text


def _name(text: str) -> str:
    if not text or " " in text or not text.isprintable():
        raise ValueError
    return text


def _stream(text: str) -> str:
    if "{" in text or "}" in text:
        raise ValueError
    return _name(text)


def _address(text: str) -> str:
    return str(ip_address("127.0.0.1" if text == "localhost" else text)) if text else ""


def _optional_count(text: str) -> int | None:
    return _integer(1, 10**15)(text)


_DAY = 86_400.0

TEXT = Kind("UTF-8 text", _text)
NAME = Kind("a name without white space", _name)
STREAM = Kind("a name without white space or braces", _stream)
ADDRESS = Kind("an IPv4 or IPv6 address, or localhost", _address)
PORT = Kind("a port number from 1 to 65535", _integer(1, 65535))
OPTIONAL_PORT = Kind("a port number from 1 to 65535, or 0 for none", _integer(0, 65535))
DATABASE = Kind("a database number from 0 to 99999", _integer(0, 99_999))
COUNT = Kind("a whole number from 1", _integer(1, 10**15))
BOUND = Kind("a whole number from 1, or 0 for no bound", _integer(0, 10**15))
OPTIONAL_COUNT = Kind("a whole number from 1", _optional_count)
SEED = Kind("a whole number from 0", _integer(0, 10**15))
SECONDS = Kind("seconds from 0.001 to 31536000, decimals allowed", _bounded(0.001, 365 * _DAY))
LONG_SECONDS = Kind("seconds from 60 to 31536000, decimals allowed", _bounded(60, 365 * _DAY))
OPTIONAL_SECONDS = Kind("seconds from 0 to 31536000, decimals allowed", _bounded(0, 365 * _DAY))
RATE = Kind("events per second from 0.001 to 1000000, decimals allowed", _bounded(0.001, 1e6))
SWITCH = Kind("on or off", _switch)
LEVEL = Kind(
    "one of DEBUG, INFO, WARN, ERROR, CRITICAL, in any case",
    _choice("DEBUG", "INFO", "WARN", "WARNING", "ERROR", "CRITICAL"),
)
REACTOR = Kind("one of auto, asyncio, default, in any case", _choice("AUTO", "ASYNCIO", "DEFAULT"))
