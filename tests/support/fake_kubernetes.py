"""
As much of the API of Kubernetes as C{lookup} of a chart asks for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from tests.support.threads import serving_in_thread

Object = dict[str, Any]

#: The kinds that can be looked up, by their API, each with its name in paths.
_KINDS: Final = {
    "/api/v1": {"Secret": "secrets", "PersistentVolumeClaim": "persistentvolumeclaims", "Service": "services"},
    "/apis/apps/v1": {"Deployment": "deployments", "StatefulSet": "statefulsets"},
}


def _answers(objects: Sequence[Object]) -> dict[str, Any]:
    """Return the answer to each path."""
    found: dict[str, Any] = {
        "/version": {"major": "1", "minor": "35", "gitVersion": "v1.35.0"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {
            "kind": "APIGroupList",
            "groups": [{"name": "apps", "versions": [{"groupVersion": "apps/v1", "version": "v1"}]}],
        },
    }
    for path, kinds in _KINDS.items():
        version = path.removeprefix("/apis/").removeprefix("/api/")
        resources = [
            {"name": name, "kind": kind, "namespaced": True, "verbs": ["get", "list"]} for kind, name in kinds.items()
        ]
        found[path] = {"kind": "APIResourceList", "groupVersion": version, "resources": resources}
    for each in objects:
        path = next(path for path, kinds in _KINDS.items() if each["kind"] in kinds)
        kind, metadata = _KINDS[path][each["kind"]], each["metadata"]
        found[f"{path}/namespaces/{metadata['namespace']}/{kind}/{metadata['name']}"] = each
    return found


@contextmanager
def serving(objects: Sequence[Object]) -> Iterator[str]:
    """Serve the objects, and yield the URL."""
    answers = _answers(objects)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = answers.get(self.path.partition("?")[0])
            status = {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}
            body = json.dumps(status if answer is None else answer).encode()
            self.send_response(404 if answer is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with serving_in_thread(server):
        yield f"http://127.0.0.1:{server.server_port}"
