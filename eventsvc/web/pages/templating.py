"""
Makes HTML.  Everything that is put into a template is escaped here, and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from eventsvc.dashboard import words
from eventsvc.json_text import is_too_deep


def link(path: str, /, **query: object) -> str:
    """Return a path with a query, without the parts that are empty."""
    told = urlencode({name: value for name, value in query.items() if value not in ("", None)}, doseq=True)
    return f"{path}?{told}" if told else path


def with_code(text: str) -> Markup:
    """Return a text whose parts between backticks are code."""
    parts = re.split(r"`([^`]+)`", text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else escape(part) for index, part in enumerate(parts)
    )


def pretty(text: bytes) -> str:
    """Return JSON with its members in lines; another text as it is.  At most 100,000 characters."""
    most = 100_000
    shown = text.decode("utf-8", "backslashreplace")
    if len(text) <= most and not is_too_deep(text):
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            shown = msgspec.json.format(text, indent=2).decode()
    return shown if len(shown) <= most else f"{shown[:most]}\n[cut, {len(text)} bytes in all]"


#: What a browser does not show, and what turns the text after it around, so that a name looks like another (UAX 9).
_HIDDEN: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def show_hidden(value: object) -> object:
    """Return a text with escapes for what would not be seen; anything else as it is."""
    if not isinstance(value, str) or isinstance(value, Markup) or value.isprintable():
        return value
    return _HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode(), value)


def make_environment() -> Environment:
    """Return the environment of all templates: whatever is not Markup is escaped, and an unknown name is an error."""
    environment = Environment(
        loader=PackageLoader("eventsvc.web.pages"),
        autoescape=True,
        finalize=show_hidden,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count=words.count,
        rate=words.rate,
        duration=words.duration,
        size=words.size,
        clock=words.clock,
        entry_time=words.entry_time,
        with_code=with_code,
        pretty=pretty,
    )
    environment.globals.update(link=link)
    return environment


_environment: Final = make_environment()


def render_template(name: str, context: Mapping[str, Any]) -> Markup:
    """Return the HTML of a template."""
    return Markup(_environment.get_template(f"{name}.html").render(context))
