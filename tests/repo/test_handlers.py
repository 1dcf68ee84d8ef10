"""
Runs the handlers of docs/handlers.md, and their tests, as they are printed there.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from chaos.suites import wait_until
from eventsvc.event import Notification
from eventsvc.testing import MemoryConsumer
from tests.support.helm import ROOT
from tests.support.processes import Server, Services
from tests.support.threads import serving_in_thread
from tests.unit.test_handling import add, pending

PAGE = (ROOT / "docs" / "handlers.md").read_text()
#: The modules of the page, by the names in their first lines.
MODULES = dict(re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```$", PAGE, re.M | re.S))
TESTS = [name for name in MODULES if name.startswith("test_")]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with all modules of the page."""
    for name, source in MODULES.items():
        (tmp_path / name).write_text(source)
    return tmp_path


def test_every_example_is_a_module() -> None:
    """So none is left out by the tests below."""
    assert len(MODULES) == PAGE.count("```python") > 10


@pytest.fixture(scope="session")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, list[str]], str]:
    """Run all tests of the page, and return the outcomes of each module, and the output."""
    directory = tmp_path_factory.mktemp("examples")
    for name, source in MODULES.items():
        (directory / name).write_text(source)
    command = [sys.executable, "-m", "pytest", "-W", "error", "-p", "no:cacheprovider", "-v", *TESTS]
    # The page asks for no plugin, and it takes time to import those that are installed.
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    run = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=120)
    found: dict[str, list[str]] = {}
    for name, outcome in re.findall(r"^(\w+\.py)::.* ([A-Z]+) +\[", run.stdout, re.M):
        found.setdefault(name, []).append(outcome)
    return found, run.stdout + run.stderr


@pytest.mark.xdist_group("examples")
@pytest.mark.parametrize("name", TESTS)
def test_an_example_does_what_its_test_says(name: str, outcomes: tuple[dict[str, list[str]], str]) -> None:
    found, output = outcomes
    assert set(found.get(name, ())) == {"PASSED"}, output


@pytest.mark.parametrize(
    "handler",
    [
        *("mine.handle", "shapes.Blocking", "shapes.on_asyncio", "shapes.Greeter", "shapes.Batches", "shapes.made"),
        *("bookings.Bookings", "rows.Rows"),
    ],
)
def test_an_example_runs_in_a_consumer(handler: str, directory: Path, services: Services, server: Server) -> None:
    add(server, 20)
    environment = {"PYTHONPATH": str(directory), "BOOKINGS_DATABASE": f"{directory}/bookings.db"}
    consumer = services.start(
        *("eventsvc", "consumer", f"--redis-port={server.port}", f"--handler={handler}"), environment=environment
    )
    wait_until(lambda: consumer.says("connected to Redis") and pending(server) == 0)
    wait_until(lambda: _all_read(server))
    assert consumer.stop() == 0
    assert [line for line in consumer.lines() if line.get("alarm")] == []


class Redirecting(BaseHTTPRequestHandler):
    """Redirects each POST, and answers each GET 200."""

    protocol_version = "HTTP/1.1"
    server: Any

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(303)

    def do_GET(self) -> None:
        self._answer(200)

    def _answer(self, status: int) -> None:
        self.server.seen.append(self.command)
        self.send_response(status)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def redirecting() -> Iterator[Any]:
    receiver: Any = ThreadingHTTPServer(("127.0.0.1", 0), Redirecting)
    receiver.seen = []
    with serving_in_thread(receiver):
        yield receiver


@pytest.mark.parametrize("handler", ["forward.Forward", "notify.Notify"])
def test_an_example_follows_no_redirect(
    handler: str, directory: Path, services: Services, server: Server, redirecting: Any
) -> None:
    """A redirected POST becomes a GET, whose 200 would acknowledge an event that nobody received."""
    module = directory / f"{handler.partition('.')[0]}.py"
    url = f"http://127.0.0.1:{redirecting.server_address[1]}/"
    module.write_text(re.sub(r"http://\w+\.example/", url, module.read_text()))
    add(server, 1)
    consumer = services.start(
        *("eventsvc", "consumer", f"--redis-port={server.port}", f"--handler={handler}", "--max-deliveries=2"),
        environment={"PYTHONPATH": str(directory)},
    )
    wait_until(lambda: consumer.says('"alarm":"dead_letter"'))
    assert _all_read(server)
    assert redirecting.seen == ["POST"] * 2


def _all_read(server: Server) -> bool:
    with server.client() as client:
        [group] = client.xinfo_groups("NotificationStream")
    return bool(group["lag"] == 0 and group["pending"] == 0)


def test_the_page_has_every_member_of_the_kit_and_of_an_event() -> None:
    """Nobody needs to read the source to use them."""
    kit = [name for name in vars(MemoryConsumer) if not name.startswith("_")]
    fields = [name.lstrip("_") for name in MemoryConsumer.__annotations__ if not name.startswith("_")]
    event = [*Notification.__struct_fields__, "data", "cloudevent"]
    assert {"crash_after", "handled"} <= set(kit)
    assert [name for name in {*kit, *fields, *event} if not re.search(rf"`{name}[`(]", PAGE)] == []
