"""
The receiver of docs/webhooks.md, run as it stands there.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from chaos.process import stable_port
from chaos.suites import wait_until
from eventsvc.settings.kinds import SIGNING_SECRETS
from tests.support.helm import ROOT
from tests.support.hooks import SECRET
from tests.support.processes import Server, Services
from tests.unit.test_handling import add, pending, unread

PAGE = (ROOT / "docs" / "webhooks.md").read_text()


@pytest.fixture
def port() -> int:
    return stable_port()


@pytest.fixture
def output(port: int, tmp_path: Path) -> Iterator[Path]:
    """What the receiver prints."""
    (text,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)
    (tmp_path / "receive.py").write_text(text)
    output = tmp_path / "printed"
    environment = {**os.environ, "WEBHOOK_SECRET": SECRET, "PORT": f"{port}"}
    with output.open("wb") as out:
        process = subprocess.Popen([sys.executable, "receive.py"], cwd=tmp_path, env=environment, stdout=out)
    try:
        wait_until(lambda: post(port, b"{}") == 401)
        yield output
    finally:
        process.kill()
        process.wait()


def post(port: int, body: bytes) -> int:
    """Post what nobody signed; the status, 0 if there is no receiver yet."""
    try:
        with urlopen(Request(f"http://127.0.0.1:{port}/", body), timeout=5.0) as answer:
            status: int = answer.status
            return status
    except HTTPError as answer:
        return answer.code
    except OSError:
        return 0


def test_the_receiver_of_the_docs_handles_every_event_once(
    output: Path, port: int, services: Services, server: Server
) -> None:
    """As the docs start it; what comes twice is handled once."""
    texts = add(server, 20)
    with server.client() as client:
        for _, fields in client.xrange("NotificationStream"):
            client.xadd("NotificationStream", fields)
    settings = {"WEBHOOK_URL": f"http://127.0.0.1:{port}/", "WEBHOOK_ALLOW_PRIVATE": "on", "WEBHOOK_SECRET": SECRET}
    services.start("eventsvc", "consumer", "--handler=webhook", f"--redis-port={server.port}", environment=settings)
    wait_until(lambda: unread(server) == pending(server) == 0)
    assert output.read_text().splitlines() == [f"{number} {text}" for number, text in enumerate(texts)]


def test_the_command_of_the_docs_makes_a_secret() -> None:
    (command,) = re.findall(r"^(echo \"whsec_.*\") > webhook-secret$", PAGE, re.M)
    made = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout
    (key,) = SIGNING_SECRETS.parse(made.rstrip("\n"))
    assert len(key) == 32
