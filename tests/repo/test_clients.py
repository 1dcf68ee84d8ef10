"""
Runs the clients of docs/clients.md as they are printed there.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from eventsvc.event import EVENT_FIELD, decode_notification
from tests.support.helm import ROOT
from tests.support.processes import Server, Services
from tests.support.threads import serving_in_thread

PAGE = (ROOT / "docs" / "clients.md").read_text()
#: How each program is run, by the name of its file.
RUN = {
    "post.py": [sys.executable],
    "post.mjs": ["node"],
    "post.go": ["go", "run"],
    "post_cloudevent.py": [sys.executable],
}

#: An answer of which half arrives.
HALF_A_503 = -503


class Impatient(BaseHTTPRequestHandler):
    """Answers 503, closes without an answer and after half of one, then answers 200; or as configured."""

    protocol_version = "HTTP/1.1"
    server: Any

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((self.headers["Idempotency-Key"], body))
        status = self.server.answers.pop(0)
        if status is None:
            self.close_connection = True
            return
        is_half = status < 0
        self.send_response(abs(status))
        if status == 200:
            self.send_header("Event-Id", "9223372036854775807")
        self.send_header("Location", "/elsewhere")
        self.send_header("Retry-After", "0")
        self.send_header("Content-Length", "100" if is_half else "0")
        self.end_headers()
        if is_half:
            self.wfile.write(b'{"status"')
            self.close_connection = True

    def do_GET(self) -> None:
        self.server.seen.append(("GET", b""))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def impatient() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Impatient)
    server.seen, server.answers = [], [503, None, HALF_A_503, 200]
    with serving_in_thread(server):
        yield server


@pytest.fixture(params=RUN)
def command(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """Return the command that runs a program of the page, without its arguments."""
    name, program = request.param, RUN[request.param]
    if shutil.which(program[0]) is None:
        pytest.skip(f"there is no {program[0]}")
    (text,) = re.findall(rf"Save it as `{re.escape(name)}`.*?^```\w+\n(.*?)^```$", PAGE, re.M | re.S)
    (tmp_path / name).write_text(text)
    return [*program, str(tmp_path / name)]


def run(command: list[str], port: int) -> subprocess.CompletedProcess[str]:
    url = f"http://127.0.0.1:{port}/event"
    return subprocess.run([*command, url, "hello world"], capture_output=True, text=True, timeout=300)


@pytest.mark.timeout(320)
def test_a_client_tries_again_under_one_key(command: list[str], impatient: Any) -> None:
    """It retries after a 503, after no answer and after half of one, and prints the id with all its digits."""
    done = run(command, impatient.server_address[1])
    assert (done.returncode, done.stdout.strip()) == (0, "9223372036854775807"), done.stderr
    assert len(impatient.seen) == 4
    assert len(set(impatient.seen)) == 1


@pytest.mark.timeout(320)
def test_a_client_gives_up_what_is_wrong(command: list[str], impatient: Any) -> None:
    impatient.answers = [400]
    assert run(command, impatient.server_address[1]).returncode == 1
    assert len(impatient.seen) == 1


@pytest.mark.timeout(320)
@pytest.mark.parametrize("status", [302, 307])
def test_a_client_follows_no_redirect(command: list[str], impatient: Any, status: int) -> None:
    """A 302 makes a GET of a POST, whose 200 says nothing of the event."""
    impatient.answers = [status]
    assert run(command, impatient.server_address[1]).returncode == 1
    assert len(impatient.seen) == 1


@pytest.mark.timeout(320)
def test_a_client_stores_an_event(command: list[str], services: Services, server: Server) -> None:
    """It prints the id of the event in the stream."""
    producer = services.start("eventsvc", "producer", "--rest-server-port=0", f"--redis-port={server.port}")
    done = run(command, producer.port())
    assert done.returncode == 0, done.stderr
    with server.client() as client:
        entries = [fields for _, fields in client.xrange("NotificationStream") if EVENT_FIELD in fields]
    (event,) = [decode_notification(fields[EVENT_FIELD]) for fields in entries]
    assert (str(event.id), event.description) == (done.stdout.strip(), "hello world")
