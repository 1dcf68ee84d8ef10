"""
Makes the pictures of the docs from the real thing: C{python -m tools.pictures}.

It runs all roles with a server of their own, records what a terminal shows, and takes a picture of the dashboard in the
system's Chromium.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Final
from urllib.request import Request, urlopen

from playwright.sync_api import sync_playwright

from tools.recording import draw, record

ROOT: Final = Path(__file__).parents[1]
#: Seconds of traffic that the charts show, and of the recording.
_TRAFFIC: Final = 60.0
_RECORDED: Final = 14.0
_DEV: Final = [str(Path(sys.executable).parent / "twistd"), "-n", "--pidfile=", "eventsvc", "dev"]


def find_url(output: IO[str], name: str) -> str:
    """Read what a process writes until it says an address, and return that."""
    for line in output:
        if found := re.search(rf"(?i)\b{name}\b.*?(http://\S+)", line):
            return found[1]
    raise SystemExit(f"eventsvc dev has not said where its {name} is")


def take_pictures(dashboard: str) -> None:
    """Write the pictures."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise SystemExit("there is no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 696}, color_scheme="light")
        page.goto(f"{dashboard}?span=5m")
        page.locator("#live-state", has_text="live").wait_for()
        page.locator("polyline").first.wait_for()
        page.screenshot(path=ROOT / "docs" / "dashboard.png")
        browser.close()


def main() -> None:
    """Record the first seconds of a system, and take pictures of another after a minute."""
    frames = record([*_DEV, "--chaos"], _RECORDED)
    (ROOT / "docs" / "demo.svg").write_text(draw(frames, "make demo DEMO=--chaos"), encoding="utf-8")
    flags = ["--rest-server-port=0", "--dashboard-port=0", "--events-per-second=20"]
    with subprocess.Popen([*_DEV, *flags], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as system:
        assert system.stderr is not None
        try:
            producer = find_url(system.stderr, "producer")
            dashboard = find_url(system.stderr, "dashboard")
            time.sleep(_TRAFFIC)
            event = {"description": "a parcel arrived", "type": "parcel.arrived", "key": "parcel 7"}
            urlopen(Request(producer, json.dumps(event).encode())).close()
            take_pictures(dashboard)
        finally:
            system.terminate()


if __name__ == "__main__":
    main()
