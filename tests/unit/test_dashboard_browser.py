"""
The dashboard in a real Chromium: it shows real processes, and nothing in an event can run.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import attrs
import pytest

from chaos.suites import PATIENCE, wait_until
from tests.support.dashboard_world import TOKEN, make_text
from tests.support.processes import Server, Services, post

playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
pytestmark = [
    pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium: apt-get install chromium"),
    pytest.mark.xdist_group("browser"),
]
STREAM = "NotificationStream"
DEAD = "{NotificationStream}:dead"
HOSTILE = "</td><script>document.title='run'</script><img src=x onerror=\"document.title='run'\">"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        playwright.expect.set_options(timeout=1_000 * PATIENCE)
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@attrs.define
class System:
    """A producer, a consumer and a dashboard, and what a browser saw of it."""

    client: Any
    producer: int
    page: Any
    base: str
    asked: list[str] = attrs.field(factory=list)
    complaints: list[str] = attrs.field(factory=list)

    def post(self, description: str, **more: Any) -> str:
        """Post an event, and return its id."""
        answer = post(self.producer, json.dumps({"description": description, **more}))
        assert answer.status == 200
        return answer.headers["Event-Id"]

    def open(self, path: str) -> Any:
        self.page.goto(self.base + path)
        return self.page

    def look(self, page: Any) -> None:
        """Have it remember what a page asks for, and what goes wrong there."""
        page.set_default_timeout(1_000 * PATIENCE)
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))


@pytest.fixture
def system(own_server: Server, services: Services, browser: Any) -> Iterator[System]:
    redis = f"--redis-port={own_server.port}"
    producer = services.start("eventsvc", "producer", redis, "--rest-server-port=0")
    services.start("eventsvc", "consumer", redis, "--redis-consumer=me")
    dashboard = services.start("eventsvc", "dashboard", redis, "--dashboard-port=0", f"--dashboard-token={TOKEN}")
    base = f"http://127.0.0.1:{dashboard.port()}"
    context = browser.new_context()
    with own_server.client() as client:
        system = System(client, producer.port(), context.new_page(), base)
        system.look(system.page)
        wait_until(lambda: producer.says("connected to Redis") and dashboard.says("connected to Redis"))
        yield system
        context.close()
        assert [url for url in system.asked if urlsplit(url).hostname != "127.0.0.1"] == []
        assert system.complaints == []
    assert dashboard.stop() == 0
    assert [line for line in dashboard.lines() if line["level"] not in ("info", "debug")] == []


def expect(locator: Any) -> Any:
    return playwright.expect(locator)


def test_the_figures_move_and_the_charts_are_drawn(system: System) -> None:
    page = system.open("/")
    expect(page.locator("#live-state")).to_have_text("live")
    for role in ("producer", "consumer", "dashboard"):
        expect(page.locator("#part-processes tr", has_text=role)).to_contain_text("● ready")
    kept = page.locator(".tiles div", has_text="entries kept").locator("dd")
    expect(kept).to_have_text("1")  # the marker
    for number in range(5):
        system.post(f"event {number}")
    expect(kept).to_have_text("6")
    expect(page.locator("#part-charts polyline").first).to_be_attached()


def test_an_event_is_seen_at_once_and_its_way_is_complete(system: System) -> None:
    page = system.open("/events")
    expect(page.locator("#live-state")).to_have_text("live")
    id = system.post("hello world", type="greeting", key="k", data={"deep": [1, 2]})
    expect(page.locator("tr", has_text=id)).to_be_visible()
    page.locator("tr", has_text=id).get_by_role("link").click()
    expect(page.locator("h1")).to_have_text("hello world")
    expect(page.locator(".facts")).to_contain_text(id)

    def steps() -> list[str]:
        page.reload()
        return [*page.locator(".story strong").all_inner_texts()]

    wait_until(lambda: steps() == ["accepted", "stored", "acknowledged"], "the event's whole way")
    expect(page.locator("pre")).to_contain_text('"deep": [')


def test_a_filter_is_in_the_url_and_survives_a_reload(system: System) -> None:
    for number in range(3):
        system.post(f"event {number}", type="even" if number % 2 == 0 else "odd")
    page = system.open("/events")
    page.keyboard.press("/")
    page.keyboard.type("EVENT 2")
    page.keyboard.press("Enter")
    page.wait_for_url("**text=EVENT+2*")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.reload()
    expect(page.locator("#filter-text")).to_have_value("EVENT 2")
    expect(page.locator("#live-state")).to_have_text("live")
    system.post("event 2 again")
    system.post("event 3")
    expect(page.locator("tbody tr")).to_have_count(2)
    page.get_by_label("type").fill("odd")
    page.keyboard.press("Enter")
    expect(page.locator("#part-events")).to_contain_text("No event fits")
    page.locator("#part-events").get_by_role("link", name="Clear the filters").click()
    expect(page.locator("tbody tr")).to_have_count(6)


def test_a_dead_letter_is_replayed_by_plan_and_confirmation(system: System) -> None:
    letter = {
        "reason": "failed",
        "error": "ValueError: no",
        "deliveries": "5",
        "group": "g",
        "consumer": "c",
        "id": "1-0",
    }
    for number in range(2):
        system.client.xadd(DEAD, {**letter, "field:EventStream": make_text(40 + number, f"letter {number}")})
    page = system.open("/dead")
    expect(page.locator("tbody tr")).to_have_count(2)
    page.locator("tbody input").first.check()
    page.get_by_role("button", name="Replay…").click()
    expect(page.locator("h1")).to_have_text("Replay 1 dead letter?")
    button = page.get_by_role("button", name="Replay 1 dead letter")
    page.get_by_label("Token").fill("a wrong token of theirs")
    button.click()
    expect(page.locator("main")).to_contain_text("The token is wrong.")
    assert system.client.xlen(DEAD) == 2
    system.complaints.clear()  # Chromium tells of the 403
    page.go_back()
    page.get_by_label("Token").fill(TOKEN)
    button.click()
    expect(page.locator("h1")).to_have_text("Replayed 1 dead letter")
    page.get_by_role("link", name="Events", exact=True).last.click()
    expect(page.locator("tr", has_text="letter 0")).to_be_visible()
    assert system.client.xlen(DEAD) == 1
    system.open("/dead")
    page.get_by_label(re.compile("all 1")).check()
    page.get_by_role("button", name="Purge…").click()
    expect(page.locator("main")).to_contain_text("There is no way back.")
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Purge 1 dead letter").click()
    expect(page.locator("h1")).to_have_text("Purged 1 dead letter")
    assert system.client.xlen(DEAD) == 0


def complained(system: System, words: str) -> bool:
    """Return whether the browser has complained of something; calling it lets it do so."""
    system.page.title()
    return any(words in text for text in system.complaints)


def test_hostile_texts_do_nothing(system: System) -> None:
    page = system.open("/events")
    system.post(HOSTILE, type=HOSTILE, key=HOSTILE, data={HOSTILE: HOSTILE})
    system.client.xadd(STREAM, {"EventStream": HOSTILE, HOSTILE: HOSTILE})
    expect(page.locator("tr", has_text="onerror").first).to_be_visible()
    wait_until(lambda: system.client.xlen(DEAD) == 1)
    for path in ("/events", "/dead", "/", "/processes"):
        system.open(path)
        expect(page.locator("#live-state")).to_have_text("live")
        assert "run" not in page.title()
    system.open("/events")
    page.locator("tr", has_text="<script>").first.get_by_role("link").click()
    expect(page.locator("h1")).to_contain_text("<script>")
    assert page.locator("main img, main script").count() == 0
    page.evaluate("document.querySelector('main').innerHTML += '<img src=x onerror=\"document.title=1\">'")
    for words in ("Content Security Policy", "404"):  # the handler is refused, and there is no image x
        wait_until(partial(complained, system, words))
    assert page.title() != "1"
    system.complaints.clear()


def shows(page: Any, words: str) -> bool:
    """Return whether a page has these words when it is loaded anew."""
    page.reload()
    return words in page.content()


def test_without_scripts_the_tables_are_there(system: System, browser: Any) -> None:
    id = system.post("hello")
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    system.look(page)
    for path, words in (("/events", id), ("/processes", "producer"), ("/", "● ready")):
        page.goto(system.base + path)
        wait_until(partial(shows, page, words))
        assert page.locator("#pause").is_hidden()
        assert page.locator("noscript meta").count() == 1
    context.close()


def test_keys_pause_and_help(system: System) -> None:
    page = system.open("/events")
    expect(page.locator("#live-state")).to_have_text("live")
    page.keyboard.press("p")
    expect(page.locator("#live-state")).to_have_text("paused")
    system.post("while it was paused")
    page.keyboard.press("?")
    expect(page.locator("#help p").first).to_be_visible()
    assert page.locator("tr", has_text="while it was paused").count() == 0
    page.keyboard.press("p")
    expect(page.locator("tr", has_text="while it was paused")).to_be_visible()


def test_what_changes_does_not_take_the_focus_or_the_open_details(system: System) -> None:
    page = system.open("/processes")
    details = page.locator("details[id^=figures]").first
    details.locator("summary").dispatch_event("click")  # a click in two steps may meet what was replaced meanwhile
    for number in range(3):
        system.post(f"event {number}")
    expect(page.locator("details[open]")).to_contain_text("cpu_seconds")
    system.open("/events")
    link = page.locator("tbody a").last
    link.focus()
    focused = page.evaluate("document.activeElement.id")
    id = system.post("one more")
    expect(page.locator("tr", has_text=id)).to_be_visible()
    assert page.evaluate("document.activeElement.id") == focused != ""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_breaks_a_rule_of_accessibility(system: System, browser: Any, scheme: str) -> None:
    """Of axe-core: contrast, names, landmarks, tables; in both colour schemes."""
    system.post("hello", type="greeting", key="k", data={"a": 1})
    system.client.xadd(STREAM, {"EventStream": "malformed" * 50})
    wait_until(lambda: system.client.xlen(DEAD) == 1)
    ((letter, _),) = system.client.xrange(DEAD)
    entry = system.client.xrevrange(STREAM, count=1)[0][0].decode()
    context = browser.new_context(color_scheme=scheme, bypass_csp=True)  # axe is a script of the test
    page = context.new_page()
    paths = ["/", "/events", "/dead", "/processes", f"/event?entry={entry}", f"/letter?id={letter.decode()}", "/nope"]
    for path in [*paths, f"/dead/plan?verb=purge&id={letter.decode()}"]:
        page.goto(system.base + path)
        page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        result = axe.Axe().run(page)
        assert result.violations_count == 0, f"{path}: {result.generate_report()}"
        page.set_viewport_size({"width": 400, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 400, f"{path} is wider than a telephone"
        page.set_viewport_size({"width": 1280, "height": 720})
    context.close()
