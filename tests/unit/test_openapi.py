"""
Tests C{/openapi.json} against the service that serves it.
"""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from copy import deepcopy
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

import openapi_spec_validator
import pytest
import schemathesis
from hypothesis import settings
from jsonschema import Draft202012Validator, ValidationError  # type: ignore[import-untyped]

from chaos.process import stable_port
from chaos.suites import wait_until
from eventsvc.web.api import Api
from tests.support.processes import Server, Services, get

DOCUMENT: dict[str, Any] = json.loads(files("eventsvc.web").joinpath("openapi.json").read_bytes())
TOKEN = "a-token-of-the-tests"
STREAM = "Orders"


def view(is_binary: bool) -> Any:
    """
    Return the document of requests with CloudEvents in binary mode, or of all others.

    Which headers are required depends on C{ce-specversion}, and what the body is
    on C{Content-Encoding}.  OpenAPI cannot say either, so a view has no choice.
    """
    document = deepcopy(DOCUMENT)
    components = document["components"]
    components["parameters"]["Stream"]["schema"] = {"enum": [STREAM, "NotificationStream", "Nowhere"]}
    for item in document["paths"].values():
        for operation in item.values():
            names = [each["$ref"].rpartition("/")[2] for each in operation.get("parameters", ())]
            left = [name for name in names if name != "ContentEncoding" and (is_binary or not name.startswith("Ce"))]
            operation["parameters"] = [{"$ref": f"#/components/parameters/{name}"} for name in left]
    content = components["requestBodies"]["OneEvent"]["content"]
    anything = content.pop("*/*")
    if is_binary:
        document["paths"] = {path: item for path, item in document["paths"].items() if path.endswith("/event")}
        for name in ("CeSpecversion", "CeId", "CeSource", "CeType"):
            components["parameters"][name]["required"] = True
        content.clear()
        content |= {"application/json": anything, "text/plain": {"schema": {"type": "string"}}}
    schema: Any = schemathesis.openapi.from_dict(document)
    schema.config.checks.positive_data_acceptance.expected_statuses.append("422")
    schema.config.checks.negative_data_rejection.expected_statuses += ["413", "404"]
    return schema


schema, binary = view(is_binary=False), view(is_binary=True)


@schemathesis.hook
def filter_body(context: Any, body: Any) -> bool:
    """Drop what JSON Schema cannot tell apart: the bytes of a key, and 1.0 from 1."""
    events = [event for event in (body if isinstance(body, list) else [body]) if isinstance(event, dict)]
    keys = [str(event.get(name)) for event in events for name in ("key", "partitionkey")]
    values = [value for event in events for name, value in event.items() if name != "data"]
    return all(len(key.encode()) <= 255 for key in keys) and not any(isinstance(value, float) for value in values)


@schemathesis.serializer("application/x-ndjson")
def write_lines(context: Any, value: Any) -> bytes:
    """Return a line for each event; a value that is not a batch is returned unchanged."""
    lines = value if isinstance(value, list) else [None]
    return "\n".join([json.dumps(line) for line in lines]).encode()


