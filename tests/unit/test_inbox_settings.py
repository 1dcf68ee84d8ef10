"""
What an inbox is made from: a DSN, a plain function, and days.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from eventsvc.event import Notification
from eventsvc.handlers.inbox import inbox
from eventsvc.settings.reading import InvalidSettings


@pytest.mark.parametrize(
    ("dsn", "said"),
    [
        ("mysql://shop:secret@db/shop", "begins with postgresql:// or sqlite:///"),
        ("host=db password=secret", "begins with postgresql:// or sqlite:///"),
        ("postgresql://shop:secret%@db/shop", "percent-encoded"),
        ("postgresql://shop:secret#1@db/shop?nothing=secret", "percent-encoded"),
        ("sqlite://effects.db", "begins with postgresql:// or sqlite:///"),
        ("sqlite:///", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("", "begins with postgresql:// or sqlite:///"),
    ],
)
def test_a_wrong_dsn_is_refused_and_its_password_not_told(dsn: str, said: str) -> None:
    if said == "percent-encoded":
        pytest.importorskip("psycopg")
    with pytest.raises(InvalidSettings, match=said) as raised:
        inbox(print, dsn)
    assert "secret" not in str(raised.value)


def test_a_password_is_not_shown() -> None:
    pytest.importorskip("psycopg")
    assert "secret" not in repr(inbox(print, "postgresql://shop:secret@db/shop"))


def test_without_psycopg_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "eventsvc.handlers.inbox_postgres", raising=False)
    inbox(print, f"sqlite:///{tmp_path}/effects.db")
    with pytest.raises(InvalidSettings, match=r"\[postgres\]"):
        inbox(print, "postgresql://db/shop")


def test_psycopg_is_imported_for_postgresql_alone(tmp_path: Path) -> None:
    script = "import sys; from eventsvc.handlers.inbox import inbox; inbox(print, sys.argv[1]); print(*sys.modules)"
    command = [sys.executable, "-c", script, f"sqlite:///{tmp_path}/effects.db"]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split()
    assert "sqlite3" in loaded
    assert [name for name in loaded if name.startswith(("psycopg", "twisted.internet.reactor"))] == []


async def handle_later(_: Notification, __: Any) -> None:
    """Be a coroutine, which nothing awaits here."""


def generate(_: Notification, __: Any) -> Iterator[int]:
    """Be a generator, which nothing runs."""
    yield 1


@attrs.frozen
class Later:
    """Called, it is a coroutine."""

    async def __call__(self, _: Notification, __: Any) -> None: ...


@pytest.mark.parametrize(
    "handler",
    [handle_later, generate, Later, Later(), "book"],
    ids=["async", "generator", "class", "async object", "text"],
)
def test_a_handler_that_would_never_run_is_refused(handler: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="expected a plain function"):
        inbox(handler, f"sqlite:///{tmp_path}/effects.db")


@pytest.mark.parametrize("keep", [0, -1, float("nan")])
def test_records_cannot_be_kept_for_no_time(keep: float, tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="more than 0 days"):
        inbox(print, f"sqlite:///{tmp_path}/effects.db", keep=keep)
