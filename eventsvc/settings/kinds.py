"""
The kinds of values of settings, and how each is parsed and checked.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from typing import Any

import attrs

from eventsvc.settings.addresses import parse_addresses, show_wrong_addresses
from eventsvc.settings.origins import parse_origins
from eventsvc.simulator.thresholds import parse_thresholds
from eventsvc.simulator.traffic import PATTERNS


@attrs.frozen
class Kind:
    """
    A kind of value.

    @ivar expects: the expected form, for error texts and the docs.
    @ivar parse: returns the value of a text; raises C{ValueError} or C{KeyError}.
    @ivar show: how an error shows a text, without the secrets in it.
    """

    expects: str
    parse: Callable[[str], Any]
    show: Callable[[str], str] = repr


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


def _bearer(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9\-._~+/]+=*", text):
        raise ValueError
    return text


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


def _streams(text: str) -> tuple[str, ...]:
    return tuple(_stream(name) for name in text.split(",")) if text else ()


def _host_names(text: str) -> frozenset[str]:
    names = text.lower().split(",") if text else []
    for name in names:
        for label in name.split("."):
            _check_label(label)
    return frozenset(names)


def _action_token(text: str) -> str:
    if 0 < len(_text(text)) < 16:
        raise ValueError
    return text


def _address(text: str) -> str:
    return str(ip_address("127.0.0.1" if text == "localhost" else text)) if text else ""


def _optional_count(text: str) -> int | None:
    return _integer(1, 10**15)(text)


_URL = re.compile(
    r"https?://(?:\[(?P<v6>[0-9A-Fa-f:]+)\]|(?P<host>[A-Za-z0-9.-]+))(?::(?P<port>[0-9]{1,5}))?"
    r"(?:[/?][\x21\x22\x24-\x7e]*)?"
)


def _url(text: str) -> str:
    if not text:
        return ""
    found = _URL.fullmatch(text)
    if found is None or not 0 < int(found["port"] or 1) < 65_536:
        raise ValueError
    if found["v6"]:
        IPv6Address(found["v6"])
    else:
        for label in found["host"].removesuffix(".").split("."):
            _check_label(label.lower())
    return text


def _check_label(label: str) -> None:
    """Check a part of a host name, as strictly as the client does."""
    if not re.fullmatch(r"(?!-)[a-z0-9-]{1,63}(?<!-)", label) or (label[2:4] == "--" and label[:2] != "xn"):
        raise ValueError
    label.encode().decode("idna")


def hide_url(text: str) -> str:
    """Return a URL without its user, password and query."""
    shown = re.sub(r"(?s).*@", "(hidden)@", text)
    return re.sub(r"(?s)([?#]).*", r"\1(hidden)", shown)


def _signing_secrets(text: str) -> tuple[bytes, ...] | None:
    words = text.split()
    if words in ([], ["none"]):
        return () if words else None
    return tuple([_signing_secret(word) for word in words])


def _signing_secret(word: str) -> bytes:
    prefix, _, encoded = word.rpartition("whsec_")
    encoded = encoded.rstrip("=")
    key = b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    if prefix or not word.startswith("whsec_") or not 24 <= len(key) <= 64:
        raise ValueError
    return key


def _sizes(text: str) -> tuple[int, int]:
    least, _, most = text.partition("-")
    sizes = _integer(0, 1_000_000)(least), _integer(0, 1_000_000)(most or least)
    if sizes[0] > sizes[1] or text.endswith("-"):
        raise ValueError
    return sizes


_DAY = 86_400.0

TEXT = Kind("UTF-8 text", _text)
NAME = Kind("a name without white space", _name)
STREAM = Kind("a name without white space or braces", _stream)
STREAMS = Kind("names like that of REDIS_STREAM, with commas between them", _streams)
HOST_NAMES = Kind("host names with commas between them", _host_names)
ACTION_TOKEN = Kind("at least 16 characters of UTF-8 text", _action_token)
ADDRESS = Kind("an IPv4 or IPv6 address, or localhost", _address)
PORT = Kind("a port number from 1 to 65535", _integer(1, 65535))
OPTIONAL_PORT = Kind("a port number from 0 to 65535", _integer(0, 65535))
ADDRESSES = Kind(
    "host:port of each, with commas between them; [::1]:26379 for IPv6", parse_addresses, show=show_wrong_addresses
)
DATABASE = Kind("a database number from 0 to 99999", _integer(0, 99_999))
COUNT = Kind("a whole number from 1", _integer(1, 10**15))
BOUND = Kind("a whole number from 0", _integer(0, 10**15))
OPTIONAL_COUNT = Kind("a whole number from 1", _optional_count)
SIZE = Kind("a whole number from 0", _integer(0, 10**15))
SEED = Kind("a whole number from 0", _integer(0, 10**15))
SECONDS = Kind("seconds from 0.001 to 31536000, decimals allowed", _bounded(0.001, 365 * _DAY))
LONG_SECONDS = Kind("seconds from 60 to 31536000, decimals allowed", _bounded(60, 365 * _DAY))
OPTIONAL_SECONDS = Kind("seconds from 0 to 31536000, decimals allowed", _bounded(0, 365 * _DAY))
RATE = Kind("events per second from 0.001 to 1000000, decimals allowed", _bounded(0.001, 1e6))
SHARE = Kind("a number from 0.01 to 1", _bounded(0.01, 1))
SWITCH = Kind("on or off", _switch)
URL = Kind(
    "an http or https URL in ASCII, without user, password or fragment", _url, show=lambda text: repr(hide_url(text))
)
SIGNING_SECRETS = Kind(
    "whsec_ and the base64 of 24 to 64 bytes, several separated by spaces, or none to sign nothing", _signing_secrets
)
ORIGINS = Kind("origins (scheme://host[:port], without a path) separated by commas, or * for all", parse_origins)
LEVEL = Kind(
    "one of DEBUG, INFO, WARN, ERROR, CRITICAL, in any case",
    _choice("DEBUG", "INFO", "WARN", "WARNING", "ERROR", "CRITICAL"),
)
LOG_FORMAT = Kind("auto, json or text, in any case", _choice("AUTO", "JSON", "TEXT"))
REACTOR = Kind("one of auto, asyncio, default, in any case", _choice("AUTO", "ASYNCIO", "DEFAULT"))
TRACING = Kind("off or otlp, in any case", _choice("OFF", "OTLP"))
DURABILITY = Kind("memory, disk or replicas, in any case", _choice("MEMORY", "DISK", "REPLICAS"))
FORM = Kind("plain, cloudevents or mixed, in any case", _choice("PLAIN", "CLOUDEVENTS", "MIXED"))
PATTERN = Kind("poisson, constant or burst, in any case", _choice(*PATTERNS))
BATCH = Kind("a whole number from 1 to 1000", _integer(1, 1_000))
SIZES = Kind("a number of characters from 0 to 1000000, or a range such as 100-5000", _sizes)
THRESHOLDS = Kind(
    "conditions such as p99<50ms, max<1s, errors<0.1% or rate>=5000/s, with commas between them", parse_thresholds
)
BEARER = Kind("a token of letters, digits and -._~+/", _bearer)