@pytest.fixture(scope="module")
def url(shared_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a producer that everybody may post to, and return its URL."""
    yield from running(shared_server, tmp_path_factory.mktemp("openapi"))


@pytest.fixture(scope="module")
def guarded_url(shared_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """As C{url}: it asks for a token."""
    directory = tmp_path_factory.mktemp("guarded")
    tokens = directory / "tokens.toml"
    tokens.write_text(f'[[token]]\nname = "tests"\nsha256 = "{sha256(TOKEN.encode()).hexdigest()}"\n')
    yield from running(shared_server, directory, REST_SERVER_TOKENS=str(tokens))


def running(server: Server, directory: Path, **settings: str) -> Iterator[str]:
    """
    Run a producer, and yield its URL once it knows how far the group is behind.

    Until then C{/backlog} is 503, which schemathesis takes for an error even though it is documented.
    """
    with server.client() as client:
        client.flushall()
    port = stable_port()
    services = Services(directory)
    environment = {"REST_SERVER_PORT": f"{port}", "REDIS_PORT": f"{server.port}", "REDIS_STREAMS": STREAM, **settings}
    producer = services.start("eventsvc", "producer", environment=environment)
    try:
        wait_until(lambda: producer.says("connected to Redis"))
        wait_until(lambda: get(port, f"/backlog?stream={STREAM}")[0] == 200)
        yield f"http://127.0.0.1:{port}"
    finally:
        services.end()


@schema.parametrize()
@settings(derandomize=True, database=None, deadline=None, max_examples=30)
def test_the_service_answers_as_its_document_says(case: Any, url: str) -> None:
    """Valid and invalid requests to every route get the documented answers."""
    case.call_and_validate(base_url=url)


@binary.parametrize()
@settings(derandomize=True, database=None, deadline=None, max_examples=30)
def test_binary_cloudevents_are_answered_as_the_document_says(case: Any, url: str) -> None:
    """The same for CloudEvents in binary mode."""
    case.call_and_validate(base_url=url)


@schema.include(method="POST").parametrize()
@settings(derandomize=True, database=None, deadline=None, max_examples=10)
def test_a_guarded_service_answers_as_its_document_says(case: Any, guarded_url: str) -> None:
    """With a token a request is answered as without tokens; without one, every request is 401."""
    case.call_and_validate(base_url=guarded_url, headers={"Authorization": f"Bearer {TOKEN}"})
    answer = case.call(base_url=guarded_url)
    assert answer.status_code in (401, 404, 405)
    case.validate_response(answer, excluded_checks=[schemathesis.checks.positive_data_acceptance])


def test_the_document_is_valid() -> None:
    """It is an OpenAPI 3.1 document, and the validator can refuse one."""
    openapi_spec_validator.validate(DOCUMENT)
    with pytest.raises(ValidationError):
        openapi_spec_validator.validate({**DOCUMENT, "paths": {"/event": {"post": {"responses": 200}}}})


def test_its_messages_are_those_of_the_schemas() -> None:
    """EM and CloudEvent are described once in docs/schemas, and here the same."""
    directory = Path(__file__).parents[2] / "docs" / "schemas"
    event = json.loads((directory / "event-message.schema.json").read_text())
    notification = json.loads((directory / "notification-message.schema.json").read_text())
    schemas = DOCUMENT["components"]["schemas"]
    assert schemas["Event"] == {name: event[name] for name in event if name not in ("$schema", "$id", "examples")}
    assert schemas["CloudEvent"] == notification["$defs"]["cloudevent"]


def examples() -> Iterator[Any]:
    """Yield each example of the document: where it is, its schema and itself."""
    for kind in ("responses", "requestBodies"):
        for name, part in DOCUMENT["components"][kind].items():
            for media, content in part.get("content", {}).items():
                found = [each["value"] for each in content.get("examples", {}).values()]
                for number, value in enumerate([*found, *([content["example"]] if "example" in content else [])]):
                    yield pytest.param(content["schema"], value, id=f"{name}-{media}-{number}")


@pytest.mark.parametrize(("described", "value"), list(examples()))
def test_an_example_is_valid(described: Any, value: Any) -> None:
    Draft202012Validator({**described, "components": DOCUMENT["components"]}).validate(value)


def test_every_error_has_an_example() -> None:
    errors = {name: part for name, part in DOCUMENT["components"]["responses"].items() if "Stored" not in name}
    assert len(errors) == 14
    assert [name for name, part in errors.items() if "example" not in part["content"]["application/json"]] == []


def test_every_route_is_in_the_document() -> None:
    """It has no other routes, and the page about the interface has the same."""
    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in Api.app.url_map.iter_rules()
        # werkzeug adds HEAD to GET; a rule for every method answers all but POST itself
        for method in (rule.methods or {"POST"}) - {"HEAD"}
    }
    documented = {(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert routes == documented, "eventsvc/web/openapi.json and the routes of eventsvc/web differ"
    page = (Path(__file__).parents[2] / "docs" / "interface.md").read_text()
    assert [(path, method) for path, method in sorted(routes) if f"`{method.upper()} {path}`" not in page] == []


def test_it_is_served_as_it_is_written(url: str) -> None:
    """The service serves the document of its own version."""
    with urllib.request.urlopen(f"{url}/openapi.json") as response:
        assert json.load(response) == DOCUMENT
