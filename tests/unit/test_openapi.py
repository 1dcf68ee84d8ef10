"""
Tests C{/openapi.json} against the service that serves it.
"""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import settings

from chaos.suites import wait_until
from eventsvc.embedded import free_port
from eventsvc.web.api import Api
from tests.support.processes import Server, Services

DOCUMENT: dict[str, Any] = json.loads(files("eventsvc.web").joinpath("openapi.json").read_bytes())

schema: Any = schemathesis.openapi.from_dict(DOCUMENT)
schema.config.checks.positive_data_acceptance.expected_statuses.append("422")
schema.config.checks.negative_data_rejection.expected_statuses.append("413")


@schemathesis.serializer("application/x-ndjson")
def write_lines(context: Any, value: Any) -> bytes:
    """Return a line for each event; a value that is not a batch is returned unchanged."""
    lines = value if isinstance(value, list) else [None]
    return "\n".join([json.dumps(line) for line in lines]).encode()


@pytest.fixture(scope="module")
def url(shared_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a producer, and return its URL."""
    with shared_server.client() as client:
        client.flushall()
    port = free_port()
    services = Services(tmp_path_factory.mktemp("openapi"))
    producer = services.start(
        "eventsvc", "producer", environment={"REST_SERVER_PORT": str(port), "REDIS_PORT": str(shared_server.port)}
    )
    try:
        wait_until(lambda: producer.says("connected to Redis"))
        yield f"http://127.0.0.1:{port}"
    finally:
        services.end()


@schema.parametrize()
@settings(derandomize=True, database=None, deadline=None, max_examples=30)
def test_the_service_answers_as_its_document_says(case: Any, url: str) -> None:
    """Valid and invalid requests to every route get the documented answers."""
    case.call_and_validate(base_url=url)


def test_every_route_is_in_the_document() -> None:
    """It has no other routes, and the page about the interface has the same."""
    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in Api.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD"}  # werkzeug adds it to GET
    }
    documented = {(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert routes == documented, "eventsvc/web/openapi.json and the routes of eventsvc/web differ"
    page = (Path(__file__).parents[2] / "docs" / "interface.md").read_text()
    assert [(path, method) for path, method in sorted(routes) if f"`{method.upper()} {path}`" not in page] == []


def test_it_is_served_as_it_is_written(url: str) -> None:
    """The service serves the document of its own version."""
    with urllib.request.urlopen(f"{url}/openapi.json") as response:
        assert json.load(response) == DOCUMENT
