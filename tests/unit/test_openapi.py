"""
The document at C{/openapi.json}, held against the service that serves it.
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
    """A line for each event; what is no batch has no lines, and stays what it is not."""
    lines = value if isinstance(value, list) else [None]
    return "\n".join([json.dumps(line) for line in lines]).encode()


@pytest.fixture(scope="module")
def url(shared_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a producer is."""
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
    """Good and bad requests of every route get the answers that are written there."""
    case.call_and_validate(base_url=url)


def test_every_route_is_in_the_document() -> None:
    """And nothing else is; the page about the interface names them too."""
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
    """Whoever asks the service gets the document of this very version."""
    with urllib.request.urlopen(f"{url}/openapi.json") as response:
        assert json.load(response) == DOCUMENT
