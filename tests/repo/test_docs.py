"""
Tests for the docs: generated parts are current, links resolve, and the commands
that they show work.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import attrs
import pytest

from chaos import environment, faults, signs
from chaos.suites import wait_until
from eventsvc.event import EVENT_FIELD
from tests.support.processes import Server, Services
from tools import docs

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
#: A line of shell, above it the status that it is answered with, and perhaps the whole answer below.
COMMAND = re.compile(r"^# (\d{3})\n([^\n]+)$(?:\n```\n\n```http\n(.*?)^```$)?", re.M | re.S)
COMMANDS = [
    pytest.param(line, status, answer, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, (status, line, answer) in enumerate(COMMAND.findall(page.read_text()))
]
TOKEN = "a token of the tests".replace(" ", "-")


def test_the_docs_have_no_problems() -> None:
    assert list(docs.problems(ROOT / "docs")) == []


#: Pages with a command of the environment at the beginning of a line.
SHOWING = [page for page in PAGES if re.search(r"^(?: {4}|\$ )?(?:twistd|eventsvc|python -m) ", page.read_text(), re.M)]


@pytest.mark.parametrize("page", SHOWING, ids=[page.stem for page in SHOWING])
def test_a_page_says_where_its_commands_are(page: Path) -> None:
    """After `make demo` the commands are not on PATH, so a page that shows one says where they are."""
    assert ".venv/bin/" in page.read_text()


def test_nothing_is_to_be_installed_from_where_it_is_not() -> None:
    """There is no published package, so everyone installs from a checkout."""
    places = [*PAGES, *(ROOT / "eventsvc").rglob("*.py"), *(ROOT / "chaos").rglob("*.py")]
    assert [place for place in places if re.search(r"pip install [^\n]*\beventsvc\[", place.read_text())] == []


def read_answer(text: str) -> tuple[str, dict[str, str], str]:
    """Return the first line, the headers and the body of an answer; ids are alike."""
    head, _, body = re.sub(r"\d{15,19}", "ID", text).replace("\r\n", "\n").rstrip("\n").partition("\n\n")
    first, *lines = head.split("\n")
    return first, dict(line.split(": ", 1) for line in lines), body


@pytest.mark.parametrize(("line", "status", "shown"), COMMANDS)
def test_a_command_is_answered_as_it_is_said(
    line: str, status: str, shown: str, services: Services, server: Server, tmp_path: Path
) -> None:
    environment = {"REDIS_STREAMS": "Orders"}
    if "$TOKEN" in line or status == "401":
        tokens = tmp_path / "tokens.toml"
        tokens.write_text(f'[[token]]\nname = "tests"\nsha256 = "{sha256(TOKEN.encode()).hexdigest()}"\n')
        environment["REST_SERVER_TOKENS"] = str(tokens)
    arguments = ("--rest-server-port=0", f"--redis-port={server.port}")
    producer = services.start("eventsvc", "producer", *arguments, environment=environment)
    wait_until(lambda: producer.says("connected to Redis"))
    port = producer.port()
    assert "127.0.0.1:8080" in line
    command = line.replace("127.0.0.1:8080", f"127.0.0.1:{port}").replace("curl ", "curl --silent --show-error ")
    done = subprocess.run(
        ["bash", "-c", command],
        env={**os.environ, "TOKEN": TOKEN},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    first, headers, body = read_answer(done.stdout)
    assert first.startswith(f"HTTP/1.1 {status} ")
    if shown:
        always = ("Date", "Content-Length")
        assert (first, {name: headers[name] for name in headers if name not in always}, body) == read_answer(shown)


def test_the_page_shows_every_answer_of_the_interface() -> None:
    """A command on the page of the interface without an answer would not be compared."""
    commands = COMMAND.findall((ROOT / "docs" / "interface.md").read_text())
    assert len(commands) >= 13
    assert [line for _, line, answer in commands if not answer] == []


def test_a_cloudevent_becomes_the_notification_that_is_shown(services: Services, server: Server) -> None:
    page = (ROOT / "docs" / "interface.md").read_text()
    (shown,) = re.findall(r'^\{"id":.*"cloudevent":.*\}$', page, re.M)
    (line,) = [line for _, line, _ in COMMAND.findall(page) if "application/cloudevents+json" in line]
    producer = services.start("eventsvc", "producer", "--rest-server-port=0", f"--redis-port={server.port}")
    wait_until(lambda: producer.says("connected to Redis"))
    command = line.replace("127.0.0.1:8080", f"127.0.0.1:{producer.port()}")
    subprocess.run(["bash", "-c", command], capture_output=True, timeout=30, check=True)
    with server.client() as client:
        (stored,) = [fields[EVENT_FIELD] for _, fields in client.xrange("NotificationStream") if EVENT_FIELD in fields]
    ours = re.compile(r'^\{"id":\d+|"timestamp":"[^"]+"')
    assert ours.sub("", stored.decode()) == ours.sub("", shown)


def test_the_program_on_the_page_of_the_interface_posts(services: Services, server: Server) -> None:
    page = (ROOT / "docs" / "interface.md").read_text()
    (program,) = re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S)
    (shown,) = re.findall(r"^```\n(Posted\(.*?)^```$", page, re.M | re.S)
    producer = services.start("eventsvc", "producer", "--rest-server-port=0", f"--redis-port={server.port}")
    wait_until(lambda: producer.says("connected to Redis"))
    program = program.replace("127.0.0.1:8080", f"127.0.0.1:{producer.port()}")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    ids = re.compile(r"id=\d+")
    assert ids.sub("id", done.stdout) == ids.sub("id", shown)


def test_every_fault_and_sign_of_the_chaos_suite_is_on_its_page() -> None:
    """An author of a scenario need not read the source."""
    page = (ROOT / "docs" / "chaos.md").read_text()
    named = {
        name
        for module in (faults, environment, signs)
        for name, each in vars(module).items()
        if isinstance(each, type) and attrs.has(each) and each.__module__ == module.__name__
    }
    assert {"Killed", "Full", "Counted"} <= named
    assert [name for name in named if f"| `{name}(" not in page] == []
    assert re.findall(r"^\| `\w+\(.*\)` \| +\|$", page, re.M) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[a](nowhere.md)", "there is no file nowhere.md"),
        ("[a](#nowhere)", "there is no heading #nowhere"),
        ("`test_docs.py::test_nothing`", "there is no test test_docs.py::test_nothing"),
        ("`test_nothing`", "expected test_file.py::name"),
        ("<!-- begin settings: x -->\nstale\n<!-- end settings -->", "is stale"),
    ],
)
def test_a_problem_is_told(text: str, problem: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\n{text}\n")
    found = [*docs.stale_parts(page), *docs.broken_links(page), *docs.missing_tests(page, Path(__file__).parent)]
    assert len(found) == 1
    assert problem in found[0]


def test_a_fragment_of_news_without_a_known_type_is_told(tmp_path: Path) -> None:
    (tmp_path / "news").mkdir()
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    (tmp_path / "news" / "+good.fix.md").write_text("It works.\n")
    assert list(docs.misnamed_fragments(tmp_path)) == []
    (tmp_path / "news" / "+bad.fixes.md").write_text("It works.\n")
    assert len(list(docs.misnamed_fragments(tmp_path))) == 1


#: What Python, the system, Twisted and Redis say.
NOT_OURS = """
twistd: command not found
Unknown command: eventsvc
Address already in use
No module named
no connection to Redis: Connection refused
no connection to Redis: NOAUTH
LOADING Redis is loading the dataset
no module named 'mine'
mine.handle' cannot be imported: No module named
"stored": "unknown"
"""


def test_the_words_of_the_troubleshooting_page_are_said() -> None:
    """Each message on the page is in the code, except messages of other programs."""
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    code = "".join([path.read_text() for path in (ROOT / "eventsvc").rglob("*.py")]) + NOT_OURS
    code = re.sub(r'"\s*\n?\s*f?"', "", code)  # texts that go on in the next line
    seen = [cell for row in re.findall(r"^\| (.+?) \|", page, re.M) for cell in re.findall(r"`([^`]+)`", row)]
    quoted = [words for cell in seen for words in cell.split("...") if " " in words.strip()]
    assert len(quoted) > 15
    assert [words for words in quoted if words.strip(" :'") not in code and not words.startswith("eventsvc ")] == []
