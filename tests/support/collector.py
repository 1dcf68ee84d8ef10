"""
A collector of spans: takes OTLP over HTTP, as OpenTelemetry's own collector does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import attrs
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.support.threads import serving_in_thread


@attrs.frozen
class Came:
    """A span that came, and the name of the service that sent it."""

    service: str
    span: Span

    @property
    def trace(self) -> str:
        return self.span.trace_id.hex()

    @property
    def links(self) -> Sequence[str]:
        return [f"{link.trace_id.hex()}-{link.span_id.hex()}" for link in self.span.links]


@attrs.define
class Collector:
    """
    Takes spans.

    @ivar react: called with each request before it is answered; returns the status.
    @ivar requests: how many requests came.
    """

    react: Callable[[], int] = lambda: 200
    port: int = 0
    came: list[Came] = attrs.field(factory=list)
    requests: int = 0
    released: threading.Event = attrs.field(factory=threading.Event)

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment of a process that sends its spans here, soon."""
        return {
            "TRACING": "otlp",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }

    def named(self, name: str) -> list[Came]:
        return [each for each in self.came if each.span.name == name]

    def hang(self) -> int:
        """Answer nothing until the test ends."""
        self.released.wait(60.0)
        return 503


class _Request(BaseHTTPRequestHandler):
    server: Any

    def do_POST(self) -> None:
        collector: Collector = self.server.collector
        body = self.rfile.read(int(self.headers["Content-Length"]))
        collector.requests += 1
        status = collector.react()
        if status == 200:
            assert self.path == "/v1/traces"
            collector.came += _read(ExportTraceServiceRequest.FromString(body))
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing: tests say enough."""


def _read(request: ExportTraceServiceRequest) -> Iterator[Came]:
    for resource in request.resource_spans:
        names = {each.key: each.value.string_value for each in resource.resource.attributes}
        for scope in resource.scope_spans:
            yield from (Came(names["service.name"], span) for span in scope.spans)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    collector: Collector

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Processes that leave while they wait are part of the tests."""


@contextmanager
def collecting(collector: Collector | None = None) -> Iterator[Collector]:
    """Collect spans on loopback."""
    collector = collector or Collector()
    server = _Server(("127.0.0.1", collector.port), _Request)
    server.collector = collector
    collector.port = server.server_address[1]
    with serving_in_thread(server, collector.released):
        yield collector
