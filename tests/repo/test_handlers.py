"""
Runs the handlers of docs/handlers.md, and their tests, as they are printed there.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from chaos.suites import wait_until
from eventsvc.event import Notification
from eventsvc.testing import MemoryConsumer
from tests.support.helm import ROOT
from tests.support.processes import Server, Services
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
