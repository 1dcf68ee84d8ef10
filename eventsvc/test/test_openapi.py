"""
The document at C{/openapi.json}, held against the service that serves it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest
import schemathesis
from hypothesis import settings

from eventsvc.embedded import free_port
from eventsvc.test.processes import Server, Services

DOCUMENT: dict[str, Any] = json.loads(files("eventsvc.web").joinpath("openapi.json").read_bytes())

schema: Any = schemathesis.openapi.from_dict(DOCUMENT)
schema.config.checks.positive_data_acceptance.expected_statuses.append("422")


@pytest.fixture(scope="module")
def url(shared_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a producer is."""
    port = free_port()
    services = Services(tmp_path_factory.mktemp("openapi"))
    producer = services.start(
        "eventsvc", "producer", environment={"REST_SERVER_PORT": str(port), "REDIS_PORT": str(shared_server.port)}
    )
    try:
        from eventsvc.test.processes import wait_until

        wait_until(lambda: producer.says("connected to Redis"))
        yield f"http://127.0.0.1:{port}"
    finally:
        services.end()


from collections import Counter

C = Counter()


@schema.parametrize()
@settings(derandomize=True, database=None, deadline=None, max_examples=30)
def test_the_service_answers_as_its_document_says(case: Any, url: str) -> None:
    """Good and bad requests of every route get the answers that are written there."""
    r = case.call_and_validate(base_url=url)
    C[
        case.operation.label,
        case.method,
        case.meta.phase.name,
        case.meta.generation.mode,
        case.media_type,
        r.status_code,
    ] += 1


def test_z():
    import pprint

    pprint.pprint(C)
    assert 0
