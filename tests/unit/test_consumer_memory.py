"""
A consumer with a backlog of large events stays far below the chart's limit.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

import pytest

from chaos.suites import wait_until
from tests.support.helm import container, render
from tests.support.processes import Server, Service, Services
from tests.unit.test_handling import GROUP, STREAM, pending, start_consumer, unread

MEBIBYTE: Final = 2**20
#: Of the limit of the chart: the rest is for handlers, tracing and what Python makes of it.
SHARE: Final = 0.7
COUNT: Final = 60


def limit_of_the_chart() -> int:
    """Return the memory limit of a consumer, in bytes."""
    limits = container(render(), "event-consumer")["resources"]["limits"]
    return int(limits["memory"].removesuffix("Mi")) * MEBIBYTE


def highest(service: Service) -> int:
    """Return the most memory that a process had resident, in bytes."""
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024


def add_large(server: Server, beginning: str) -> None:
    """Put events of a megabyte into the stream."""
    text = beginning + "x" * 999_000
    event = json.dumps({"id": 1, "description": text, "timestamp": ""}, ensure_ascii=False)
    with server.client() as client:
        client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
        for _ in range(COUNT):
            client.xadd(STREAM, {"EventStream": event})


@pytest.mark.parametrize(
    ("beginning", "flags"),
    [
        ("x", ()),
        ("\N{GRINNING FACE}", ()),  # makes Python take four bytes for each character
        ("\N{GRINNING FACE}", ("--concurrency=50", "--handler=tests.support.slow_handlers.wait")),
    ],
)
@pytest.mark.parametrize("is_pending", [False, True])
def test_a_backlog_of_large_events_fits_the_limit_of_the_chart(
    services: Services, server: Server, beginning: str, flags: tuple[str, ...], is_pending: bool
) -> None:
    add_large(server, beginning)
    if is_pending:
        with server.client() as client:
            client.xreadgroup(GROUP, "one", {STREAM: ">"}, count=COUNT)
    consumer = start_consumer(services, server, "one", *flags)
    most = 0

    def is_done() -> bool:
        nonlocal most
        most = highest(consumer)
        return not (pending(server) or unread(server))

    wait_until(is_done, patience=120.0)
    assert most < SHARE * limit_of_the_chart()
